package storetest

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func companiesAppearOnce(f *fixture) {
	_, err := f.Company(f.ctx, "nobody")
	f.refused(err, hook.KindNotFound, "company")
	var wg sync.WaitGroup
	keys := make([]hook.CompanyKey, 16)
	for i := range keys {
		wg.Go(func() {
			c, err := f.EnsureCompany(f.ctx, "c9")
			if err != nil {
				f.Error(err)
				return
			}
			keys[i] = c.Key
		})
	}
	wg.Wait()
	for _, key := range keys {
		equal(f, "key", key, keys[0])
	}
	c, err := f.CompanyByKey(f.ctx, keys[0])
	f.must(err)
	equal(f, "id", c.ID, "c9")
	f.reopen()
	again, err := f.EnsureCompany(f.ctx, "c9")
	f.must(err)
	equal(f, "after a restart", []any{again.Key, again.Partition}, []any{c.Key, c.Partition})
	list, more, err := f.Companies(f.ctx, store.Page{Limit: 1})
	f.must(err)
	equal(f, "the newest first", []string{list[0].ID, more}, []string{"c9", "c9"})
	list, more, err = f.Companies(f.ctx, store.Page{Limit: 1, Before: more})
	f.must(err)
	equal(f, "the next page", []string{list[0].ID, more}, []string{"c1", ""})
}

func companyChanges(f *fixture) {
	w := f.subscribe("*")
	c, err := f.UpdateCompany(f.ctx, "c1", func(c *store.Company) error {
		c.Scheme, c.Format, c.AllowNetworks, c.MaxWebhooks = hook.SchemeBase64, hook.DataObject, []string{"10.0.0.0/8", "::1/128"}, 3
		return nil
	}, audit)
	f.must(err)
	got, err := f.Company(f.ctx, "c1")
	f.must(err)
	equal(f, "company", got, c)
	w, err = f.WebhookForSend(f.ctx, w.Key)
	f.must(err)
	equal(f, "networks of its webhooks", w.AllowNetworks, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")})
	places, _, _, err := f.Places(f.ctx, w.Partition, 1, 100)
	f.must(err)
	equal(f, "webhooks that the engine looks at again", len(places), 1)

	refusal := errors.New("no")
	_, err = f.UpdateCompany(f.ctx, "c1", func(c *store.Company) error { c.MaxWebhooks = 99; return refusal }, audit)
	if !errors.Is(err, refusal) {
		f.Errorf("error %v", err)
	}
	got, err = f.Company(f.ctx, "c1")
	f.must(err)
	equal(f, "after a refused change", got.MaxWebhooks, 3)
}

func keysAreFoundByHash(f *fixture) {
	expires := f.clock().Add(time.Hour)
	text := "awc_0123456789abcdef0123456789abcdef"
	k, err := f.CreateKey(f.ctx, store.NewKey{Company: f.company.Key, Name: "ci", Scope: store.ScopeWrite, ExpiresAt: &expires, Text: text}, audit)
	f.must(err)
	got, err := f.KeyByHash(f.ctx, store.KeyHash(text))
	f.must(err)
	equal(f, "key", got, k)
	equal(f, "its facts", []any{k.CompanyID, k.Hint, k.CreatedBy, k.Scope, k.ValidAt(f.clock()), k.ValidAt(expires)}, []any{"c1", "cdef", "key_1", store.ScopeWrite, true, false})
	_, err = f.KeyByHash(f.ctx, store.KeyHash(text+"x"))
	f.refused(err, hook.KindNotFound, "key")

	f.must(f.TouchKey(f.ctx, k.ID, expires))
	f.must(f.TouchKey(f.ctx, k.ID, expires.Add(-time.Minute)))
	operator, err := f.CreateKey(f.ctx, store.NewKey{Name: "op", Scope: store.ScopeOperator, Text: "awo_" + text}, audit)
	f.must(err)
	_, err = f.CreateKey(f.ctx, store.NewKey{Company: f.company.Key, Scope: store.ScopePublish, Topics: "conversation", Text: "awp_" + text}, audit)
	f.must(err)
	publish, err := f.KeyByHash(f.ctx, store.KeyHash("awp_"+text))
	f.must(err)
	equal(f, "a publish key", []any{publish.Scope, publish.Topics}, []any{store.ScopePublish, "conversation"})
	list, _, err := f.Keys(f.ctx, 0, store.Page{Limit: 9})
	f.must(err)
	equal(f, "operator keys", []any{len(list), list[0].ID, list[0].CompanyID}, []any{1, operator.ID, ""})

	f.refused(f.RevokeKey(f.ctx, f.company.Key, operator.ID, audit), hook.KindNotFound, "key") // another's
	f.must(f.RevokeKey(f.ctx, f.company.Key, k.ID, audit))
	f.refused(f.RevokeKey(f.ctx, f.company.Key, k.ID, audit), hook.KindNotFound, "key")
	got, err = f.KeyByHash(f.ctx, store.KeyHash(text))
	f.must(err)
	equal(f, "after its revocation", []any{got.ValidAt(f.clock()), *got.LastUsedAt}, []any{false, expires})
}

func answersAreGivenTwice(f *fixture) {
	want := store.SavedAnswer{Company: f.company.Key, Key: "k1", Route: "POST /v1/webhooks", Digest: [32]byte{1}}
	long := f.clock().Add(-24 * time.Hour)
	saved, err := f.ReserveAnswer(f.ctx, want, long)
	f.must(err)
	if saved != nil {
		f.Fatalf("answered %+v", saved)
	}
	_, err = f.ReserveAnswer(f.ctx, want, long)
	f.refused(err, hook.KindConflict, "idempotency_in_progress")
	done := want
	done.Status, done.Body = 201, []byte(`{"signing_secret":"whsec_x"}`)
	f.must(f.SaveAnswer(f.ctx, done))
	f.reopen()
	saved, err = f.ReserveAnswer(f.ctx, want, long)
	f.must(err)
	equal(f, "answer", []any{saved.Status, string(saved.Body)}, []any{201, string(done.Body)})

	for _, other := range []store.SavedAnswer{{Company: want.Company, Key: "k1", Route: want.Route, Digest: [32]byte{2}}, {Company: want.Company, Key: "k1", Route: "POST /v1/x", Digest: want.Digest}} {
		_, err = f.ReserveAnswer(f.ctx, other, long)
		f.refused(err, hook.KindConflict, "idempotency_key_reused")
	}
	f.must(f.ForgetAnswer(f.ctx, want.Company, "k1")) // only what is reserved
	saved, err = f.ReserveAnswer(f.ctx, want, long)
	f.must(err)
	if saved == nil {
		f.Error("a finished answer was forgotten")
	}

	// An answer from before the retention, and a request that died, do not count.
	f.advance(time.Hour)
	saved, err = f.ReserveAnswer(f.ctx, want, f.clock())
	f.must(err)
	if saved != nil {
		f.Error("an expired answer was given")
	}
	f.advance(2 * time.Minute)
	saved, err = f.ReserveAnswer(f.ctx, want, long)
	f.must(err)
	if saved != nil {
		f.Error("an abandoned reservation held")
	}
	f.must(f.ForgetAnswer(f.ctx, want.Company, "k1"))
	f.advance(time.Hour)
	f.must(f.SaveAnswer(f.ctx, done))
	n, err := f.PurgeAnswersStep(f.ctx, f.clock().Add(time.Minute), 10)
	f.must(err)
	equal(f, "purged", n, 1)
}

// thingsAreCapped: a company has so many keys and links, and what is over stays in as many rows.
func thingsAreCapped(f *fixture) {
	f.opt.Caps = store.Caps{Webhooks: 2, Keys: 3, Links: 3}
	f.reopen()
	text := 0
	key := func() error {
		text++
		_, err := f.CreateKey(f.ctx, store.NewKey{Company: f.company.Key, Scope: store.ScopeRead, Text: fmt.Sprintf("awc_capped%d", text)}, audit)
		return err
	}
	link := func() error {
		text++
		_, err := f.CreateLink(f.ctx, store.NewLink{Company: f.company.Key, Scope: store.ScopeRead, Token: fmt.Sprintf("awl_capped%d", text), ExpiresAt: f.clock().Add(time.Minute)}, audit)
		return err
	}
	for range 3 {
		f.must(key())
		f.must(link())
	}
	f.refused(key(), hook.KindConflict, "too_many_keys")
	f.refused(link(), hook.KindConflict, "too_many_links")
	f.subscribe("customer")
	f.subscribe("conversation")
	_, err := f.CreateWebhook(f.ctx, settings(f, "*"), nil, audit)
	f.refused(err, hook.KindConflict, "too_many_webhooks")
	// Another company has its own.
	other, err := f.EnsureCompany(f.ctx, "c2")
	f.must(err)
	_, err = f.CreateKey(f.ctx, store.NewKey{Company: other.Key, Scope: store.ScopeRead, Text: "awc_other"}, audit)
	f.must(err)
	for range 10 {
		keys, _, err := f.Keys(f.ctx, f.company.Key, store.Page{Limit: 1})
		f.must(err)
		f.must(f.RevokeKey(f.ctx, f.company.Key, keys[0].ID, audit))
		f.must(key())
		f.advance(time.Minute)
		f.must(link())
	}
	keys, _, err := f.Keys(f.ctx, f.company.Key, store.Page{Limit: 100})
	f.must(err)
	links, _, err := f.Links(f.ctx, f.company.Key, store.Page{Limit: 100})
	f.must(err)
	if len(keys) > 6 || len(links) > 6 {
		f.Errorf("%d keys and %d links are kept", len(keys), len(links))
	}
}

// pastIsPurged: the audit log, and keys that are over.
func pastIsPurged(f *fixture) {
	soon := f.clock().Add(time.Minute)
	for _, n := range []store.NewKey{{Text: "awc_stays"}, {Text: "awc_revoked"}, {Text: "awc_expired", ExpiresAt: &soon}} {
		n.Company, n.Scope = f.company.Key, store.ScopeRead
		_, err := f.CreateKey(f.ctx, n, audit)
		f.must(err)
	}
	revoked, err := f.KeyByHash(f.ctx, store.KeyHash("awc_revoked"))
	f.must(err)
	f.must(f.RevokeKey(f.ctx, f.company.Key, revoked.ID, audit))
	n, err := f.PurgePastStep(f.ctx, f.clock().Add(-time.Hour), 100)
	f.must(err)
	equal(f, "control: what is not over", n, 0)
	f.advance(time.Hour)
	_, err = f.PurgePastStep(f.ctx, f.clock().Add(-time.Minute), 100)
	f.must(err)
	log, _, err := f.AuditLog(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	keys, _, err := f.Keys(f.ctx, f.company.Key, store.Page{Limit: 10})
	f.must(err)
	equal(f, "entries and keys that are left", []int{len(log), len(keys)}, []int{0, 1})
}

// sessionsEnd: at once, whichever way they began.
func sessionsEnd(f *fixture) {
	maker := store.KeyHash("awc_maker")
	f.must(f.BeginSession(f.ctx, "awi_1", store.Session{Maker: maker, ExpiresAt: f.clock().Add(time.Hour)}))
	got, err := f.SessionByHash(f.ctx, store.KeyHash("awi_1"))
	f.must(err)
	equal(f, "maker", got.Maker, maker)
	f.must(f.EndSession(f.ctx, "awi_1"))
	f.must(f.EndSession(f.ctx, "awi_1"))
	_, err = f.SessionByHash(f.ctx, store.KeyHash("awi_1"))
	if !hook.IsKind(err, hook.KindNotFound) {
		f.Errorf("an ended session is found: %v", err)
	}
	_, err = f.CreateLink(f.ctx, store.NewLink{Company: f.company.Key, Scope: store.ScopeRead, Maker: maker, Token: "awl_1", ExpiresAt: f.clock().Add(time.Minute)}, audit)
	f.must(err)
	l, err := f.LinkByToken(f.ctx, "awl_1")
	f.must(err)
	equal(f, "the link's company", l.CompanyID, f.company.ID)
	_, err = f.UseLink(f.ctx, "awl_1", "aws_1", f.clock().Add(time.Hour))
	f.must(err)
	if _, err = f.LinkByToken(f.ctx, "awl_1"); !hook.IsKind(err, hook.KindNotFound) {
		f.Errorf("a used link is found: %v", err)
	}
	f.must(f.EndSession(f.ctx, "aws_1"))
	l, err = f.LinkBySession(f.ctx, store.KeyHash("aws_1"))
	f.must(err)
	if l.SessionExpiresAt.After(f.clock()) {
		f.Errorf("the session of a link goes on until %v", l.SessionExpiresAt)
	}
}

func historyIsListed(f *fixture) {
	w := f.subscribe("*")
	f.update(w, "", func(w *hook.Webhook) { w.Description = "x" })
	a := audit
	a.Detail = map[string]any{"why": "because"}
	f.must(f.DeleteWebhook(f.ctx, w.Company, w.ID, nil, a))
	log, more, err := f.AuditLog(f.ctx, f.company.Key, store.Page{Limit: 2})
	f.must(err)
	equal(f, "the newest", []string{log[0].Object, log[0].Actor, log[0].RequestID, string(log[0].Detail), more}, []string{w.ID, "key_1", "r1", `{"why":"because"}`, log[1].ID})
	log, more, err = f.AuditLog(f.ctx, f.company.Key, store.Page{Limit: 2, Before: more})
	f.must(err)
	equal(f, "the last page", fmt.Sprint(len(log), more), "1")
}
