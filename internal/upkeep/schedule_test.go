package upkeep

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// An event enters the log within a second of its time, whenever it was scheduled, also one that was scheduled while
// nobody was to look again for long, and also where the node that runs its partition is away; and what was due
// while nothing ran enters at once.
func TestScheduleEntersInTime(t *testing.T) {
	for name, mine := range map[string]func(hook.Partition) bool{"own": nil, "another's": func(hook.Partition) bool { return false }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				c, err := s.EnsureCompany(t.Context(), "c1")
				if err != nil {
					t.Fatal(err)
				}
				due := map[string]time.Time{}
				schedule := func(in time.Duration) {
					at := hook.Now(time.Now().Add(in))
					id := fmt.Sprint("e", len(due))
					due[id] = at
					e := &hook.Event{ID: id, Company: c.Key, CompanyID: c.ID, Partition: c.Partition, Topic: "conversation", Data: []byte(`{}`), DeliverAt: &at}
					if _, err := s.Schedule(t.Context(), []*hook.Event{e}); err != nil {
						t.Error(err)
					}
				}
				var mu sync.Mutex
				var late []time.Duration
				entered := func(n int, by time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					for range n {
						late = append(late, by)
					}
				}
				schedule(time.Minute)
				time.Sleep(time.Hour) //nolint:forbidigo // virtual
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				done := make(chan struct{})
				go func() {
					(&Schedule{Store: s, Log: slog.New(slog.DiscardHandler), Mine: mine, Entered: entered}).Run(ctx)
					close(done)
				}()
				time.Sleep(time.Second) //nolint:forbidigo // virtual
				mu.Lock()
				n := len(late)
				mu.Unlock()
				if n != 1 {
					t.Fatalf("%d entered of what was due before the start", n)
				}
				for _, in := range []time.Duration{time.Microsecond, 10 * time.Millisecond, 300 * time.Millisecond, time.Second, 2 * time.Minute} {
					schedule(in)
				}
				time.Sleep(3 * time.Minute) //nolint:forbidigo // virtual
				stop()
				<-done
				for id, at := range due {
					e, err := s.Event(t.Context(), c.Key, id)
					if err != nil {
						t.Fatal(err)
					}
					if by := e.AcceptedAt.Sub(at); e.Offset == 0 || by < 0 || by > time.Second && id != "e0" {
						t.Errorf("%s entered %s after its time, at %d", id, by, e.Offset)
					}
				}
			})
		})
	}
}
