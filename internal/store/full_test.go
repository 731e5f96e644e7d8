package store_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// TestDatabaseFull: when the database cannot grow, whoever is answered yes is in it once, whoever is
// answered no is not, and afterwards everything goes on.
func TestDatabaseFull(t *testing.T) {
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), MasterKey: make([]byte, 32), UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.CreateWebhook(t.Context(), hook.Webhook{Company: c.Key, Endpoint: "https://example.com", Topics: []string{"*"}}, nil, store.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.LimitPages(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	appended, recorded, refused := map[string]bool{}, int64(0), 0
	count := func(err error, yes func()) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			yes()
		case hook.IsKind(err, hook.KindUnavailable):
			refused++
		default:
			t.Error(err)
		}
	}
	for i := range 8 {
		wg.Go(func() {
			for j := range 40 {
				id := fmt.Sprintf("e%d-%d", i, j)
				data := fmt.Appendf(nil, `"%0*d"`, 500+900*(j%2), 7)
				_, err := s.Append(t.Context(), c.Partition, []*hook.Event{{ID: id, Company: c.Key, Topic: "conversation", Data: data}})
				count(err, func() { appended[id] = true })
				_, err = s.Record(t.Context(), &store.Record{At: testTime, Items: []store.Item{{Attempt: &hook.Attempt{
					Webhook: w.Key, Offset: hook.Offset(i*1000 + j + 1), Number: 1, Kind: hook.Live, Outcome: hook.OutcomeRetry, AnswerBody: data,
				}}}, Cursors: []store.CursorMove{{Webhook: w.Key, Delivered: 1}}})
				count(err, func() { recorded++ })
			}
		})
	}
	wg.Wait()
	if refused == 0 || len(appended) == 0 || recorded == 0 {
		t.Fatalf("%d refused, %d appended, %d recorded: the test proves nothing", refused, len(appended), recorded)
	}
	if err := s.LimitPages(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), c.Partition, []*hook.Event{{ID: "last", Company: c.Key, Topic: "conversation", Data: []byte(`1`)}}); err != nil {
		t.Fatal(err)
	}
	events, _, err := s.Tail(t.Context(), c.Partition, 0, 10_000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Offset != hook.Offset(i+1) || !appended[e.ID] && e.ID != "last" {
			t.Errorf("event %s stands at %d and was answered %v", e.ID, e.Offset, appended[e.ID])
		}
	}
	lane, err := s.LoadLane(t.Context(), w.Key, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != len(appended)+1 || lane.Cursor.Delivered != recorded || int64(len(lane.Above)) != recorded {
		t.Errorf("%d events for %d answers, %d counted and %d attempts for %d records", len(events)-1, len(appended), lane.Cursor.Delivered, len(lane.Above), recorded)
	}
}

// TestDiskLow: below the low-water mark nothing is appended; whoever publishes is told that it is the disk, and
// whoever runs the server its path and figures, also in the log.
func TestDiskLow(t *testing.T) {
	for mark, refused := range map[int64]bool{1 << 60: true, -1: false} { // the second is the control
		var said strings.Builder
		dir := t.TempDir()
		s, err := store.OpenSQLite(t.Context(), store.Options{
			Dir: dir, MasterKey: make([]byte, 32), UnsafeNoSync: true, MinFreeDisk: mark, Log: slog.New(slog.NewTextHandler(&said, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.EnsureCompany(t.Context(), "c1")
		if err != nil {
			t.Fatal(err)
		}
		append := func() error {
			_, err := s.Append(t.Context(), c.Partition, []*hook.Event{{ID: "e", Company: c.Key, Topic: "conversation", Data: []byte("1")}})
			return err
		}
		for end := time.Now().Add(10 * time.Second); refused && append() == nil && time.Now().Before(end); { // it looks beside
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // a condition of another goroutine
		}
		err = append()
		d, ok := s.Disk()
		s.Close()
		e, _ := errors.AsType[*hook.Error](err)
		if refused != (e != nil && e.Code == "disk_low" && strings.Contains(e.Detail, "disk")) || !ok || d.Path != dir || d.Free <= 0 || refused != d.Low() {
			t.Errorf("mark %d: %v, %+v", mark, err, d)
		}
		if refused != strings.Contains(said.String(), "low-water mark") || refused != strings.Contains(said.String(), dir) {
			t.Errorf("mark %d: the log says %q", mark, said.String())
		}
		if err := d.Err(); refused != (err != nil && strings.Contains(err.Error(), fmt.Sprintf("the disk of the data directory has %d MiB free, below its low-water mark of %d MiB", d.Free>>20, mark>>20))) {
			t.Errorf("mark %d: %v", mark, err)
		}
	}
}
