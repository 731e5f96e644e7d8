package deliver

import (
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
)

func TestEveryMatchIsDeliveredOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		a := w.webhook(nil)
		b := w.webhook(func(h *hook.Webhook) { h.Topics = []string{"customer.*"} })
		ids := w.publish(300, nil)
		w.settle("300 delivered", time.Minute, func() bool { return w.delivered() >= 300 })
		time.Sleep(time.Minute)
		seen := map[string]int{}
		for _, r := range w.sender.received() {
			if r.webhook == b.ID {
				t.Fatalf("a webhook got an event that it does not want: %+v", r)
			}
			if r.webhook != a.ID || r.attempt != 1 {
				t.Fatalf("%+v", r)
			}
			seen[r.event]++
		}
		for i, id := range ids {
			if seen[id] != 1 {
				t.Fatalf("event %d was sent %d times", i, seen[id])
			}
		}
	})
}

// TestHeldEngine sends nothing until it is released, and then everything.
func TestHeldEngine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.config = func(c *Config) { c.Held = true }
		w.start()
		hooked := w.webhook(nil)
		w.publish(30, nil)
		time.Sleep(24 * time.Hour)
		if n := len(w.sender.received()); n != 0 {
			t.Fatalf("%d were sent", n)
		}
		if h, ok, err := w.engine.Health(t.Context(), hooked.Key); err != nil || !ok || h.Reason != reasonHeld {
			t.Errorf("%+v %v %v", h, ok, err)
		}
		if err := w.engine.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.settle("30 delivered", time.Minute, func() bool { return w.delivered() == 30 })
	})
}

func TestRetryScheduleInVirtualTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result { return status(400) } // a verdict on the event: the endpoint stays healthy
		w.start()
		w.webhook(nil)
		w.publish(1, nil)
		schedule := hook.DefaultRetrySchedule()
		for step := range len(schedule) + 1 {
			w.settle("attempt", 30*time.Hour, func() bool { return len(w.sender.received()) > step })
			w.restart()
		}
		time.Sleep(100 * time.Hour)
		got := w.sender.received()
		if len(got) != len(schedule)+1 {
			t.Fatalf("%d attempts, want %d", len(got), len(schedule)+1)
		}
		for i := 1; i < len(got); i++ {
			wait := got[i].at.Sub(got[i-1].at)
			if low, high := schedule[i-1]*8/10, schedule[i-1]*12/10+2*time.Second; wait < low || wait > high {
				t.Errorf("attempt %d came %s after the one before, want %s to %s", i+1, wait, low, high)
			}
			if got[i].attempt != i+1 || got[i].sequence != 1 {
				t.Errorf("%+v: want attempt %d, sequence 1", got[i], i+1)
			}
		}
	})
}

func TestRestartResendsOnlyWhatWasNotRecorded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.webhook(nil)
		w.publish(100, nil)
		w.settle("100 delivered", time.Minute, func() bool { return w.delivered() >= 100 })
		w.restart()
		w.publish(50, nil)
		w.settle("150 delivered", time.Minute, func() bool { return w.delivered() >= 150 })
		w.restart()
		time.Sleep(time.Hour)
		if n := len(w.sender.received()); n != 150 {
			t.Fatalf("%d requests for 150 events", n)
		}
		last := int64(0)
		for _, r := range w.sender.received() {
			last = max(last, r.sequence)
		}
		if last != 150 {
			t.Fatalf("the last sequence is %d, want 150", last)
		}
	})
}
