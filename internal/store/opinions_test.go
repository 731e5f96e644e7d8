package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sqlite"
)

// asked is a store whose filters look whether somebody holds a reader or the writer while they run.
func asked(t *testing.T) (*Store, *Company, *int) {
	t.Helper()
	var s *Store
	asked := 0
	s, err := OpenSQLite(t.Context(), Options{
		Dir: t.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true,
		Judge: func(ctx context.Context, _ hook.CompanyKey, e *hook.Event, filters []string) ([]hook.Judged, error) {
			if free := s.engine.(*sqlite.Engine).FreeReaders(); free != sqlite.Readers {
				t.Errorf("a filter runs while %d readers are held", sqlite.Readers-free)
			}
			free, end := context.WithTimeout(ctx, 10*time.Second)
			defer end()
			if err := s.write(free, func(sql.Tx) error { return nil }); err != nil {
				t.Errorf("a filter runs while the writer is held: %v", err)
			}
			judged := make([]hook.Judged, len(filters))
			for i, f := range filters {
				asked++
				judged[i].Matched = strings.Contains(string(e.Data), f)
			}
			return judged, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	company, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	return s, company, &asked
}

func (s *Store) subscribed(t *testing.T, c *Company, i int, filter string) *hook.Webhook {
	t.Helper()
	w, err := s.CreateWebhook(t.Context(), hook.Webhook{
		Company: c.Key, Endpoint: fmt.Sprintf("https://example.com/%d", i), Topics: []string{"*"}, Filter: filter,
		Scheme: hook.SchemeHex, Format: hook.DataString, Ordering: hook.Relaxed, MaxConcurrency: 1, Timeout: time.Second,
	}, nil, Audit{Actor: "test", Action: "create"})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *Store) accepted(t *testing.T, c *Company, from, n int) {
	t.Helper()
	var events []*hook.Event
	for i := from; i < from+n; i++ {
		events = append(events, &hook.Event{ID: fmt.Sprintf("e%d", i), Company: c.Key, Topic: "conversation", Data: fmt.Appendf(nil, `{"n":%d}`, i), AcceptedAt: hook.Now(time.Now())})
	}
	if _, err := s.Append(t.Context(), c.Partition, events); err != nil {
		t.Fatal(err)
	}
}

// TestFiltersRunInNoTransaction: whatever has to know what filters say asks them while it holds neither a
// reader nor the writer, and each event once for all filters.
func TestFiltersRunInNoTransaction(t *testing.T) {
	s, c, asked := asked(t)
	const events = 3000
	var w *hook.Webhook
	for i := range 20 {
		w = s.subscribed(t, c, i, fmt.Sprint(i%10))
	}
	s.accepted(t, c, 0, events)
	e, err := s.Event(t.Context(), c.Key, "e1234")
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() error{
		"matches": func() error {
			list, _, err := s.Matches(t.Context(), c.Key, "e1234", Page{Limit: 50})
			if matched := countOf(list, func(m Match) bool { return m.Verdict == Matched }); matched != 8 || len(list) != 20 {
				t.Errorf("%d of %d match", matched, len(list))
			}
			return err
		},
		"match count": func() error {
			n, err := s.MatchCount(t.Context(), c.Key, e)
			if n != 8 {
				t.Errorf("%d match", n)
			}
			return err
		},
		"deliveries": func() error {
			list, _, err := s.Deliveries(t.Context(), w.Key, DeliveryQuery{Limit: 100})
			if len(list) != 100 {
				t.Errorf("%d deliveries", len(list))
			}
			return err
		},
		"delivery":     func() error { _, err := s.Delivery(t.Context(), w.Key, "e9"); return err },
		"standing":     func() error { _, err := s.Standing(t.Context(), w.Key); return err },
		"conservation": func() error { _, _, err := s.Conservation(t.Context(), c.Key, Page{Limit: 3}); return err },
		"feed": func() error {
			list, err := s.Feed(t.Context(), w.Key, 0, 100)
			if len(list) != 100 {
				t.Errorf("%d events in the feed", len(list))
			}
			return err
		},
		"recount": func() error {
			r, err := s.Recount(t.Context(), w.Key)
			if err == nil && (!r.Balanced || r.Pending == 0) {
				t.Errorf("%+v", r)
			}
			return err
		},
		"replay": func() error {
			_, _, _, err := s.ReplayExtent(t.Context(), w.Key, NewReplay{Covers: CoversAll})
			return err
		},
		"retry": func() error {
			_, err := s.RequestRetry(t.Context(), w.Key, "e9", Audit{Actor: "test", Action: "retry"})
			if !hook.IsKind(err, hook.KindConflict) { // it is pending
				return err
			}
			return nil
		},
	} {
		before := *asked
		if err := read(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if *asked == before && name != "replay" { // what the cursor has not passed needs none
			t.Errorf("%s asked no filter", name)
		}
	}
	// The control: inside a read it would be noticed.
	held := 0
	if err := s.read(t.Context(), func(sql.Tx) error { held = sqlite.Readers - s.engine.(*sqlite.Engine).FreeReaders(); return nil }); err != nil || held != 1 {
		t.Errorf("control: %d readers are held inside a read, %v", held, err)
	}
}

// TestReplayAsksAhead: a replay by a filter that wants little asks hardly more than once about an event, and about many before
// it is read again. One at a time were more reads than any may make.
func TestReplayAsksAhead(t *testing.T) {
	s, c, asked := asked(t)
	const events = 3000
	w := s.subscribed(t, c, 0, "nothing like it")
	s.accepted(t, c, 0, events)
	err := s.write(t.Context(), func(q sql.Tx) error {
		_, err := q.Exec(t.Context(), `UPDATE cursors SET detached = 1, "offset" = $1 WHERE webhook = $2`, int64(events), int64(w.Key))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err = s.UpdateWebhook(t.Context(), c.Key, w.ID, Change{Apply: func(w *hook.Webhook) error { w.Filter = "77"; return nil }, Audit: Audit{Actor: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	for rules, want := range map[Rules]int64{RulesThen: 0, RulesCurrent: 57} {
		*asked = 0
		count, _, exact, err := s.ReplayExtent(t.Context(), w.Key, NewReplay{Covers: CoversAll, Rules: rules})
		if err != nil || count != want || !exact || *asked > events*11/10 {
			t.Errorf("%s: %d events (exact: %t) with %d questions, %v; want %d with about %d", rules, count, exact, *asked, err, want, events)
		}
	}
}

func countOf[T any](list []T, is func(T) bool) (n int) {
	for _, x := range list {
		if is(x) {
			n++
		}
	}
	return n
}

// TestRulesArePruned: rules below the last event that is kept are forgotten, those of the events that are
// kept are not, and what the engine reads does not grow with them.
func TestRulesArePruned(t *testing.T) {
	s, c, _ := asked(t)
	w := s.subscribed(t, c, 1, "never")
	rules := func() (n int) {
		t.Helper()
		if err := s.read(t.Context(), func(q sql.Tx) error { return sql.One(t.Context(), q, `SELECT count(*) FROM rules`, nil, &n) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	change := func(filter string) error {
		_, err := s.UpdateWebhook(t.Context(), c.Key, w.ID, Change{Apply: func(w *hook.Webhook) error { w.Filter = filter; return nil }, Audit: Audit{Actor: "test", Action: "update"}})
		return err
	}
	for i := range 20 {
		s.accepted(t, c, i, 1)
		if err := change(fmt.Sprint("x", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := rules(); n != 21 {
		t.Fatalf("control: %d rules, with all events kept", n)
	}
	places, _, _, err := s.Places(t.Context(), 0, -1, 10)
	if err != nil || len(places[0].Rules) != 21 {
		t.Fatalf("before anything was passed: %d rules, %v", len(places[0].Rules), err)
	}
	if err := s.write(t.Context(), func(q sql.Tx) error {
		_, err := q.Exec(t.Context(), `UPDATE owners SET swept = 18`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	places, _, _, err = s.Places(t.Context(), 0, -1, 10)
	if err != nil || len(places[0].Rules) != 4 || places[0].Rules[0].From != 18 {
		t.Fatalf("the engine reads %+v, %v; want what is in force from the swept mark on", places[0].Rules, err)
	}
	if err := s.write(t.Context(), func(q sql.Tx) error {
		if _, err := q.Exec(t.Context(), `DELETE FROM events WHERE "offset" <= 15`); err != nil {
			return err
		}
		_, err := q.Exec(t.Context(), `UPDATE companies SET purged_offset = 15`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := change("y"); err != nil {
		t.Fatal(err)
	}
	if n := rules(); n != 7 { // in force at 15, from 16 to 20, and from 21 on
		t.Errorf("%d rules are left", n)
	}
	list, _, err := s.Matches(t.Context(), c.Key, "e16", Page{Limit: 1})
	if err != nil || list[0].Verdict != FilterFailed || list[0].Rule.Filter != "x15" {
		t.Errorf("%+v, %v", list, err)
	}
	if r, err := s.Recount(t.Context(), w.Key); err != nil || r.Complete || r.Unexplained > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestFiltersAreCounted: so many webhooks of a company may have one.
func TestFiltersAreCounted(t *testing.T) {
	s, c, _ := asked(t)
	var last *hook.Webhook
	for i := range mostFilters {
		last = s.subscribed(t, c, i, "x")
	}
	plain := s.subscribed(t, c, mostFilters, "")
	set := func(w *hook.Webhook, filter string) error {
		_, err := s.UpdateWebhook(t.Context(), c.Key, w.ID, Change{Apply: func(w *hook.Webhook) error { w.Filter = filter; return nil }, Audit: Audit{Actor: "test", Action: "update"}})
		return err
	}
	if err := set(plain, "x"); !hook.IsKind(err, hook.KindConflict) {
		t.Errorf("one more: %v", err)
	}
	for _, filter := range []string{"y", ""} {
		if err := set(last, filter); err != nil {
			t.Error(err)
		}
	}
	if err := set(plain, "x"); err != nil {
		t.Errorf("in the place of another: %v", err)
	}
}

// TestReadersAreShared: one company's reads leave readers to the others, and end with whoever asked.
func TestReadersAreShared(t *testing.T) {
	s, c, _ := asked(t)
	release, inside := make(chan struct{}), make(chan struct{}, 20)
	ctx, leave := context.WithCancel(Share(t.Context(), c.Key))
	ended := make(chan error, 20)
	read := func(ctx context.Context) {
		ended <- s.read(ctx, func(sql.Tx) error { inside <- struct{}{}; <-release; return nil })
	}
	for range 12 {
		go read(ctx)
	}
	for range readsOfOne {
		<-inside
	}
	if err := s.Ping(Share(t.Context(), c.Key+1)); err != nil {
		t.Errorf("another company's read: %v", err)
	}
	leave()
	for range 12 - readsOfOne {
		if err := <-ended; !hook.IsKind(err, hook.KindUnavailable) {
			t.Errorf("a read that nobody waits for: %v", err)
		}
	}
	close(release)
	for range readsOfOne {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if n := len(s.shares.turns); n != 0 {
		t.Errorf("%d shares are kept", n)
	}
	// The control: without shares they take every reader.
	release = make(chan struct{})
	for range sqlite.Readers {
		go read(t.Context())
	}
	for range sqlite.Readers {
		<-inside
	}
	brief, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	if err := s.Ping(brief); !hook.IsKind(err, hook.KindUnavailable) {
		t.Errorf("control: a ninth read: %v", err)
	}
	close(release)
	for range sqlite.Readers {
		<-ended
	}
}

// TestReadsBoundSteps: a read ends with a cursor when the filters that it asked took enough steps. The
// control asks filters that take none.
func TestReadsBoundSteps(t *testing.T) {
	const events = 3000
	for _, steps := range []int{0, readSteps / 500} {
		s, c, asked := asked(t)
		judge := s.judge
		s.judge = func(ctx context.Context, k hook.CompanyKey, e *hook.Event, filters []string) ([]hook.Judged, error) {
			judged, err := judge(ctx, k, e, filters)
			for i := range judged {
				judged[i].Steps = steps
			}
			return judged, err
		}
		w := s.subscribed(t, c, 0, "none")
		s.accepted(t, c, 0, events)
		list, more, err := s.Deliveries(t.Context(), w.Key, DeliveryQuery{Limit: 100})
		if err != nil || len(list) > 0 {
			t.Fatalf("%d deliveries, %v", len(list), err)
		}
		if bounded := *asked < events/2 && more > 0; bounded != (steps > 0) {
			t.Errorf("filters of %d steps: %d were asked, and there is more after %d", steps, *asked, more)
		}
	}
}
