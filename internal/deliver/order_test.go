package deliver

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// flaky answers after a while, and fails now and then.
func (w *world) flaky(seed uint64, failures float64) func(send.Request) send.Result {
	dice := rand.New(rand.NewPCG(seed, 1))
	return func(send.Request) send.Result {
		w.sender.Lock()
		wait, fail := dice.IntN(50), dice.Float64() < failures
		w.sender.Unlock()
		time.Sleep(time.Duration(wait) * time.Millisecond)
		if fail {
			return status(418)
		}
		return status(200)
	}
}

// firstSuccesses is the order in which the events of each object got through.
func (w *world) firstSuccesses(key func(r received) string) map[string][]int64 {
	order := map[string][]int64{}
	seen := map[string]bool{}
	for _, r := range w.sender.received() {
		if r.ok && !seen[r.event] {
			seen[r.event] = true
			order[key(r)] = append(order[key(r)], r.sequence)
		}
	}
	return order
}

func sorted(s []int64) bool {
	for i := 1; i < len(s); i++ {
		if s[i] < s[i-1] {
			return false
		}
	}
	return true
}

func TestOrders(t *testing.T) {
	const objects, events = 7, 400
	for _, test := range []struct {
		ordering hook.Ordering
		strict   bool
	}{{hook.Relaxed, false}, {hook.ObjectOrder, true}, {hook.WebhookOrder, true}} {
		t.Run(string(test.ordering), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.sender.answer = w.flaky(7, 0.2)
				w.start()
				w.webhook(func(h *hook.Webhook) {
					h.Ordering = test.ordering
					h.RetrySchedule = []time.Duration{time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second}
				})
				ids := w.publish(events, func(i int) string { return fmt.Sprint("o", i%objects) })
				object := map[string]string{}
				for i, id := range ids {
					object[id] = fmt.Sprint("o", i%objects)
				}
				for range 3 {
					time.Sleep(2 * time.Second)
					w.restart()
				}
				w.settle("delivered", 3*time.Hour, func() bool { return w.delivered() >= events })
				key := func(r received) string { return object[r.event] }
				if test.ordering == hook.WebhookOrder {
					key = func(received) string { return "all" }
				}
				disorder := 0
				for o, s := range w.firstSuccesses(key) {
					if !sorted(s) {
						disorder++
						if test.strict {
							t.Errorf("%s arrived as %v", o, s)
						}
					}
				}
				if !test.strict && disorder == 0 {
					t.Error("control: relaxed order under failures never broke; the test cannot fail")
				}
				w.balanced()
			})
		})
	}
}

func TestRelaxedKeepsOneDeliveryOfAnObjectInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		busy := map[string]int{}
		object := map[string]string{}
		w.sender.answer = func(r send.Request) send.Result {
			w.sender.Lock()
			o := object[r.Event.ID]
			busy[o]++
			if busy[o] > 1 {
				t.Errorf("two deliveries of %s in flight", o)
			}
			w.sender.Unlock()
			time.Sleep(20 * time.Millisecond)
			w.sender.Lock()
			busy[o]--
			w.sender.Unlock()
			return status(200)
		}
		w.webhook(nil)
		for i, id := range w.publish(300, func(i int) string { return fmt.Sprint("o", i%11) }) {
			object[id] = fmt.Sprint("o", i%11)
		}
		w.start() // from here on the endpoints read object
		w.settle("delivered", time.Minute, func() bool { return w.delivered() >= 300 })
		for o, s := range w.firstSuccesses(func(r received) string { return object[r.event] }) {
			if !sorted(s) {
				t.Errorf("%s arrived as %v although nothing failed", o, s)
			}
		}
	})
}

func TestLaggingLaneReadsItsBacklogAndLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result { time.Sleep(time.Second); return status(200) }
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 20 })
		w.publish(4000, nil)
		time.Sleep(20 * time.Second)
		// A rule change while it lags: what waits was matched by the old rule.
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Topics = []string{"customer"}; return nil }})
		w.publish(500, nil)
		time.Sleep(20 * time.Second)
		w.restart()
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Topics = []string{"*"}; return nil }})
		w.publish(100, nil)
		w.settle("delivered", time.Hour, func() bool { return w.delivered() >= 4100 })
		time.Sleep(10 * time.Minute)
		sequences := map[int64]string{}
		for _, r := range w.sender.received() {
			if before, ok := sequences[r.sequence]; ok && before != r.event {
				t.Fatalf("sequence %d was given to %s and %s", r.sequence, before, r.event)
			}
			sequences[r.sequence] = r.event
		}
		if len(sequences) != 4100 || sequences[4100] == "" {
			t.Fatalf("%d sequences, want 1 to 4100", len(sequences))
		}
		if n := len(w.sender.received()); n > 4100+20 {
			t.Errorf("%d requests: more duplicates than were in flight", n)
		}
		w.balanced()
	})
}

func TestPauseStandsStillAndLosesNothing(t *testing.T) {
	for _, resume := range []store.Resume{store.ResumeBacklog, store.ResumeNow} {
		t.Run(string(resume), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				a := w.webhook(nil)
				w.publish(10, nil)
				w.settle("delivered", time.Minute, func() bool { return w.delivered() == 10 })
				set := func(s hook.Status) func(*hook.Webhook) error {
					return func(h *hook.Webhook) error { h.Status = s; return nil }
				}
				w.change(a, store.Change{Apply: set(hook.Paused)})
				w.publish(1500, nil)
				time.Sleep(time.Hour)
				w.restart()
				w.publish(20, nil)
				time.Sleep(time.Hour)
				if n := w.delivered(); n != 10 {
					t.Fatalf("%d delivered while paused", n-10)
				}
				w.change(a, store.Change{Apply: set(hook.Active), Resume: resume})
				w.publish(5, nil)
				want, sequence := 1535, int64(1535)
				if resume == store.ResumeNow {
					want = 15
				}
				w.settle("delivered", time.Hour, func() bool { return w.delivered() >= want })
				time.Sleep(time.Minute)
				last := int64(0)
				for _, r := range w.sender.received() {
					last = max(last, r.sequence)
				}
				if n := len(w.sender.received()); n != want || last != sequence {
					t.Fatalf("%d requests, the last sequence is %d; want %d, %d", n, last, want, sequence)
				}
				w.balanced()
			})
		})
	}
}

func TestManualRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var code shared[int]
		code.set(400)
		w.sender.answer = func(send.Request) send.Result { return status(code.get()) }
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{time.Hour} })
		id := w.publish(1, nil)[0]
		w.settle("attempt", time.Minute, func() bool { return len(w.sender.received()) == 1 })
		time.Sleep(time.Second)
		retry := func() {
			t.Helper()
			if _, err := w.store.RequestRetry(t.Context(), a.Key, id, store.Audit{Actor: "test"}); err != nil {
				t.Fatal(err)
			}
			w.engine.Kick(a.Key)
		}
		retry() // retrying: due now
		w.settle("second attempt", time.Minute, func() bool { return len(w.sender.received()) == 2 })
		time.Sleep(time.Minute)
		w.balanced()
		code.set(200)
		retry() // failed: on demand
		w.settle("third attempt", time.Minute, func() bool { return len(w.sender.received()) == 3 })
		time.Sleep(time.Minute)
		retry() // delivered: once more
		w.settle("fourth attempt", time.Minute, func() bool { return len(w.sender.received()) == 4 })
		time.Sleep(2 * time.Hour)
		got := w.sender.received()
		if len(got) != 4 || got[3].attempt != 4 || got[3].kind != hook.Manual || got[3].sequence != 1 {
			t.Fatalf("%+v", got)
		}
		w.balanced()
	})
}

func TestReplaySendsAgainWhatTheCursorHasPassed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = w.flaky(3, 0.1)
		w.start()
		a := w.webhook(func(h *hook.Webhook) {
			h.RetrySchedule = []time.Duration{time.Second, time.Second, time.Second, time.Second, time.Second}
		})
		began := time.Now()
		w.publish(200, nil)
		w.settle("delivered", time.Hour, func() bool { return w.delivered() == 200 })
		time.Sleep(time.Minute)
		r, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: began.Add(-time.Hour), Covers: store.CoversAll, Rate: 20}, store.Audit{Actor: "test"})
		if err != nil {
			t.Fatal(err)
		}
		w.engine.Kick(a.Key)
		time.Sleep(3 * time.Second)
		w.restart()
		done := func() bool {
			got, err := w.store.Replay(t.Context(), a.Key, r.ID)
			return err == nil && got.Status == store.ReplayDone
		}
		w.settle("replay done", time.Hour, done)
		time.Sleep(time.Minute)
		again := map[string]bool{}
		for _, r := range w.sender.received() {
			if r.kind == hook.Replay && r.ok {
				again[r.event] = true
			}
		}
		if len(again) != 200 {
			t.Fatalf("%d events arrived again, want 200", len(again))
		}
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("200 deliveries at 20 a second took %s", took)
		}
		w.balanced()
	})
}
