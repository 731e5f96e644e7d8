package deliver

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/upkeep"
)

// Past the retention an unresolved event is skipped, whether it is parked, waits behind a cursor
// that stands still, or behind one that is down; its owner was warned, and the log gets shorter.
func TestRetentionGivesUpWhatIsUnresolved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var dead shared[string]
		w.sender.answer = func(r send.Request) send.Result {
			switch {
			case r.Webhook.ID == dead.get():
				return send.Result{Class: hook.ErrConnect}
			case r.Webhook.Ordering == hook.ObjectOrder:
				return status(400)
			}
			return status(200)
		}
		w.start()
		well := w.webhook(nil)
		paused := w.webhook(nil)
		never := []time.Duration{90 * 24 * time.Hour}
		parks := w.webhook(func(h *hook.Webhook) { h.Ordering, h.RetrySchedule = hook.ObjectOrder, never })
		dead.set(w.webhook(func(h *hook.Webhook) { h.RetrySchedule = never }).ID)
		w.change(paused, store.Change{Apply: func(h *hook.Webhook) error { h.Status = hook.Paused; return nil }})
		w.publish(300, func(i int) string { return string(rune('a' + i%5)) })
		time.Sleep(24 * time.Hour)

		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			(&upkeep.Upkeep{Store: w.store, Log: slog.New(slog.DiscardHandler), Retention: 8 * 24 * time.Hour, Every: time.Hour}).Run(ctx)
			close(done)
		}()
		defer func() { stop(); <-done }()
		time.Sleep(36 * time.Hour)
		w.kinds("expiring", 3)
		w.kinds("expired", 0)
		time.Sleep(8 * 24 * time.Hour)
		w.kinds("expired", 3)
		w.balanced()
		list, _, err := w.store.Conservation(t.Context(), w.company.Key, store.Page{Limit: 250})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			switch b.WebhookID {
			case well.ID:
				if b.Delivered != 300 || b.Skipped != 0 {
					t.Errorf("the healthy one: %+v", b)
				}
			case paused.ID, parks.ID, dead.get():
				if b.Skipped != 300 || b.Parked != 0 || b.Pending != 0 {
					t.Errorf("one with unresolved events: %+v", b)
				}
			}
		}
		events, _, err := w.store.EventsPage(t.Context(), w.company.Key, store.EventFilter{}, 0, 10)
		if err != nil || len(events) > 1 {
			t.Errorf("%d events are left, %v; want the last one at most", len(events), err)
		}
		w.restart()
		w.publish(3, nil)
		w.settle("new events", time.Minute, func() bool { return w.delivered() >= 303 })
		w.balanced()
	})
}

// kinds counts the company's notices of a kind: at least so many, or none.
func (w *world) kinds(kind string, want int) {
	w.t.Helper()
	list, _, err := w.store.Notices(w.t.Context(), w.company.Key, store.Page{Limit: 250})
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, x := range list {
		if x.Kind == kind {
			n++
		}
	}
	if n < want || want == 0 && n > 0 {
		w.t.Errorf("%d notices %q, want %d", n, kind, want)
	}
}
