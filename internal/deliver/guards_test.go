package deliver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
)

// The controls of the tests of endpoints: with a guard switched off, what they assert does not hold.

// forgetting makes the lanes forget something again and again, until the test ends, as if nobody had
// ever noticed it.
func (w *world) forgetting(every time.Duration, what func(*consumer)) {
	engine, enough, ended := w.engine, make(chan struct{}), make(chan struct{})
	w.t.Cleanup(func() { close(enough); <-ended })
	go func() {
		defer close(ended)
		for engine.within(context.Background(), func(c *core) {
			for _, l := range c.lanes {
				if l.Hook != nil {
					what(l)
					c.touch(l)
				}
			}
		}) == nil {
			select {
			case <-time.After(every):
			case <-enough:
				return
			}
		}
	}()
}

// unguarded runs a world whose endpoint answers as it is told, and whose engine forgets.
func unguarded(t *testing.T, change func(*hook.Webhook), answer func(send.Request) send.Result, what func(*consumer), check func(*world, *hook.Webhook)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = answer
		w.start()
		if what != nil {
			w.forgetting(tenth, what)
		}
		check(w, w.webhook(change))
	})
}

const tenth = 100 * time.Millisecond

func refused(send.Request) send.Result { return send.Result{Class: hook.ErrConnect} }

func TestGuardsMatter(t *testing.T) {
	healthy := func(l *consumer) { l.Health = lane.Health{State: lane.Healthy} }
	t.Run("failing and down", func(t *testing.T) {
		unguarded(t, nil, refused, healthy, func(w *world, _ *hook.Webhook) {
			w.publish(5000, nil)
			time.Sleep(45 * time.Second)
			if n := len(w.sender.received()); n <= 60 {
				t.Errorf("control: a dead endpoint that nobody notices got %d requests", n)
			}
		})
	})
	t.Run("five days", func(t *testing.T) {
		unguarded(t, nil, func(send.Request) send.Result { return status(500) }, nil, func(w *world, a *hook.Webhook) {
			w.forgetting(10*time.Minute, func(l *consumer) { l.Health.Since, l.Health.Hours = time.Now(), 0 })
			for range 6 * 24 {
				w.publish(1, nil)
				time.Sleep(time.Hour)
			}
			if got := w.status(a); got.Status != hook.Active {
				t.Errorf("control: %s %q, although nobody counted the days", got.Status, got.StatusReason)
			}
		})
	})
	t.Run("starting small", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			most := 0
			w.sender.answer = awayUntil(time.Now().Add(20*time.Minute), w.sender.crowded(func(inFlight int, _ time.Duration) { most = max(most, inFlight) }))
			w.start()
			w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 100 })
			w.publish(3000, nil)
			w.forgetting(tenth, func(l *consumer) { l.Window = lane.Window{Size: 100, Threshold: 1 << 20} })
			w.settle("it is back", time.Hour, func() bool { return w.delivered() > 0 })
			time.Sleep(150 * time.Millisecond)
			w.sender.Lock()
			defer w.sender.Unlock()
			if most <= 5 {
				t.Errorf("control: %d at once right after the endpoint came back, with a window of 100", most)
			}
		})
	})
	t.Run("the gate", func(t *testing.T) {
		asks := func(send.Request) send.Result {
			return send.Result{StatusCode: 503, RetryAfter: 2 * time.Hour, HasRetryAfter: true}
		}
		unguarded(t, nil, asks, func(l *consumer) { l.Gate = lane.Gate{} }, func(w *world, _ *hook.Webhook) {
			w.publish(5, nil)
			time.Sleep(time.Minute)
			if n := len(w.sender.received()); n <= 5 {
				t.Errorf("control: %d requests through an open gate", n)
			}
		})
	})
	t.Run("the bucket", func(t *testing.T) {
		unguarded(t, func(h *hook.Webhook) { h.RateLimit = 5 }, nil, func(l *consumer) { l.Limiter = nil }, func(w *world, _ *hook.Webhook) {
			began := time.Now()
			w.publish(100, nil)
			w.settle("delivered", time.Minute, func() bool { return w.delivered() == 100 })
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("control: 100 deliveries without a limit took %s", took)
			}
		})
	})
	t.Run("own faults", func(t *testing.T) { // the same silence as somebody else's fault
		unguarded(t, nil, refused, nil, func(w *world, a *hook.Webhook) {
			w.publish(30, nil)
			time.Sleep(24 * time.Hour)
			counted := 0
			for _, r := range w.sender.received() {
				if r.attempt > 1 {
					counted++
				}
			}
			if counted == 0 {
				t.Errorf("control: %d requests for %s were refused and none was counted", len(w.sender.received()), a.ID)
			}
		})
	})
}

// The poison of these tests is one: unguarded, it ends whoever touches it.
func TestPoisonControl(t *testing.T) {
	e := &Engine{}
	e.Config.Sender = &fakeSender{answer: func(send.Request) send.Result { panic("poison") }}
	defer func() {
		if v := recover(); fmt.Sprint(v) != "poison" {
			t.Errorf("control: %v", v)
		}
	}()
	e.Sender.Send(t.Context(), send.Request{Webhook: &hook.Webhook{}, Event: &hook.Event{}})
	t.Error("control: the poison does nothing")
}
