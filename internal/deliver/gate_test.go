package deliver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// askOnce answers the first request, and none before, by asking for a wait.
func askOnce(wait time.Duration) func(send.Request) send.Result {
	var asked shared[bool]
	return func(send.Request) send.Result {
		if asked.get() {
			return status(200)
		}
		asked.set(true)
		return send.Result{StatusCode: 429, RetryAfter: wait, HasRetryAfter: true}
	}
}

// forgetful is a store that keeps no gates.
type forgetful struct{ Store }

func (s forgetful) Record(ctx context.Context, r *store.Record) (store.Recorded, error) {
	r.Gates = nil
	return s.Store.Record(ctx, r)
}

// gateOf is what the store has of a webhook's gate.
func (w *world) gateOf(h *hook.Webhook) hook.Gate {
	w.t.Helper()
	s, err := w.store.Standing(w.t.Context(), h.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Cursor.Gate
}

// shut records a gate, as an engine would.
func (w *world) shut(h *hook.Webhook, version int64, wait time.Duration) {
	w.t.Helper()
	until := time.Now().Add(wait)
	g := hook.Gate{NotBefore: &until, Wait: wait, Reason: "the endpoint asked us to wait", EndpointVersion: version}
	if _, err := w.store.Record(w.t.Context(), &store.Record{At: time.Now(), Gates: []store.GateMove{{Webhook: h.Key, Gate: g}}}); err != nil {
		w.t.Fatal(err)
	}
}

// The wait that a receiver asked for outlasts the process, however that ends, and wherever the webhook
// stood: attached, and the sooner the restart the likelier; detached; or with nothing left to send.
func TestGateOutlastsTheProcess(t *testing.T) {
	const wait = 2 * time.Hour
	early := func(t *testing.T, after time.Duration, idle bool, end func(*world), change func(*Config)) (early int) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.config = change
			asks := askOnce(wait)
			w.sender.answer = func(r send.Request) send.Result {
				if idle && r.Sequence == 1 && r.Attempt == 1 {
					return status(418) // and its retry, which is parked, closes the gate
				}
				return asks(r)
			}
			w.start()
			h := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 1 })
			before := 1
			if idle {
				before = 2
			}
			w.publish(1, nil)
			w.settle("the gate closes", time.Minute, func() bool {
				return len(w.sender.received()) == before && w.gateOf(h).NotBefore != nil || change != nil
			})
			closed := time.Now()
			time.Sleep(after)
			for range 3 {
				end(w)
				w.publish(2, nil)
				time.Sleep(10 * time.Minute)
				if got, ok, err := w.engine.Health(t.Context(), h.Key); change == nil && (err != nil || !ok || got.Reason != "the endpoint asked us to wait") {
					t.Errorf("its health after a restart: %+v %v %v", got, ok, err)
				}
			}
			time.Sleep(time.Until(closed.Add(wait - time.Second)))
			early = len(w.sender.received()) - before
			w.settle("delivered", 10*time.Minute, func() bool { return w.delivered() == 7 })
			time.Sleep(time.Minute)
			if g := w.gateOf(h); g != (hook.Gate{}) {
				t.Errorf("it is stored as %+v after it opened and the endpoint took everything", g)
			}
			w.balanced()
		})
		return early
	}
	for how, end := range map[string]func(*world){"stopped": (*world).restart, "killed": (*world).kill} {
		for _, after := range []time.Duration{time.Second, 20 * time.Minute} {
			for _, idle := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s after %s, idle %t", how, after, idle), func(t *testing.T) {
					if n := early(t, after, idle, end, nil); n != 0 {
						t.Errorf("%d requests before the time that was asked for", n)
					}
				})
			}
		}
	}
	t.Run("control", func(t *testing.T) {
		if n := early(t, time.Second, false, (*world).restart, func(c *Config) { c.Store = forgetful{c.Store} }); n == 0 {
			t.Error("control: no request came early although nothing was kept")
		}
	})
}

// A gate that opens when nothing is left to send leaves no trace.
func TestGateOpensIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.webhook(nil)
		w.shut(h, h.EndpointVersion, 10*time.Minute)
		w.start()
		for i, want := range []string{"the endpoint asked us to wait", "the endpoint asked us to wait", ""} {
			time.Sleep(4 * time.Minute)
			if got, ok, err := w.engine.Health(t.Context(), h.Key); err != nil || got.Reason != want || ok == (want == "") {
				t.Errorf("look %d at its health: %+v %v %v", i, got, ok, err)
			}
		}
		if g := w.gateOf(h); g != (hook.Gate{}) {
			t.Errorf("it is stored as %+v after it opened", g)
		}
	})
}

// A slowing pace goes on where it was: a restart makes nobody call faster again.
func TestThrottledPaceOutlastsTheProcess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result { return status(429) }
		w.start()
		w.webhook(nil)
		w.publish(1, nil)
		time.Sleep(2 * time.Hour)
		before := len(w.sender.received())
		for range 6 {
			w.restart()
			time.Sleep(10 * time.Minute)
		}
		if n := len(w.sender.received()) - before; n < 9 || n > 18 {
			t.Errorf("%d requests in an hour with restarts, want one in five minutes", n)
		}
	})
}

// The gate goes to the next owner of the partition, be it handed over or taken.
func TestGateIsHandedOver(t *testing.T) {
	const wait = 5 * time.Minute
	for _, how := range []string{"leaves", "is cut off"} {
		t.Run(how, func(t *testing.T) {
			members(t, func(r *registry) {
				asks := askOnce(wait)
				answer := func(_ context.Context, x send.Request) send.Result { return asks(x) }
				a := r.join("a", answer)
				closed := time.Now()
				r.world.publish(1, nil)
				time.Sleep(3 * time.Second)
				b := r.join("b", answer)
				time.Sleep(3 * time.Second)
				if how == "leaves" {
					a.stop()
				} else {
					r.Lock()
					r.cutOff["a"] = true
					r.Unlock()
				}
				r.world.publish(3, nil)
				time.Sleep(time.Until(closed.Add(wait - time.Second)))
				r.Lock()
				owner := r.owner
				delete(r.cutOff, "a")
				r.Unlock()
				if n := len(a.sent.received()) + len(b.sent.received()); owner != "b" || n != 1 {
					t.Errorf("%d requests before the time that was asked for, %s owns the partition", n-1, owner)
				}
				time.Sleep(time.Minute)
				if n := len(deliveredBy(b)); n != 4 {
					t.Errorf("%d of 4 were delivered when the gate opened", n)
				}
				b.stop()
				if err := <-b.ended; err != nil {
					t.Error(err)
				}
				<-a.ended
			})
		})
	}
}

// Set ahead while the server runs, the clock makes nobody call early after a restart; set back, it is
// not waited for too, however often the server starts.
func TestGateWhenTheClockIsSet(t *testing.T) {
	const wait = time.Hour
	for _, jump := range []time.Duration{40 * time.Minute, 24 * time.Hour, -40 * time.Minute, -24 * time.Hour} {
		for _, running := range []bool{true, false} {
			if jump > 0 && !running {
				continue // nobody knows that it was set
			}
			t.Run(fmt.Sprintf("%s, running %t", jump, running), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w, clock := clocked(t)
					w.sender.answer = askOnce(wait)
					w.start()
					w.webhook(nil)
					w.publish(1, nil)
					time.Sleep(5 * time.Minute)
					set := time.Now().Add(-5 * time.Minute)
					if running {
						clock.ahead.set(jump)
						w.publishOf("customer", 1) // somebody looks at the clock
						time.Sleep(5 * time.Second)
						w.halt()
					} else {
						w.halt()
						clock.ahead.set(jump)
						set = time.Now() // what was over of the wait is not known any more
					}
					w.start()
					for range 5 {
						time.Sleep(10 * time.Minute)
						w.restart()
					}
					time.Sleep(time.Until(set.Add(wait - 10*time.Second)))
					if n := len(w.sender.received()); n != 1 {
						t.Errorf("%d requests before the time that was asked for", n-1)
					}
					w.settle("delivered", time.Minute, func() bool { return w.delivered() > 0 })
				})
			})
		}
	}
}

// What the old endpoint asked for is recorded after the change, by an engine that has not heard of it:
// nobody waits for that at the new one.
func TestGateOfTheOldEndpoint(t *testing.T) {
	for _, old := range []bool{true, false} {
		t.Run(fmt.Sprint(old), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.webhook(nil)
				version := h.EndpointVersion
				h = w.change(h, store.Change{Apply: func(h *hook.Webhook) error { h.Endpoint = "https://example.com/new"; return nil }})
				if !old {
					version = h.EndpointVersion
				}
				w.shut(h, version, 24*time.Hour)
				w.start()
				w.publish(1, nil)
				time.Sleep(time.Minute)
				if n := w.delivered(); old && n != 1 || !old && n != 0 {
					t.Errorf("%d delivered after a minute", n)
				}
			})
		})
	}
}

// A receiver that takes two a second and asks for patience without saying how long gets nearly two.
func TestThrottledPaceIsLearnt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		taken := map[int64]int{}
		w.sender.answer = func(send.Request) send.Result {
			w.sender.Lock()
			defer w.sender.Unlock()
			second := time.Now().Unix()
			if taken[second] == 2 {
				return status(429)
			}
			taken[second]++
			return status(200)
		}
		w.start()
		h := w.webhook(nil)
		w.publish(1300, nil)
		time.Sleep(5 * time.Minute)
		before, all := w.delivered(), len(w.sender.received())
		time.Sleep(5 * time.Minute)
		rate, refused := float64(w.delivered()-before)/300, 1-float64(w.delivered()-before)/float64(len(w.sender.received())-all)
		t.Logf("%.2f a second, %.1f %% refused", rate, 100*refused)
		if rate < 1.8 || refused > 0.1 {
			t.Errorf("%.2f a second, %.1f %% refused", rate, 100*refused)
		}
		w.settle("all is sent", 5*time.Minute, func() bool { return w.delivered() == 1300 })
		for _, r := range w.sender.received() {
			if r.kind != hook.Live {
				t.Fatalf("%+v", r)
			}
		}
		if s, err := w.store.Standing(t.Context(), h.Key); err != nil || s.Cursor.ConsecutiveFailures != 0 || s.Parked != 0 {
			t.Errorf("%+v %v", s, err)
		}
		w.balanced()
	})
}

// Who is asked to wait for longer than an hour is told so, once for each such wait, and until when.
func TestLongWaitIsTold(t *testing.T) {
	for wait, want := range map[time.Duration]int{50 * time.Minute: 0, 2 * time.Hour: 1} {
		t.Run(fmt.Sprint(wait), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.sender.answer = func(send.Request) send.Result {
					time.Sleep(50 * time.Millisecond) // there are several at once
					return send.Result{StatusCode: 429, RetryAfter: wait, HasRetryAfter: true, Class: hook.ErrThrottled}
				}
				w.start()
				h := w.webhook(nil)
				ids := w.publish(10, nil)
				time.Sleep(10 * time.Minute)
				list, _, err := w.store.Notices(t.Context(), w.company.Key, store.Page{Limit: 10})
				if err != nil || len(list) != want {
					t.Fatalf("%+v %v, want %d", list, err, want)
				}
				until := w.gateOf(h).NotBefore
				if want > 0 && (list[0].Kind != "throttled" || !strings.Contains(list[0].Detail, until.Format("15:04"))) {
					t.Errorf("%+v, want it to say %s", list[0], until)
				}
				d, err := w.store.Delivery(t.Context(), h.Key, ids[9])
				if err != nil || d.NextAttemptAt == nil || !d.NextAttemptAt.Equal(*until) || d.Reason != string(hook.ErrThrottled) {
					t.Errorf("%+v %v, want it to say %s", d, err, until)
				}
				if x, ok, err := w.engine.Health(t.Context(), h.Key); err != nil || !ok || !x.ThrottledUntil.Equal(*until) {
					t.Errorf("%+v %v, want it to say %s", x, err, until)
				}
			})
		})
	}
}
