package deliver

import (
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
)

// lost is what comes of an attempt whose kept connection the receiver had closed.
func lost() send.Result {
	return send.Result{Class: hook.ErrReset, Detail: "closed by the receiver", Lost: true, Reused: true}
}

// history is what is recorded of a webhook's delivery.
func (w *world) history(webhook *hook.Webhook, event string) []hook.Attempt {
	w.t.Helper()
	d, err := w.store.Delivery(w.t.Context(), webhook.Key, event)
	if err != nil {
		w.t.Fatal(err)
	}
	return d.History
}

// A kept connection that ended under an attempt costs no time, no step and no health: the next attempt
// follows at once on a connection of its own, and both are recorded. The order by object is kept.
func TestKeptConnectionEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(r send.Request) send.Result {
			if !r.Fresh && r.Sequence%3 == 1 {
				time.Sleep(20 * time.Millisecond)
				return lost()
			}
			return status(200)
		}
		w.start()
		h := w.webhook(nil)
		ids := w.publish(30, func(int) string { return "one" })
		w.settle("30 delivered", 4*time.Second, func() bool { return w.delivered() == 30 })
		next := int64(1)
		for _, r := range w.sender.received() {
			if r.ok && r.sequence != next {
				t.Fatalf("sequence %d came when %d was due", r.sequence, next)
			} else if r.ok {
				next++
			}
		}
		health, _, err := w.engine.Health(t.Context(), h.Key)
		if err != nil || health.State != lane.Healthy || health.ConsecutiveFailures != 0 || !health.LastFailureAt.IsZero() {
			t.Errorf("%+v, %v", health, err)
		}
		w.restart()
		time.Sleep(time.Hour)
		if n := len(w.sender.received()); n != 40 {
			t.Errorf("%d requests, want 30 and 10 repeated", n)
		}
		got := w.history(h, ids[0])
		if len(got) != 2 {
			t.Fatalf("%d attempts are recorded: %+v", len(got), got)
		}
		first, second := got[0], got[1]
		if first.Number != 1 || !first.Reused || first.Counted || first.Outcome != hook.OutcomeRetry || first.ErrorClass != hook.ErrReset {
			t.Errorf("first: %+v", first)
		}
		if second.Number != 2 || second.Reused || !second.Counted || second.Outcome != hook.OutcomeDelivered {
			t.Errorf("second: %+v", second)
		}
		if wait := second.StartedAt.Sub(first.StartedAt); wait > time.Second {
			t.Errorf("the second came %s after the first", wait)
		}
	})
}

// The control: without the word that the connection was lost, the schedule decides.
func TestControlKeptConnectionEndsUnnoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(r send.Request) send.Result {
			if r.Attempt == 1 {
				unnoticed := lost()
				unnoticed.Lost = false
				return unnoticed
			}
			return status(200)
		}
		w.start()
		w.webhook(nil)
		w.publish(1, nil)
		began := time.Now()
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 1 })
		if took := time.Since(began); took < 4*time.Second {
			t.Errorf("delivered after %s: this test cannot show what the repetition is for", took)
		}
	})
}

// The attempt that follows is the last: it counts like any other, and what comes after a connection
// that ended is always fresh, also after a restart.
func TestRepeatedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var fresh shared[[]bool]
		w.sender.answer = func(r send.Request) send.Result {
			fresh.set(append(fresh.get(), r.Fresh))
			switch r.Attempt {
			case 1:
				return lost()
			case 2, 3:
				return send.Result{Class: hook.ErrReset, Detail: "closed by the receiver"}
			}
			return status(200)
		}
		w.start()
		h := w.webhook(nil)
		ids := w.publish(1, nil)
		w.settle("two attempts", time.Second, func() bool { return len(w.sender.received()) == 2 })
		w.restart()
		w.settle("delivered", time.Hour, func() bool { return w.delivered() == 1 })
		got, want := fresh.get(), []bool{false, true, true, true}
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("on fresh connections: %v, want %v", got, want)
			}
		}
		at := w.sender.received()
		if wait := at[2].at.Sub(at[1].at); wait < 4*time.Second {
			t.Errorf("the third attempt came after %s, not by the schedule", wait)
		}
		if x := w.history(h, ids[0]); len(x) != 4 || x[0].Counted || !x[1].Counted || !x[2].Counted {
			t.Errorf("recorded: %+v", x)
		}
	})
}

// A fault of ours behind a lost attempt is not recorded; the lost one is, and the numbers go on.
func TestOwnFaultBehindALostAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		sent := 0
		w.sender.answer = func(r send.Request) send.Result {
			switch sent++; sent {
			case 1:
				return lost()
			case 2:
				return send.Result{Class: hook.ErrOwnFault}
			}
			if !r.Fresh {
				t.Error("the attempt after a lost one uses a kept connection")
			}
			return status(200)
		}
		w.start()
		h := w.webhook(nil)
		ids := w.publish(1, nil)
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 1 })
		w.halt()
		got := w.history(h, ids[0])
		if len(got) != 2 || got[0].Number != 1 || !got[0].Reused || got[1].Number != 2 || got[1].Outcome != hook.OutcomeDelivered {
			t.Errorf("recorded: %+v", got)
		}
	})
}
