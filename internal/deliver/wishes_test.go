package deliver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// A wish for what is pending changes nothing about it, whatever crashes: it is sent, once in line.
func TestWishesForWhatIsPending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result { time.Sleep(50 * time.Millisecond); return status(200) }
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 4 })
		w.publish(5, nil)
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 5 })
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Paused; return nil }})
		ids := w.publish(100, nil)
		time.Sleep(time.Minute)
		if _, err := w.store.RequestRetry(t.Context(), a.Key, ids[50], store.Audit{Actor: "test"}); !hook.IsKind(err, hook.KindConflict) {
			t.Errorf("a retry of what is pending: %v, want a conflict", err)
		}
		r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-time.Hour), Covers: store.CoversAll}, store.Audit{Actor: "test"})
		if err != nil {
			t.Fatal(err)
		}
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Active; return nil }, Resume: store.ResumeBacklog})
		for range 3 {
			time.Sleep(200 * time.Millisecond)
			w.kill()
		}
		w.settle("everything is sent", time.Hour, func() bool {
			got, err := w.store.Replay(t.Context(), a.Key, r.ID)
			return err == nil && got.Status == store.ReplayDone && w.delivered() >= 105
		})
		time.Sleep(time.Minute)
		live, replayed := map[int64]int{}, map[int64]int{}
		for _, x := range w.sender.received() {
			if x.kind == hook.Replay {
				replayed[x.sequence]++
			} else {
				live[x.sequence]++
			}
		}
		doubles := 0
		for s := range int64(105) {
			if live[s+1] == 0 {
				t.Errorf("sequence %d was passed unsent", s+1)
			}
			doubles += live[s+1] - 1
		}
		if doubles > 3*2*4 { // in flight, and answered but not recorded
			t.Errorf("%d doubles after 3 crashes with at most 4 in flight", doubles)
		}
		for s := range replayed {
			if s > 5 {
				t.Errorf("the replay sent %d, which was pending when it was made", s)
			}
		}
		w.balanced()
	})
}

// A replay by the rule of today sends what was never matched, over crashes too; it has no sequence, and those of
// what is matched stay as they are.
func TestReplayOfTheUnmatched(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result { time.Sleep(50 * time.Millisecond); return status(200) }
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency, h.Topics = 4, []string{"customer"} })
		w.publishOf("conversation", 100)
		w.publishOf("customer", 1)
		w.settle("the matched one", time.Minute, func() bool { return w.delivered() == 1 })
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Topics = []string{"conversation"}; return nil }})
		r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{
			From: time.Now().Add(-time.Hour), Covers: store.CoversUndelivered, Rules: store.RulesCurrent,
		}, store.Audit{Actor: "test"})
		if err != nil {
			t.Fatal(err)
		}
		w.engine.Kick(a.Key)
		for range 3 {
			time.Sleep(300 * time.Millisecond)
			w.kill()
		}
		w.publishOf("conversation", 1)
		w.settle("the replay", time.Hour, func() bool {
			got, err := w.store.Replay(t.Context(), a.Key, r.ID)
			return err == nil && got.Status == store.ReplayDone && w.delivered() >= 102
		})
		times, live := map[string]int{}, []int64{}
		for _, x := range w.sender.received() {
			switch {
			case x.kind == hook.Live:
				live = append(live, x.sequence)
			case x.sequence != 0:
				t.Errorf("%s, which was never matched, was sent as sequence %d", x.event, x.sequence)
			default:
				times[x.event]++
			}
		}
		doubles := len(w.sender.received()) - 102
		if len(times) != 100 || !slices.Equal(live, []int64{1, 2}) || doubles > 3*2*4 {
			t.Errorf("%d of 100 replayed, live sequences %v, %d doubles after 3 crashes with at most 4 in flight", len(times), live, doubles)
		}
		w.balanced()
	})
}

// A receiver is told which replay caused a request, also when it is made again after a restart; of what
// its rules ask for it is told that no replay did.
func TestReplayIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var named shared[map[string]int]
		named.set(map[string]int{})
		w.sender.answer = func(r send.Request) send.Result {
			named.Lock()
			defer named.Unlock()
			named.value[string(r.Kind)+" "+r.ReplayID]++
			if r.Kind == hook.Replay && r.Attempt == 2 {
				return status(418)
			}
			return status(200)
		}
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{time.Hour, time.Hour} })
		w.publish(5, nil)
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 5 })
		replay := func() *store.Replay {
			r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-24 * time.Hour), Covers: store.CoversAll}, store.Audit{Actor: "test"})
			if err != nil {
				t.Fatal(err)
			}
			w.engine.Kick(a.Key)
			w.settle("replayed", time.Minute, func() bool {
				got, err := w.store.Replay(t.Context(), a.Key, r.ID)
				return err == nil && got.Status == store.ReplayDone
			})
			return r
		}
		first := replay() // all of it is parked for an hour
		w.kill()
		w.restart()
		time.Sleep(2 * time.Hour)
		second := replay()
		w.publish(5, nil)
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 10+5+5 })
		want := map[string]int{"live ": 10, "replay " + first.ID: 10, "replay " + second.ID: 5}
		if got := named.get(); !maps.Equal(got, want) {
			t.Errorf("requests by kind and replay: %v, want %v", got, want)
		}
	})
}

// unsettled is a store in which what waits of a delivery stays when another attempt has made it.
type unsettled struct{ Store }

func (s unsettled) Record(ctx context.Context, r *store.Record) (store.Recorded, error) {
	for i := range r.Items {
		r.Items[i].Settle = nil
	}
	return s.Store.Record(ctx, r)
}

// Any 2xx settles: what a replay has delivered of all that waits, or is held behind it, is not sent again,
// whatever becomes of the process; a failure of later undoes nothing.
func TestReplaySettlesWhatWaits(t *testing.T) {
	const events = 100
	twice := func(t *testing.T, order hook.Ordering, end func(*world), change func(*Config)) (twice int) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.config = change
			var code shared[int]
			code.set(418)
			w.sender.answer = func(send.Request) send.Result { return status(code.get()) }
			w.start()
			a := w.webhook(func(h *hook.Webhook) {
				h.Ordering, h.RetrySchedule = order, []time.Duration{6 * time.Hour, 6 * time.Hour}
			})
			ids := w.publish(events, func(i int) string { return fmt.Sprint(i % 20) })
			time.Sleep(time.Minute)
			code.set(200)
			r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-time.Hour), Covers: store.CoversAll}, store.Audit{Actor: "test"})
			if err != nil {
				t.Fatal(err)
			}
			w.engine.Kick(a.Key)
			w.settle("replayed", time.Hour, func() bool {
				got, err := w.store.Replay(t.Context(), a.Key, r.ID)
				return err == nil && got.Status == store.ReplayDone
			})
			end(w)
			code.set(418)
			w.wish(a, ids[0])
			time.Sleep(48 * time.Hour)
			made := map[string]int{}
			for _, x := range w.sender.received() {
				if x.attempt > 1 || x.kind != hook.Live {
					made[x.event]++
				}
			}
			made[ids[0]] -= 3 // by hand, with the schedule of that
			for _, id := range ids {
				if made[id] != 1 {
					twice++
				}
				if d, err := w.store.Delivery(t.Context(), a.Key, id); err != nil || change == nil && (d.Status != hook.Delivered || d.NextAttemptAt != nil) {
					t.Errorf("%s: %s, next attempt at %v, %v", id, d.Status, d.NextAttemptAt, err)
				}
			}
			if change == nil {
				w.balanced()
				if s, err := w.store.Standing(t.Context(), a.Key); err != nil || s.Parked != 0 || s.Cursor.Delivered != events {
					t.Errorf("%+v %v", s, err)
				}
			}
		})
		return twice
	}
	for how, end := range map[string]func(*world){"the engine goes on": func(*world) {}, "stopped": (*world).restart, "killed": (*world).kill} {
		for _, order := range []hook.Ordering{hook.Relaxed, hook.ObjectOrder} {
			t.Run(fmt.Sprintf("%s, %s", how, order), func(t *testing.T) {
				if n := twice(t, order, end, nil); n != 0 {
					t.Errorf("%d of %d were not sent exactly once more", n, events)
				}
			})
		}
	}
	t.Run("control", func(t *testing.T) {
		if n := twice(t, hook.Relaxed, func(*world) {}, func(c *Config) { c.Store = unsettled{c.Store} }); n == 0 {
			t.Error("control: nothing was sent twice although what waits stays")
		}
	})
}

// wish asks for a retry of one event.
func (w *world) wish(h *hook.Webhook, event string) {
	w.t.Helper()
	if _, err := w.store.RequestRetry(w.t.Context(), h.Key, event, store.Audit{Actor: "test"}); err != nil {
		w.t.Fatal(err)
	}
	w.engine.Kick(h.Key)
}

func TestCancelledReplayStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		a := w.webhook(nil)
		w.publish(100, nil)
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 100 })
		time.Sleep(time.Second)
		create := func() *store.Replay {
			t.Helper()
			r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-24 * time.Hour), Covers: store.CoversAll, Rate: 5}, store.Audit{Actor: "test"})
			if err != nil {
				t.Fatal(err)
			}
			w.engine.Kick(a.Key)
			return r
		}
		r := create()
		time.Sleep(4 * time.Second)
		if err := w.store.CancelReplay(t.Context(), a.Key, r.ID, store.Audit{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n := len(w.sender.received()) - 100
		if n < 15 || n > 27 {
			t.Errorf("%d were sent in 4 s at 5 a second", n)
		}
		time.Sleep(time.Hour)
		w.restart()
		time.Sleep(time.Hour)
		if more := len(w.sender.received()) - 100; more != n {
			t.Errorf("%d were sent after the replay was cancelled", more-n)
		}
		r = create() // the control: one that is not cancelled goes to its end
		w.settle("another replay", time.Hour, func() bool {
			got, err := w.store.Replay(t.Context(), a.Key, r.ID)
			return err == nil && got.Status == store.ReplayDone
		})
		if got, err := w.store.Replay(t.Context(), a.Key, r.ID); err != nil || got.Delivered != 100 {
			t.Errorf("%+v %v", got, err)
		}
		w.balanced()
	})
}

// What is under way when its replay is cancelled ends and is recorded; nothing of that replay is
// attempted again, whatever it came to, and whatever becomes of the process.
func TestCancelledReplayRetriesNothing(t *testing.T) {
	const events = 40
	again := func(t *testing.T, slowFrom int, fault bool, cancel func(*world)) (again int) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.sender.answer = func(r send.Request) send.Result {
				switch {
				case r.Kind != hook.Replay:
					return status(200)
				case r.Attempt >= slowFrom:
					time.Sleep(10 * time.Second)
				}
				if fault && r.Attempt >= slowFrom {
					return send.Result{Class: hook.ErrOwnFault}
				}
				return status(418)
			}
			w.start()
			a := w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{5 * time.Second, 5 * time.Second, time.Hour} })
			ids := w.publish(events, nil)
			w.settle("delivered", time.Minute, func() bool { return w.delivered() == events })
			time.Sleep(time.Second)
			r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-time.Hour), Covers: store.CoversAll, Rate: 2}, store.Audit{Actor: "test"})
			if err != nil {
				t.Fatal(err)
			}
			w.engine.Kick(a.Key)
			w.settle("slow ones are under way", time.Minute, func() bool {
				h, _, err := w.engine.Health(t.Context(), a.Key)
				return err == nil && h.InFlight > 0
			})
			if cancel != nil {
				if err := w.store.CancelReplay(t.Context(), a.Key, r.ID, store.Audit{Actor: "test"}); err != nil {
					t.Fatal(err)
				}
				cancel(w)
			}
			cancelled := time.Now()
			time.Sleep(3 * time.Hour)
			for _, x := range w.sender.received() {
				if x.at.After(cancelled) {
					again++
				}
			}
			for _, id := range ids {
				if d, err := w.store.Delivery(t.Context(), a.Key, id); err != nil || cancel != nil && (d.NextAttemptAt != nil || d.Status != hook.Delivered) {
					t.Errorf("%s: %s, next attempt at %v, %v", id, d.Status, d.NextAttemptAt, err)
				}
			}
			w.balanced()
		})
		return again
	}
	for how, end := range map[string]func(*world){"the engine goes on": func(*world) {}, "stopped": (*world).restart, "killed": (*world).kill} {
		for _, slowFrom := range []int{2, 3} {
			for _, fault := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, attempt %d, fault %t", how, slowFrom, fault), func(t *testing.T) {
					if n := again(t, slowFrom, fault, end); n != 0 {
						t.Errorf("%d attempts after the replay was cancelled", n)
					}
				})
			}
		}
	}
	t.Run("control", func(t *testing.T) {
		if n := again(t, 2, false, nil); n < events {
			t.Errorf("control: %d attempts of a replay that was not cancelled", n)
		}
	})
}

// lateStore answers with what is due of a replay only when it is told to, the first time.
type lateStore struct {
	Store
	asked *shared[bool]
	tell  chan struct{}
}

func (s lateStore) hold(due []hook.Parked) {
	if len(due) > 0 && due[0].Kind == hook.Replay && !s.asked.get() {
		s.asked.set(true)
		<-s.tell
	}
}

func (s lateStore) Due(ctx context.Context, p hook.Partition, after store.DuePlace, now time.Time, limit int) ([]hook.Parked, *time.Time, error) {
	due, next, err := s.Store.Due(ctx, p, after, now, limit)
	s.hold(due)
	return due, next, err
}

func (s lateStore) DueOf(ctx context.Context, w hook.WebhookKey, now time.Time, probe bool, limit int) ([]hook.Parked, error) {
	due, err := s.Store.DueOf(ctx, w, now, probe, limit)
	s.hold(due)
	return due, err
}

// What the store said of a replay before it was cancelled, and is heard of only afterwards, is not heeded.
func TestCancelledReplayAndALateAnswer(t *testing.T) {
	for _, cancelled := range []bool{true, false} {
		t.Run(fmt.Sprint(cancelled), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				late := lateStore{asked: &shared[bool]{}, tell: make(chan struct{})}
				w.config = func(c *Config) { late.Store = c.Store; c.Store = late }
				w.sender.answer = func(r send.Request) send.Result {
					if r.Kind == hook.Replay && r.Sequence == 1 {
						return status(418)
					}
					return status(200)
				}
				w.start()
				a := w.webhook(nil)
				w.publish(100, nil)
				w.settle("delivered", time.Minute, func() bool { return w.delivered() == 100 })
				time.Sleep(time.Second)
				r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-time.Hour), Covers: store.CoversAll, Rate: 1}, store.Audit{Actor: "test"})
				if err != nil {
					t.Fatal(err)
				}
				w.engine.Kick(a.Key)
				w.settle("the retry is due", time.Minute, late.asked.get)
				if cancelled {
					if err := w.store.CancelReplay(t.Context(), a.Key, r.ID, store.Audit{Actor: "test"}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
				close(late.tell)
				time.Sleep(time.Hour)
				retried := slices.ContainsFunc(w.sender.received(), func(x received) bool { return x.kind == hook.Replay && x.attempt > 2 })
				if retried == cancelled {
					t.Errorf("it was retried: %t", retried)
				}
			})
		})
	}
}

// What is found parked of a replay that was cancelled long ago is freed, and not attempted.
func TestCancelledReplayIsFreed(t *testing.T) {
	for _, cancelled := range []bool{true, false} {
		t.Run(fmt.Sprint(cancelled), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				a := w.webhook(nil)
				ids := w.publish(1, nil)
				w.settle("delivered", time.Minute, func() bool { return w.delivered() == 1 })
				time.Sleep(time.Second)
				w.halt()
				r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-time.Hour), Covers: store.CoversAll}, store.Audit{Actor: "test"})
				if err != nil {
					t.Fatal(err)
				}
				if cancelled {
					if err := w.store.CancelReplay(t.Context(), a.Key, r.ID, store.Audit{Actor: "test"}); err != nil {
						t.Fatal(err)
					}
				}
				due := time.Now().Add(time.Minute)
				park := &hook.Parked{Webhook: a.Key, Kind: hook.Replay, Offset: 1, Sequence: 1, Attempts: 1, DueAt: &due, ParkedAt: time.Now(), Replay: r.Key}
				if _, err := w.store.Record(t.Context(), &store.Record{At: time.Now(), Items: []store.Item{{Park: park}}}); err != nil {
					t.Fatal(err)
				}
				w.start()
				time.Sleep(time.Hour)
				d, err := w.store.Delivery(t.Context(), a.Key, ids[0])
				if err != nil || d.NextAttemptAt != nil {
					t.Errorf("it is still parked: %v %v", d.NextAttemptAt, err)
				}
				if n := len(w.sender.received()) - 1; cancelled != (n == 0) {
					t.Errorf("%d attempts", n)
				}
				w.balanced()
			})
		})
	}
}

// A replay goes on at an endpoint that is down, although nothing else waits that it could be probed
// with.
func TestReplayIsTheProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var back shared[bool]
		w.sender.answer = func(send.Request) send.Result {
			if back.get() {
				return status(200)
			}
			return send.Result{Class: hook.ErrConnect}
		}
		w.start()
		const events = 20 // fewer than until it is down: a probe is not a failure for good
		a := w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{} })
		w.publish(events, nil)
		w.settle("all have failed", time.Hour, func() bool {
			list, _, err := w.store.Conservation(t.Context(), w.company.Key, store.Page{Limit: 1})
			return err == nil && list[0].Failed == events
		})
		w.settle("it is down", time.Minute, func() bool {
			h, ok, err := w.engine.Health(t.Context(), a.Key)
			return err == nil && ok && h.State == lane.Down
		})
		r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: time.Now().Add(-24 * time.Hour), Covers: store.CoversFailed}, store.Audit{Actor: "test"})
		if err != nil {
			t.Fatal(err)
		}
		w.engine.Kick(a.Key)
		before := len(w.sender.received())
		time.Sleep(30 * time.Minute)
		if n := len(w.sender.received()) - before; n < 5 || n > 12 {
			t.Errorf("%d probes in half an hour", n)
		}
		back.set(true)
		w.settle("the replay", time.Hour, func() bool {
			got, err := w.store.Replay(t.Context(), a.Key, r.ID)
			return err == nil && got.Status == store.ReplayDone && w.delivered() == events
		})
		w.balanced()
	})
}

// What is held under one ordering is let go by another; nothing is lost or sent twice.
func TestOrderingChangesWhileDeliveriesAreHeld(t *testing.T) {
	orders := []hook.Ordering{hook.Relaxed, hook.ObjectOrder, hook.WebhookOrder}
	for _, from := range orders {
		for _, to := range orders {
			t.Run(fmt.Sprint(from, " to ", to), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t)
					var broken shared[bool]
					broken.set(true)
					w.sender.answer = func(r send.Request) send.Result {
						time.Sleep(10 * time.Millisecond)
						if r.Sequence <= 2 && broken.get() {
							return status(418)
						}
						return status(200)
					}
					w.start()
					a := w.webhook(func(h *hook.Webhook) {
						h.Ordering, h.RetrySchedule = from, []time.Duration{6 * time.Hour, 6 * time.Hour}
					})
					w.publish(60, func(i int) string { return fmt.Sprint(i % 3) })
					time.Sleep(time.Minute)
					if n, held := w.delivered(), 60-2; from == hook.Relaxed && n != held || from == hook.ObjectOrder && n != 20 || from == hook.WebhookOrder && n != 0 {
						t.Errorf("%d delivered under order %q while the first two fail", n, from)
					}
					w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Ordering = to; return nil }})
					time.Sleep(time.Hour)
					if n := w.delivered(); to == hook.Relaxed && n != 58 {
						t.Errorf("%d delivered after the change to order %q", n, to)
					}
					broken.set(false)
					w.settle("all delivered", 48*time.Hour, func() bool { return w.delivered() >= 60 })
					time.Sleep(24 * time.Hour)
					if n := w.delivered(); n != 60 {
						t.Errorf("%d successes for 60 events", n)
					}
					w.balanced()
				})
			})
		}
	}
}

// The answers about a webhook's health name its state, why nothing is sent, and when the next probe is.
func TestHealthAtEachStage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var code shared[int]
		code.set(500)
		w.sender.answer = func(send.Request) send.Result {
			time.Sleep(10 * time.Millisecond)
			return status(code.get())
		}
		w.start()
		a := w.webhook(nil)
		at := func(stage string, state lane.State, reason string, probe bool) Health {
			t.Helper()
			h, ok, err := w.engine.Health(t.Context(), a.Key)
			if err != nil || !ok || h.State != state || h.Reason != reason || h.NextProbeAt.After(time.Now()) != probe {
				t.Errorf("%s: %+v %v %v; want %s, %q", stage, h, ok, err, state, reason)
			}
			return h
		}
		w.publish(200, nil)
		time.Sleep(5500 * time.Millisecond)
		if h := at("after 5 s", lane.Failing, "failing: one attempt a second", false); h.ConsecutiveFailures < 10 || h.Since.IsZero() || h.Queued < 100 {
			t.Errorf("%+v", h)
		}
		time.Sleep(30 * time.Second)
		h := at("after 35 s", lane.Down, "down", true)
		if wait := time.Until(h.NextProbeAt); wait > 10*time.Second {
			t.Errorf("the first probe is in %s", wait)
		}
		before := len(w.sender.received())
		time.Sleep(time.Until(h.NextProbeAt) + 100*time.Millisecond)
		if n := len(w.sender.received()) - before; n != 1 {
			t.Errorf("%d requests when one probe was announced", n)
		}
		time.Sleep(time.Hour)
		w.restart()
		time.Sleep(time.Second)
		h = at("after a restart", lane.Down, "down", true)
		if wait := time.Until(h.NextProbeAt); wait > 5*time.Minute {
			t.Errorf("the next probe is in %s", wait)
		}
		w.kinds("down", 1)
		code.set(429)
		time.Sleep(10 * time.Minute)
		if h, ok, err := w.engine.Health(t.Context(), a.Key); err != nil || !ok || h.Reason == "" {
			t.Errorf("throttled: %+v %v %v", h, ok, err)
		}
		code.set(200)
		w.settle("drained", 2*time.Hour, func() bool { return w.delivered() == 200 })
		if h, ok, _ := w.engine.Health(t.Context(), a.Key); ok && h.State != lane.Healthy {
			t.Errorf("%+v", h)
		}
		w.kinds("recovered", 1)
		w.balanced()
	})
}

// A retry that somebody asks for at an endpoint which is down is the next probe, at once; so is a wish for a
// probe of whatever waits; and an endpoint that asked to wait is tried before that time is over.
func TestWishesGoOutNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var answer shared[send.Result]
		answer.set(status(500))
		w.sender.answer = func(send.Request) send.Result { return answer.get() }
		w.start()
		a := w.webhook(nil)
		w.publish(100, nil)
		time.Sleep(40 * time.Minute)
		before := len(w.sender.received())
		time.Sleep(time.Second)
		wish := w.newest()
		w.wish(a, wish)
		time.Sleep(2 * time.Second)
		if n := len(w.sender.received()); n != before {
			t.Fatalf("control: without a wish to the engine it is probed %d times", n-before)
		}
		w.engine.Probe(a.Key)
		time.Sleep(2 * time.Second)
		if got := w.sender.received()[before:]; len(got) != 1 || got[0].event != wish {
			t.Fatalf("%v were sent, want %s alone", got, wish)
		}
		answer.set(status(200))
		w.engine.Probe(a.Key)
		w.settle("it is back", time.Minute, func() bool { return w.delivered() >= 77 }) // and what is parked has its times
		w.settle("all is sent", 3*time.Hour, func() bool { return w.delivered() == 100 })

		answer.set(send.Result{StatusCode: 429, RetryAfter: 6 * time.Hour, HasRetryAfter: true})
		w.publish(3, nil)
		time.Sleep(time.Minute)
		answer.set(status(200))
		if w.delivered() != 100 {
			t.Fatal("control: it does not wait")
		}
		w.engine.Probe(a.Key)
		w.settle("tried now", time.Minute, func() bool { return w.delivered() == 103 })
		w.balanced()
	})
}

// newest is the newest event that was attempted.
func (w *world) newest() string {
	list := w.sender.received()
	last := list[0]
	for _, r := range list {
		if r.sequence > last.sequence {
			last = r
		}
	}
	return last.event
}
