package httpapi

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// TestTurns: one search runs at a time, another company's waits for it, and a second one of the same
// company is refused, so that nobody can fill the line.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		leave, err := turns.enter(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := turns.enter(t.Context(), 1); !hook.IsKind(err, hook.KindLimited) {
			t.Errorf("a second one of the company: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := turns.enter(gone, 2); err == nil {
			t.Error("somebody who went away has a turn")
		}
		served := false
		go func() {
			leave, err := turns.enter(t.Context(), 2)
			if err == nil {
				served = true
				leave()
			}
		}()
		synctest.Wait()
		if served {
			t.Error("two at a time")
		}
		leave()
		synctest.Wait()
		if !served {
			t.Error("who waited has no turn")
		}
		if leave, err := turns.enter(t.Context(), 1); err != nil {
			t.Errorf("the next one of the company: %v", err)
		} else {
			leave()
		}
	})
}
