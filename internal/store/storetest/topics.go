package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func own(name, category string) hook.Topic {
	return hook.Topic{Name: name, Category: category, Description: "d", Summary: "s", Sample: `{"n": 1.50, "text": "\u0000"}`, Since: "2", Deprecated: true}
}

// topicsAreKept: what is put is known at once and outlives the process, and what a webhook names is not
// taken away.
func topicsAreKept(f *fixture) {
	f.must(f.PutTopic(f.ctx, own("order.shipped", "ORDER"), audit))
	f.reopen()
	got, ok := f.Catalogue().Lookup("order.shipped")
	equal(f, "after a restart", []any{got, ok}, []any{own("order.shipped", "ORDER"), true})
	f.must(f.PutTopic(f.ctx, own("ordersshipped", "ORDER"), audit)) // which a careless LIKE would take for the other

	w := f.subscribe("order.shipped", "customer")
	f.publish(f.event("e1", "order.shipped", "", `{}`))
	f.refused(f.DeleteTopic(f.ctx, "order.shipped", audit), hook.KindConflict, "topic_in_use")
	f.must(f.DeleteTopic(f.ctx, "ordersshipped", audit))
	f.refused(f.PutTopic(f.ctx, own("order.shipped", "OTHER"), audit), hook.KindConflict, "category_fixed")
	f.must(f.DeleteWebhook(f.ctx, f.company.Key, w.ID, nil, audit))
	all := f.subscribe("*")
	f.publish(f.event("e2", "order.shipped", "", `{}`))
	f.must(f.DeleteTopic(f.ctx, "order.shipped", audit))
	f.refused(f.DeleteTopic(f.ctx, "order.shipped", audit), hook.KindNotFound, "not_found")
	equal(f, "topics", len(f.Catalogue().Topics()), 15)
	f.reopen()
	equal(f, "one that is gone, and one that never was", []bool{f.Catalogue().Was("order.shipped"), f.Catalogue().Was("order.sent")}, []bool{true, false})
	f.must(f.PutTopic(f.ctx, own("order.shipped", "OTHER"), audit)) // it is another one
	f.must(f.DeleteTopic(f.ctx, "order.shipped", audit))
	fed, err := f.Feed(f.ctx, all.Key, 0, 10)
	f.must(err)
	equal(f, "what matched a topic that is gone", []any{len(fed), fed[0].Event.ID}, []any{1, "e2"})

	for i := range store.MaxTopics {
		f.must(f.PutTopic(f.ctx, hook.Topic{Name: fmt.Sprint("t", i), Category: "T"}, audit))
	}
	f.refused(f.PutTopic(f.ctx, own("one_more", "T"), audit), hook.KindConflict, "too_many_topics")
	large := own("t1", "T")
	large.Sample = strings.Repeat("x", store.MaxTopicBytes)
	f.refused(f.PutTopic(f.ctx, large, audit), hook.KindConflict, "too_many_topics")
}

// topicsOfAFile: what a file named and names no more is taken away, unless a webhook names it; what the API
// put stays.
func topicsOfAFile(f *fixture) {
	names := func() (list []string) {
		for _, t := range f.Catalogue().Topics()[15:] {
			list = append(list, t.Name)
		}
		return list
	}
	apply := func(topics ...hook.Topic) (names []string) {
		if f.Nodes() != nil {
			f.advance(2 * time.Hour)
		}
		kept, err := f.ApplyTopics(f.ctx, topics, audit)
		f.must(err)
		for _, t := range kept {
			names = append(names, t.Name)
		}
		return names
	}
	f.must(f.PutTopic(f.ctx, own("api", "T"), audit))
	apply(own("a", "T"), own("b", "T"), own("c", "T"))
	equal(f, "applied", names(), []string{"a", "api", "b", "c"})
	before, _, err := f.AuditLog(f.ctx, 0, store.Page{Limit: 9})
	f.must(err)
	apply(own("a", "T"), own("b", "T"), own("c", "T"))
	after, _, err := f.AuditLog(f.ctx, 0, store.Page{Limit: 9})
	f.must(err)
	equal(f, "the same again", len(after), len(before))

	w := f.subscribe("b")
	equal(f, "kept", apply(own("a", "T")), []string{"b"})
	equal(f, "without b and c", names(), []string{"a", "api", "b"})
	_, err = f.ApplyTopics(f.ctx, []hook.Topic{own("d", "T"), own("a", "OTHER")}, audit)
	f.refused(err, hook.KindConflict, "category_fixed")
	equal(f, "a file that cannot be applied", names(), []string{"a", "api", "b"})
	f.must(f.DeleteWebhook(f.ctx, f.company.Key, w.ID, nil, audit))
	apply()
	equal(f, "an empty file", names(), []string{"api"})

	// A node that starts with the file of before takes nothing away that was put a moment ago.
	apply(own("fresh", "T"))
	_, err = f.ApplyTopics(f.ctx, nil, audit)
	f.must(err)
	want := []string{"api"}
	if f.Nodes() != nil {
		want = []string{"api", "fresh"}
	}
	equal(f, "topics after a file of before", names(), want)
	equal(f, "kept later", len(apply()), 0)
	equal(f, "topics", names(), []string{"api"})

	// One grows where another shrinks, in either order; all that are there count.
	large := func(name string, bytes int) hook.Topic {
		t := own(name, "T")
		t.Sample = strings.Repeat("x", bytes)
		return t
	}
	const most = store.MaxTopicBytes * 3 / 4
	apply(large("a", most), own("b", "T"))
	apply(own("a", "T"), large("b", most))
	apply(large("a", most), own("b", "T"))
	_, err = f.ApplyTopics(f.ctx, []hook.Topic{large("a", most), large("b", most)}, audit)
	f.refused(err, hook.KindConflict, "too_many_topics")
	f.must(f.PutTopic(f.ctx, own("after", "T"), audit))
}

// checksAreCounted: what was found of a topic's events adds up, its last ones are kept, and begins anew with
// another schema. What companies ask for outlives the process.
func checksAreCounted(f *fixture) {
	t := own("order.shipped", "ORDER")
	t.Schema, t.Validate = `{"type": "object"}`, hook.ValidateReject
	f.must(f.PutTopic(f.ctx, t, audit))
	t0 := hook.Now(f.clock())
	breach := func(n int) hook.Checks {
		return hook.Checks{Checked: 2, Violations: 1, Rejected: 1, Last: []hook.Breach{{EventID: fmt.Sprint("e", n), At: t0, Violations: []hook.Violation{{Pointer: "/a", Keyword: "type"}}}}}
	}
	for n := range 12 {
		b := breach(n)
		f.must(f.AddChecks(f.ctx, map[string]*hook.Checks{"order.shipped": &b, "gone": {Checked: 1}, "customer": {Unchecked: 3}}))
	}
	f.reopen()
	got, err := f.Checks(f.ctx, "")
	f.must(err)
	equal(f, "all", []any{len(got), *got["customer"]}, []any{2, hook.Checks{Unchecked: 36, Last: []hook.Breach{}}})
	c := got["order.shipped"]
	equal(f, "of the topic", []any{c.Checked, c.Violations, c.Rejected, len(c.Last), c.Last[0], c.Last[9].EventID}, []any{int64(24), int64(12), int64(12), 10, breach(11).Last[0], "e2"})
	f.must(f.PutTopic(f.ctx, t, audit))
	got, err = f.Checks(f.ctx, "order.shipped")
	f.must(err)
	equal(f, "the same schema", len(got), 1)
	t.Schema = `{"type": "array"}`
	f.must(f.PutTopic(f.ctx, t, audit))
	got, err = f.Checks(f.ctx, "order.shipped")
	f.must(err)
	equal(f, "another schema", len(got), 0)

	_, err = f.UpdateCompany(f.ctx, "c1", func(c *store.Company) error { c.Validate = hook.ValidateReject; return nil }, audit)
	f.must(err)
	equal(f, "at once", []hook.Validation{f.Validation("c1"), f.Validation("c2")}, []hook.Validation{hook.ValidateReject, ""})
	f.reopen()
	equal(f, "after a restart", f.Validation("c1"), hook.ValidateReject)
	company, err := f.Company(f.ctx, "c1")
	f.must(err)
	equal(f, "the company", company.Validate, hook.ValidateReject)
}
