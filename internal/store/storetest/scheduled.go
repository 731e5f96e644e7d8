package storetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// later makes an event that is to enter the log so long from now.
func (f *fixture) later(id string, d time.Duration) *hook.Event {
	e := f.event(id, "conversation", id, `{"id":"`+id+`"}`)
	at := hook.Now(f.clock().Add(d))
	e.DeliverAt = &at
	return e
}

func (f *fixture) schedule(events ...*hook.Event) store.Batch {
	f.Helper()
	b, err := f.Schedule(f.ctx, events)
	f.must(err)
	return b
}

// enter lets everything into the log that is due.
func (f *fixture) enter() (n int) {
	f.Helper()
	waits, err := f.NextScheduled(f.ctx)
	f.must(err)
	for p, left := range waits {
		for left <= 0 {
			moved, err := f.EnterStep(f.ctx, p, 2)
			f.must(err)
			if n += moved; moved == 0 {
				break
			}
		}
	}
	return n
}

// tail is the ids of the fixture's partition, as its log has them.
func (f *fixture) tail() (ids string) {
	f.Helper()
	events, _, err := f.Tail(f.ctx, f.company.Partition, 0, 1000, 1<<20)
	f.must(err)
	for i, e := range events {
		if e.Offset != events[0].Offset+hook.Offset(i) || i > 0 && e.AcceptedAt.Before(events[i-1].AcceptedAt) {
			f.Fatalf("offset %d of %s, accepted at %s, follows %+v", e.Offset, e.ID, e.AcceptedAt, events[max(i-1, 0)])
		}
		ids += fmt.Sprintf("%s ", e.ID)
	}
	return ids
}

// scheduledEnter: an event is not in the log before its time, and then it is, in the order of their times and,
// where these are the same, of the batch; who listens hears of it, as of any append.
func scheduledEnter(f *fixture) {
	var heard strings.Builder
	f.OnAppend(func(_ hook.Partition, events []*hook.Event, _ int64) {
		for _, e := range events {
			fmt.Fprintf(&heard, "%s:%d ", e.ID, e.Offset)
		}
	})
	expires := hook.Now(f.clock().Add(3 * time.Hour))
	last := f.later("z1", 2*time.Hour)
	last.ExpiresAt = &expires
	b := f.schedule(last, f.event("now", "conversation", "", `{}`), f.later("y2", time.Hour), f.later("x3", time.Hour))
	equal(f, "offset of what waits", b.Appended[0].Event.Offset, 0)
	equal(f, "the log before", f.tail(), "now ")
	list, more, err := f.Scheduled(f.ctx, f.company.Key, store.EventFilter{}, false, store.ScheduledAt{}, 2)
	f.must(err)
	equal(f, "listed", fmt.Sprint(list[0].ID, list[1].ID, more), "x3y2true")
	list, more, err = f.Scheduled(f.ctx, f.company.Key, store.EventFilter{}, false, store.ScheduledAt{DeliverAt: *list[1].DeliverAt, ID: list[1].ID}, 2)
	f.must(err)
	equal(f, "listed next", fmt.Sprint(list[0].ID, len(list), more, *list[0].ExpiresAt), "z11 false "+expires.String())
	equal(f, "entered too early", f.enter(), 0)

	f.advance(time.Hour)
	f.reopen()
	f.OnAppend(func(_ hook.Partition, events []*hook.Event, _ int64) {
		for _, e := range events {
			fmt.Fprintf(&heard, "%s:%d ", e.ID, e.Offset)
		}
	})
	equal(f, "entered", f.enter(), 2)
	equal(f, "the log", f.tail(), "now y2 x3 ")
	f.publish(f.event("after", "conversation", "", `{}`))
	f.advance(time.Hour)
	equal(f, "entered", f.enter(), 1)
	equal(f, "the log", f.tail(), "now y2 x3 after z1 ")
	equal(f, "heard", heard.String(), "now:1 y2:2 x3:3 after:4 z1:5 ")
	e, err := f.Event(f.ctx, f.company.Key, "z1")
	f.must(err)
	equal(f, "expires", *e.ExpiresAt, expires)
	equal(f, "accepted", e.AcceptedAt, hook.Now(f.clock()))
	n, err := f.CountScheduled(f.ctx, 0, 10)
	f.must(err)
	equal(f, "waiting", n, 0)
}

// scheduledIdsAreTaken: from its acceptance on, wherever the event is, and whichever way it is published again.
func scheduledIdsAreTaken(f *fixture) {
	f.schedule(f.later("a", time.Hour))
	again, other := f.later("a", 2*time.Hour), f.later("a", time.Hour)
	other.Digest[0]++
	for _, publish := range []func(...*hook.Event) (store.Batch, error){
		func(e ...*hook.Event) (store.Batch, error) { return f.Schedule(f.ctx, e) },
		func(e ...*hook.Event) (store.Batch, error) { return f.Append(f.ctx, f.company.Partition, e) },
		func(e ...*hook.Event) (store.Batch, error) { return f.AppendAcross(f.ctx, e) },
	} {
		copied := *again
		b, err := publish(&copied, f.event("neighbour", "conversation", "", `{}`))
		f.must(err)
		equal(f, "duplicate", b.Appended[0].Duplicate, true)
		equal(f, "its time", *b.Appended[0].Event.DeliverAt, hook.Now(f.clock().Add(time.Hour)))
		copied = *other
		b, err = publish(&copied, f.event("with-a-conflict", "conversation", "", `{}`))
		f.must(err)
		equal(f, "conflict", b.Appended[0].Conflict, true)
	}
	equal(f, "the log", f.tail(), "neighbour ")
	f.advance(time.Hour)
	f.enter()
	b := f.schedule(again)
	equal(f, "duplicate in the log", fmt.Sprint(b.Appended[0].Duplicate, b.Appended[0].Event.Offset), "true 2")
	twice := f.schedule(f.later("t", time.Hour), f.later("t", time.Hour))
	equal(f, "twice in a batch", fmt.Sprint(twice.Appended[0].Duplicate, twice.Appended[1].Duplicate), "false true")
}

func scheduledAcrossPartitions(f *fixture) {
	var events []*hook.Event
	for i := range 5 {
		c, err := f.EnsureCompany(f.ctx, fmt.Sprintf("other%d", i))
		f.must(err)
		e := f.later("e", time.Minute)
		if i == 4 {
			e.DeliverAt = nil
		}
		e.Company, e.CompanyID, e.Partition = c.Key, c.ID, c.Partition
		events = append(events, e)
	}
	f.schedule(events...)
	f.advance(time.Minute)
	equal(f, "entered", f.enter(), 4)
	for _, e := range events {
		found, err := f.Event(f.ctx, e.Company, "e")
		f.must(err)
		equal(f, "in the log", found.Offset > 0, true)
	}
}

// scheduledEnterOnce: however many are at it.
func scheduledEnterOnce(f *fixture) {
	var events []*hook.Event
	for i := range 100 {
		events = append(events, f.later(fmt.Sprintf("e%02d", i), time.Minute))
	}
	f.schedule(events...)
	f.advance(time.Minute)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for {
				if n, err := f.EnterStep(f.ctx, f.company.Partition, 7); err != nil || n == 0 {
					return
				}
			}
		})
	}
	wait.Wait()
	var want strings.Builder
	for _, e := range events {
		want.WriteString(e.ID + " ")
	}
	equal(f, "the log", f.tail(), want.String())
}

func scheduledAreCapped(f *fixture) {
	f.opt.Caps = store.Caps{Scheduled: 2}
	f.reopen()
	_, err := f.Schedule(f.ctx, []*hook.Event{f.event("with", "conversation", "", `{}`), f.later("a", time.Hour), f.later("b", time.Hour), f.later("c", time.Hour)})
	f.refused(err, hook.KindConflict, "too_many_scheduled")
	equal(f, "the log", f.tail(), "")
	f.schedule(f.later("a", time.Hour), f.later("b", time.Hour))
	f.schedule(f.later("a", time.Hour)) // a duplicate is no other
	_, err = f.CancelScheduled(f.ctx, f.company.Key, "a", audit)
	f.must(err)
	f.schedule(f.later("c", time.Hour))
}

// scheduledAreCancelled: what is cancelled never enters the log, and its id stays taken until it is as old as
// an event that is purged.
func scheduledAreCancelled(f *fixture) {
	f.schedule(f.later("a", time.Hour), f.later("b", time.Hour))
	for range 2 {
		done, err := f.CancelScheduled(f.ctx, f.company.Key, "a", audit)
		f.must(err)
		equal(f, "cancelled", done, true)
	}
	done, err := f.CancelScheduled(f.ctx, f.company.Key, "nothing", audit)
	f.must(err)
	equal(f, "what is not there", done, false)
	entries, _, err := f.AuditLog(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "audit", fmt.Sprint(len(entries), entries[0].Object), "1a")
	f.advance(time.Hour)
	equal(f, "entered", f.enter(), 1)
	equal(f, "the log", f.tail(), "b ")
	done, err = f.CancelScheduled(f.ctx, f.company.Key, "b", audit)
	f.must(err)
	equal(f, "what is in the log", done, false)
	b := f.schedule(f.later("a", time.Hour))
	equal(f, "published again", fmt.Sprint(b.Appended[0].Duplicate, b.Appended[0].Event.CancelledAt != nil), "true true")
	list, _, err := f.Scheduled(f.ctx, f.company.Key, store.EventFilter{ObjectID: "a", Topic: "conversation"}, true, store.ScheduledAt{}, 10)
	f.must(err)
	equal(f, "listed", len(list), 1)
	n, err := f.PurgeScheduledStep(f.ctx, f.clock(), 10)
	f.must(err)
	equal(f, "purged", n, 1)
}

// cancelledInTheLog: webhooks that have yet to pass the event skip it, the counters hold, and an attempt that
// was recorded forbids it.
func cancelledInTheLog(f *fixture) {
	w := f.subscribe("conversation")
	o := f.publishN("e", "conversation", 3)
	due := f.clock().Add(time.Hour)
	f.record(store.Record{Items: []store.Item{{Attempt: f.attempt(w, o[0], 1, 1, hook.OutcomeRetry), Park: f.park(w, o[0], 1, &due)}}})
	f.refused(f.CancelEvent(f.ctx, "", f.company.Key, "e1", audit), hook.KindConflict, "already_delivered")
	f.refused(f.CancelEvent(f.ctx, "", f.company.Key, "none", audit), hook.KindNotFound, "not_found")
	for range 2 {
		f.must(f.CancelEvent(f.ctx, "", f.company.Key, "e2", audit))
	}
	places, _, _, err := f.Places(f.ctx, f.company.Partition, -1, 10)
	f.must(err)
	equal(f, "skips", places[0].Skips, []store.SkipRange{{From: o[1], To: o[1], Reason: store.ReasonCancelled}})
	f.record(store.Record{
		Items:   []store.Item{{Attempt: f.attempt(w, o[2], 1, 3, hook.OutcomeDelivered)}},
		Cursors: []store.CursorMove{move(w, o[2], 3, 1, 0, 1)},
	})
	list, _, err := f.Deliveries(f.ctx, w.Key, store.DeliveryQuery{Status: hook.Skipped, Limit: 10})
	f.must(err)
	equal(f, "deliveries", fmt.Sprint(len(list), list[0].EventID, list[0].Reason), "1e2cancelled")
	balances, _, err := f.Conservation(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "balanced", balances[0].Balanced, true)
	r, err := f.Recount(f.ctx, w.Key)
	f.must(err)
	equal(f, "recounted", fmt.Sprint(r.Balanced, r.Unexplained), "true 0")
	_, err = f.RequestRetry(f.ctx, w.Key, "e2", audit)
	f.refused(err, hook.KindConflict, "event_cancelled")
	equal(f, "replayed", f.work(w, store.NewReplay{From: f.clock().Add(-time.Hour), Covers: store.CoversAll}, 10), "1:1:1 3:3:1 ")
	e, err := f.Event(f.ctx, f.company.Key, "e2")
	f.must(err)
	equal(f, "shown", e.CancelledAt != nil, true)
}

// cancelledAreSkippedLater by a webhook that begins before the event.
func cancelledAreSkippedLater(f *fixture) {
	from := f.clock()
	o := f.publishN("e", "conversation", 2)
	f.must(f.CancelEvent(f.ctx, "", f.company.Key, "e1", audit))
	_, err := f.CreateWebhook(f.ctx, settings(f, "conversation"), &from, audit)
	f.must(err)
	places, _, _, err := f.Places(f.ctx, f.company.Partition, -1, 10)
	f.must(err)
	equal(f, "skips", places[0].Skips, []store.SkipRange{{From: o[0], To: o[0], Reason: store.ReasonCancelled}})
}

// skipsAreRecorded: what was given up before any attempt leaves a trace.
func skipsAreRecorded(f *fixture) {
	w := f.subscribe("conversation")
	o := f.publishN("e", "conversation", 2)
	skip := &store.Skip{Webhook: w.Key, Offset: o[0], Reason: store.ReasonExpired}
	for range 2 {
		f.record(store.Record{Items: []store.Item{{Skip: skip}}})
	}
	f.record(store.Record{Cursors: []store.CursorMove{move(w, o[0], 1, 0, 0, 1)}})
	list, _, err := f.Deliveries(f.ctx, w.Key, store.DeliveryQuery{Status: hook.Skipped, Limit: 10})
	f.must(err)
	equal(f, "deliveries", fmt.Sprint(len(list), list[0].EventID, list[0].Reason), "1e1expired")
	r, err := f.Recount(f.ctx, w.Key)
	f.must(err)
	equal(f, "recounted", fmt.Sprint(r.Balanced, r.Unexplained), "true 0")
}
