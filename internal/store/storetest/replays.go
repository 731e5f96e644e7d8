package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func replayLifecycle(f *fixture) {
	s := newScene(f)
	n := store.NewReplay{From: f.clock().Add(-time.Hour), Covers: store.CoversAll, Rate: 2.5}
	r, err := f.CreateReplay(f.ctx, s.w.Key, n, audit)
	f.must(err)
	got, err := f.Replay(f.ctx, s.w.Key, r.ID)
	f.must(err)
	equal(f, "replay", got, r)
	equal(f, "range", []hook.Offset{r.FromOffset, r.ToOffset, r.Place}, []hook.Offset{1, 8, 0})
	_, err = f.CreateReplay(f.ctx, s.w.Key, n, audit)
	f.refused(err, hook.KindConflict, "replay_running")
	places, _, _, err := f.Places(f.ctx, s.w.Partition, -1, 100)
	f.must(err)
	equal(f, "the engine knows", places[0].Replay, r.Key)

	due := f.clock()
	parked := []store.Item{{Park: &hook.Parked{Webhook: s.w.Key, Kind: hook.Replay, Offset: 3, Partition: s.w.Partition, Attempts: 2, DueAt: &due, Replay: r.Key}}}
	f.record(store.Record{Items: parked, Replays: []store.ReplayMove{{Key: r.Key, Place: 3, Started: 2, Delivered: 1}}})
	list, _, err := f.Due(f.ctx, s.w.Partition, store.DuePlace{}, due, 10)
	f.must(err)
	equal(f, "parked while it runs", len(list), 1)
	f.reopen()
	r, err = f.ReplayByKey(f.ctx, r.Key)
	f.must(err)
	equal(f, "progress", []int64{int64(r.Place), r.Started, r.Delivered}, []int64{3, 2, 1})
	f.must(f.CancelReplay(f.ctx, s.w.Key, r.ID, audit))
	f.must(f.CancelReplay(f.ctx, s.w.Key, r.ID, audit))
	list, _, err = f.Due(f.ctx, s.w.Partition, store.DuePlace{}, due, 10)
	f.must(err)
	equal(f, "parked after it was cancelled", len(list), 0)
	f.record(store.Record{Items: parked, Replays: []store.ReplayMove{{Key: r.Key, Started: 1}}})
	list, _, err = f.Due(f.ctx, s.w.Partition, store.DuePlace{}, due, 10)
	f.must(err)
	equal(f, "parked by what was under way then", len(list), 0)
	f.record(store.Record{Items: parked})
	list, err = f.DueOf(f.ctx, s.w.Key, due, false, 10)
	f.must(err)
	equal(f, "parked by a version that did not know better", []any{len(list), list[0].Reason}, []any{1, store.ReasonCancelled})
	_, _, done, err := f.ReplayWork(f.ctx, r.Key, 0, 10)
	f.must(err)
	equal(f, "done", done, true)

	second, err := f.CreateReplay(f.ctx, s.w.Key, n, audit)
	f.must(err)
	f.record(store.Record{Replays: []store.ReplayMove{{Key: second.Key, Place: 8, Done: true}}})
	replays, _, err := f.Replays(f.ctx, s.w.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "replays", []any{replays[0].ID, replays[0].Status, replays[1].Status}, []any{second.ID, store.ReplayDone, store.ReplayCancelled})
	other := f.subscribe("customer")
	_, err = f.Replay(f.ctx, other.Key, second.ID)
	f.refused(err, hook.KindNotFound, "replay")
	f.update(s.w, "", func(w *hook.Webhook) { w.Status = hook.Inactive })
	_, err = f.CreateReplay(f.ctx, s.w.Key, n, audit)
	f.refused(err, hook.KindConflict, "webhook_inactive")
}

// work reads everything that a replay covers, some items at a time.
func (f *fixture) work(w *hook.Webhook, n store.NewReplay, limit int) (s string) {
	f.Helper()
	count, bytes, exact, err := f.ReplayExtent(f.ctx, w.Key, n)
	f.must(err)
	r, err := f.CreateReplay(f.ctx, w.Key, n, audit)
	f.must(err)
	var items int64
	for after := hook.Offset(0); ; {
		list, upTo, done, err := f.ReplayWork(f.ctx, r.Key, after, limit)
		f.must(err)
		for _, x := range list {
			s += fmt.Sprintf("%d:%d:%d ", x.Offset, x.Sequence, x.Attempts)
			items++
		}
		if done {
			equal(f, "looked at", upTo, max(r.ToOffset, r.Place))
			break
		}
		if upTo <= after || len(list) > limit {
			f.Fatalf("after %d comes %d with %d items", after, upTo, len(list))
		}
		after = upTo
	}
	equal(f, "extent", []any{count, exact, bytes > 0 || count == 0}, []any{items, true, true})
	f.must(f.CancelReplay(f.ctx, w.Key, r.ID, audit))
	return s
}

func replayCovers(f *fixture) {
	s := newScene(f)
	from, later := f.clock(), f.clock().Add(time.Minute)
	for limit := 1; limit < 10; limit += 4 {
		for covers, want := range map[store.Covers]string{
			store.CoversAll:         "1:0:0 2:1:2 3:2:1 4:3:1 5:4:0 7:5:0 8:6:0 ",
			store.CoversFailed:      "3:2:1 ",
			store.CoversUndelivered: "3:2:1 4:3:1 5:4:0 7:5:0 8:6:0 ",
		} {
			equal(f, string(covers), f.work(s.w, store.NewReplay{From: from, Covers: covers}, limit), want)
		}
	}
	equal(f, "another topic", f.work(s.w, store.NewReplay{From: from, Covers: store.CoversAll, Topic: "customer"}, 5), "")
	equal(f, "later", f.work(s.w, store.NewReplay{From: later, Covers: store.CoversAll}, 5), "")
	equal(f, "up to the start", f.work(s.w, store.NewReplay{From: from, To: &from, Covers: store.CoversAll}, 5), "")

	// What was delivered by hand is not sent again.
	manual := f.attempt(s.w, 3, 2, 2, hook.OutcomeDelivered)
	manual.Kind = hook.Manual
	f.record(store.Record{Items: []store.Item{{Attempt: manual}}})
	equal(f, "failed", f.work(s.w, store.NewReplay{From: from, Covers: store.CoversFailed}, 5), "")
}

// replayOfTheUnmatched: before a webhook existed, what it wants now decides; afterwards the rule in
// force.
func replayOfTheUnmatched(f *fixture) {
	from := f.clock()
	f.publishN("a", "conversation", 1)
	f.publishN("b", "customer", 1)
	w := f.subscribe("conversation")
	f.publishN("c", "conversation", 1)
	f.publishN("d", "customer", 1)
	w = f.update(w, "", func(w *hook.Webhook) { w.Topics = []string{"customer"} })
	o := f.publishN("e", "customer", 1)
	f.record(store.Record{
		Items: []store.Item{
			{Attempt: f.attempt(w, 3, 1, 1, hook.OutcomeDelivered)}, {Attempt: f.attempt(w, 5, 1, 2, hook.OutcomeDelivered)},
		},
		Cursors: []store.CursorMove{move(w, o[0], 2, 2, 0, 0)},
	})
	equal(f, "all", f.work(w, store.NewReplay{From: from, Covers: store.CoversAll}, 10), "2:0:0 3:1:1 5:2:1 ")
}

// replayByTheCurrentRule covers what the rule of today wants, whatever was wanted when it was accepted, and goes
// on by that rule when it is changed meanwhile.
func replayByTheCurrentRule(f *fixture) {
	from := f.clock()
	n := settings(f, "conversation")
	n.Filter = "nothing-like-it"
	w, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	f.publishN("e", "conversation", 12)
	f.publishN("c", "customer", 2)
	f.record(store.Record{Cursors: []store.CursorMove{move(w, 14, 0, 0, 0, 0)}})
	w = f.update(w, "", func(w *hook.Webhook) { w.Filter = "e1" })
	o := f.publishN("e10-", "conversation", 1) // 15, matched
	f.record(store.Record{
		Items:   []store.Item{{Attempt: f.attempt(w, 15, 1, 1, hook.OutcomeDelivered)}},
		Cursors: []store.CursorMove{move(w, o[0], 1, 1, 0, 0)},
	})
	current := store.NewReplay{From: from, Covers: store.CoversAll, Rules: store.RulesCurrent}
	for limit := 1; limit < 10; limit += 4 {
		equal(f, "then", f.work(w, store.NewReplay{From: from, Covers: store.CoversAll}, limit), "15:1:1 ")
		equal(f, "current", f.work(w, current, limit), "1:0:0 10:0:0 11:0:0 12:0:0 15:1:1 ")
	}
	undelivered, failed := current, current
	undelivered.Covers, failed.Covers = store.CoversUndelivered, store.CoversFailed
	equal(f, "undelivered", f.work(w, undelivered, 3), "1:0:0 10:0:0 11:0:0 12:0:0 ")
	sent := func(offset hook.Offset, outcome hook.Outcome) store.Item {
		a := f.attempt(w, offset, 1, 0, outcome)
		a.Kind = hook.Replay
		return store.Item{Attempt: a}
	}
	f.record(store.Record{Items: []store.Item{sent(10, hook.OutcomeDelivered), sent(11, hook.OutcomeFailed), sent(9, hook.OutcomeFailed)}})
	equal(f, "undelivered since", f.work(w, undelivered, 3), "1:0:0 11:0:1 12:0:0 ")
	equal(f, "failed, of what is wanted now", f.work(w, failed, 3), "11:0:1 ")
	var unmatched []hook.Offset
	for _, d := range f.deliveries(w, store.DeliveryQuery{}) {
		if d.Unmatched && d.Sequence == nil {
			unmatched = append(unmatched, d.Offset)
		}
	}
	equal(f, "marked", unmatched, []hook.Offset{11, 10, 9})

	r, err := f.CreateReplay(f.ctx, w.Key, current, audit)
	f.must(err)
	items, upTo, _, err := f.ReplayWork(f.ctx, r.Key, 0, 1)
	f.must(err)
	equal(f, "first", []hook.Offset{items[0].Offset, upTo}, []hook.Offset{1, 1})
	w = f.update(w, "", func(w *hook.Webhook) { w.Topics, w.Filter = []string{"customer"}, "" })
	f.reopen()
	items, _, _, err = f.ReplayWork(f.ctx, r.Key, upTo, 1)
	f.must(err)
	equal(f, "as it was made", items[0].Offset, 10)
	f.must(f.CancelReplay(f.ctx, w.Key, r.ID, audit))
	equal(f, "other topics", f.work(w, current, 3), "13:0:0 14:0:0 ")
	c, err := f.Recount(f.ctx, w.Key)
	f.must(err)
	equal(f, "balanced", []any{c.Balanced, c.Matched}, []any{true, int64(1)})
}

// ruleReported: what the rule of now makes of the latest events, and what it did not make of them then.
func ruleReported(f *fixture) {
	f.publishN("before", "conversation", 3)
	n := settings(f, "conversation")
	n.Filter = "nothing-like-it"
	w, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	f.publishN("e", "conversation", 12)
	f.publishN("c", "customer", 2)
	since := f.clock().Add(-time.Hour)
	report := func(what string, want store.RuleReport) {
		f.Helper()
		got, err := f.RuleReport(f.ctx, w.Key, since)
		f.must(err)
		equal(f, what, got, want)
	}
	report("all excluded", store.RuleReport{Events: 14, OfTopics: 12, Excluded: 12, Exact: true})
	w = f.update(w, "", func(w *hook.Webhook) { w.Filter = "e1" })
	report("mended", store.RuleReport{Events: 14, OfTopics: 12, Excluded: 8, Missed: 4, Exact: true})
	sent := f.attempt(w, 4, 1, 0, hook.OutcomeRetry)
	sent.Kind = hook.Replay
	f.record(store.Record{Items: []store.Item{{Attempt: sent}}})
	report("one was sent by a replay", store.RuleReport{Events: 14, OfTopics: 12, Excluded: 8, Missed: 3, Exact: true})
	since = f.advance(time.Minute)
	report("later", store.RuleReport{Exact: true})
	f.publishN("x", "conversation", 300)
	report("many of its topics", store.RuleReport{Events: 200, OfTopics: 200, Excluded: 200})
	f.publishN("y", "customer", 1000)
	f.publishN("z", "customer", 1000)
	f.publishN("v", "customer", 1000)
	f.publishN("u", "customer", 1000)
	f.publishN("t", "customer", 1000)
	report("many of others", store.RuleReport{Events: 5000})
	for i := range 10 {
		f.publish(f.event(fmt.Sprint("large", i), "conversation", "", `"`+strings.Repeat("x", 1<<20)+`"`))
	}
	report("large ones", store.RuleReport{Events: 8, OfTopics: 8, Excluded: 8})
}

// replayNumbers: the numbers of a long skipped range are found page by page.
func replayNumbers(f *fixture) {
	from := f.clock()
	w := f.subscribe("*")
	w = f.update(w, "", func(w *hook.Webhook) { w.Status = hook.Paused })
	const all = 5500
	for i := range 5 {
		f.publishN(fmt.Sprintf("e%d-", i), "conversation", all/5)
	}
	w = f.update(w, store.ResumeNow, func(w *hook.Webhook) { w.Status = hook.Active })
	f.record(store.Record{Cursors: []store.CursorMove{move(w, all, all, 0, 0, all)}})
	r, err := f.CreateReplay(f.ctx, w.Key, store.NewReplay{From: from, Covers: store.CoversAll}, audit)
	f.must(err)
	count, _, exact, err := f.ReplayExtent(f.ctx, w.Key, r.NewReplay)
	f.must(err)
	equal(f, "extent", []any{count, exact}, []any{int64(all), true})
	seen := hook.Offset(0)
	for {
		items, upTo, done, err := f.ReplayWork(f.ctx, r.Key, seen, 200)
		f.must(err)
		var attempts []store.Item
		for _, x := range items {
			if seen++; x.Offset != seen || x.Sequence != int64(seen) {
				f.Fatalf("item %d is %+v", seen, x)
			}
			a := f.attempt(w, x.Offset, 1, x.Sequence, hook.OutcomeDelivered)
			a.Kind = hook.Replay
			attempts = append(attempts, store.Item{Attempt: a})
		}
		f.record(store.Record{Items: attempts, Replays: []store.ReplayMove{{Key: r.Key, Place: upTo}}})
		if done {
			break
		}
	}
	equal(f, "sent", seen, all)
}

func (f *fixture) feed(w *hook.Webhook, limit int) (s string) {
	f.Helper()
	for after := int64(0); ; {
		list, err := f.Feed(f.ctx, w.Key, after, limit)
		f.must(err)
		if len(list) == 0 {
			return s
		}
		for _, e := range list {
			if e.Sequence != after+1 && after > 0 || len(e.Data) == 0 {
				f.Fatalf("%d follows %d", e.Sequence, after)
			}
			after = e.Sequence
			s += fmt.Sprintf("%d:%s ", e.Sequence, e.ID)
		}
	}
}

func feedInSequence(f *fixture) {
	s := newScene(f)
	for limit := 1; limit < 10; limit += 3 {
		equal(f, "feed", f.feed(s.w, limit), "1:e1 2:e2 3:e3 4:e4 5:s1 6:s2 7:p1 8:p2 9:p3 ")
	}
	sparse := f.subscribe("account.*")
	for i := range 4 {
		f.publishN(fmt.Sprintf("x%d-", i), "conversation", 1500)
	}
	f.publishN("far", "account.customer.linked", 1)
	equal(f, "behind many that it does not want", f.feed(sparse, 10), "1:far1 ")
}

func matchesExplain(f *fixture) {
	s := newScene(f)
	customers := f.subscribe("customer")
	n := settings(f, "conversation")
	n.Endpoint = "https://example.com/second"
	_, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	n.Endpoint, n.Filter = "https://example.com/filtered", "nothing-like-it"
	filtered, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	deleted := f.subscribe("*")
	f.must(f.DeleteWebhook(f.ctx, deleted.Company, deleted.ID, nil, audit))
	f.publishN("z", "conversation", 1)
	verdicts := func(id string) map[string]string {
		got := map[string]string{}
		p := store.Page{Limit: 2}
		for {
			list, more, err := f.Matches(f.ctx, f.company.Key, id, p)
			f.must(err)
			for _, m := range list {
				got[m.WebhookID] = string(m.Verdict)
				if m.Delivery != nil {
					got[m.WebhookID] += " " + string(m.Delivery.Status)
				}
			}
			if p.Before = more; more == "" {
				return got
			}
		}
	}
	got := verdicts("z1")
	equal(f, "webhooks", len(got), 4)
	equal(f, "verdicts", []string{got[s.w.ID], got[customers.ID], got[filtered.ID]}, []string{"matched pending", "topic_not_subscribed", "filter_failed"})
	got = verdicts("e2")
	equal(f, "verdicts", []string{got[s.w.ID], got[customers.ID]}, []string{"matched failed", "created_after"})
	for id, want := range map[string]int{"z1": 2, "e2": 1, "other1": 0, "before1": 0} {
		e, err := f.Event(f.ctx, f.company.Key, id)
		f.must(err)
		n, err := f.MatchCount(f.ctx, f.company.Key, e)
		f.must(err)
		equal(f, "matches of "+id, n, want)
	}
}

// filtersDecide everywhere alike.
func filtersDecide(f *fixture) {
	n := settings(f, "conversation")
	n.Filter = "2"
	w, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	f.publishN("e", "conversation", 12)
	equal(f, "feed", f.feed(w, 10), "1:e2 2:e12 ")
	equal(f, "deliveries", describe(f.deliveries(w, store.DeliveryQuery{})), "12:pending::2:0 2:pending::1:0 ")
	st, err := f.Standing(f.ctx, w.Key)
	f.must(err)
	equal(f, "backlog", st.Backlog, 2)
}

func standingCounts(f *fixture) {
	s := newScene(f)
	st, err := f.Standing(f.ctx, s.w.Key)
	f.must(err)
	equal(f, "standing", []any{st.Place, st.Parked, st.Backlog, st.BacklogExact, *st.OldestPendingAt, st.Cursor.Sequence},
		[]any{hook.Offset(8), 3, 1, true, f.clock(), int64(6)})
	equal(f, "held", []any{st.Held, *st.OldestHeldAt, *st.OldestRetryAt, *st.OldestInBacklogAt}, []any{1, f.clock(), f.clock(), f.clock()})
	a := f.subscribe("customer")
	st, err = f.Standing(f.ctx, a.Key)
	f.must(err)
	equal(f, "nothing yet", []any{st.Held, st.OldestHeldAt == nil, st.OldestRetryAt == nil, st.OldestInBacklogAt == nil}, []any{0, true, true, true})
	equal(f, "nothing yet", []any{st.Parked, st.Backlog, st.BacklogExact, st.OldestPendingAt == nil}, []any{0, 0, true, true})
	for i := range 12 {
		f.publishN(fmt.Sprintf("x%d-", i), "customer", 1000)
	}
	st, err = f.Standing(f.ctx, a.Key)
	f.must(err)
	equal(f, "much", []any{st.Backlog, st.BacklogExact}, []any{10_000, false})
}

// lastFailureIsTheLatest: of all attempts that did not deliver, whatever event they were of.
func lastFailureIsTheLatest(f *fixture) {
	w := f.subscribe("conversation")
	f.publishN("e", "conversation", 3)
	f.record(store.Record{Items: []store.Item{{Attempt: f.attempt(w, 2, 1, 2, hook.OutcomeDelivered)}}})
	last, err := f.LastFailure(f.ctx, w.Key)
	f.must(err)
	equal(f, "none", last == nil, true)
	due := f.advance(time.Minute)
	f.record(store.Record{Items: []store.Item{
		{Attempt: f.attempt(w, 1, 1, 1, hook.OutcomeRetry), Park: f.park(w, 1, 1, &due)},
		{Attempt: f.attempt(w, 3, 1, 3, hook.OutcomeRetry), Park: f.park(w, 3, 3, &due)},
	}})
	due = f.advance(time.Minute)
	again := f.attempt(w, 1, 2, 1, hook.OutcomeRetry)
	f.record(store.Record{Items: []store.Item{{Attempt: again, Park: f.park(w, 1, 1, &due)}}})
	last, err = f.LastFailure(f.ctx, w.Key)
	f.must(err)
	equal(f, "latest", *last, *again)

	// A probe of an event that is older than any that is looked at.
	f.publishN("x", "conversation", 30)
	var newer []store.Item
	for o := hook.Offset(4); o < 34; o++ {
		newer = append(newer, store.Item{Attempt: f.attempt(w, o, 1, int64(o), hook.OutcomeFailed)})
	}
	f.record(store.Record{Items: newer})
	due = f.advance(time.Minute)
	probe, waits := f.attempt(w, 1, 3, 1, hook.OutcomeRetry), f.park(w, 1, 1, &due)
	waits.ParkedAt = f.clock()
	f.record(store.Record{Items: []store.Item{{Attempt: probe, Park: waits}}, Cursors: []store.CursorMove{{Webhook: w.Key, Health: store.Health{LastFailureAt: &due}}}})
	last, err = f.LastFailure(f.ctx, w.Key)
	f.must(err)
	equal(f, "probe", *last, *probe)
	quiet := f.subscribe("customer")
	fares, err := f.Fares(f.ctx, []*hook.Webhook{quiet, w})
	f.must(err)
	equal(f, "fares", []any{fares[0].LastFailure == nil, *fares[1].LastFailure, *fares[1].Cursor.LastFailureAt}, []any{true, *probe, due})
}

func statsMerge(f *fixture) {
	a, b := f.subscribe("conversation"), f.subscribe("customer")
	var stats []store.Stat
	for i, w := range []*hook.Webhook{a, b} {
		for bucket := int64(60); bucket < 70; bucket++ {
			x := store.Stat{Webhook: w.Key, Bucket: bucket, Delivered: 2, Failed: int64(i), Retried: 1}
			x.Latency.Add(time.Duration(i+1) * time.Millisecond)
			stats = append(stats, x)
		}
	}
	f.record(store.Record{Stats: stats})
	list, err := f.Stats(f.ctx, store.StatsQuery{Company: f.company.Key, From: 60, To: 68, Step: 5})
	f.must(err)
	var got []string
	for _, x := range list {
		got = append(got, fmt.Sprintf("%d:%d:%d:%d:%d", x.Bucket, x.Delivered, x.Failed, x.Retried, x.Latency.Count()))
	}
	equal(f, "company", strings.Join(got, " "), "60:20:5:10:10 65:12:3:6:6")
	list, err = f.Stats(f.ctx, store.StatsQuery{Company: f.company.Key, Webhook: a.Key, From: 61, To: 63})
	f.must(err)
	equal(f, "webhook", []int64{int64(len(list)), list[1].Bucket, list[1].Delivered}, []int64{2, 62, 2})
}
