package deliver

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// TestFiltersHoldUpNobody: while the filters of one company take a minute for each event, another
// company's events go on arriving, and so do the filters' own events afterwards, in their order and each
// once, the ones that no filter had room for in memory included.
func TestFiltersHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ordinary := w.webhook(nil)
		slow := w.in("c2")
		greedy := w.webhook(func(h *hook.Webhook) { h.Filter = "slow" })
		w.config = func(c *Config) {
			c.Judge = func(ctx context.Context, company hook.CompanyKey, _ *hook.Event, filters []string) ([]hook.Judged, error) {
				if company == slow.Key {
					select {
					case <-time.After(time.Minute):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
				judged := make([]hook.Judged, len(filters))
				for i := range judged {
					judged[i].Matched = true
				}
				return judged, nil
			}
		}
		w.tamper = func(e *Engine) { e.core.mostJudging, e.core.longestWait = 200, 40 } // most are read again
		w.start()
		w.publish(30, nil)
		w.in("c1")
		w.publish(30, nil)
		arrived := func(h *hook.Webhook) (sequences []int64) {
			for _, r := range w.sender.received() {
				if r.webhook == h.ID {
					sequences = append(sequences, r.sequence)
				}
			}
			return sequences
		}
		time.Sleep(5 * time.Second)
		if n, held := len(arrived(ordinary)), len(arrived(greedy)); n != 30 || held != 0 {
			t.Errorf("of another company's 30 events %d arrived; control: %d of those whose filter takes a minute", n, held)
		}
		w.settle("the others arrive", 2*time.Hour, func() bool { return len(arrived(greedy)) >= 30 })
		got := arrived(greedy)
		slices.Sort(got)
		if len(got) != 30 || got[0] != 1 || got[29] != 30 || len(slices.Compact(got)) != 30 {
			t.Errorf("sequences %v", got)
		}
		w.balanced()
	})
}

// TestEndsWhileFiltersRun: an engine that is asked to end does not wait for filters.
func TestEndsWhileFiltersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.webhook(func(h *hook.Webhook) { h.Filter = strings.Repeat("x", 10) })
		w.config = func(c *Config) {
			c.Judge = func(ctx context.Context, _ hook.CompanyKey, _ *hook.Event, _ []string) ([]hook.Judged, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}
		w.start()
		w.publish(3, nil)
		time.Sleep(time.Second)
		began := time.Now()
		w.halt()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it ended after %s", took)
		}
	})
}
