package ingress

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// An owner holds no more than a share, all no more than the total; what is given back goes to who waits,
// and one answer is never too large.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Budget{Total: 100, OfOne: 40, Wait: 5 * time.Second}
		take := func(who string, bytes int) *Lease {
			t.Helper()
			l, err := b.Take(t.Context(), who, bytes)
			if err != nil {
				t.Fatalf("%s: %v", who, err)
			}
			return l
		}
		refused := func(who string, bytes int, want error) {
			t.Helper()
			begun := time.Now()
			if _, err := b.Take(t.Context(), who, bytes); !errors.Is(err, want) || time.Since(begun) != b.Wait {
				t.Errorf("%s: %v after %v, want %v", who, err, time.Since(begun), want)
			}
		}
		first := take("a", 1000) // all that one may hold
		refused("a", 1, ErrOwnShare)
		take("b", 40)
		third := take("c", 20)
		refused("d", 1, ErrAll)
		time.AfterFunc(time.Second, func() { first.Fit(10) })
		again := take("a", 20)
		first.Release()
		first.Release() // does nothing
		first.Fit(1000) // nor does this
		again.Release()
		third.Release()
		if b.held != 40 || len(b.owners) != 1 {
			t.Errorf("%d held by %d", b.held, len(b.owners))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Take(gone, "b", 40); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Where all is held, the answer that has been written for longest by who holds most is ended for one who
// holds less; not for one who holds as much, and not before it had time.
func TestBudgetSqueezes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Budget{Total: 100, OfOne: 60, Wait: 5 * time.Second}
		var cut []string
		held := func(who, name string, bytes int) {
			l, err := b.Take(t.Context(), who, bytes)
			if err != nil {
				t.Fatal(name, err)
			}
			l.begin(func() { cut = append(cut, name); go l.Release() })
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // virtual
		}
		held("greedy", "older", 30)
		held("greedy", "newer", 30)
		held("modest", "other", 40)
		begun := time.Now()
		held("third", "third", 10)
		if len(cut) != 1 || cut[0] != "older" || time.Since(begun) > 2*time.Second {
			t.Errorf("ended: %v after %v", cut, time.Since(begun))
		}
		if _, err := b.Take(t.Context(), "modest", 60); !errors.Is(err, ErrOwnShare) || len(cut) != 1 {
			t.Errorf("%v, ended: %v", err, cut)
		}
	})
}
