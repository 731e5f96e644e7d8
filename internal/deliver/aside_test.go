package deliver

import (
	"fmt"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// An event that alone makes its receiver say 503 does not stop its webhook: the others are delivered,
// the webhook stays active, and the event goes by the schedule until that ends. Where the order lets no
// other go before it (the control), the webhook stands still. The simulation has the other control.
func TestThrottledEventStopsNobody(t *testing.T) {
	const object = "7"
	for _, test := range []struct {
		name     string
		order    hook.Ordering
		restarts bool
		stops    bool
	}{
		{name: "relaxed", order: hook.Relaxed},
		{name: "relaxed, with restarts", order: hook.Relaxed, restarts: true},
		{name: "object", order: hook.ObjectOrder},
		{name: "control: webhook", order: hook.WebhookOrder, stops: true},
	} {
		for _, code := range []int{429, 503} {
			t.Run(fmt.Sprint(test.name, " ", code), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t)
					w.sender.answer = func(r send.Request) send.Result {
						if r.Sequence == 1 {
							return status(code)
						}
						return status(200)
					}
					w.start()
					h := w.webhook(func(h *hook.Webhook) { h.Ordering = test.order })
					// The object's next event waits under object order; under relaxed order it goes first.
					stubborn := w.publish(2, func(int) string { return object })[0]
					before := w.publish(20, nil)
					time.Sleep(time.Minute)
					if got := w.delivered(); test.stops != (got == 0) || !test.stops && got < len(before) {
						t.Errorf("%d were delivered after a minute", got)
					}
					for hour := range 24 * 6 {
						w.publish(1, nil)
						if test.restarts && hour%7 == 3 {
							w.restart()
						}
						time.Sleep(time.Hour)
					}
					got := w.status(h)
					if test.stops {
						if d := w.delivered(); d != 0 {
							t.Errorf("control: %d were delivered", d)
						}
						if code == 503 && got.Status != hook.Inactive {
							t.Errorf("control: it is %s", got.Status)
						}
						return
					}
					if d := w.delivered(); d != 1+len(before)+24*6 || got.Status != hook.Active {
						t.Errorf("%d were delivered, it is %s %q", d, got.Status, got.StatusReason)
					}
					d, err := w.store.Delivery(t.Context(), h.Key, stubborn)
					if err != nil {
						t.Fatal(err)
					}
					counted := 0
					for i, a := range d.History {
						if a.Counted {
							counted++
						}
						if a.Counted && i < 9 {
							t.Errorf("attempt %d counts: %+v", i+1, a)
						}
					}
					if want := 1 + len(hook.DefaultRetrySchedule()); d.Status != hook.Failed || counted != want || len(d.History) > want+mostUncounted() {
						t.Errorf("the event is %s after %d attempts, of which %d count, want %d and at most %d others", d.Status, len(d.History), counted, want, mostUncounted())
					}
					w.balanced()
				})
			})
		}
	}
}

// mostUncounted is how many attempts at an event that alone is throttled may not count, where another event is
// delivered each hour: the ten before it is set aside, and then, until the next of the others is delivered,
// what asks whether the answer was about all. That is after 1, 2, 4 … seconds and then each five minutes, at
// the soonest by what the delays are spread. It can happen as often as an attempt follows within the hour in
// which the others were delivered: the first, and those that the schedule makes so soon.
func mostUncounted() int {
	hour, asked := 0.0, 0
	for delay := 1.0; hour < 3600; delay = min(2*delay, 300) {
		hour, asked = hour+0.8*delay, asked+1
	}
	hours := 1
	for _, d := range hook.DefaultRetrySchedule() {
		if d < time.Hour {
			hours++
		}
	}
	return 10 + hours*asked
}

// A healthy endpoint that throttles everything loses nothing to the schedule, however long it does: no
// event alone is answered so.
func TestThrottledEndpointCountsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		back := time.Now().Add(4 * 24 * time.Hour)
		w.sender.answer = func(send.Request) send.Result {
			if time.Now().Before(back) {
				return status(429)
			}
			return status(200)
		}
		w.start()
		h := w.webhook(nil)
		ids := w.publish(40, func(i int) string { return fmt.Sprint(i % 7) })
		time.Sleep(time.Until(back) + time.Hour)
		for _, id := range ids {
			d, err := w.store.Delivery(t.Context(), h.Key, id)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range d.History[:len(d.History)-1] {
				if a.Counted {
					t.Fatalf("%s: attempt %d of %d counts", id, a.Number, len(d.History))
				}
			}
			if d.Status != hook.Delivered {
				t.Errorf("%s is %s", id, d.Status)
			}
		}
		w.balanced()
	})
}

// What is set aside makes room in parked, and must not be held up by what waits for that room.
func TestAsideWithParkedFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.config = func(c *Config) { c.MaxParked = 2 }
		back := time.Now().Add(time.Hour)
		w.sender.answer = func(r send.Request) send.Result {
			if r.Sequence%2 == 1 && time.Now().Before(back) {
				return status(503)
			}
			return status(200)
		}
		w.start()
		w.webhook(nil)
		n := len(w.publish(40, func(i int) string { return fmt.Sprint(i / 8) }))
		w.settle("everything is delivered", 3*time.Hour, func() bool { return w.delivered() == n })
		w.balanced()
		if list, _, err := w.store.Conservation(t.Context(), w.company.Key, store.Page{Limit: 1}); err != nil || list[0].Parked != 0 {
			t.Errorf("%+v %v", list, err)
		}
	})
}
