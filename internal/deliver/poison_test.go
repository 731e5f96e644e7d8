package deliver

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// An event whose attempts panic fails by its schedule; nobody else notices.
func TestPanicIsContained(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var poison shared[string]
		w.sender.answer = func(r send.Request) send.Result {
			if r.Event.ID == poison.get() {
				panic("poison")
			}
			return status(200)
		}
		w.start()
		a := w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{time.Second, time.Second} })
		poison.set(w.publish(1, nil)[0])
		w.publish(99, nil)
		w.settle("the others are delivered", time.Minute, func() bool { return w.delivered() == 99 })
		time.Sleep(time.Minute)
		d, err := w.store.Delivery(t.Context(), a.Key, poison.get())
		if err != nil || d.Status != hook.Failed || d.Attempts != 3 {
			t.Errorf("%+v %v, want failed after 3 attempts", d, err)
		}
		w.balanced()
	})
}

// What the store refuses of a group is set aside and visible; the others are recorded, and nothing
// is sent again.
func TestUnrecordableIsSetAside(t *testing.T) {
	for _, test := range []struct {
		name, trigger string
		aside         int
	}{
		{"what was answered", `NEW."offset" = 50 AND length(NEW.error_detail) > 0`, 1},
		{"the whole attempts", `NEW."offset" = 50`, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.sender.answer = func(r send.Request) send.Result {
					time.Sleep(100 * time.Millisecond) // so that a hundred end together
					if r.Sequence == 50 && r.Attempt == 1 {
						return send.Result{StatusCode: 418, Detail: "what the store refuses"}
					}
					return status(200)
				}
				a := w.webhook(func(h *hook.Webhook) { h.MaxConcurrency, h.RetrySchedule = 200, []time.Duration{time.Minute} })
				db, err := sql.Open("sqlite", filepath.Join(w.dir, "atlas-webhooks.db"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := db.ExecContext(t.Context(), fmt.Sprintf(
					`CREATE TRIGGER refuse BEFORE INSERT ON attempts WHEN %s BEGIN SELECT RAISE(ABORT, 'refused'); END`, test.trigger)); err != nil {
					t.Fatal(err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				ids := w.publish(100, nil)
				w.start()
				w.settle("all delivered", time.Hour, func() bool { return w.delivered() == 100 })
				time.Sleep(10 * time.Minute)
				if n := len(w.sender.received()); n != 101 {
					t.Errorf("%d requests for 100 events of which one was retried", n)
				}
				aside, err := w.store.SetAside(t.Context(), a.Key, 10)
				if err != nil || len(aside) != test.aside || aside[0].EventID != ids[49] || !strings.Contains(aside[0].Reason, "refused") {
					t.Errorf("set aside: %+v %v", aside, err)
				}
				recount, err := w.store.Recount(t.Context(), a.Key)
				if err != nil || !recount.Balanced {
					t.Errorf("%+v %v", recount, err)
				}
				if test.aside == 1 {
					w.balanced() // of an attempt that was refused whole a recount cannot know that it delivered
				}
				w.restart()
				time.Sleep(time.Hour)
				if n := len(w.sender.received()); n != 101 {
					t.Errorf("%d requests after a restart", n)
				}
				list, _, err := w.store.Conservation(t.Context(), w.company.Key, store.Page{Limit: 1})
				if err != nil || len(list) != 1 || list[0].Delivered != 100 {
					t.Errorf("%+v %v", list, err)
				}
			})
		})
	}
}
