package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func eventsAreListed(f *fixture) {
	first := f.clock()
	f.publish(f.event("e1", "conversation", "7", `1`), f.event("e2", "customer", "7", `2`), f.event("e3", "conversation.tags", "7", `3`))
	second := f.advance(time.Hour)
	f.publish(f.event("e4", "conversation", "8", `4`), f.event("e5", "conversation", "7", `5`))
	other, err := f.EnsureCompany(f.ctx, "c2")
	f.must(err)
	foreign := f.event("e6", "conversation", "7", `6`)
	foreign.Company = other.Key
	f.publish(foreign)
	for _, x := range []struct {
		filter store.EventFilter
		before hook.Offset
		limit  int
		want   string
		more   hook.Offset
	}{
		{store.EventFilter{}, 0, 10, "e5 e4 e3 e2 e1 ", 0},
		{store.EventFilter{}, 0, 2, "e5 e4 ", 4},
		{store.EventFilter{}, 4, 3, "e3 e2 e1 ", 0},
		{store.EventFilter{Topic: "conversation"}, 0, 2, "e5 e4 ", 4},
		{store.EventFilter{Topic: "conversation"}, 4, 2, "e1 ", 0},
		{store.EventFilter{ObjectID: "7"}, 0, 10, "e5 e3 e2 e1 ", 0},
		{store.EventFilter{ObjectID: "7"}, 0, 2, "e5 e3 ", 3},
		{store.EventFilter{ObjectID: "7", Topic: "conversation"}, 0, 10, "e5 e1 ", 0},
		{store.EventFilter{From: &second}, 0, 10, "e5 e4 ", 0},
		{store.EventFilter{To: &second}, 0, 10, "e3 e2 e1 ", 0},
		{store.EventFilter{From: &first, To: &first}, 0, 10, "", 0},
	} {
		list, more, err := f.EventsPage(f.ctx, f.company.Key, x.filter, x.before, x.limit)
		f.must(err)
		var got strings.Builder
		for _, e := range list {
			got.WriteString(e.ID + " ")
			equal(f, "data", string(e.Data), e.ID[1:])
		}
		equal(f, fmt.Sprintf("%+v", x), []any{got.String(), more}, []any{x.want, x.more})
	}
	_, err = f.Event(f.ctx, f.company.Key, "e6")
	f.refused(err, hook.KindNotFound, "event")
}

func offsetsOfTimes(f *fixture) {
	start := f.clock()
	o, err := f.OffsetAt(f.ctx, f.company.Key, start)
	f.must(err)
	equal(f, "in an empty log", o, 1)
	for i := range 50 {
		f.publishN(fmt.Sprintf("e%d-", i), "conversation", 1)
		f.advance(time.Minute)
	}
	for i := range 51 {
		o, err := f.OffsetAt(f.ctx, f.company.Key, start.Add(time.Duration(i)*time.Minute))
		f.must(err)
		equal(f, "offset", o, hook.Offset(i+1))
		o, err = f.OffsetAt(f.ctx, f.company.Key, start.Add(time.Duration(i)*time.Minute-time.Second))
		f.must(err)
		equal(f, "offset a second before", o, hook.Offset(i+1))
	}
}

// scene is a webhook with a delivery in each state.
type scene struct {
	w   *hook.Webhook
	due time.Time
}

func newScene(f *fixture) scene {
	f.publishN("before", "conversation", 1)
	s := scene{w: f.subscribe("conversation"), due: f.clock().Add(time.Minute)}
	f.publishN("e", "conversation", 4) // 2…5 delivered, failed, retrying, held
	f.publishN("other", "customer", 1) // 6
	s.w = f.update(s.w, "", func(w *hook.Webhook) { w.Status = hook.Paused })
	f.publishN("s", "conversation", 2) // 7, 8 skipped; 7 is replayed below
	f.record(store.Record{
		Items: []store.Item{
			{Attempt: f.attempt(s.w, 2, 1, 1, hook.OutcomeRetry)},
			{Attempt: f.attempt(s.w, 2, 2, 1, hook.OutcomeDelivered)},
			{Attempt: f.attempt(s.w, 3, 1, 2, hook.OutcomeFailed)},
			{Attempt: f.attempt(s.w, 4, 1, 3, hook.OutcomeRetry), Park: f.park(s.w, 4, 3, &s.due)},
			{Park: f.park(s.w, 5, 4, nil)},
		},
		Cursors: []store.CursorMove{{Webhook: s.w.Key, Detached: true, Offset: 6, Sequence: 4, Delivered: 1, Failed: 1}},
	})
	s.w = f.update(s.w, store.ResumeNow, func(w *hook.Webhook) { w.Status = hook.Active })
	f.publishN("p", "conversation", 3) // 9 pending, 10 delivered and 11 parked out of order
	f.record(store.Record{
		Items: []store.Item{
			{Attempt: f.attempt(s.w, 10, 1, 8, hook.OutcomeDelivered)},
			{Attempt: f.attempt(s.w, 11, 1, 9, hook.OutcomeRetry), Park: f.park(s.w, 11, 9, &s.due)},
		},
		Cursors: []store.CursorMove{{Webhook: s.w.Key, Detached: true, Offset: 8, Sequence: 6, Delivered: 1, Skipped: 2}},
	})
	return s
}

func (f *fixture) deliveries(w *hook.Webhook, query store.DeliveryQuery) []store.Delivery {
	f.Helper()
	if query.Limit == 0 {
		query.Limit = 250
	}
	var all []store.Delivery
	for {
		list, more, err := f.Deliveries(f.ctx, w.Key, query)
		f.must(err)
		all = append(all, list...)
		if more == 0 {
			return all
		}
		if query.Before != 0 && more >= query.Before {
			f.Fatalf("the page before %d goes on at %d", query.Before, more)
		}
		query.Before = more
	}
}

func describe(list []store.Delivery) (s string) {
	for _, d := range list {
		sequence := int64(0)
		if d.Sequence != nil {
			sequence = *d.Sequence
		}
		s += fmt.Sprintf("%d:%s:%s:%d:%d ", d.Offset, d.Status, d.Reason, sequence, d.Attempts)
	}
	return s
}

// deliveryStatuses derives each from what is there.
func deliveryStatuses(f *fixture) {
	s := newScene(f)
	all := f.deliveries(s.w, store.DeliveryQuery{})
	equal(f, "deliveries", describe(all), "11:retrying:status_5xx:9:1 10:delivered::8:1 9:pending::7:0 8:skipped:resumed_now:0:0 7:skipped:resumed_now:0:0 "+
		"5:held:held:4:0 4:retrying:status_5xx:3:1 3:failed:status_5xx:2:1 2:delivered::1:2 ")
	d := all[6]
	equal(f, "the retrying one", []any{d.EventID, d.Topic, d.ObjectID(), d.LastStatus, d.LastDuration, *d.LastAttemptAt, *d.NextAttemptAt, d.AcceptedAt},
		[]any{"e3", "conversation", "e3", 500, 7 * time.Millisecond, f.clock(), s.due, f.clock()})
	equal(f, "the last attempt of the delivered one", all[8].LastStatus, 200)

	// An attached webhook's place is where its partition was swept to.
	a := f.subscribe("customer")
	o := f.publishN("q", "customer", 1)
	f.deliver(a, 1, o...)
	f.sweep(f.head())
	f.publishN("r", "customer", 1)
	equal(f, "attached", describe(f.deliveries(a, store.DeliveryQuery{})), "13:pending::2:0 12:delivered::1:1 ")
	f.update(a, "", func(w *hook.Webhook) { w.Status = hook.Paused })
	equal(f, "paused", describe(f.deliveries(a, store.DeliveryQuery{Status: hook.Pending})), "13:pending:paused:2:0 ")

	// Expired: attempted, not parked any more, not failed. And what was sent again by hand.
	f.record(store.Record{Items: []store.Item{{Unpark: &store.ParkedKey{Webhook: s.w.Key, Kind: hook.Live, Offset: 4}}}})
	manual := f.attempt(s.w, 3, 2, 2, hook.OutcomeDelivered)
	manual.Kind = hook.Manual
	replayed := f.attempt(s.w, 7, 1, 0, hook.OutcomeDelivered)
	replayed.Kind = hook.Replay
	unmatched := f.attempt(s.w, 1, 1, 0, hook.OutcomeFailed)
	unmatched.Kind = hook.Replay
	again := f.attempt(s.w, 2, 3, 1, hook.OutcomeFailed)
	again.Kind = hook.Manual
	f.record(store.Record{Items: []store.Item{{Attempt: manual}, {Attempt: replayed}, {Attempt: unmatched}, {Attempt: again}}})
	equal(f, "sent again", describe(f.deliveries(s.w, store.DeliveryQuery{Before: 9})), "8:skipped:resumed_now:0:0 7:delivered:replay:0:1 5:held:held:4:0 "+
		"4:skipped:expired:3:1 3:delivered:manual:2:2 2:delivered::1:3 1:failed:status_5xx:0:1 ")
}

func deliveriesByStatus(f *fixture) {
	s := newScene(f)
	all := f.deliveries(s.w, store.DeliveryQuery{})
	for _, status := range []hook.DeliveryStatus{hook.Pending, hook.Retrying, hook.Held, hook.Delivered, hook.Failed, hook.Skipped} {
		var want []store.Delivery
		for _, d := range all {
			if d.Status == status {
				want = append(want, d)
			}
		}
		equal(f, string(status), describe(f.deliveries(s.w, store.DeliveryQuery{Status: status})), describe(want))
	}
	equal(f, "500", describe(f.deliveries(s.w, store.DeliveryQuery{StatusCode: 500})), describe([]store.Delivery{all[0], all[6], all[7]}))
	equal(f, "200", describe(f.deliveries(s.w, store.DeliveryQuery{StatusCode: 200})), describe([]store.Delivery{all[1], all[8]}))
	equal(f, "failed 500", describe(f.deliveries(s.w, store.DeliveryQuery{Status: hook.Failed, StatusCode: 500})), describe(all[7:8]))
	equal(f, "another topic", len(f.deliveries(s.w, store.DeliveryQuery{Topic: "customer"})), 0)
	later := f.clock().Add(time.Second)
	equal(f, "from later on", len(f.deliveries(s.w, store.DeliveryQuery{From: &later})), 0)
	equal(f, "up to later", len(f.deliveries(s.w, store.DeliveryQuery{To: &later})), len(all))
}

func deliveriesPage(f *fixture) {
	s := newScene(f)
	all := describe(f.deliveries(s.w, store.DeliveryQuery{}))
	for limit := 1; limit < 11; limit++ {
		equal(f, fmt.Sprint("pages of ", limit), describe(f.deliveries(s.w, store.DeliveryQuery{Limit: limit})), all)
	}
	_, more, err := f.Deliveries(f.ctx, s.w.Key, store.DeliveryQuery{Limit: 9})
	f.must(err)
	equal(f, "after a page that ends where the list ends", more, 0)
}

func deliveriesByObject(f *fixture) {
	s := newScene(f)
	for id, want := range map[string]string{
		"e1": "2:delivered::1:2 ", "s1": "7:skipped:resumed_now:0:0 ", "p1": "9:pending::7:0 ", "e4": "5:held:held:4:0 ", "before1": "", "other1": "", "none": "",
	} {
		equal(f, id, describe(f.deliveries(s.w, store.DeliveryQuery{ObjectID: id})), want)
		equal(f, id, describe(f.deliveries(s.w, store.DeliveryQuery{ObjectID: id, Topic: "conversation"})), want)
		equal(f, id, describe(f.deliveries(s.w, store.DeliveryQuery{ObjectID: id, Topic: "customer"})), "")
	}
}

// deliverySequences: a single delivery shows its number also where no attempt carries it.
func deliverySequences(f *fixture) {
	s := newScene(f)
	for id, want := range map[string]int64{"e1": 1, "e4": 4, "s1": 5, "s2": 6, "p1": 7, "p2": 8, "p3": 9} {
		d, err := f.Delivery(f.ctx, s.w.Key, id)
		f.must(err)
		equal(f, id, *d.Sequence, want)
	}
	for _, id := range []string{"before1", "other1", "none"} {
		_, err := f.Delivery(f.ctx, s.w.Key, id)
		f.refused(err, hook.KindNotFound, "no such")
	}
}

func deliveryDetail(f *fixture) {
	w := f.subscribe("*")
	f.publish(f.event("e1", "conversation", "7", `{"id":7}`))
	failed, won := f.attempt(w, 1, 1, 1, hook.OutcomeRetry), f.attempt(w, 1, 2, 1, hook.OutcomeDelivered)
	failed.RetryAfter = 0
	f.record(store.Record{
		Items:   []store.Item{{Attempt: failed}, {Attempt: won}},
		Answers: []store.Answer{{Webhook: w.Key, Slot: 1, Offset: 1, Number: 2, Header: []byte("A: b\r\n"), Body: []byte("ok")}},
		Cursors: []store.CursorMove{move(w, 1, 1, 1, 0, 0)},
	})
	d, err := f.Delivery(f.ctx, w.Key, "e1")
	f.must(err)
	won.AnswerHeader, won.AnswerBody = []byte("A: b\r\n"), []byte("ok")
	equal(f, "history", d.History, []hook.Attempt{*failed, *won})
	equal(f, "event", string(d.Event.Data), `{"id":7}`)
	equal(f, "status", d.Status, hook.Delivered)

	var items []store.Item
	for i := range 260 {
		items = append(items, store.Item{Attempt: f.attempt(w, 1, 3+i, 1, hook.OutcomeThrottled)})
	}
	f.record(store.Record{Items: items})
	d, err = f.Delivery(f.ctx, w.Key, "e1")
	f.must(err)
	equal(f, "shown", []any{len(d.History), d.HistoryMore, d.History[249].Number, d.Attempts}, []any{250, true, 262, 262})
}

// deliveriesEndEarly: a page over many events that the webhook does not want, and over one delivery
// with thousands of attempts, ends before its time; the next one goes on, and the list is whole.
func deliveriesEndEarly(f *fixture) {
	w := f.subscribe("customer")
	for i := range 4 {
		f.publishN(fmt.Sprintf("c%d-", i), "customer", 1)
		f.publishN(fmt.Sprintf("x%d-", i), "conversation", 1500)
	}
	list, more, err := f.Deliveries(f.ctx, w.Key, store.DeliveryQuery{Limit: 4})
	f.must(err)
	if len(list) == 4 || more == 0 {
		f.Errorf("%d deliveries, then %d: the page read everything", len(list), more)
	}
	equal(f, "pending", len(f.deliveries(w, store.DeliveryQuery{})), 4)
	equal(f, "pending", len(f.deliveries(w, store.DeliveryQuery{Status: hook.Pending, Limit: 3})), 4)

	r := store.Record{Cursors: []store.CursorMove{move(w, f.head(), 4, 4, 0, 0)}}
	for i := range 4 {
		o := hook.Offset(i*1501 + 1)
		for number := 1; number <= 1300; number++ {
			r.Items = append(r.Items, store.Item{Attempt: f.attempt(w, o, number, int64(i+1), hook.OutcomeRetry)})
		}
		r.Items = append(r.Items, store.Item{Attempt: f.attempt(w, o, 1301, int64(i+1), hook.OutcomeDelivered)})
	}
	f.record(r)
	equal(f, "delivered", len(f.deliveries(w, store.DeliveryQuery{})), 4)
	equal(f, "failed", len(f.deliveries(w, store.DeliveryQuery{Status: hook.Failed})), 0)
}

func retryWishes(f *fixture) {
	s := newScene(f)
	_, err := f.RequestRetry(f.ctx, s.w.Key, "p1", audit)
	f.refused(err, hook.KindConflict, "pending")
	for _, id := range []string{"other1", "none", "before1"} {
		_, err := f.RequestRetry(f.ctx, s.w.Key, id, audit)
		f.refused(err, hook.KindNotFound, "no such")
	}
	_, _, version, err := f.Places(f.ctx, s.w.Partition, -1, 100)
	f.must(err)
	now := f.clock()
	for _, x := range []struct {
		id       string
		kind     hook.Kind
		offset   hook.Offset
		sequence int64
		attempts int
	}{
		{"e3", hook.Live, 4, 3, 1}, {"p3", hook.Live, 11, 9, 1}, // due sooner
		{"e1", hook.Manual, 2, 1, 2}, {"e2", hook.Manual, 3, 2, 1}, {"p2", hook.Manual, 10, 8, 1}, {"s2", hook.Manual, 8, 6, 0},
	} {
		_, err := f.RequestRetry(f.ctx, s.w.Key, x.id, audit)
		f.must(err)
		due, _, err := f.Due(f.ctx, s.w.Partition, store.DuePlace{}, now, 100)
		f.must(err)
		found := false
		for _, p := range due {
			if p.Kind == x.kind && p.Offset == x.offset {
				found = true
				equal(f, x.id, p, hook.Parked{
					Webhook: s.w.Key, Kind: x.kind, Offset: x.offset, Partition: s.w.Partition, Sequence: x.sequence, ObjectKey: p.ObjectKey,
					Attempts: x.attempts, Number: x.attempts, DueAt: &now, ParkedAt: now, Reason: "requested",
				})
			}
		}
		equal(f, x.id+" is due", found, true)
	}
	_, err = f.RequestRetry(f.ctx, s.w.Key, "e1", audit) // twice is once
	f.must(err)
	places, _, _, err := f.Places(f.ctx, s.w.Partition, version, 100)
	f.must(err)
	equal(f, "the engine looks at it again", []any{len(places), places[0].Version}, []any{1, s.w.Version})
	equal(f, "status of what is asked for again", describe(f.deliveries(s.w, store.DeliveryQuery{ObjectID: "e2"})), "3:failed:status_5xx:2:1 ")

	w := f.update(s.w, "", func(w *hook.Webhook) { w.Status = hook.Paused })
	_, err = f.RequestRetry(f.ctx, w.Key, "p1", audit) // pending, and nobody will make it
	f.refused(err, hook.KindConflict, "webhook_inactive")
	w = f.update(w, "", func(w *hook.Webhook) { w.Status = hook.Inactive })
	for _, id := range []string{"e1", "p1"} {
		_, err = f.RequestRetry(f.ctx, w.Key, id, audit)
		f.refused(err, hook.KindConflict, "webhook_inactive")
	}
}

// retryHeld: what is held does not overtake; what holds it becomes due.
func retryHeld(f *fixture) {
	w := f.subscribe("*")
	o := f.publish(f.event("e1", "conversation", "7", `1`), f.event("e2", "conversation", "7", `2`))
	due := f.clock().Add(time.Hour)
	head, held := f.park(w, o[0], 1, &due), f.park(w, o[1], 2, nil)
	head.ObjectKey, held.ObjectKey = "CONVERSATION:7", "CONVERSATION:7"
	f.record(store.Record{Items: []store.Item{{Attempt: f.attempt(w, o[0], 1, 1, hook.OutcomeRetry), Park: head}, {Park: held}}})
	d, err := f.RequestRetry(f.ctx, w.Key, "e2", audit)
	f.must(err)
	equal(f, "it was", d.Status, hook.Held)
	list, _, err := f.Due(f.ctx, w.Partition, store.DuePlace{}, f.clock(), 10)
	f.must(err)
	equal(f, "due", []any{len(list), list[0].Offset}, []any{1, o[0]})
	equal(f, "still held", describe(f.deliveries(w, store.DeliveryQuery{Status: hook.Held})), "2:held:held:2:0 ")
}
