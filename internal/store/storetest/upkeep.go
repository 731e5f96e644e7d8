package storetest

import (
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func conservationHolds(f *fixture) {
	s := newScene(f)
	list, _, err := f.Conservation(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	want := store.Balance{WebhookID: s.w.ID, Matched: 9, Delivered: 2, Failed: 1, Skipped: 2, Parked: 3, Pending: 1, PendingExact: true, Balanced: true}
	equal(f, "counters", list[0], want)
	r, err := f.Recount(f.ctx, s.w.Key)
	f.must(err)
	equal(f, "recount", *r, store.Recount{Balance: want, Since: f.clock(), Complete: true})

	// A manual attempt and a replay change neither.
	manual := f.attempt(s.w, 3, 2, 2, hook.OutcomeDelivered)
	manual.Kind = hook.Manual
	replayed := f.attempt(s.w, 7, 1, 5, hook.OutcomeDelivered)
	replayed.Kind = hook.Replay
	f.record(store.Record{Items: []store.Item{{Attempt: manual}, {Attempt: replayed}}})
	list, _, err = f.Conservation(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "counters", list[0], want)
	r, err = f.Recount(f.ctx, s.w.Key)
	f.must(err)
	equal(f, "recount", r.Balance, want)
}

// conservationNoticesLoss is the control: a count that cannot fail proves nothing.
func conservationNoticesLoss(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 3)
	f.record(store.Record{
		Items:   []store.Item{{Attempt: f.attempt(w, o[0], 1, 1, hook.OutcomeDelivered)}},
		Cursors: []store.CursorMove{move(w, o[1], 2, 1, 0, 0)},
	})
	list, _, err := f.Conservation(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "the cursor passed a delivery without a trace", list[0].Balanced, false)
	r, err := f.Recount(f.ctx, w.Key)
	f.must(err)
	equal(f, "recount", []any{r.Unexplained, r.Balanced}, []any{int64(1), false})
}

// purge runs steps until there is no more to do.
func (f *fixture) purge(before time.Time, limit int) (total int) {
	f.Helper()
	for range 1000 {
		n, err := f.PurgeCompanyStep(f.ctx, f.company.Key, before, limit)
		f.must(err)
		if total += n; n == 0 {
			return total
		}
		if n > 2*limit {
			f.Fatalf("a step of %d rows deleted %d", limit, n)
		}
	}
	f.Fatal("the purge does not end")
	return 0
}

func purgeInSteps(f *fixture) {
	w := f.subscribe("conversation")
	other, err := f.EnsureCompany(f.ctx, "c2")
	f.must(err)
	foreign := f.event("x1", "conversation", "", `{}`)
	foreign.Company = other.Key
	f.publish(foreign)
	old := f.publishN("e", "conversation", 30)
	f.deliver(w, 1, old...)
	f.record(store.Record{Stats: []store.Stat{{Webhook: w.Key, Bucket: f.clock().Unix() / 60, Delivered: 30}}, Notices: []store.Notice{{Webhook: w.Key, Kind: "down"}}})
	boundary := f.advance(time.Hour)
	young := f.publishN("y", "conversation", 5)
	f.deliver(w, 31, young...)
	f.sweep(f.head())
	before, _, err := f.Conservation(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)

	// From the first step on, nothing half gone is shown or counted.
	_, err = f.PurgeCompanyStep(f.ctx, f.company.Key, boundary, 10)
	f.must(err)
	equal(f, "deliveries in the middle of it", len(f.deliveries(w, store.DeliveryQuery{})), 5)
	r, err := f.Recount(f.ctx, w.Key)
	f.must(err)
	equal(f, "recount in the middle of it", []any{r.Balanced, r.Complete, r.Matched, r.Unexplained}, []any{true, false, int64(5), int64(0)})

	f.purge(boundary, 10)
	list, _, err := f.EventsPage(f.ctx, f.company.Key, store.EventFilter{}, 0, 100)
	f.must(err)
	equal(f, "events left", len(list), 5)
	_, err = f.Event(f.ctx, other.Key, "x1")
	f.must(err) // another company's
	after, _, err := f.Conservation(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "counters survive", after[0], before[0])
	equal(f, "numbers survive", f.feed(w, 10), "31:y1 32:y2 33:y3 34:y4 35:y5 ")
	notices, _, err := f.Notices(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "notices", len(notices), 0)
	f.publishN("e", "conversation", 1) // an id that was purged may be used again
}

// purgeOfOthersLeavesAll: a company whose first events came later than another's has lost nothing when that
// one's are purged.
func purgeOfOthersLeavesAll(f *fixture) {
	w := f.subscribe("*")
	other, err := f.EnsureCompany(f.ctx, "c2")
	f.must(err)
	foreign := f.event("x1", "conversation", "", `{}`)
	foreign.Company = other.Key
	f.publish(foreign)
	boundary := f.advance(time.Hour)
	f.deliver(w, 1, f.publishN("e", "conversation", 3)...)
	f.sweep(f.head())
	f.purge(boundary, 10)
	r, err := f.Recount(f.ctx, w.Key)
	f.must(err)
	equal(f, "recount", []any{r.Balanced, r.Complete, r.Matched}, []any{true, true, int64(3)})
}

// purgeStopsAtUnsettled: what some webhook has not passed, or still has parked, stays.
func purgeStopsAtUnsettled(f *fixture) {
	a, b := f.subscribe("conversation"), f.subscribe("*")
	o := f.publishN("e", "conversation", 20)
	f.deliver(a, 1, o...)
	f.deliver(b, 1, o[:10]...)
	boundary := f.advance(time.Hour)
	f.publishN("y", "conversation", 1)
	f.purge(boundary, 7)
	events, _, err := f.EventsPage(f.ctx, f.company.Key, store.EventFilter{}, 0, 100)
	f.must(err)
	equal(f, "events left", len(events), 11)

	due := f.clock()
	f.record(store.Record{
		Items:   []store.Item{{Attempt: f.attempt(b, o[12], 1, 13, hook.OutcomeRetry), Park: f.park(b, o[12], 13, &due)}},
		Cursors: []store.CursorMove{move(b, o[19], 20, 9, 0, 0)},
	})
	f.purge(boundary, 7)
	events, _, err = f.EventsPage(f.ctx, f.company.Key, store.EventFilter{}, 0, 100)
	f.must(err)
	equal(f, "events left", fmt.Sprint(len(events), events[len(events)-1].ID), "9e13")
	f.must(f.DeleteWebhook(f.ctx, b.Company, b.ID, nil, audit))
	f.purge(boundary, 7)
	events, _, err = f.EventsPage(f.ctx, f.company.Key, store.EventFilter{}, 0, 100)
	f.must(err)
	equal(f, "events left", len(events), 1)
}

// purgeFindsWhatComesLate: an attempt that was under way when its event went is recorded afterwards, and
// goes within a day.
func purgeFindsWhatComesLate(f *fixture) {
	w := f.subscribe("*")
	o := f.publishN("e", "conversation", 5)
	f.deliver(w, 1, o...)
	boundary := f.advance(time.Hour)
	f.deliver(w, 6, f.publishN("y", "conversation", 1)...)
	equal(f, "rows", f.purge(boundary, 100), 5+5)
	late := f.attempt(w, o[0], 2, 1, hook.OutcomeDelivered)
	late.Kind = hook.Manual
	f.record(store.Record{Items: []store.Item{{Attempt: late}}})
	f.purge(boundary, 100)
	f.advance(24 * time.Hour)
	equal(f, "rows that came late", f.purge(boundary, 100), 1)
}

// purgeNumbersOn: the last event of the log stays, so that no offset is given twice.
func purgeNumbersOn(f *fixture) {
	o := f.publishN("e", "conversation", 5)
	f.purge(f.advance(24*time.Hour), 100)
	equal(f, "head", f.head(), o[4])
	f.reopen()
	equal(f, "the next offset", f.publishN("y", "conversation", 1)[0], o[4]+1)
	f.purge(f.clock(), 100)
	events, _, err := f.EventsPage(f.ctx, f.company.Key, store.EventFilter{}, 0, 100)
	f.must(err)
	equal(f, "events left", len(events), 1)
}

func eraseDeleted(f *fixture) {
	w, other := f.subscribe("*"), f.subscribe("conversation")
	o := f.publishN("e", "conversation", 30)
	f.deliver(w, 1, o...)
	f.deliver(other, 1, o...)
	f.record(store.Record{
		Items:   []store.Item{{Park: f.park(w, o[0], 1, nil)}},
		Stats:   []store.Stat{{Webhook: w.Key, Bucket: 1}},
		Notices: []store.Notice{{Webhook: w.Key, Kind: "down"}, {Webhook: other.Key, Kind: "down"}},
		Answers: []store.Answer{{Webhook: w.Key, Offset: 1, Number: 1, Header: []byte{}, Body: []byte{}}},
	})
	_, err := f.CreateReplay(f.ctx, w.Key, store.NewReplay{From: f.clock(), Covers: store.CoversAll}, audit)
	f.must(err)
	f.must(f.DeleteWebhook(f.ctx, w.Company, w.ID, nil, audit))
	n, err := f.EraseDeletedStep(f.ctx, f.clock(), 10)
	f.must(err)
	equal(f, "erased before its time", n, 0)
	now, total := f.advance(time.Minute), 0
	for range 100 {
		n, err := f.EraseDeletedStep(f.ctx, now, 10)
		f.must(err)
		if total += n; n == 0 {
			break
		}
	}
	equal(f, "rows", total, 30+1+1+1+1+1+1+1+1) // attempts, parked, stats, replay, notice, answer, rule, cursor, webhook
	equal(f, "another's deliveries", len(f.deliveries(other, store.DeliveryQuery{})), 30)
	notices, _, err := f.Notices(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "notices", len(notices), 1)
}

func testsAreKept(f *fixture) {
	w := f.subscribe("*")
	for i := range 60 {
		f.must(f.SaveTest(f.ctx, &store.TestDelivery{
			ID: hook.NewID(hook.TestPrefix, f.clock()), Webhook: w.Key, At: f.clock(), Topic: "conversation", Data: []byte(`{}`),
			Attempt: hook.Attempt{Number: i, StatusCode: 200, AnswerBody: []byte{0, 255}, Phases: hook.Phases{Total: time.Second}},
		}))
	}
	list, more, err := f.Tests(f.ctx, w.Key, store.Page{Limit: 45})
	f.must(err)
	equal(f, "newest", []any{list[0].Attempt.Number, string(list[0].Attempt.AnswerBody), list[0].Attempt.Phases.Total, more}, []any{59, "\x00\xff", time.Second, list[44].ID})
	list, more, err = f.Tests(f.ctx, w.Key, store.Page{Limit: 45, Before: more})
	f.must(err)
	equal(f, "the rest", []any{len(list), more}, []any{5, ""})
}

// agedIsFound: whose events have passed a time is found by the events, the log's last never; and what
// goes by its age alone goes whoever it belongs to.
func agedIsFound(f *fixture) {
	w := f.subscribe("conversation")
	p := f.company.Partition
	look := func(what string, after hook.Offset, before time.Time, limit int, want ...hook.CompanyKey) store.Aged {
		f.Helper()
		a, err := f.Aged(f.ctx, p, after, before, limit)
		f.must(err)
		equal(f, what, a.Companies, want)
		return a
	}
	a := look("nothing is there", 0, f.clock(), 10)
	equal(f, "the oldest of nothing", a.Oldest == nil, true)
	began := f.clock()
	old := f.publishN("e", "conversation", 3)
	f.must(f.SaveTest(f.ctx, &store.TestDelivery{ID: hook.NewID(hook.TestPrefix, f.clock()), Webhook: w.Key, At: f.clock(), Topic: "conversation", Data: []byte(`{}`)}))
	f.record(store.Record{Stats: []store.Stat{{Webhook: w.Key, Bucket: f.clock().Unix() / 60, Delivered: 3}}, Notices: []store.Notice{{Webhook: w.Key, Kind: "down"}}})
	boundary := f.advance(time.Hour)
	look("the log's last stays", old[1], boundary, 10)
	young := f.publishN("y", "conversation", 2)
	f.record(store.Record{Stats: []store.Stat{{Webhook: w.Key, Bucket: f.clock().Unix() / 60, Delivered: 2}}, Notices: []store.Notice{{Webhook: w.Key, Kind: "down"}}})
	a = look("the old are due", 0, boundary, 10, f.company.Key)
	equal(f, "first, and how far", []hook.Offset{a.First, a.UpTo}, []hook.Offset{old[0], old[2]})
	equal(f, "the oldest", a.Oldest.Before(began), false)
	a = look("two at a time", 0, boundary, 2, f.company.Key)
	equal(f, "how far", a.UpTo, old[1])
	look("nothing else", old[2], boundary, 10)
	look("nothing is that old", 0, began, 10)
	look("all but the last", 0, f.clock().Add(time.Hour), 10, f.company.Key)
	equal(f, "young", len(young), 2)

	total := 0
	for {
		n, err := f.PurgeAgedStep(f.ctx, boundary, 2)
		f.must(err)
		if total += n; n == 0 {
			break
		}
	}
	equal(f, "rows that went by their age", total, 3)
	notices, _, err := f.Notices(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	tests, _, err := f.Tests(f.ctx, w.Key, store.Page{Limit: 10})
	f.must(err)
	stats, err := f.Stats(f.ctx, store.StatsQuery{Company: f.company.Key, Webhook: w.Key, From: 0, To: 1 << 40})
	f.must(err)
	equal(f, "left", []int{len(notices), len(tests), len(stats)}, []int{1, 0, 1})
}

// unresolvedIsFound: webhooks that have something parked, or stand at a place of their own, in pages.
func unresolvedIsFound(f *fixture) {
	due := f.clock().Add(time.Hour)
	var want []hook.CompanyKey
	for i := range 5 {
		company := f.company
		if i > 0 {
			var err error
			company, err = f.EnsureCompany(f.ctx, fmt.Sprint("u", i))
			f.must(err)
		}
		w, err := f.CreateWebhook(f.ctx, hook.Webhook{Company: company.Key, Endpoint: "https://example.com/", Topics: []string{"*"}}, nil, audit)
		f.must(err)
		switch i {
		case 1, 3:
			for o := range hook.Offset(3) {
				f.record(store.Record{Items: []store.Item{{Park: f.park(w, o+1, int64(o)+1, &due)}}})
			}
			want = append(want, company.Key)
		case 2:
			f.record(store.Record{Cursors: []store.CursorMove{{Webhook: w.Key, Detached: true}}})
			want = append(want, company.Key)
		case 4:
			f.record(store.Record{Cursors: []store.CursorMove{{Webhook: w.Key, Detached: true}}})
			f.must(f.DeleteWebhook(f.ctx, company.Key, w.ID, nil, audit))
		}
	}
	for _, limit := range []int{1, 2, 100} {
		var got []hook.CompanyKey
		for after := hook.WebhookKey(0); ; {
			companies, last, err := f.Unresolved(f.ctx, after, limit)
			f.must(err)
			got = append(got, companies...)
			if after = last; last == 0 {
				break
			}
		}
		equal(f, fmt.Sprint("companies, by ", limit), got, want)
	}
}
