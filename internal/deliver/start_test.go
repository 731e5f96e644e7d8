package deliver

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// countedStore counts the events that an engine reads of the log. With unswept set, no low-water
// mark is ever written.
type countedStore struct {
	Store
	read    *atomic.Int64
	unswept bool
}

func (s countedStore) Tail(ctx context.Context, p hook.Partition, after hook.Offset, limit, bytes int) ([]*hook.Event, int64, error) {
	events, version, err := s.Store.Tail(ctx, p, after, limit, bytes)
	s.read.Add(int64(len(events)))
	return events, version, err
}

func (s countedStore) Backlog(ctx context.Context, c hook.CompanyKey, after, upTo hook.Offset, limit int) ([]store.Ref, error) {
	refs, err := s.Store.Backlog(ctx, c, after, upTo, limit)
	s.read.Add(int64(len(refs)))
	return refs, err
}

func (s countedStore) Record(ctx context.Context, r *store.Record) (store.Recorded, error) {
	if s.unswept {
		r.Swept = nil
	}
	return s.Store.Record(ctx, r)
}

// A webhook that nothing happens for, beside a company's many events: a start does not read what it
// did not match, and the first event that it does match arrives at once.
func TestQuietWebhookCostsNoStart(t *testing.T) {
	run := func(t *testing.T, unswept bool) (read int64, took time.Duration) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			var count atomic.Int64
			w.config = func(c *Config) { c.Store = countedStore{w.store, &count, unswept} }
			w.start()
			w.webhook(func(h *hook.Webhook) { h.MaxConcurrency, h.Topics = 100, []string{"conversation"} })
			w.webhook(func(h *hook.Webhook) { h.Topics = []string{"customer"} })
			w.publish(backlogOf, nil)
			w.settle("the others' events", time.Hour, func() bool { return w.delivered() == backlogOf })
			time.Sleep(5 * time.Second)
			count.Store(0)
			w.kill()
			began := time.Now()
			w.publishOf("customer", 1)
			w.settle("its own", time.Minute, func() bool { return w.delivered() == backlogOf+1 })
			read, took = count.Load(), time.Since(began)
			w.balanced()
		})
		return read, took
	}
	if read, took := run(t, false); read > 10 || took > time.Second {
		t.Errorf("after %d events that it did not match, %d were read at the start, and its own took %s", backlogOf, read, took)
	}
	if read, _ := run(t, true); read < backlogOf {
		t.Errorf("control: without a low-water mark %d of %d events were read", read, backlogOf)
	}
}

// A limit counts on while its webhook has nothing to do.
func TestRateLimitOutlastsIdleness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.webhook(func(h *hook.Webhook) { h.RateLimit = 0.01 })
		w.publish(1, nil)
		w.settle("the first", time.Minute, func() bool { return w.delivered() == 1 })
		time.Sleep(90 * time.Second)
		w.publish(1, nil)
		w.settle("the second", 2*time.Minute, func() bool { return w.delivered() == 2 })
		got := w.sender.received()
		if gap := got[1].at.Sub(got[0].at); gap < 99*time.Second {
			t.Errorf("the second came after %s, the limit is one in 100 s", gap)
		}
		w.balanced()
	})
}
