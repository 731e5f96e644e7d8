package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func recordMovesEverything(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 3)
	due := f.clock().Add(5 * time.Second)
	gate := hook.Gate{NotBefore: &due, Wait: 7 * time.Second, Reason: "asked", EndpointVersion: 3, Throttles: 4}
	stat := store.Stat{Webhook: w.Key, Bucket: 100, Delivered: 1, Failed: 1, Retried: 1}
	stat.Latency.Add(time.Millisecond)
	f.record(store.Record{
		Items: []store.Item{
			{Attempt: f.attempt(w, o[0], 1, 1, hook.OutcomeDelivered)},
			{Attempt: f.attempt(w, o[1], 1, 2, hook.OutcomeRetry), Park: f.park(w, o[1], 2, &due)},
		},
		Cursors: []store.CursorMove{{Webhook: w.Key, Detached: true, Offset: o[1], Sequence: 2, Delivered: 1, Health: store.Health{ConsecutiveFailures: 1, LastFailureAt: &due}}},
		Gates:   []store.GateMove{{Webhook: w.Key, Gate: gate}},
		Swept:   map[hook.Partition]hook.Offset{w.Partition: o[2]},
		Stats:   []store.Stat{stat},
		Answers: []store.Answer{{Webhook: w.Key, Slot: 3, Offset: o[0], Number: 1, Header: []byte("h"), Body: []byte("b")}},
		Notices: []store.Notice{{Webhook: w.Key, Kind: "down", Detail: "it is down"}},
	})
	f.record(store.Record{ // an empty answer is an answer
		Answers: []store.Answer{{Webhook: w.Key, Slot: 4, Offset: o[0], Number: 1}},
	})
	lane, err := f.LoadLane(f.ctx, w.Key, 0)
	f.must(err)
	c := lane.Cursor
	equal(f, "cursor", []any{c.Detached, c.Offset, c.Sequence, c.Delivered, c.ConsecutiveFailures, *c.LastFailureAt}, []any{true, o[1], int64(2), int64(1), 1, due})
	equal(f, "gate", c.Gate, gate)
	equal(f, "parked", lane.Parked, 1)
	places, swept, _, err := f.Places(f.ctx, w.Partition, -1, 100)
	f.must(err)
	equal(f, "swept", swept, o[2])
	equal(f, "places", places[0].Cursor, c)

	// The delivery that was parked is made: one row less.
	f.record(store.Record{
		Items: []store.Item{{
			Attempt: f.attempt(w, o[1], 2, 2, hook.OutcomeDelivered), Unpark: &store.ParkedKey{Webhook: w.Key, Kind: hook.Live, Offset: o[1]},
		}},
		Gates: []store.GateMove{{Webhook: w.Key, Gate: gate}, {Webhook: w.Key}}, // the last word counts
		Stats: []store.Stat{stat},
	})
	lane, err = f.LoadLane(f.ctx, w.Key, 0)
	f.must(err)
	equal(f, "gate", lane.Cursor.Gate, hook.Gate{})
	equal(f, "parked", lane.Parked, 0)
	stats, err := f.Stats(f.ctx, store.StatsQuery{Company: f.company.Key, Webhook: w.Key, From: 0, To: 1000})
	f.must(err)
	equal(f, "stats", []int64{stats[0].Delivered, stats[0].Retried, stats[0].Latency.Count()}, []int64{2, 2, 2})
	notices, _, err := f.Notices(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "notice", []string{notices[0].WebhookID, notices[0].Kind, notices[0].Detail}, []string{w.ID, "down", "it is down"})
}

// recordNeverMovesBack: a record that would move a cursor back is refused as a whole.
func recordNeverMovesBack(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 3)
	f.deliver(w, 1, o...)
	for _, m := range []store.CursorMove{move(w, o[1], 3, 0, 0, 0), move(w, o[2], 2, 0, 0, 0)} {
		_, err := f.Record(f.ctx, &store.Record{
			At: f.clock(), Items: []store.Item{{Attempt: f.attempt(w, o[0], 2, 1, hook.OutcomeDelivered)}}, Cursors: []store.CursorMove{m},
		})
		if err == nil {
			f.Errorf("%+v was recorded", m)
		}
	}
	d, err := f.Delivery(f.ctx, w.Key, "e1")
	f.must(err)
	equal(f, "attempts of the refused records", len(d.History), 1)
	f.sweep(3)
	f.sweep(2)
	_, swept, _, err := f.Places(f.ctx, w.Partition, -1, 100)
	f.must(err)
	equal(f, "swept", swept, 3)
}

// recordSetsPoisonAside: of a hundred items one clashes with what is there. It is set aside with its
// reason; what became of its delivery is kept, and the other 99 are recorded.
func recordSetsPoisonAside(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 100)
	f.record(store.Record{Items: []store.Item{{Attempt: f.attempt(w, o[41], 1, 42, hook.OutcomeRetry), Park: f.park(w, o[41], 42, nil)}}})

	r := store.Record{Cursors: []store.CursorMove{move(w, o[99], 100, 100, 0, 0)}}
	for i := range o {
		r.Items = append(r.Items, store.Item{Attempt: f.attempt(w, o[i], 1, int64(i+1), hook.OutcomeDelivered)})
	}
	r.Items[41].Unpark = &store.ParkedKey{Webhook: w.Key, Kind: hook.Live, Offset: o[41]}
	done := f.record(r)
	equal(f, "set aside", done.SetAside, []store.ParkedKey{{Webhook: w.Key, Kind: hook.Live, Offset: o[41]}})
	aside, err := f.SetAside(f.ctx, w.Key, 10)
	f.must(err)
	equal(f, "its event", []string{aside[0].WebhookID, aside[0].EventID}, []string{w.ID, "e42"})
	list, _, err := f.Deliveries(f.ctx, w.Key, store.DeliveryQuery{Status: hook.Delivered, Limit: 250})
	f.must(err)
	equal(f, "recorded", len(list), 99)
	lane, err := f.LoadLane(f.ctx, w.Key, o[99])
	f.must(err)
	equal(f, "still parked", lane.Parked, 0)
	equal(f, "cursor", lane.Cursor.Offset, o[99])
}

// recordKeepsPatience: how often a parked delivery was asked to wait, and when it was parked, outlast
// the process.
func recordKeepsPatience(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 1)
	due := f.clock()
	for _, throttles := range []int{3, 4, 0} {
		p := f.park(w, o[0], 1, &due)
		p.Throttles, p.ParkedAt = throttles, due.Add(-time.Duration(throttles)*time.Second)
		f.record(store.Record{Items: []store.Item{{Park: p}}})
		list, err := f.DueOf(f.ctx, w.Key, f.clock(), false, 10)
		f.must(err)
		equal(f, "parked", len(list), 1)
		equal(f, "throttles", list[0].Throttles, throttles)
		equal(f, "parked at", list[0].ParkedAt.Equal(p.ParkedAt), true)
	}
}

func recordReleasesHeld(f *fixture) {
	w := f.subscribe("*")
	o := f.publish(f.event("e1", "conversation", "7", `1`), f.event("e2", "conversation", "7", `2`), f.event("e3", "conversation", "7", `3`), f.event("e4", "conversation", "8", `4`))
	due := f.clock().Add(time.Minute)
	var items []store.Item
	for i := range o {
		p := f.park(w, o[i], int64(i+1), nil)
		p.ObjectKey = "CONVERSATION:7"
		if i == 0 {
			p.DueAt = &due
		}
		if i == 3 {
			p.ObjectKey = "CONVERSATION:8"
		}
		items = append(items, store.Item{Park: p})
	}
	f.record(store.Record{Items: items})
	done := f.record(store.Record{Items: []store.Item{{
		Attempt: f.attempt(w, o[0], 1, 1, hook.OutcomeDelivered), Unpark: &store.ParkedKey{Webhook: w.Key, Kind: hook.Live, Offset: o[0]},
		Release: &store.ParkedKey{Webhook: w.Key, Object: "CONVERSATION:7"},
	}}})
	equal(f, "released", len(done.Released), 1)
	equal(f, "released", []any{done.Released[0].Offset, *done.Released[0].DueAt, done.Released[0].Reason}, []any{o[1], hook.Now(f.clock()), "released"})
	// Nothing more is released while that one is parked.
	done = f.record(store.Record{Items: []store.Item{{Release: &store.ParkedKey{Webhook: w.Key, Object: "CONVERSATION:7"}}}})
	equal(f, "released", len(done.Released), 0)
}

// recordSettles: a 2xx of any attempt takes away what else waits of its delivery. What was to be retried, or
// was held, is delivered; what had failed for good stays counted so.
func recordSettles(f *fixture) {
	w := f.subscribe("*")
	o := f.publish(f.event("e1", "conversation", "7", `1`), f.event("e2", "conversation", "7", `2`), f.event("e3", "conversation", "7", `3`), f.event("e4", "conversation", "8", `4`))
	due := f.clock().Add(time.Minute)
	var items []store.Item
	for i := range o[:3] {
		p := f.park(w, o[i], int64(i+1), nil)
		p.ObjectKey = "CONVERSATION:7"
		if items = append(items, store.Item{Park: p}); i == 0 {
			p.DueAt = &due
			items[0].Attempt = f.attempt(w, o[0], 1, 1, hook.OutcomeRetry)
		}
	}
	items = append(items, store.Item{Attempt: f.attempt(w, o[3], 1, 4, hook.OutcomeFailed)})
	f.record(store.Record{Items: items, Cursors: []store.CursorMove{move(w, o[3], 4, 0, 1, 0)}})
	made := func(o hook.Offset, sequence int64) store.Item {
		a := f.attempt(w, o, 2, sequence, hook.OutcomeDelivered)
		a.Kind = hook.Replay
		return store.Item{Attempt: a, Settle: &store.ParkedKey{Webhook: w.Key, Offset: o}, Release: &store.ParkedKey{Webhook: w.Key, Object: "CONVERSATION:7"}}
	}
	wish := f.park(w, o[0], 1, &due)
	wish.Kind, wish.Attempts = hook.Manual, 1
	done := f.record(store.Record{Items: []store.Item{{Park: wish}, made(o[0], 1), made(o[2], 3), made(o[3], 4)}})
	var gone []string
	for _, p := range done.Settled {
		gone = append(gone, fmt.Sprint(p.Offset, " ", p.Kind, " ", p.ObjectKey))
	}
	slices.Sort(gone)
	equal(f, "settled", gone, []string{
		fmt.Sprint(o[0], " live CONVERSATION:7"), fmt.Sprint(o[0], " manual "), fmt.Sprint(o[2], " live CONVERSATION:7"),
	})
	equal(f, "released", []any{len(done.Released), done.Released[0].Offset}, []any{1, o[1]})
	for id, want := range map[string]hook.DeliveryStatus{"e1": hook.Delivered, "e2": hook.Retrying, "e3": hook.Delivered, "e4": hook.Delivered} {
		d, err := f.Delivery(f.ctx, w.Key, id)
		f.must(err)
		equal(f, id, d.Status, want)
	}
	list, _, err := f.Conservation(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	b := list[0]
	equal(f, "balance", []any{b.Delivered, b.Failed, b.Parked, b.Balanced}, []any{int64(2), int64(1), int64(1), true})
	again, err := f.Recount(f.ctx, w.Key)
	f.must(err)
	equal(f, "recount", []any{again.Delivered, again.Failed, again.Parked, again.Balanced}, []any{int64(2), int64(1), int64(1), true})
	done = f.record(store.Record{Items: []store.Item{{Settle: &store.ParkedKey{Webhook: w.Key, Offset: o[0]}}}}) // nothing is left to
	equal(f, "settled", len(done.Settled), 0)
}

// recordStatusOfOneEndpoint: a late 410 of the old endpoint does not hit the new one.
func recordStatusOfOneEndpoint(f *fixture) {
	w := f.subscribe("*")
	late := store.StatusChange{Webhook: w.Key, Partition: w.Partition, EndpointVersion: w.EndpointVersion, Status: hook.Inactive, Reason: hook.ReasonGone}
	w = f.update(w, "", func(w *hook.Webhook) { w.Endpoint += "/new" })
	f.record(store.Record{Status: []store.StatusChange{late}})
	w, err := f.Webhook(f.ctx, f.company.Key, w.ID)
	f.must(err)
	equal(f, "status", w.Status, hook.Active)

	late.EndpointVersion = w.EndpointVersion
	f.record(store.Record{Status: []store.StatusChange{late}})
	w, err = f.Webhook(f.ctx, f.company.Key, w.ID)
	f.must(err)
	equal(f, "status", []string{string(w.Status), w.StatusReason}, []string{"INACTIVE", "gone"})
	log, _, err := f.AuditLog(f.ctx, f.company.Key, store.Page{Limit: 1})
	f.must(err)
	equal(f, "audit", []string{log[0].Actor, log[0].Action, log[0].Object}, []string{"engine", "webhook.disabled", w.ID})
}

// laneLoadsWhatIsAbove: what was settled or parked out of order above the place is not made again.
func laneLoadsWhatIsAbove(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 6)
	due := f.clock()
	f.record(store.Record{
		Items: []store.Item{
			{Attempt: f.attempt(w, o[0], 1, 1, hook.OutcomeDelivered)},
			{Attempt: f.attempt(w, o[2], 1, 3, hook.OutcomeThrottled)},
			{Attempt: f.attempt(w, o[2], 2, 3, hook.OutcomeRetry)}, // lost with its connection
			{Attempt: f.attempt(w, o[2], 3, 3, hook.OutcomeThrottled)},
			{Attempt: f.attempt(w, o[3], 1, 4, hook.OutcomeRetry), Park: f.park(w, o[3], 4, &due)},
			{Park: f.park(w, o[4], 5, nil)},
			{Attempt: f.attempt(w, o[5], 1, 6, hook.OutcomeDelivered)},
		},
		Cursors: []store.CursorMove{move(w, o[0], 1, 2, 0, 0)},
	})
	lane, err := f.LoadLane(f.ctx, w.Key, o[0])
	f.must(err)
	slices.SortFunc(lane.Above, func(a, b store.Above) int { return int(a.Offset - b.Offset) })
	equal(f, "above", lane.Above, []store.Above{
		{Offset: o[2], Attempts: 3, Throttles: 2}, {Offset: o[3], Attempts: 1, Settled: true}, {Offset: o[4], Settled: true}, {Offset: o[5], Attempts: 1, Settled: true},
	})
	equal(f, "parked", lane.Parked, 2)
	if lane.Webhook.ID != w.ID || lane.Webhook.Secrets != w.Secrets {
		f.Errorf("loaded %+v", lane.Webhook)
	}
}

func dueInOrder(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 6)
	var items []store.Item
	for i, minutes := range []int{3, 1, 2, 1, 9} {
		due := f.clock().Add(time.Duration(minutes) * time.Minute)
		items = append(items, store.Item{Park: f.park(w, o[i], int64(i+1), &due)})
	}
	items = append(items, store.Item{Park: f.park(w, o[5], 6, nil)})
	f.record(store.Record{Items: items})

	now := f.clock().Add(5 * time.Minute)
	var after store.DuePlace
	var got []hook.Offset
	for {
		due, next, err := f.Due(f.ctx, w.Partition, after, now, 3)
		f.must(err)
		equal(f, "next", *next, f.clock().Add(9*time.Minute))
		if len(due) == 0 {
			break
		}
		for _, p := range due {
			got = append(got, p.Offset)
		}
		last := due[len(due)-1]
		after = store.DuePlace{DueAt: *last.DueAt, Webhook: last.Webhook, Kind: last.Kind, Offset: last.Offset}
	}
	equal(f, "due", got, []hook.Offset{o[1], o[3], o[2], o[0]})
	due, err := f.DueOf(f.ctx, w.Key, f.clock(), false, 10)
	f.must(err)
	equal(f, "due now", len(due), 0)
	due, err = f.DueOf(f.ctx, w.Key, f.clock(), true, 10)
	f.must(err)
	equal(f, "to probe with", len(due), 5)
}

// What a clock parked that was ahead waits as long as it was meant to, from now on; the rest stays.
func dueAfterTheClockWasSetBack(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 4)
	at := func(minutes int) time.Time { return f.clock().Add(time.Duration(minutes) * time.Minute) }
	var items []store.Item
	for i, x := range []struct{ parked, due int }{{-10, 20}, {60, 65}, {120, 180}} {
		due := at(x.due)
		p := f.park(w, o[i], int64(i+1), &due)
		p.ParkedAt = at(x.parked)
		items = append(items, store.Item{Park: p})
	}
	held := f.park(w, o[3], 4, nil)
	held.ParkedAt = at(60)
	f.record(store.Record{Items: append(items, store.Item{Park: held})})
	done := f.record(store.Record{At: at(0), Rewind: []hook.Partition{w.Partition}})
	equal(f, "rewound", done.Rewound, []hook.Partition{w.Partition})
	done = f.record(store.Record{At: at(0), Rewind: []hook.Partition{w.Partition}})
	equal(f, "rewound again", len(done.Rewound), 0)
	due, _, err := f.Due(f.ctx, w.Partition, store.DuePlace{}, at(1000), 10)
	f.must(err)
	var got []string
	for _, p := range due {
		got = append(got, fmt.Sprint(p.Offset-o[0], " ", p.DueAt.Sub(at(0))))
	}
	equal(f, "due", got, []string{"1 5m0s", "0 20m0s", "2 1h0m0s"})
}

func placesTellWhatChanged(f *fixture) {
	a := f.subscribe("conversation")
	b := f.subscribe("customer")
	_, _, version, err := f.Places(f.ctx, a.Partition, -1, 100)
	f.must(err)
	equal(f, "version", version, 2)
	f.update(b, "", func(w *hook.Webhook) { w.Topics = []string{"customer.*"} })
	f.must(f.DeleteWebhook(f.ctx, a.Company, a.ID, nil, audit))
	places, _, version, err := f.Places(f.ctx, a.Partition, version, 100)
	f.must(err)
	equal(f, "changed", len(places), 2)
	slices.SortFunc(places, func(a, b store.Place) int { return int(a.Webhook - b.Webhook) })
	equal(f, "deleted", places[0].Webhook == a.Key && places[0].Deleted, true)
	equal(f, "version", version, 4)
	equal(f, "rules", len(places[1].Rules), 1) // no event between the two: the second replaced the first
	places, _, _, err = f.Places(f.ctx, a.Partition, -1, 100)
	f.must(err)
	equal(f, "all", len(places), 1)

	// Many are told in stretches: each change once, those that one change was about together.
	for _, topic := range []string{"conversation.tags", "conversation.agent", "conversation.status"} {
		f.subscribe(topic)
	}
	_, err = f.UpdateCompany(f.ctx, f.company.ID, func(c *store.Company) error {
		c.AllowNetworks = []string{"10.0.0.0/8"}
		return nil
	}, audit)
	f.must(err)
	f.update(b, "", func(w *hook.Webhook) { w.Description = "later" })
	for _, topic := range []string{"customer.created", "customer.updated"} {
		f.update(f.subscribe(topic), "", func(w *hook.Webhook) { w.Description = topic })
	}
	var sizes []int
	seen := map[hook.WebhookKey]bool{}
	for since, n := int64(-1), 2; n >= 2; {
		places, _, since, err = f.Places(f.ctx, a.Partition, since, 2)
		f.must(err)
		n = len(places)
		sizes = append(sizes, n)
		for _, p := range places {
			if seen[p.Webhook] || p.Deleted {
				f.Errorf("%+v is told twice, or although it is deleted", p)
			}
			seen[p.Webhook] = true
		}
	}
	equal(f, "stretches", sizes, []int{3, 2, 1})
}

func reopenKeepsEverything(f *fixture) {
	w := f.subscribe("*")
	data := bytes.Repeat([]byte(`"\u0000\ud800"`), 1000)
	o := f.publish(f.event("e1", "conversation", "7", string(data)), f.event("e2", "conversation", "", `2`))
	f.deliver(w, 1, o[0])
	f.reopen()
	e, err := f.Event(f.ctx, f.company.Key, "e1")
	f.must(err)
	equal(f, "data", e.Data, data)
	got, err := f.Webhook(f.ctx, f.company.Key, w.ID)
	f.must(err)
	equal(f, "webhook", got, w)
	equal(f, "the next offset", f.publishN("n", "conversation", 1)[0], o[1]+1)
	d, err := f.Delivery(f.ctx, w.Key, "e1")
	f.must(err)
	equal(f, "status", d.Status, hook.Delivered)
}

func refusesOtherMasterKey(f *fixture) {
	f.must(f.Close())
	opt := f.opt
	opt.MasterKey = bytes.Repeat([]byte("x"), 32)
	if s, err := f.open(f.T, opt); err == nil {
		s.Close()
		f.Error("opened with another master key")
	}
	opt.MasterKey = []byte("short")
	if s, err := f.open(f.T, opt); err == nil {
		s.Close()
		f.Error("opened with a short master key")
	}
	s, err := f.open(f.T, f.opt)
	f.must(err)
	f.Store = s
}

// manyReadersAtOnce: more readers than connections, each with a statement that is new to it.
func manyReadersAtOnce(f *fixture) {
	w := f.subscribe("*")
	f.publishN("e", "conversation", 20)
	errs := make(chan error, 64)
	for i := range cap(errs) {
		go func() {
			var err error
			switch i % 4 {
			case 0:
				_, err = f.Event(f.ctx, f.company.Key, "e1")
			case 1:
				_, _, err = f.Deliveries(f.ctx, w.Key, store.DeliveryQuery{Limit: 10})
			case 2:
				_, err = f.Feed(f.ctx, w.Key, 0, 5)
			case 3:
				_, _, err = f.Companies(f.ctx, store.Page{Limit: 5})
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			f.Error(fmt.Errorf("read: %w", err))
		}
	}
}

// recordKeepsTheOrder: what is parked before its delivery is settled goes with that, and what is parked after it
// stays. What goes counts, for the replay too.
func recordKeepsTheOrder(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 3)
	f.deliver(w, 1, o...)
	replay, err := f.CreateReplay(f.ctx, w.Key, store.NewReplay{From: f.clock().Add(-time.Hour)}, store.Audit{Actor: "test"})
	f.must(err)
	due := f.clock()
	row := func(o hook.Offset, kind hook.Kind) store.Item {
		p := f.park(w, o, 1, &due)
		if p.Kind = kind; kind == hook.Replay {
			p.Replay = replay.Key
		}
		return store.Item{Park: p}
	}
	settle := func(o hook.Offset) store.Item { return store.Item{Settle: &store.ParkedKey{Webhook: w.Key, Offset: o}} }
	done := f.record(store.Record{Items: []store.Item{
		row(o[0], hook.Replay), settle(o[0]),
		settle(o[1]), row(o[1], hook.Replay),
		row(o[2], hook.Manual), settle(o[2]), row(o[2], hook.Replay), settle(o[2]), row(o[2], hook.Manual),
	}})
	var settled []string
	for _, p := range done.Settled {
		settled = append(settled, fmt.Sprint(p.Offset-o[0], " ", p.Kind))
	}
	slices.Sort(settled)
	list, err := f.DueOf(f.ctx, w.Key, due, false, 10)
	f.must(err)
	var left []string
	for _, p := range list {
		left = append(left, fmt.Sprint(p.Offset-o[0], " ", p.Kind))
	}
	slices.Sort(left)
	equal(f, "left", left, []string{"1 replay", "2 manual"})
	got, err := f.ReplayByKey(f.ctx, replay.Key)
	f.must(err)
	equal(f, "settled, and delivered by the replay", []any{settled[0], got.Delivered}, []any{"0 replay", int64(len(settled) - 1)})
}

// recordMakesDueWhatWasParkedSince: of a webhook that was repaired, what was parked since a time becomes due, and
// nothing else.
func recordMakesDueWhatWasParkedSince(f *fixture) {
	w, other := f.subscribe("*"), f.subscribe("conversation")
	o := f.publishN("e", "conversation", 3)
	now, later := f.clock(), f.clock().Add(time.Hour)
	var items []store.Item
	for i, ago := range []time.Duration{time.Minute, time.Second, 0} {
		for _, h := range []*hook.Webhook{w, other} {
			p := f.park(h, o[i], int64(i+1), &later)
			p.ParkedAt = now.Add(-ago)
			items = append(items, store.Item{Park: p})
		}
	}
	f.record(store.Record{At: now, Items: items, Repairs: []store.Repair{{Webhook: w.Key, Since: now.Add(-time.Second)}}})
	for h, want := range map[*hook.Webhook]int{w: 2, other: 0} {
		due, err := f.DueOf(f.ctx, h.Key, now, false, 10)
		f.must(err)
		equal(f, "due", len(due), want)
	}
}
