package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// companies are so many, no two of them in one partition.
func companies(t testing.TB, s *store.Store, n int) (list []*store.Company) {
	t.Helper()
	met := map[hook.Partition]bool{}
	for i := 0; len(list) < n; i++ {
		c, err := s.EnsureCompany(t.Context(), fmt.Sprintf("across%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if !met[c.Partition] {
			met[c.Partition] = true
			list = append(list, c)
		}
	}
	return list
}

// idsOf reads a company's events, and wants no hole in their partition.
func idsOf(t *testing.T, s *store.Store, c *store.Company) (ids []string) {
	t.Helper()
	events, _, err := s.Tail(t.Context(), c.Partition, 0, 100_000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Offset != hook.Offset(i+1) {
			t.Errorf("event %s of partition %d stands at %d, after %d others", e.ID, c.Partition, e.Offset, i)
		}
		if e.Company == c.Key {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// TestPostgresAcross: what spans companies is appended as a whole or not at all, once, beside appends of
// single companies, from two nodes, and while answers to commits get lost.
func TestPostgresAcross(t *testing.T) {
	b := newBroken(t)
	ctx := t.Context()
	list := companies(t, b.store, 5)
	batch := func(name string) (events []*hook.Event) {
		for i, c := range list {
			events = append(events, anEvent(c, fmt.Sprintf("%s-%d", name, i)), anEvent(c, fmt.Sprintf("%s+%d", name, i)))
		}
		return events
	}
	told := map[hook.Partition]int{}
	var mu sync.Mutex
	b.store.OnAppend(func(p hook.Partition, events []*hook.Event, _ int64) {
		mu.Lock()
		defer mu.Unlock()
		told[p] += len(events)
	})
	const batches = 12
	b.way.cutNext(4, "COMMIT")
	var all sync.WaitGroup
	for i := range batches {
		for _, s := range []*store.Store{b.store, b.direct} { // each twice: the second finds the first one's
			all.Go(func() {
				events := batch(fmt.Sprintf("b%d", i))
				got, err := s.AppendAcross(ctx, events)
				if err != nil {
					t.Error(err)
					return
				}
				for j, a := range got.Appended {
					if a.Conflict || a.Event.ID != events[j].ID || a.Event.Offset == 0 || a.Event.Partition != events[j].Partition {
						t.Errorf("%s: %+v", events[j].ID, a)
					}
				}
			})
		}
		all.Go(func() {
			c := list[i%len(list)]
			if _, err := b.store.Append(ctx, c.Partition, []*hook.Event{anEvent(c, fmt.Sprintf("alone%d", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// The other node may have been first with each of them: one that this node surely commits.
	if _, err := b.store.AppendAcross(ctx, batch("own")); err != nil {
		t.Error(err)
	}
	if b.way.lost() < 4 {
		t.Errorf("%d answers were lost: the test proves nothing", b.way.lost())
	}
	ids := map[string]int{}
	for _, c := range list {
		for _, id := range idsOf(t, b.direct, c) {
			ids[id]++
			if ids[id] > 1 {
				t.Errorf("%s is there %d times", id, ids[id])
			}
		}
	}
	if want := (batches+1)*2*len(list) + batches; len(ids) != want {
		t.Errorf("%d events instead of %d", len(ids), want)
	}
	mu.Lock()
	if len(told) != len(list) {
		t.Errorf("the engine heard of %d partitions", len(told))
	}
	mu.Unlock()

	// One event clashes: nothing of the batch is there. Both orders of partitions.
	for _, at := range []int{0, 2 * (len(list) - 1)} {
		events := batch(fmt.Sprintf("clash%d", at))
		other := *events[at]
		other.Digest = hook.EventDigest("conversation", "", []byte(`{"other":1}`))
		if _, err := b.direct.Append(ctx, other.Partition, []*hook.Event{&other}); err != nil {
			t.Fatal(err)
		}
		got, err := b.store.AppendAcross(ctx, events)
		if err != nil || !got.Appended[at].Conflict {
			t.Fatalf("%+v, %v", got, err)
		}
		for i, c := range list {
			for _, id := range idsOf(t, b.direct, c) {
				if id == events[2*i].ID && 2*i != at || id == events[2*i+1].ID {
					t.Errorf("%s was appended although %s clashes", id, events[at].ID)
				}
			}
		}
	}
}

// TestPostgresAcrossControl: one partition after another leaves a half behind.
func TestPostgresAcrossControl(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, database(t)+"&pool_max_conns=4")
	list := companies(t, s, 2)
	taken := anEvent(list[1], "x")
	taken.Digest = hook.EventDigest("conversation", "", []byte(`{"other":1}`))
	if _, err := s.Append(t.Context(), list[1].Partition, []*hook.Event{taken}); err != nil {
		t.Fatal(err)
	}
	for i, c := range list {
		got, err := s.Append(t.Context(), c.Partition, []*hook.Event{anEvent(c, "x")})
		if err != nil || got.Appended[0].Conflict != (i == 1) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if ids := idsOf(t, s, list[0]); len(ids) != 1 {
		t.Error("no half was left: the test proves nothing")
	}
}

// BenchmarkPostgresAcross is what batches of five companies cost: beside them a company appends alone. The
// first line is that company without them.
func BenchmarkPostgresAcross(b *testing.B) {
	for _, spanning := range []int{0, 1, 4} {
		b.Run(fmt.Sprint(spanning), func(b *testing.B) {
			s, err := store.OpenPostgres(b.Context(), store.Options{DatabaseURL: database(b), MasterKey: []byte("0123456789abcdef0123456789abcdef")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			list := companies(b, s, 5)
			stop := make(chan struct{})
			var all sync.WaitGroup
			batches := make([]int, spanning)
			for n := range spanning {
				all.Go(func() {
					for ; ; batches[n]++ {
						var events []*hook.Event
						for i, c := range list {
							events = append(events, anEvent(c, fmt.Sprintf("s%d-%d-%d", n, batches[n], i)))
						}
						if _, err := s.AppendAcross(b.Context(), events); err != nil {
							b.Error(err)
						}
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			b.ResetTimer()
			begun := time.Now()
			var singles sync.WaitGroup
			for w := range 8 {
				singles.Go(func() {
					for i := w; i < b.N; i += 8 {
						if _, err := s.Append(b.Context(), list[0].Partition, []*hook.Event{anEvent(list[0], fmt.Sprintf("a%d", i))}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			singles.Wait()
			took := time.Since(begun)
			close(stop)
			all.Wait()
			sum := 0
			for _, n := range batches {
				sum += n
			}
			b.ReportMetric(float64(b.N)/took.Seconds(), "events/s")
			b.ReportMetric(float64(sum)/took.Seconds(), "batches/s")
		})
	}
}
