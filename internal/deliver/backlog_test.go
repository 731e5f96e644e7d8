package deliver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// An endpoint that returns with a backlog gets few requests at once, then more and more, in order.
func TestBacklogDrainsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		most := map[time.Duration]int{} // by tenths of a second since it came back
		w.sender.answer = awayUntil(time.Now().Add(time.Hour), w.sender.crowded(func(inFlight int, since time.Duration) {
			tenth := since / (100 * time.Millisecond)
			most[tenth] = max(most[tenth], inFlight)
		}))
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.Ordering = hook.ObjectOrder })
		const objects = 200
		object := map[string]string{}
		for i, id := range w.publish(backlogOf, func(i int) string { return fmt.Sprint(i % objects) }) {
			object[id] = fmt.Sprint(i % objects)
		}
		time.Sleep(30 * time.Minute)
		if h, ok, err := w.engine.Health(t.Context(), a.Key); err != nil || !ok || h.State != lane.Down || h.Queued > lane.MaxQueued {
			t.Errorf("%+v %v %v", h, ok, err)
		}
		w.restart() // the backlog is no more than a distance
		w.settle("drained", 24*time.Hour, func() bool { return w.delivered() >= backlogOf })
		w.sender.Lock()
		if most[0] > 5 || most[20] <= 2*most[0] {
			t.Errorf("in flight %d at first, %d two seconds later; want at most 5, then many more", most[0], most[20])
		}
		w.sender.Unlock()
		for o, s := range w.firstSuccesses(func(r received) string { return object[r.event] }) {
			if !sorted(s) {
				t.Errorf("object %s arrived as %v", o, s)
			}
		}
		w.balanced()
	})
}

// An endpoint that refuses a third of all events for three days: what waits to be retried stays
// under its cap, the cursor waits and says why, and everything is accounted for in the end.
func TestParkedStaysUnderItsCap(t *testing.T) {
	const window = 2
	run := func(t *testing.T, most int) (peak int64, full bool) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.config = func(c *Config) { c.MaxParked = most }
			w.sender.answer = func(r send.Request) send.Result {
				if r.Sequence%10 < 3 {
					return status(418)
				}
				return status(200)
			}
			w.start()
			hourly := slices.Repeat([]time.Duration{time.Hour}, 6)
			a := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency, h.RetrySchedule = window, hourly })
			parked := func() store.Balance {
				list, _, err := w.store.Conservation(t.Context(), w.company.Key, store.Page{Limit: 1})
				if err != nil || len(list) != 1 || !list[0].Balanced {
					t.Fatalf("%+v %v", list, err)
				}
				return list[0]
			}
			const hours, perHour = 72, 10
			for hour := range hours {
				w.publish(perHour, nil)
				time.Sleep(time.Hour)
				b := parked()
				peak = max(peak, b.Parked)
				h, ok, err := w.engine.Health(t.Context(), a.Key)
				if err != nil || ok && h.State != lane.Healthy {
					t.Fatalf("%+v %v", h, err)
				}
				full = full || ok && h.Reason == "parked_full"
				if hour == 40 {
					w.kill()
				}
			}
			for day := 0; parked().Delivered+parked().Failed < hours*perHour; day++ {
				if day > 60 {
					t.Fatalf("%+v after two months", parked())
				}
				time.Sleep(24 * time.Hour)
			}
			w.balanced()
		})
		return peak, full
	}
	const most = 4
	if peak, full := run(t, most); peak > most+window || !full {
		t.Errorf("up to %d were parked, the cap is %d; the cursor said why it waits: %v", peak, most, full)
	}
	if peak, full := run(t, 0); peak <= most+window || full {
		t.Errorf("control: without a cap %d were parked, full %v", peak, full)
	}
}
