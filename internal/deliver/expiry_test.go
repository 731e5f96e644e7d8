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

// expiring publishes an event that expires so long from now.
func (w *world) expiring(object string, in time.Duration) string {
	at := hook.Now(time.Now().Add(in))
	e := &hook.Event{
		ID: hook.NewID(hook.EventPrefix, time.Now()), FreshID: true, Company: w.company.Key, CompanyID: w.company.ID,
		Topic: "conversation", Data: []byte(`{}`), ExpiresAt: &at,
	}
	if object != "" {
		e.ObjectKey = hook.ObjectKey(e.Topic, object)
	}
	if _, err := w.store.Append(w.t.Context(), 0, []*hook.Event{e}); err != nil {
		w.t.Fatal(err)
	}
	return e.ID
}

// fate is a delivery's status and reason, and how many attempts it had.
func (w *world) fate(h *hook.Webhook, id string) string {
	w.t.Helper()
	d, err := w.store.Delivery(w.t.Context(), h.Key, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(d.Status, " ", d.Reason, " ", d.Attempts)
}

// Whatever keeps an event from being delivered, from its expires_at on no attempt begins, and its delivery is
// skipped: one that waits for its retry, one that is held behind another, one whose endpoint is down or asks to
// wait, one whose webhook stands still, and one that expired while nothing ran. What never expires goes on.
func TestEventsExpire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var down shared[bool]
		w.sender.answer = func(r send.Request) send.Result {
			switch {
			case down.get():
				return status(500)
			case r.Webhook.Ordering == hook.WebhookOrder:
				return send.Result{StatusCode: 429, HasRetryAfter: true, RetryAfter: time.Hour}
			}
			return status(200)
		}
		w.start()
		retries := w.webhook(func(h *hook.Webhook) { h.Ordering = hook.ObjectOrder })
		asked := w.webhook(func(h *hook.Webhook) { h.Ordering = hook.WebhookOrder })
		paused := w.webhook(nil)
		w.change(paused, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Paused; return nil }})
		down.set(true)
		first := w.expiring("a", time.Minute)
		held := w.expiring("a", 2*time.Minute)
		ever := w.publish(1, nil)[0]
		time.Sleep(59 * time.Second)
		if got := w.fate(retries, first); got[:8] != "retrying" {
			t.Errorf("before it expires: %s", got)
		}
		time.Sleep(2 * time.Second)
		sent := len(w.sender.received())
		w.settle("the first is skipped", time.Second, func() bool { return w.fate(retries, first) == "skipped expired 2" })
		time.Sleep(2 * time.Minute)
		if got := w.fate(retries, held); got != "skipped expired 0" && got != "skipped expired 1" && got != "skipped expired 2" {
			t.Errorf("behind it: %s", got)
		}
		for _, x := range w.sender.received()[sent:] {
			if x.event == first {
				t.Errorf("attempted at %s, after it expired", x.at)
			}
		}
		w.halt()
		late := w.expiring("late", time.Minute)
		time.Sleep(time.Hour)
		down.set(false)
		w.start()
		w.change(paused, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Active; return nil }, Resume: store.ResumeBacklog})
		w.settle("what does not expire is delivered", 6*time.Hour, func() bool {
			return w.fate(retries, ever)[:9] == "delivered" && w.fate(paused, ever)[:9] == "delivered"
		})
		w.settle("the rest is skipped", time.Hour, func() bool {
			return w.fate(retries, late) == "skipped expired 0" && w.fate(paused, first) == "skipped expired 0" && w.fate(paused, held) == "skipped expired 0" && w.fate(asked, first)[:7] == "skipped"
		})
		for _, x := range w.sender.received() {
			if x.event == late {
				t.Errorf("attempted at %s, after it expired", x.at)
			}
		}
		w.restart()
		w.balanced()
	})
}

// What somebody asks for is sent, expired or not.
func TestExpiredIsSentOnRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		a := w.webhook(nil)
		w.halt()
		id := w.expiring("", time.Second)
		time.Sleep(time.Minute)
		w.start()
		w.settle("skipped", time.Minute, func() bool { return w.fate(a, id) == "skipped expired 0" })
		if _, err := w.store.RequestRetry(t.Context(), a.Key, id, store.Audit{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
		w.engine.Kick(a.Key)
		w.settle("sent", time.Minute, func() bool { return w.fate(a, id) == "delivered manual 1" })
		w.balanced()
	})
}

func (w *world) cancel(id string) error {
	e, err := w.store.Event(w.t.Context(), w.company.Key, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.engine.Cancel(w.t.Context(), w.company.Key, 0, e.Offset, func(ctx context.Context, node string) error {
		return w.store.CancelEvent(ctx, node, w.company.Key, id, store.Audit{Actor: "test"})
	})
}

// An event of which an attempt is under way, or was made, cannot be cancelled; one that waits can, and is sent
// to nobody afterwards, whatever restarts, is resumed or replayed. Events behind it go on.
func TestCancelInTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.sender.answer = func(send.Request) send.Result { <-release; return status(200) }
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 1 })
		b := w.webhook(nil)
		w.change(b, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Paused; return nil }})
		ids := w.publish(3, nil)
		time.Sleep(time.Second)
		if err := w.cancel(ids[0]); !hook.IsKind(err, hook.KindConflict) {
			t.Errorf("an attempt is under way: %v", err)
		}
		if err := w.cancel(ids[1]); err != nil {
			t.Error(err)
		}
		close(release)
		w.settle("the others are delivered", time.Minute, func() bool { return w.delivered() == 2 })
		if err := w.cancel(ids[2]); !hook.IsKind(err, hook.KindConflict) {
			t.Errorf("it was delivered: %v", err)
		}
		w.kill()
		w.change(b, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Active; return nil }, Resume: store.ResumeBacklog})
		w.settle("the other webhook catches up", time.Minute, func() bool { return w.delivered() >= 4 })
		from := time.Now().Add(-time.Hour)
		if _, err := w.store.CreateReplay(t.Context(), a.Key, store.NewReplay{From: from, Covers: store.CoversAll}, store.Audit{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
		w.engine.Kick(a.Key)
		w.settle("replayed", time.Minute, func() bool { return w.delivered() >= 6 })
		time.Sleep(time.Minute)
		for _, x := range w.sender.received() {
			if x.event == ids[1] {
				t.Errorf("sent to %s", x.webhook)
			}
		}
		for _, h := range []*hook.Webhook{a, b} {
			if got := w.fate(h, ids[1]); got != "skipped cancelled 0" {
				t.Errorf("%s: %s", h.ID, got)
			}
		}
		w.balanced()
	})
}

// A cancellation that races with the attempt is one or the other: 204 and nothing sent, or refused. The control
// decides without asking the loop, by what the store knows: then some are sent all the same.
func TestCancelNeverRacesWithAnAttempt(t *testing.T) {
	race := func(t *testing.T, cancel func(*world, string) error) (both, cancelled, refused int) {
		w := newWorld(t)
		w.sender.answer = func(send.Request) send.Result { time.Sleep(3 * time.Millisecond); return status(200) }
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency = 2 })
		first := w.publish(1, nil)
		w.settle("the engine has begun", time.Minute, func() bool { return strings.HasPrefix(w.fate(a, first[0]), "delivered") })
		for round := range 40 {
			ids := w.publish(8, nil)
			time.Sleep(time.Duration(round%12) * time.Millisecond)
			called := map[string]bool{}
			for _, id := range ids[2:] {
				switch err := cancel(w, id); {
				case err == nil:
					called[id] = true
					cancelled++
				case hook.IsKind(err, hook.KindConflict):
					refused++
				default:
					t.Fatal(err)
				}
			}
			w.settle("settled", time.Minute, func() bool {
				for _, id := range ids {
					if f := w.fate(a, id); f[:7] != "skipped" && f[:9] != "delivered" {
						return false
					}
				}
				return true
			})
			for _, x := range w.sender.received() {
				if called[x.event] {
					both++
				}
			}
		}
		w.balanced()
		return both, cancelled, refused
	}
	t.Run("decided by the loop", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			both, cancelled, refused := race(t, (*world).cancel)
			t.Logf("%d cancelled, %d refused", cancelled, refused)
			if both > 0 || cancelled == 0 || refused == 0 {
				t.Errorf("%d cancelled and sent, %d cancelled, %d refused", both, cancelled, refused)
			}
		})
	})
	t.Run("control", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			both, _, _ := race(t, func(w *world, id string) error {
				return w.store.CancelEvent(w.t.Context(), "", w.company.Key, id, store.Audit{Actor: "test"})
			})
			if both == 0 {
				t.Error("without the loop's word nothing went wrong: the test proves nothing")
			}
		})
	})
}
