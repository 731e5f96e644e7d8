package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// appendGapless: whoever appends at the same time, offsets are 1, 2, 3 …, and a batch stays together
// in its order.
func appendGapless(f *fixture) {
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				var batch []*hook.Event
				for k := range 1 + (i+j)%5 {
					batch = append(batch, f.event(fmt.Sprintf("e-%d-%d-%d", i, j, k), "conversation", "", `{}`))
				}
				b, err := f.Append(f.ctx, f.company.Partition, batch)
				if err != nil {
					f.Error(err)
					return
				}
				for k, a := range b.Appended {
					if a.Event.Offset != b.Appended[0].Event.Offset+hook.Offset(k) {
						f.Errorf("batch %v is torn apart", b.Appended)
					}
				}
			}
		})
	}
	wg.Wait()
	events, _, err := f.Tail(f.ctx, f.company.Partition, 0, 10_000, 1<<30)
	f.must(err)
	for i, e := range events {
		equal(f, "offset", e.Offset, hook.Offset(i+1))
	}
	equal(f, "head", f.head(), hook.Offset(len(events)))
}

// appendDuplicates: an id is appended once, whoever brings it again, in a batch, beside others or
// later.
func appendDuplicates(f *fixture) {
	e := func() *hook.Event { return f.event("e1", "conversation", "7", `{"id":7}`) }
	b, err := f.Append(f.ctx, f.company.Partition, []*hook.Event{e(), f.event("e2", "customer", "", `{}`), e()})
	f.must(err)
	equal(f, "duplicates", []bool{b.Appended[0].Duplicate, b.Appended[1].Duplicate, b.Appended[2].Duplicate}, []bool{false, false, true})
	equal(f, "the duplicate's offset", b.Appended[2].Event.Offset, b.Appended[0].Event.Offset)

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			b, err := f.Append(f.ctx, f.company.Partition, []*hook.Event{e()})
			if err != nil || !b.Appended[0].Duplicate || b.Appended[0].Event.Offset != 1 {
				f.Errorf("%+v, %v", b, err)
			}
		})
	}
	wg.Wait()
	other, err := f.EnsureCompany(f.ctx, "c2")
	f.must(err)
	foreign := e()
	foreign.Company = other.Key
	b, err = f.Append(f.ctx, other.Partition, []*hook.Event{foreign})
	f.must(err)
	equal(f, "the id in another company is a duplicate", b.Appended[0].Duplicate, false)
	want := hook.Offset(2)
	if other.Partition == f.company.Partition {
		want = 3
	}
	equal(f, "head", f.head(), want)
}

// appendAllOrNothing: one conflict refuses its batch, and nobody else's.
func appendAllOrNothing(f *fixture) {
	f.publish(f.event("e1", "conversation", "", `{"n":1}`))
	b, err := f.Append(f.ctx, f.company.Partition, []*hook.Event{f.event("e2", "conversation", "", `{}`), f.event("e1", "conversation", "", `{"n":2}`)})
	f.must(err)
	if !b.Appended[1].Conflict {
		f.Errorf("%+v is no conflict", b.Appended[1])
	}
	b, err = f.Append(f.ctx, f.company.Partition, []*hook.Event{f.event("e3", "conversation", "", `{}`), f.event("e3", "customer", "", `{}`)})
	f.must(err)
	if !b.Appended[1].Conflict {
		f.Errorf("%+v does not conflict with its own batch", b.Appended[1])
	}
	equal(f, "head", f.head(), 1)
	equal(f, "the next offset", f.publish(f.event("e2", "conversation", "", `{}`))[0], 2)
}

// appendSurvivesCancelledNeighbour: a caller who gives up takes nobody with him.
func appendSurvivesCancelledNeighbour(f *fixture) {
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(f.ctx)
			stop := context.AfterFunc(ctx, func() {})
			defer stop()
			go cancel()
			_, _ = f.EnsureCompany(ctx, fmt.Sprintf("x%d", i)) // may well fail
		})
		wg.Go(func() {
			if _, err := f.Append(f.ctx, f.company.Partition, []*hook.Event{f.event(fmt.Sprintf("e%d", i), "conversation", "", `{}`)}); err != nil {
				f.Error(err)
			}
		})
	}
	wg.Wait()
	equal(f, "head", f.head(), 40)
}

// outcomesOfStalledCommits: a caller who gives up before the writer begins has done nothing; after
// that the outcome is unknown, and the same id finds it out.
func outcomesOfStalledCommits(f *fixture) {
	stalled, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.OnAppend(func(hook.Partition, []*hook.Event, int64) {
		once.Do(func() {
			close(stalled)
			<-resume
		})
	})
	appendOne := func(ctx context.Context, id string) error {
		_, err := f.Append(ctx, f.company.Partition, []*hook.Event{f.event(id, "conversation", "", `{}`)})
		return err
	}
	ctx, cancel := context.WithCancel(f.ctx)
	first := make(chan error)
	go func() { first <- appendOne(ctx, "e1") }()
	<-stalled
	cancel()
	f.refused(<-first, hook.KindUnavailable, "outcome_unknown")
	f.refused(appendOne(ctx, "e2"), hook.KindUnavailable, "store_busy")
	close(resume)
	b, err := f.Append(f.ctx, f.company.Partition, []*hook.Event{f.event("e1", "conversation", "", `{}`), f.event("e2", "conversation", "", `{}`)})
	f.must(err)
	equal(f, "duplicates", []bool{b.Appended[0].Duplicate, b.Appended[1].Duplicate}, []bool{true, false})
}

// closedStoreRefuses whoever comes late, instead of letting him wait.
func closedStoreRefuses(f *fixture) {
	f.must(f.Close())
	_, err := f.Append(f.ctx, f.company.Partition, []*hook.Event{f.event("e1", "conversation", "", `{}`)})
	f.refused(err, hook.KindUnavailable, "store_closed")
	f.refused(f.Ping(f.ctx), hook.KindUnavailable, "store_closed")
	f.Store = nil
	f.reopen()
}

func acceptedAtNeverGoesBack(f *fixture) {
	f.publishN("a", "conversation", 1)
	f.advance(-time.Hour)
	f.publishN("b", "conversation", 1)
	f.reopen()
	f.publishN("c", "conversation", 1)
	events, _, err := f.Tail(f.ctx, f.company.Partition, 0, 10, 1<<20)
	f.must(err)
	if !slices.IsSortedFunc(events, func(a, b *hook.Event) int { return a.AcceptedAt.Compare(b.AcceptedAt) }) {
		f.Errorf("%v, %v, %v", events[0].AcceptedAt, events[1].AcceptedAt, events[2].AcceptedAt)
	}
}

func tailReadsWithinLimits(f *fixture) {
	for i := range 5 {
		f.publish(f.event(fmt.Sprint("e", i), "conversation", "7", `"`+fmt.Sprintf("%0100d", i)+`"`))
	}
	for _, x := range []struct {
		after           hook.Offset
		limit, maxBytes int
		want            int
	}{{0, 10, 1 << 20, 5}, {3, 10, 1 << 20, 2}, {0, 2, 1 << 20, 2}, {0, 10, 1, 1}, {0, 10, 150, 2}, {5, 10, 1 << 20, 0}} {
		events, _, err := f.Tail(f.ctx, f.company.Partition, x.after, x.limit, x.maxBytes)
		f.must(err)
		equal(f, fmt.Sprintf("%+v", x), len(events), x.want)
	}
	refs, err := f.Backlog(f.ctx, f.company.Key, 1, 4, 10)
	f.must(err)
	equal(f, "backlog", refs, []store.Ref{
		{Offset: 2, Topic: "conversation", ObjectKey: "CONVERSATION:7"},
		{Offset: 3, Topic: "conversation", ObjectKey: "CONVERSATION:7"},
		{Offset: 4, Topic: "conversation", ObjectKey: "CONVERSATION:7"},
	})
	events, err := f.Events(f.ctx, f.company.Partition, []hook.Offset{4, 99, 2})
	f.must(err)
	equal(f, "events", []string{events[0].ID, events[1].ID}, []string{"e3", "e1"})
}

func notifiesInOrder(f *fixture) {
	var mu sync.Mutex
	var offsets []hook.Offset
	var versions []int64
	f.OnAppend(func(p hook.Partition, events []*hook.Event, version int64) {
		equal(f, "partition", p, f.company.Partition)
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			offsets = append(offsets, e.Offset)
		}
		versions = append(versions, version)
	})
	f.publishN("e", "conversation", 3)
	f.subscribe("*")
	f.publishN("f", "conversation", 2)
	mu.Lock()
	defer mu.Unlock()
	equal(f, "offsets", offsets, []hook.Offset{1, 2, 3, 4, 5})
	equal(f, "configuration versions", versions, []int64{0, 1, 1})
}

// changesAreKept: what an event changed is read wherever its data is, and an attempt remembers whether its body
// said so.
func changesAreKept(f *fixture) {
	w := f.subscribe("conversation")
	with, without := f.event("e1", "conversation", "1", `{"id":1}`), f.event("e2", "conversation", "1", `{"id":1}`)
	with.Changes = []byte(`{"/a":{"old":1,"new":null}}`)
	offsets := f.publish(with, without)
	f.reopen()
	fed, err := f.Feed(f.ctx, w.Key, 0, 10)
	f.must(err)
	one, err := f.Event(f.ctx, f.company.Key, "e1")
	f.must(err)
	equal(f, "changes", []string{string(fed[0].Event.Changes), string(fed[1].Event.Changes), string(one.Changes)}, []string{string(with.Changes), "", string(with.Changes)})
	equal(f, "none is none", fed[1].Event.Changes == nil, true)
	said := f.attempt(w, offsets[0], 1, 1, hook.OutcomeDelivered)
	said.Changes = true
	f.record(store.Record{
		Items:   []store.Item{{Attempt: said}, {Attempt: f.attempt(w, offsets[1], 1, 2, hook.OutcomeDelivered)}},
		Cursors: []store.CursorMove{move(w, offsets[1], 2, 2, 0, 0)},
	})
	for id, want := range map[string]bool{"e1": true, "e2": false} {
		d, err := f.Delivery(f.ctx, w.Key, id)
		f.must(err)
		equal(f, id, []any{d.History[0].Changes, d.History[0].Format}, []any{want, hook.DataString})
	}
}
