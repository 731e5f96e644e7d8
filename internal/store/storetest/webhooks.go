package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func webhookRoundTrip(f *fixture) {
	n := settings(f, "conversation.*", "customer")
	n.Status, n.Filter, n.Description, n.Metadata = hook.Paused, "x", "José", json.RawMessage(`{"a":1}`)
	n.Headers = []hook.Header{{Name: "X-B", Value: "2"}, {Name: "X-A", Value: "1"}}
	n.TLSCompat, n.IncludeChanges = true, true
	n.Scheme, n.Format, n.Ordering, n.MaxConcurrency, n.RateLimit = hook.SchemePythonDict, hook.DataObject, hook.ObjectOrder, 3, 2.5
	n.Timeout, n.RetrySchedule, n.Secrets.Current = 1500*time.Millisecond, []time.Duration{1500 * time.Millisecond, time.Hour}, "0123456789abcdef"
	w, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	got, err := f.Webhook(f.ctx, f.company.Key, w.ID)
	f.must(err)
	equal(f, "webhook", got, w)
	byKey, err := f.WebhookForSend(f.ctx, w.Key)
	f.must(err)
	equal(f, "by key", byKey, w)
	n.Key, n.ID, n.CompanyID, n.Partition, n.Version, n.EndpointVersion = w.Key, w.ID, "c1", f.company.Partition, 1, 1
	n.CreatedAt, n.UpdatedAt, n.EndpointSince = f.clock(), f.clock(), f.clock()
	equal(f, "what was asked for", *w, n)

	other, err := f.EnsureCompany(f.ctx, "c2")
	f.must(err)
	_, err = f.Webhook(f.ctx, other.Key, w.ID)
	f.refused(err, hook.KindNotFound, "webhook")
	_, err = f.UpdateWebhook(f.ctx, other.Key, w.ID, store.Change{Audit: audit, Apply: func(*hook.Webhook) error { return nil }})
	f.refused(err, hook.KindNotFound, "webhook")
	f.refused(f.DeleteWebhook(f.ctx, other.Key, w.ID, nil, audit), hook.KindNotFound, "webhook")
}

// webhookRepaired: what waits is due at once when the endpoint is asked something else, a part at a time, and
// only that of before; what merely is described otherwise changes nothing.
func webhookRepaired(f *fixture) {
	w := f.subscribe("*")
	const n = 1500
	later := f.clock().Add(time.Hour)
	var items []store.Item
	for i, o := range f.publishN("e", "conversation", n) {
		items = append(items, store.Item{Attempt: f.attempt(w, o, 1, int64(i+1), hook.OutcomeRetry), Park: f.park(w, o, int64(i+1), &later)})
	}
	f.record(store.Record{Items: items})
	due := func() int {
		list, _, err := f.Due(f.ctx, w.Partition, store.DuePlace{}, f.clock(), 2*n)
		f.must(err)
		return len(list)
	}
	f.update(w, "", func(w *hook.Webhook) { w.Description = "another" })
	equal(f, "due after another description", due(), 0)
	before := f.update(w, "", func(w *hook.Webhook) { w.Headers = []hook.Header{{Name: "Authorization", Value: "Bearer x"}} })
	equal(f, "due after another header", due(), n)
	equal(f, "the endpoint is still the same one", before.EndpointSince, w.EndpointSince)
	again := f.clock().Add(2 * time.Hour)
	f.record(store.Record{Items: []store.Item{{Park: f.park(w, items[0].Attempt.Offset, 1, &again)}}})
	equal(f, "due when one was parked again", due(), n-1)
}

// webhookDuplicates: the same endpoint and topics, however they are written.
func webhookDuplicates(f *fixture) {
	n := settings(f, "conversation.tags", "conversation.agent")
	n.Endpoint = "https://example.com/a"
	w, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	n.Topics = []string{"conversation.agent", "conversation.tags", "conversation.tags"}
	_, err = f.CreateWebhook(f.ctx, n, nil, audit)
	f.refused(err, hook.KindConflict, "duplicate_webhook")
	var e *hook.Error
	if !errors.As(err, &e) || e.Extra["existing_id"] != w.ID {
		f.Errorf("error %#v does not name %s", e, w.ID)
	}
	n.Status = hook.Inactive
	second, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	// Twins share a topic at the endpoint, and are not INACTIVE.
	n.Status, n.Topics = hook.Paused, []string{"customer", "conversation.tags"}
	third, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	n.Topics = []string{"customer.created"}
	fourth, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	for of, want := range map[*hook.Webhook][]string{w: {third.ID}, third: {w.ID}, fourth: nil, second: {third.ID, w.ID}} {
		twins, err := f.Twins(f.ctx, of)
		f.must(err)
		if !slices.Equal(twins, want) {
			f.Errorf("twins of %v: %v, want %v", of.Topics, twins, want)
		}
	}
	f.must(f.DeleteWebhook(f.ctx, f.company.Key, third.ID, nil, audit))
	f.must(f.DeleteWebhook(f.ctx, f.company.Key, fourth.ID, nil, audit))
	n.Status, n.Topics = hook.Inactive, second.Topics
	activate := store.Change{Audit: audit, Apply: func(w *hook.Webhook) error { w.Status = hook.Active; return nil }}
	_, err = f.UpdateWebhook(f.ctx, f.company.Key, second.ID, activate)
	f.refused(err, hook.KindConflict, "duplicate_webhook")
	f.update(w, "", func(w *hook.Webhook) { w.Topics = []string{"*"} })
	_, err = f.UpdateWebhook(f.ctx, f.company.Key, second.ID, activate)
	f.must(err)
	_, err = f.UpdateWebhook(f.ctx, f.company.Key, w.ID, store.Change{Audit: audit, Apply: func(w *hook.Webhook) error { w.Topics = n.Topics; return nil }})
	f.refused(err, hook.KindConflict, "duplicate_webhook")
	f.must(f.DeleteWebhook(f.ctx, f.company.Key, second.ID, nil, audit))
	f.update(w, "", func(w *hook.Webhook) { w.Topics = n.Topics })
}

func webhookLimit(f *fixture) {
	_, err := f.UpdateCompany(f.ctx, "c1", func(c *store.Company) error { c.MaxWebhooks = 1; return nil }, audit)
	f.must(err)
	w := f.subscribe("*")
	_, err = f.CreateWebhook(f.ctx, settings(f, "customer"), nil, audit)
	f.refused(err, hook.KindConflict, "too_many_webhooks")
	f.must(f.DeleteWebhook(f.ctx, f.company.Key, w.ID, nil, audit))
	f.subscribe("customer")
}

func webhookVersions(f *fixture) {
	w := f.subscribe("*")
	stale := w.Version
	f.advance(time.Minute)
	w = f.update(w, "", func(w *hook.Webhook) { w.Description = "x" })
	equal(f, "version", []any{w.Version, w.UpdatedAt, w.EndpointVersion}, []any{stale + 1, f.clock(), int64(1)})
	change := store.Change{IfMatch: &stale, Audit: audit, Apply: func(w *hook.Webhook) error { w.Description = "y"; return nil }}
	_, err := f.UpdateWebhook(f.ctx, f.company.Key, w.ID, change)
	f.refused(err, hook.KindPrecondition, "version_mismatch")
	f.refused(f.DeleteWebhook(f.ctx, f.company.Key, w.ID, &stale, audit), hook.KindPrecondition, "version_mismatch")
	_, _, before, err := f.Places(f.ctx, w.Partition, -1, 100)
	f.must(err)
	refusal := hook.Invalid("filter", "bad", "no")
	_, err = f.UpdateWebhook(f.ctx, f.company.Key, w.ID, store.Change{Audit: audit, Apply: func(w *hook.Webhook) error { w.Description = "z"; return refusal }})
	f.refused(err, hook.KindInvalid, "bad")
	got, err := f.Webhook(f.ctx, f.company.Key, w.ID)
	f.must(err)
	equal(f, "after refused changes", got, w)
	_, _, after, err := f.Places(f.ctx, w.Partition, -1, 100)
	f.must(err)
	equal(f, "configuration version", after, before)
}

// webhookRules: what it wants changes for the events accepted from then on.
func webhookRules(f *fixture) {
	f.publishN("a", "conversation", 2)
	w := f.subscribe("conversation")
	f.publishN("b", "conversation", 2)
	f.update(w, "", func(w *hook.Webhook) { w.Topics = []string{"customer"} })
	f.update(w, "", func(w *hook.Webhook) { w.Filter = "id" }) // no event between the two
	f.update(w, "", func(w *hook.Webhook) { w.Description = "no rule" })
	f.publishN("c", "conversation", 1)
	f.update(w, "", func(w *hook.Webhook) { w.Topics = []string{"*"} })
	places, _, _, err := f.Places(f.ctx, w.Partition, -1, 100)
	f.must(err)
	conversation := hook.MatchTopics([]string{"conversation"})
	customer := hook.MatchTopics([]string{"customer"})
	everything := hook.MatchTopics([]string{"*"})
	equal(f, "rules", places[0].Rules, []hook.Rule{
		{Webhook: w.Key, From: 3, Topics: conversation},
		{Webhook: w.Key, From: 5, Topics: customer, Filter: "id"},
		{Webhook: w.Key, From: 6, Topics: everything, Filter: "id"},
	})
	equal(f, "cursor", places[0].Cursor, hook.Cursor{Webhook: w.Key, Offset: 2})
}

func webhookStartsInThePast(f *fixture) {
	var times []time.Time
	for _, id := range []string{"a", "b", "c"} {
		times = append(times, f.advance(time.Hour))
		f.publishN(id, "conversation", 2)
	}
	for _, x := range []struct {
		at    time.Time
		place hook.Offset
	}{{times[0].Add(-time.Hour), 0}, {times[1], 2}, {times[1].Add(time.Second), 4}, {times[2].Add(time.Second), 6}, {times[2].Add(time.Hour), 6}} {
		n := settings(f, "*")
		n.Endpoint += x.at.String()
		w, err := f.CreateWebhook(f.ctx, n, &x.at, audit)
		f.must(err)
		lane, err := f.LoadLane(f.ctx, w.Key, 0)
		f.must(err)
		equal(f, "cursor at "+x.at.String(), lane.Cursor, hook.Cursor{Webhook: w.Key, Offset: x.place, Detached: x.place < 6})
		fed, err := f.Feed(f.ctx, w.Key, 0, 10)
		f.must(err)
		equal(f, "matched from then on", len(fed), int(6-x.place))
	}
}

// webhookActivation and a new endpoint start with a clean record of health.
func webhookActivation(f *fixture) {
	w := f.subscribe("*")
	since := f.clock()
	sick := store.Health{FailingSince: &since, ProbeAt: &since, FailingHours: 3, LastFailingHour: 5, ConsecutiveFailures: 12, ProbeStep: 2, LastSuccessAt: &since}
	gate := hook.Gate{NotBefore: &since, Wait: time.Hour, Reason: "asked", EndpointVersion: 1, Throttles: 2}
	fail := func() {
		f.record(store.Record{Cursors: []store.CursorMove{{Webhook: w.Key, Health: sick}}, Gates: []store.GateMove{{Webhook: w.Key, Gate: gate}}})
	}
	healthy := func() {
		f.Helper()
		lane, err := f.LoadLane(f.ctx, w.Key, 0)
		f.must(err)
		equal(f, "cursor", lane.Cursor, hook.Cursor{Webhook: w.Key, LastSuccessAt: &since})
	}
	fail()
	f.record(store.Record{Status: []store.StatusChange{{Webhook: w.Key, Partition: w.Partition, EndpointVersion: 1, Status: hook.Inactive, Reason: hook.ReasonFailing}}})
	f.advance(time.Minute)
	w = f.update(w, "", func(w *hook.Webhook) { w.Status = hook.Active })
	equal(f, "activated", []any{w.StatusReason, w.EndpointVersion, w.EndpointSince}, []any{"", int64(2), f.clock()})
	healthy()
	fail()
	w = f.update(w, "", func(w *hook.Webhook) { w.Endpoint += "/b" })
	equal(f, "moved", w.EndpointVersion, 3)
	healthy()
	w = f.update(w, "", func(w *hook.Webhook) { w.Status = hook.Paused })
	equal(f, "paused", w.EndpointVersion, 3)
}

// webhookResume: nothing is skipped unless somebody wishes so or its owner had switched it off.
func webhookResume(f *fixture) {
	for _, x := range []struct {
		from   hook.Status
		reason string
		resume store.Resume
		skips  bool
	}{
		{hook.Paused, "", store.ResumeDefault, false},
		{hook.Paused, "", store.ResumeNow, true},
		{hook.Inactive, "", store.ResumeDefault, true},
		{hook.Inactive, hook.ReasonGone, store.ResumeDefault, false},
		{hook.Inactive, hook.ReasonFailing, store.ResumeDefault, false},
		{hook.Inactive, hook.ReasonFailing, store.ResumeNow, true},
		{hook.Inactive, "", store.ResumeBacklog, false},
	} {
		n := settings(f, "*")
		n.Endpoint += string(x.from) + x.reason + string(x.resume)
		w, err := f.CreateWebhook(f.ctx, n, nil, audit)
		f.must(err)
		if x.reason == "" {
			w = f.update(w, "", func(w *hook.Webhook) { w.Status = x.from })
		} else {
			f.record(store.Record{Status: []store.StatusChange{{Webhook: w.Key, Partition: w.Partition, EndpointVersion: w.EndpointVersion, Status: x.from, Reason: x.reason}}})
		}
		start := f.head()
		f.publishN(string(x.from)+x.reason+string(x.resume), "conversation", 3)
		w = f.update(w, x.resume, func(w *hook.Webhook) { w.Status = hook.Active })
		f.publishN(string(x.from)+x.reason+string(x.resume)+"later", "conversation", 1)
		places, _, _, err := f.Places(f.ctx, w.Partition, -1, 100)
		f.must(err)
		got := places[slices.IndexFunc(places, func(p store.Place) bool { return p.Webhook == w.Key })].Skips
		if x.skips {
			equal(f, "skips", got, []store.SkipRange{{From: start + 1, To: start + 3, Reason: "resumed_now"}})
		} else {
			equal(f, "skips", len(got), 0)
		}
	}
}

func webhookDeleted(f *fixture) {
	w := f.subscribe("*")
	f.publishN("e", "conversation", 1)
	f.must(f.DeleteWebhook(f.ctx, w.Company, w.ID, nil, audit))
	_, err := f.Webhook(f.ctx, w.Company, w.ID)
	f.refused(err, hook.KindNotFound, "webhook")
	_, err = f.WebhookForSend(f.ctx, w.Key)
	f.refused(err, hook.KindNotFound, "webhook")
	_, _, err = f.Deliveries(f.ctx, w.Key, store.DeliveryQuery{Limit: 1})
	f.refused(err, hook.KindNotFound, "webhook")
	f.refused(f.DeleteWebhook(f.ctx, w.Company, w.ID, nil, audit), hook.KindNotFound, "webhook")
	_, err = f.Event(f.ctx, w.Company, "e1")
	f.must(err)
	// The last attempt may come in late.
	f.record(store.Record{Items: []store.Item{{Attempt: f.attempt(w, 1, 1, 1, hook.OutcomeDelivered)}}, Cursors: []store.CursorMove{move(w, 1, 1, 1, 0, 0)}})
}

func webhookList(f *fixture) {
	a := f.subscribe("conversation.*")
	b := f.subscribe("customer")
	c := f.subscribe("*")
	f.update(b, "", func(w *hook.Webhook) { w.Status = hook.Paused })
	d := f.subscribe("customer_notes")
	f.must(f.DeleteWebhook(f.ctx, d.Company, d.ID, nil, audit))
	for _, x := range []struct {
		filter        store.WebhookFilter
		offset, limit int
		want          []string
		total         int
	}{
		{store.WebhookFilter{}, 0, 10, []string{c.ID, b.ID, a.ID}, 3},
		{store.WebhookFilter{}, 1, 1, []string{b.ID}, 3},
		{store.WebhookFilter{}, 7, 1, nil, 3},
		{store.WebhookFilter{Status: hook.Paused}, 0, 10, []string{b.ID}, 1},
		{store.WebhookFilter{Topic: "conversation.tags"}, 0, 10, []string{c.ID, a.ID}, 2},
		{store.WebhookFilter{Topic: "conversation"}, 0, 10, []string{c.ID}, 1},
		{store.WebhookFilter{Topic: "customer", Status: hook.Active}, 0, 10, []string{c.ID}, 1},
	} {
		list, total, err := f.Webhooks(f.ctx, f.company.Key, x.filter, x.offset, x.limit)
		f.must(err)
		var ids []string
		for _, w := range list {
			ids = append(ids, w.ID)
		}
		equal(f, "list", ids, x.want)
		equal(f, "total", total, x.total)
	}
}

func webhookCounts(f *fixture) {
	var want store.WebhookCounts
	var troubled []string
	at, before, minute := f.clock(), f.clock().Add(-time.Hour), f.clock().Unix()/60
	trouble := store.Trouble{Failing: 10, Refuses: 10}
	for i, x := range []struct {
		status  hook.Status
		reason  string
		health  store.Health
		count   []*int
		needs   bool
		refused int64
	}{
		{hook.Active, "", store.Health{}, []*int{&want.Active}, false, 0},
		{hook.Active, "", store.Health{LastFailureAt: &at, LastSuccessAt: &before}, []*int{&want.Active, &want.Refusing}, true, 10},
		{hook.Active, "", store.Health{LastFailureAt: &at, LastSuccessAt: &before}, []*int{&want.Active}, false, 9},
		{hook.Active, "", store.Health{LastFailureAt: &at, LastSuccessAt: &at}, []*int{&want.Active}, false, 10},
		{hook.Active, "", store.Health{LastFailureAt: &before}, []*int{&want.Active}, false, 10}, // of another endpoint
		{hook.Active, "", store.Health{FailingSince: &at, ConsecutiveFailures: 9}, []*int{&want.Active}, false, 0},
		{hook.Active, "", store.Health{FailingSince: &at, ConsecutiveFailures: 10}, []*int{&want.Active, &want.Failing}, true, 0},
		{hook.Active, "", store.Health{FailingSince: &at, ConsecutiveFailures: 12, ProbeAt: &at}, []*int{&want.Active, &want.Down}, true, 0},
		{hook.Paused, "", store.Health{FailingSince: &at, ConsecutiveFailures: 12, ProbeAt: &at}, []*int{&want.Paused}, false, 0},
		{hook.Inactive, "", store.Health{}, []*int{&want.Inactive}, false, 0},
		{hook.Inactive, hook.ReasonGone, store.Health{}, []*int{&want.Inactive, &want.Disabled}, true, 0},
	} {
		for j := range i + 1 {
			n := settings(f, "*")
			n.Endpoint += fmt.Sprint("/", i, "/", j)
			w, err := f.CreateWebhook(f.ctx, n, nil, audit)
			f.must(err)
			if x.status != hook.Active && x.reason == "" {
				f.update(w, "", func(w *hook.Webhook) { w.Status = x.status })
			}
			r := store.Record{Cursors: []store.CursorMove{{Webhook: w.Key, Health: x.health}}}
			if x.refused > 0 {
				r.Stats = []store.Stat{{Webhook: w.Key, Bucket: minute, Failed: 1, Retried: x.refused - 1}}
			}
			if x.reason != "" {
				r.Status = []store.StatusChange{{Webhook: w.Key, Partition: w.Partition, EndpointVersion: 1, Status: x.status, Reason: x.reason}}
			}
			f.record(r)
			for _, n := range x.count {
				*n++
			}
			if x.needs {
				troubled = append([]string{w.ID}, troubled...)
			}
		}
	}
	gone := f.subscribe("*")
	f.must(f.DeleteWebhook(f.ctx, gone.Company, gone.ID, nil, audit))
	got, ids, err := f.CountWebhooks(f.ctx, f.company.Key, trouble, 100)
	f.must(err)
	equal(f, "counts", got, want)
	equal(f, "those that need somebody", ids, troubled)
	_, ids, err = f.CountWebhooks(f.ctx, f.company.Key, trouble, 2)
	f.must(err)
	equal(f, "the newest of them", ids, troubled[:2])
	other, err := f.EnsureCompany(f.ctx, "another")
	f.must(err)
	got, ids, err = f.CountWebhooks(f.ctx, other.Key, trouble, 100)
	f.must(err)
	equal(f, "another company's", []any{got, len(ids)}, []any{store.WebhookCounts{}, 0})
}

func secretsRotate(f *fixture) {
	w := f.subscribe("*")
	old := w.Secrets.Current
	show := func() hook.Secrets {
		f.Helper()
		s, err := f.Secrets(f.ctx, w.Company, w.ID, audit)
		f.must(err)
		return s
	}
	equal(f, "secrets", show(), hook.Secrets{Current: old})
	_, err := f.ActivateSecret(f.ctx, w.Company, w.ID, audit)
	f.refused(err, hook.KindConflict, "no_rotation")

	s, err := f.RotateSecret(f.ctx, w.Company, w.ID, store.Rotation{Secret: "second-secret-0123", Overlap: time.Hour}, audit)
	f.must(err)
	equal(f, "rotating", s, hook.Secrets{Current: "second-secret-0123", Previous: old, PreviousExpires: f.clock().Add(time.Hour)})
	equal(f, "as shown", show(), s)
	_, err = f.RotateSecret(f.ctx, w.Company, w.ID, store.Rotation{Overlap: time.Hour}, audit)
	f.refused(err, hook.KindConflict, "rotation_in_progress")
	s, err = f.RotateSecret(f.ctx, w.Company, w.ID, store.Rotation{Secret: "third-secret-01234", Overlap: time.Hour, Force: true}, audit)
	f.must(err)
	equal(f, "what receivers know stays known", s.Previous, old)
	s, err = f.ActivateSecret(f.ctx, w.Company, w.ID, audit)
	f.must(err)
	atlas, other := s.At(f.clock())
	equal(f, "activated", []string{atlas, other}, []string{"third-secret-01234", old})
	s, err = f.CancelRotation(f.ctx, w.Company, w.ID, audit)
	f.must(err)
	equal(f, "cancelled", s, hook.Secrets{Current: old})
	s, err = f.RotateSecret(f.ctx, w.Company, w.ID, store.Rotation{}, audit)
	f.must(err)
	equal(f, "at once", []any{s.Previous, len(s.Current)}, []any{"", len(old)})
	w, err = f.Webhook(f.ctx, w.Company, w.ID)
	f.must(err)
	equal(f, "kept", w.Secrets, s)
}

func secretsExpire(f *fixture) {
	w := f.subscribe("*")
	s, err := f.RotateSecret(f.ctx, w.Company, w.ID, store.Rotation{Overlap: time.Hour}, audit)
	f.must(err)
	n, err := f.ExpireSecrets(f.ctx, f.advance(time.Hour-time.Second), 10)
	f.must(err)
	equal(f, "expired early", n, 0)
	now := f.advance(time.Second)
	shown, err := f.Secrets(f.ctx, w.Company, w.ID, audit)
	f.must(err)
	equal(f, "what is shown after the overlap", shown, hook.Secrets{Current: s.Current})
	n, err = f.ExpireSecrets(f.ctx, now, 10)
	f.must(err)
	equal(f, "expired", n, 1)
	w, err = f.Webhook(f.ctx, w.Company, w.ID)
	f.must(err)
	equal(f, "kept", w.Secrets, hook.Secrets{Current: s.Current})
	n, err = f.ExpireSecrets(f.ctx, now, 10)
	f.must(err)
	equal(f, "expired twice", n, 0)
}
