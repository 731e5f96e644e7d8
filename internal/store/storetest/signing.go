package storetest

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// signingKeysRotate: a company gets its first pair with the first webhook that asks for it, the next one is
// published for a day before it signs, and the last one for a day after.
func signingKeysRotate(f *fixture) {
	plain := f.subscribe("customer")
	kids := func() (list []string) {
		keys, err := f.PublicKeys(f.ctx, f.company.Key)
		f.must(err)
		for _, k := range keys {
			list = append(list, k.ID)
		}
		return list
	}
	equal(f, "before", len(kids()), 0)
	n := settings(f, "conversation")
	n.Ed25519 = true
	w, err := f.CreateWebhook(f.ctx, n, nil, audit)
	f.must(err)
	signs := func() string {
		f.Helper()
		w, err := f.WebhookForSend(f.ctx, w.Key)
		f.must(err)
		k := w.SigningKeyAt(f.clock())
		if !ed25519.Verify(k.Public, []byte("m"), ed25519.Sign(k.Private, []byte("m"))) {
			f.Fatal("the halves do not belong together")
		}
		return k.ID
	}
	first := signs()
	equal(f, "published", kids(), []string{first})
	f.reopen()
	equal(f, "kept", signs(), first)
	unasked, err := f.WebhookForSend(f.ctx, plain.Key)
	f.must(err)
	equal(f, "of who did not ask", len(unasked.SigningKeys), 0)

	before, err := f.WebhookForSend(f.ctx, w.Key)
	f.must(err)
	next, err := f.RotateSigningKey(f.ctx, f.company.Key, audit)
	f.must(err)
	after, err := f.WebhookForSend(f.ctx, w.Key)
	f.must(err)
	equal(f, "lanes read it anew", after.Version, before.Version+1)
	_, err = f.RotateSigningKey(f.ctx, f.company.Key, audit)
	f.refused(err, hook.KindConflict, "rotation_in_progress")
	f.advance(23 * time.Hour)
	equal(f, "a day before", fmt.Sprint(signs() == first, kids()), fmt.Sprint(true, []string{next.ID, first}))
	f.advance(time.Hour)
	equal(f, "then", fmt.Sprint(signs() == next.ID, kids()), fmt.Sprint(true, []string{next.ID, first}))
	f.advance(24 * time.Hour)
	equal(f, "a day after", kids(), []string{next.ID})
	all, err := f.PublicKeys(f.ctx, 0)
	f.must(err)
	equal(f, "of all", len(all), 1)
	entries, _, err := f.AuditLog(f.ctx, f.company.Key, store.Page{Limit: 1})
	f.must(err)
	equal(f, "audit", entries[0].Object, next.ID)
}
