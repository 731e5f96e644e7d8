package deliver

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// change updates a webhook and tells nobody: the engine hears of it by the commit.
func (w *world) change(h *hook.Webhook, c store.Change) *hook.Webhook {
	w.t.Helper()
	c.Audit.Actor = "test"
	if c.Apply == nil {
		c.Apply = func(*hook.Webhook) error { return nil }
	}
	got, err := w.store.UpdateWebhook(w.t.Context(), w.company.Key, h.ID, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) status(h *hook.Webhook) *hook.Webhook {
	w.t.Helper()
	got, err := w.store.Webhook(w.t.Context(), w.company.Key, h.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// balanced checks the conservation of every webhook, by the counters and by a recount.
func (w *world) balanced() {
	w.t.Helper()
	time.Sleep(100 * time.Millisecond) // what was just answered is recorded meanwhile
	synctest.Wait()
	list, _, err := w.store.Conservation(w.t.Context(), w.company.Key, store.Page{Limit: 250})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range list {
		if !b.Balanced {
			w.t.Errorf("%+v does not balance", b)
		}
		h, err := w.store.Webhook(w.t.Context(), w.company.Key, b.WebhookID)
		if err != nil {
			w.t.Fatal(err)
		}
		again, err := w.store.Recount(w.t.Context(), h.Key)
		if err != nil {
			w.t.Fatal(err)
		}
		if !again.Balanced || again.Complete && (again.Matched != b.Matched || again.Delivered != b.Delivered || again.Failed != b.Failed || again.Skipped != b.Skipped || again.Parked != b.Parked) {
			w.t.Errorf("the counters say %+v, a recount %+v", b, again)
		}
	}
}

// rows counts what the store holds beside events and configuration.
func (w *world) rows() (n int) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "atlas-webhooks.db")+"?mode=ro")
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"attempts", "parked", "skips", "answers", "unrecordable", "notices", "cursors"} {
		var more int
		if err := db.QueryRowContext(w.t.Context(), "SELECT count(*) FROM "+table).Scan(&more); err != nil {
			w.t.Fatal(err)
		}
		n += more
	}
	return n
}

func TestDeadEndpointCostsAProbeNowAndThen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var alive shared[bool]
		w.sender.answer = func(send.Request) send.Result {
			if alive.get() {
				return status(200)
			}
			return send.Result{Class: hook.ErrConnect}
		}
		w.start()
		w.webhook(nil)
		began := time.Now()
		empty := w.rows()
		w.publish(backlogOf, nil)
		time.Sleep(45 * time.Second)
		burst := len(w.sender.received())
		if burst < 10 || burst > 60 {
			t.Errorf("%d requests in the first 45 s, want some 50", burst)
		}
		time.Sleep(time.Hour)
		if probes := len(w.sender.received()) - burst; probes < 11 || probes > 18 {
			t.Errorf("%d probes in an hour, want one every 5 minutes at the end", probes)
		}
		w.publish(backlogOf, nil)
		time.Sleep(time.Hour)
		// An attempt, and the delivery that it parked; and two notices.
		if rows, requests := w.rows()-empty, len(w.sender.received()); rows > 2*requests+2 || rows < requests {
			t.Errorf("%d rows for %d requests and %d events", rows, requests, 2*backlogOf)
		}
		burst = len(w.sender.received())
		if w.restart(); len(w.sender.received()) > burst+18 {
			t.Error("a restart made the endpoint look alive")
		}
		time.Sleep(10 * time.Minute)
		if n := len(w.sender.received()); n > burst+22 {
			t.Errorf("%d requests after a restart", n-burst)
		}
		alive.set(true)
		w.settle("drained", 2*time.Hour, func() bool { return w.delivered() >= 2*backlogOf })
		t.Logf("%d requests for %d events and %s of silence", len(w.sender.received()), 2*backlogOf, time.Since(began))
		// The control: what is delivered does leave a row each.
		if rows := w.rows() - empty; rows < 2*backlogOf {
			t.Errorf("control: %d rows after %d deliveries", rows, 2*backlogOf)
		}
		w.balanced()
	})
}

func TestComingBackStartsSmall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		most := 0
		w.sender.answer = awayUntil(time.Now().Add(20*time.Minute), w.sender.crowded(func(inFlight int, since time.Duration) {
			if since < 150*time.Millisecond {
				most = max(most, inFlight)
			}
		}))
		w.start()
		w.webhook(nil)
		w.publish(3000, nil)
		w.settle("drained", 3*time.Hour, func() bool { return w.delivered() >= 3000 })
		if most > 5 {
			t.Errorf("%d at once right after the endpoint came back, want at most 5", most)
		}
		w.balanced()
	})
}

func TestThrottlingUsesNoStepAndParksNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		free := time.Now().Add(6 * time.Hour)
		w.sender.answer = func(send.Request) send.Result {
			if time.Now().Before(free) {
				return status(429)
			}
			return status(200)
		}
		w.start()
		w.webhook(nil)
		w.publish(50, nil)
		time.Sleep(5 * time.Hour)
		if n := len(w.sender.received()); n > 100 {
			t.Errorf("%d requests to an endpoint that throttles, for 5 hours", n)
		}
		w.settle("delivered", 3*time.Hour, func() bool { return w.delivered() == 50 })
		w.balanced()
	})
}

func TestRetryAfterGatesTheLane(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		first := true
		w.sender.answer = func(send.Request) send.Result {
			w.sender.Lock()
			defer w.sender.Unlock()
			if first {
				first = false
				return send.Result{StatusCode: 503, RetryAfter: 2 * time.Hour, HasRetryAfter: true}
			}
			return status(200)
		}
		w.start()
		w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 1 })
		w.publish(5, nil)
		time.Sleep(119 * time.Minute)
		if n := len(w.sender.received()); n != 1 {
			t.Fatalf("%d requests within the two hours asked for", n)
		}
		w.settle("delivered", 10*time.Minute, func() bool { return w.delivered() == 5 })
	})
}

func TestGoneDisablesOnlyTheEndpointThatSaidSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var old shared[string]
		w.sender.answer = func(r send.Request) send.Result {
			if r.Webhook.Endpoint == old.get() {
				time.Sleep(10 * time.Second) // the answer comes when the endpoint is another
				return status(410)
			}
			return status(200)
		}
		w.start()
		a := w.webhook(nil)
		old.set(a.Endpoint)
		time.Sleep(10 * time.Minute)
		w.publish(1, nil)
		time.Sleep(5 * time.Second)
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Endpoint = "https://example.com/new"; return nil }})
		time.Sleep(time.Minute)
		if got := w.status(a); got.Status != hook.Active {
			t.Fatalf("a late 410 of the old endpoint made the new one %s", got.Status)
		}
		w.publish(3, nil)
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 3 })

		old.set("https://example.com/new") // the control: now the 410 is about this one
		time.Sleep(10 * time.Minute)
		w.publish(1, nil)
		time.Sleep(time.Minute)
		if got := w.status(a); got.Status != hook.Inactive || got.StatusReason != hook.ReasonGone {
			t.Fatalf("after a 410: %s %q", got.Status, got.StatusReason)
		}
		w.publish(10, nil)
		time.Sleep(time.Hour)
		if n := w.delivered(); n != 3 {
			t.Fatalf("%d delivered to an INACTIVE webhook", n-3)
		}
		old.set("")
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Active; return nil }, Resume: store.ResumeBacklog})
		w.settle("backlog", time.Minute, func() bool { return w.delivered() == 13 })
		w.balanced()
	})
}

func TestFiveDaysOfFailureDisable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result { return status(500) }
		w.start()
		a := w.webhook(nil)
		w.publish(20, nil)
		time.Sleep(4*24*time.Hour + 23*time.Hour)
		if got := w.status(a); got.Status != hook.Active {
			t.Fatalf("%s before five days were over", got.Status)
		}
		time.Sleep(4 * time.Hour)
		if got := w.status(a); got.Status != hook.Inactive || got.StatusReason != hook.ReasonFailing {
			t.Fatalf("after five days: %s %q", got.Status, got.StatusReason)
		}
		w.balanced()
	})
}

// Nothing listens, and no other event may be tried: by the order, or since there is none. That is the
// endpoint's failure all the same, and the event outlasts it.
func TestOneEventAloneMakesAnEndpointFail(t *testing.T) {
	schedule := func(h *hook.Webhook) { h.RetrySchedule = slices.Repeat([]time.Duration{time.Second}, 60) }
	for name, x := range map[string]struct {
		events int
		change func(*hook.Webhook)
	}{
		"strict order":        {5, func(h *hook.Webhook) { schedule(h); h.Ordering = hook.WebhookOrder }},
		"a lone event":        {1, schedule},
		"control: two events": {2, schedule},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.sender.answer = awayUntil(time.Now().Add(3*time.Hour), func(send.Request) send.Result { return status(200) })
				w.start()
				a := w.webhook(x.change)
				w.publish(x.events, nil)
				time.Sleep(2 * time.Minute)
				h, _, err := w.engine.Health(t.Context(), a.Key)
				if err != nil || h.State != lane.Down {
					t.Errorf("%q after two minutes, %v", h.State, err)
				}
				w.settle("delivered", 4*time.Hour, func() bool { return w.delivered() == x.events })
				w.balanced()
			})
		})
	}
}

// An event that an endpoint answers with 500 each time ends with its schedule under a strict order, in the
// schedule's own time, whether the endpoint is called down meanwhile or not; then the next one goes.
func TestStrictOrderPassesAPoisonedEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var poison shared[string]
		w.sender.answer = func(r send.Request) send.Result {
			if r.Event.ID == poison.get() {
				return status(500)
			}
			return status(200)
		}
		w.start()
		w.webhook(func(h *hook.Webhook) {
			h.Ordering = hook.WebhookOrder
			h.RetrySchedule = append(slices.Repeat([]time.Duration{time.Second}, 10), time.Hour, 2*time.Hour)
		})
		poison.set(w.publish(1, nil)[0])
		w.publish(2, nil)
		time.Sleep(2 * time.Hour)
		if n := w.delivered(); n != 0 {
			t.Fatalf("%d delivered before the schedule of the first was over", n)
		}
		w.settle("the others", 3*time.Hour, func() bool { return w.delivered() == 2 })
		w.balanced()
	})
}

// Whoever hears that an endpoint is down hears why, and what to do: in the notice, from the engine, and in
// the notice that it was given up.
func TestNoticesNameTheCause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result {
			return send.Result{StatusCode: 401, Class: hook.ErrClientStatus, Detail: "the receiver answered 401 Unauthorized"}
		}
		w.start()
		a := w.webhook(nil)
		w.publish(20, nil)
		time.Sleep(time.Minute)
		h, _, err := w.engine.Health(t.Context(), a.Key)
		if err != nil || h.State != lane.Down || h.Failure == nil || h.Failure.StatusCode != 401 || !strings.Contains(h.Failure.Advice, "own secret") || h.Failure.At.Before(h.LastFailureAt.Add(-time.Second)) {
			t.Errorf("%+v, %v", h.Failure, err)
		}
		time.Sleep(5*24*time.Hour + 4*time.Hour)
		list, _, err := w.store.Notices(t.Context(), w.company.Key, store.Page{Limit: 10})
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, n := range list {
			if !strings.Contains(n.Detail, ": the receiver answered 401 Unauthorized. ") || !strings.Contains(n.Detail, "own secret") {
				t.Errorf("%s: %s", n.Kind, n.Detail)
			}
		}
	})
}

func TestVerdictsOnOneEventNeverMakeTheEndpointDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var poison shared[string]
		w.sender.answer = func(r send.Request) send.Result {
			if r.Event.ID == poison.get() {
				return status(400)
			}
			return status(200)
		}
		w.start()
		a := w.webhook(nil)
		poison.set(w.publish(1, nil)[0])
		for range 100 {
			w.publish(1, nil)
			time.Sleep(time.Hour)
			if h, ok, _ := w.engine.Health(t.Context(), a.Key); ok && h.State != lane.Healthy {
				t.Fatalf("%+v", h)
			}
		}
		if n := w.delivered(); n != 100 {
			t.Fatalf("%d delivered, want 100", n)
		}
		w.balanced()
	})
}

func TestOwnFaultsCountForNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		mended := time.Now().Add(3 * 24 * time.Hour)
		w.sender.answer = func(send.Request) send.Result {
			if time.Now().Before(mended) {
				return send.Result{Class: hook.ErrOwnFault}
			}
			return status(200)
		}
		w.start()
		a := w.webhook(nil)
		w.publish(30, nil)
		w.settle("delivered", 4*24*time.Hour, func() bool { return w.delivered() == 30 })
		for _, r := range w.sender.received() {
			if r.attempt != 1 {
				t.Fatalf("an own fault used up an attempt: %+v", r)
			}
		}
		if got := w.status(a); got.Status != hook.Active {
			t.Fatal(got.Status)
		}
		w.balanced()
	})
}

func TestRateLimitIsOneBucketForEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.webhook(func(h *hook.Webhook) { h.RateLimit = 5 })
		w.publish(100, nil)
		began := time.Now()
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 100 })
		if took := time.Since(began); took < 18*time.Second || took > 22*time.Second {
			t.Errorf("100 deliveries at 5 a second took %s", took)
		}
	})
}

// The wait that a receiver asked for is the webhook's: also when nothing was left to send meanwhile,
// and when a request that was under way gets an answer that asks for less.
func TestRetryAfterOutlastsIdleness(t *testing.T) {
	for _, first := range []int{1, 2} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				free := time.Now().Add(2 * time.Hour)
				w.sender.answer = func(r send.Request) send.Result {
					switch {
					case !time.Now().Before(free):
						return status(200)
					case r.Attempt == 1 && first == 1:
						return status(418)
					case r.Sequence == 1:
						return send.Result{StatusCode: 429, RetryAfter: 2 * time.Hour, HasRetryAfter: true}
					}
					time.Sleep(time.Second)
					return status(503)
				}
				w.start()
				w.webhook(nil)
				w.publish(first, nil)
				w.settle("the answers", time.Minute, func() bool { return len(w.sender.received()) == 2 })
				time.Sleep(10 * time.Minute)
				w.publish(3, nil)
				time.Sleep(100 * time.Minute)
				if n := len(w.sender.received()); n != 2 {
					t.Errorf("%d requests within the two hours asked for", n-2)
				}
				w.settle("delivered", time.Hour, func() bool { return w.delivered() == first+3 })
				w.balanced()
			})
		})
	}
}

// What the old endpoint answers late makes nobody wait for it at the new one.
func TestLateAnswerOfTheOldEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var old shared[string]
		w.sender.answer = func(r send.Request) send.Result {
			if r.Webhook.Endpoint == old.get() {
				time.Sleep(10 * time.Second) // until the webhook has another endpoint
				return send.Result{StatusCode: 503, RetryAfter: 24 * time.Hour, HasRetryAfter: true}
			}
			return status(200)
		}
		w.start()
		a := w.webhook(nil)
		old.set(a.Endpoint)
		w.publish(1, nil)
		time.Sleep(5 * time.Second)
		w.change(a, store.Change{Apply: func(h *hook.Webhook) error { h.Endpoint = "https://example.com/new"; return nil }})
		time.Sleep(10 * time.Second)
		w.publish(1, nil)
		w.settle("both are delivered", time.Minute, func() bool { return w.delivered() == 2 })
		w.balanced()
	})
}

// One webhook has no more requests under way than the operator allows, whatever its owner does.
func TestWebhookTakesNoMoreThanItMay(t *testing.T) {
	for most, want := range map[int]int{3: 3, 0: 40} { // 0, the control: the owner's word alone counts
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.config = func(c *Config) { c.MaxPerWebhook = most }
			seen := 0
			w.sender.answer = w.sender.crowded(func(n int, _ time.Duration) { seen = max(seen, n) })
			w.start()
			w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 40 })
			w.publish(1000, nil)
			w.settle("delivered", time.Hour, func() bool { return w.delivered() == 1000 })
			if w.sender.Lock(); seen != want {
				t.Errorf("%d at once, want %d", seen, want)
			}
			w.sender.Unlock()
		})
	}
}

// A change of what an endpoint is asked makes what waits for its retry due at once, ends the wait that it
// asked for, and lets no more through than an endpoint of which nothing is known gets.
func TestRepairMakesWhatWaitsDue(t *testing.T) {
	const events = 300
	for name, x := range map[string]struct {
		before send.Result
		change func(*hook.Webhook)
		rotate bool
		stays  bool // a change of something else, the control
	}{
		"another endpoint": {before: status(418), change: func(h *hook.Webhook) { h.Endpoint += "/new" }},
		"a header":         {before: status(401), change: func(h *hook.Webhook) { h.Headers = []hook.Header{{Name: "Authorization", Value: "x"}} }},
		"the secret":       {before: status(403), rotate: true},
		"it was throttled": {before: send.Result{StatusCode: 429, RetryAfter: 6 * time.Hour, HasRetryAfter: true}, change: func(h *hook.Webhook) { h.Endpoint += "/new" }},
		"a description":    {before: status(418), change: func(h *hook.Webhook) { h.Description = "new" }, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				var answer shared[send.Result]
				answer.set(x.before)
				most := 0
				crowded := w.sender.crowded(func(now int, _ time.Duration) { most = max(most, now) })
				w.sender.answer = func(r send.Request) send.Result {
					if a := answer.get(); a.StatusCode != 200 {
						return a
					}
					return crowded(r)
				}
				w.start()
				a := w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{20 * time.Hour, 20 * time.Hour} })
				w.publish(events, nil)
				time.Sleep(10 * time.Minute)
				answer.set(status(200))
				time.Sleep(10 * time.Minute)
				before := w.delivered()
				w.sender.Lock()
				most = 0
				w.sender.Unlock()
				if x.rotate {
					if _, err := w.store.RotateSecret(t.Context(), w.company.Key, a.ID, store.Rotation{}, store.Audit{Actor: "test"}); err != nil {
						t.Fatal(err)
					}
				} else {
					w.change(a, store.Change{Apply: func(h *hook.Webhook) error { x.change(h); return nil }})
				}
				time.Sleep(time.Second / 20)
				w.sender.Lock()
				if most > 4 {
					t.Errorf("%d requests at once to begin with", most)
				}
				w.sender.Unlock()
				time.Sleep(time.Minute)
				if n := w.delivered(); x.stays != (n == before) || !x.stays && n != events {
					t.Errorf("%d delivered before the change, %d after it", before, n)
				}
				w.balanced()
			})
		})
	}
}

// What the endpoint of before refuses after the change, but before the engine hears of it, is due at once too.
func TestRepairThatTheEngineHearsOfLate(t *testing.T) {
	for change, want := range map[string]int{"endpoint": 1, "description": 0} { // the second is the control
		t.Run(change, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.sender.answer = func(r send.Request) send.Result {
					if r.Attempt > 1 {
						return status(200)
					}
					time.Sleep(5 * time.Second)
					return status(418)
				}
				w.start()
				a := w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{20 * time.Hour} })
				w.publish(1, nil)
				time.Sleep(2 * time.Second)
				w.deaf.Store(true)
				w.change(a, store.Change{Apply: func(h *hook.Webhook) error {
					if h.Description = "new"; change == "endpoint" {
						h.Endpoint += "/new"
					}
					return nil
				}})
				time.Sleep(6 * time.Second)
				w.deaf.Store(false)
				w.engine.Committed(0, nil, w.unheard.Load())
				time.Sleep(time.Minute)
				if n := w.delivered(); n != want {
					t.Errorf("%d delivered, want %d", n, want)
				}
				w.balanced()
			})
		})
	}
}
