package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

var testTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Benchmarks wait for the disk as production does.
func openBench(b *testing.B) (*store.Store, *store.Company) {
	s, err := store.OpenSQLite(b.Context(), store.Options{Dir: b.TempDir(), MasterKey: make([]byte, 32)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	c, err := s.EnsureCompany(b.Context(), "c1")
	if err != nil {
		b.Fatal(err)
	}
	return s, c
}

var benchData = []byte(`{"id":"cnv_1","status":"OPEN","tags":["refund","vip"],"customer":{"name":"Jos\u00e9"},"text":"hello, my order has not arrived yet"}`)

func benchEvent(c *store.Company) *hook.Event {
	return &hook.Event{
		ID: hook.NewID(hook.EventPrefix, testTime), FreshID: true, Company: c.Key, Topic: "conversation.status",
		ObjectKey: "CONVERSATION:cnv_1", Data: benchData, Digest: hook.EventDigest("conversation.status", "", benchData),
	}
}

// BenchmarkAppend shows what an event costs: posted by one caller, by many at once, and in batches.
func BenchmarkAppend(b *testing.B) {
	b.Run("one caller", func(b *testing.B) {
		s, c := openBench(b)
		for b.Loop() {
			if _, err := s.Append(b.Context(), c.Partition, []*hook.Event{benchEvent(c)}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64 callers", func(b *testing.B) {
		s, c := openBench(b)
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Append(b.Context(), c.Partition, []*hook.Event{benchEvent(c)}); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("batch of 100", func(b *testing.B) {
		s, c := openBench(b)
		batch := make([]*hook.Event, 100)
		for b.Loop() {
			for i := range batch {
				batch[i] = benchEvent(c)
			}
			if _, err := s.Append(b.Context(), c.Partition, batch); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "µs/event")
	})
}

// BenchmarkRecord is a hundred successes in one commit.
func BenchmarkRecord(b *testing.B) {
	s, c := openBench(b)
	w, err := s.CreateWebhook(b.Context(), hook.Webhook{Company: c.Key, Endpoint: "https://example.com", Topics: []string{"*"}}, nil, store.Audit{})
	if err != nil {
		b.Fatal(err)
	}
	next := hook.Offset(0)
	r := store.Record{Items: make([]store.Item, 100), At: testTime}
	for b.Loop() {
		for i := range r.Items {
			next++
			r.Items[i].Attempt = &hook.Attempt{
				Webhook: w.Key, Offset: next, Number: 1, Sequence: int64(next), Kind: hook.Live, Counted: true, TimestampText: "1732363200.123457",
				Format: hook.DataString, StartedAt: testTime, Outcome: hook.OutcomeDelivered, StatusCode: 200,
			}
		}
		r.Cursors = []store.CursorMove{{Webhook: w.Key, Offset: next, Sequence: int64(next), Delivered: 100}}
		if _, err := s.Record(b.Context(), &r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "µs/item")
}

// BenchmarkDeliveries is a page of the deliveries list, and one looked for among many.
func BenchmarkDeliveries(b *testing.B) {
	s, c := openBench(b)
	w, err := s.CreateWebhook(b.Context(), hook.Webhook{Company: c.Key, Endpoint: "https://example.com", Topics: []string{"*"}}, nil, store.Audit{})
	if err != nil {
		b.Fatal(err)
	}
	const all = 20_000
	for i := 0; i < all; i += 1000 {
		batch, r := make([]*hook.Event, 1000), store.Record{At: testTime}
		for j := range batch {
			batch[j] = benchEvent(c)
			r.Items = append(r.Items, store.Item{Attempt: &hook.Attempt{Webhook: w.Key, Offset: hook.Offset(i + j + 1), Number: 1, Sequence: int64(i + j + 1), Kind: hook.Live, Outcome: hook.OutcomeDelivered, StartedAt: testTime}})
		}
		if _, err := s.Append(b.Context(), c.Partition, batch); err != nil {
			b.Fatal(err)
		}
		r.Cursors = []store.CursorMove{{Webhook: w.Key, Offset: hook.Offset(i + 1000), Sequence: int64(i + 1000), Delivered: 1000}}
		if _, err := s.Record(b.Context(), &r); err != nil {
			b.Fatal(err)
		}
	}
	for name, query := range map[string]store.DeliveryQuery{
		"page of 50": {Limit: 50}, "failed, none is": {Limit: 50, Status: hook.Failed}, "another topic": {Limit: 50, Topic: "customer"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := s.Deliveries(b.Context(), w.Key, query); err != nil {
					b.Fatal(fmt.Errorf("list: %w", err))
				}
			}
		})
	}
}
