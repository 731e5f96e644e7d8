package upkeep

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// counting is a store that counts what it is asked.
type counting struct {
	*store.Store
	calls     int
	companies map[hook.CompanyKey]bool // that were visited
	traces    time.Duration            // how old those were that were asked to go
}

func (c *counting) visit(key hook.CompanyKey) {
	c.calls++
	c.companies[key] = true
}

func (c *counting) Aged(ctx context.Context, p hook.Partition, after hook.Offset, before time.Time, limit int) (store.Aged, error) {
	c.calls++
	return c.Store.Aged(ctx, p, after, before, limit)
}

func (c *counting) Unresolved(ctx context.Context, after hook.WebhookKey, limit int) ([]hook.CompanyKey, hook.WebhookKey, error) {
	c.calls++
	return c.Store.Unresolved(ctx, after, limit)
}

func (c *counting) WarnExpiring(ctx context.Context, key hook.CompanyKey, before, expires time.Time) (int, error) {
	c.visit(key)
	return c.Store.WarnExpiring(ctx, key, before, expires)
}

func (c *counting) ExpireStep(ctx context.Context, key hook.CompanyKey, before time.Time, limit int) (int, error) {
	c.visit(key)
	return c.Store.ExpireStep(ctx, key, before, limit)
}

func (c *counting) PurgeCompanyStep(ctx context.Context, key hook.CompanyKey, before time.Time, limit int) (int, error) {
	c.visit(key)
	return c.Store.PurgeCompanyStep(ctx, key, before, limit)
}

func (c *counting) PurgeTracesStep(ctx context.Context, kept time.Duration, limit int) (int, error) {
	c.traces = kept
	return c.Store.PurgeTracesStep(ctx, kept, limit)
}

// Answers that were kept for an Idempotency-Key go after a day, whatever the retention: they can hold
// secrets. So do traces of records, also where the audit log is kept for ever.
func TestAnswersEndAfterADay(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s, err := store.OpenSQLite(t.Context(), store.Options{
		Dir: t.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	company, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	answer := store.SavedAnswer{Company: company.Key, Key: "k1", Route: "POST /v1/webhooks", Status: 201, Body: []byte(`{"signing_secret":"whsec_x"}`)}
	if err := s.SaveAnswer(t.Context(), answer); err != nil {
		t.Fatal(err)
	}
	ever := now.Add(-time.Hour) // so that an answer is given as long as it is there
	c := &counting{Store: s, companies: map[hook.CompanyKey]bool{}}
	u := Upkeep{Store: c, Log: slog.New(slog.DiscardHandler), Retention: 90 * 24 * time.Hour, Now: func() time.Time { return now }}
	for _, x := range []struct {
		after time.Duration
		there bool
	}{{24 * time.Hour, true}, {time.Second, false}} {
		now = now.Add(x.after)
		if err := u.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		saved, err := s.ReserveAnswer(t.Context(), store.SavedAnswer{Company: company.Key, Key: "k1", Route: answer.Route}, ever)
		if err != nil {
			t.Fatal(err)
		}
		if there := saved != nil; there != x.there {
			t.Errorf("at %s the answer is there: %t, want %t", now.Sub(ever), there, x.there)
		}
	}
	if c.traces != 24*time.Hour {
		t.Errorf("traces of records are kept for %s", c.traces)
	}
}

// A round costs by what is due: of 2,000 companies with an event each, whose webhooks have nothing
// left to do, nobody is asked about until an event of theirs has passed the retention; then only they are.
func TestRoundCostsByWhatIsDue(t *testing.T) {
	const companies, early, retention = 2000, 20, 10 * 24 * time.Hour
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s, err := store.OpenSQLite(t.Context(), store.Options{
		Dir: t.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var keys []hook.CompanyKey
	for i := range companies {
		c, err := s.EnsureCompany(t.Context(), fmt.Sprint("c", i))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, c.Key)
	}
	publish := func(keys []hook.CompanyKey) {
		t.Helper()
		var events []*hook.Event
		for _, key := range keys {
			e := &hook.Event{ID: hook.NewID(hook.EventPrefix, now), FreshID: true, Company: key, Topic: "conversation", Data: []byte(`{}`)}
			e.Digest = hook.EventDigest(e.Topic, e.ObjectKey, e.Data)
			events = append(events, e)
		}
		if _, err := s.Append(t.Context(), 0, events); err != nil {
			t.Fatal(err)
		}
	}
	publish(keys[:early])
	now = now.Add(48 * time.Hour)
	publish(keys[early:])
	late, err := s.CreateWebhook(t.Context(), hook.Webhook{Company: keys[early], Endpoint: "https://example.com/", Topics: []string{"*"}, Status: hook.Paused},
		nil, store.Audit{Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	publish([]hook.CompanyKey{late.Company})
	now = now.Add(time.Second)
	// What the engine would write of a paused webhook: it stands at a place of its own.
	move := store.CursorMove{Webhook: late.Key, Detached: true, Offset: companies}
	if _, err := s.Record(t.Context(), &store.Record{At: now, Cursors: []store.CursorMove{move}}); err != nil {
		t.Fatal(err)
	}

	c := &counting{Store: s}
	u := Upkeep{Store: c, Log: slog.New(slog.DiscardHandler), Retention: retention, Now: func() time.Time { return now }}
	round := func(what string, most, visits int) {
		t.Helper()
		c.calls, c.companies = 0, map[hook.CompanyKey]bool{}
		if err := u.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.calls > most || len(c.companies) != visits {
			t.Errorf("%s: %d calls about %d companies, want at most %d calls, about %d", what, c.calls, len(c.companies), most, visits)
		}
	}
	round("all quiet", 3, 1) // the one whose webhook is paused
	now = now.Add(time.Minute)
	round("nothing can be due yet", 0, 0)
	now = now.Add(retention - 47*time.Hour)
	before, _ := s.Head(t.Context(), 0)
	round("the first are due", 5+4*early+1, early+1)
	if left, _, err := s.Tail(t.Context(), 0, 0, 1, 1); err != nil || left[0].Offset != early+1 {
		t.Errorf("the first event that is left is %+v, %v", left[0], err)
	}
	round("they are gone", 2, 0)
	now = now.Add(49 * time.Hour)
	// The control: whoever has something due is visited, however many they are.
	round("control: all others are due", 4*companies+10, companies-early)
	left, _, err := s.Tail(t.Context(), 0, 0, 10, 1000)
	if err != nil || before != companies+1 || len(left) != 1 {
		t.Errorf("%d of %d events are left, want the last of the log: %v", len(left), before, err)
	}
}
