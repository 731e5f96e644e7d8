package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// ConsoleLinkCreate is the body of a link's creation; all of it can be left out.
type ConsoleLinkCreate struct {
	TTLSeconds *int64 `json:"ttl_seconds,omitempty" minimum:"30" maximum:"3600" doc:"How long the link waits to be used; 300 when left out."`
	ReadOnly   bool   `json:"read_only,omitempty" doc:"The session can change nothing and sees no secret."`
}

type linkCreateIn struct {
	CompanyPath
	Body *ConsoleLinkCreate
}

type linkOut struct{ Body client.ConsoleLink }

type linksOut struct {
	Body *client.List[client.ConsoleLink]
}

type linkPath struct {
	CompanyPath
	LinkID string `path:"link_id"`
}

const (
	tokenPrefix    = "awl_"
	sessionPrefix  = "aws_" // of a session that a link opened
	signedInPrefix = "awi_" // of one that began with a key
	defaultLinkTTL = 5 * time.Minute
)

func (a *API) linkRoutes() {
	const tag = "Keys"
	handle(a, route{
		method: http.MethodPost, path: "/v1/companies/{company_id}/console-links", id: "create-console-link", tag: tag, need: pathWrite,
		status: http.StatusCreated, creates: true,
		summary:     "Create a link that opens the console",
		description: "For one use, without a sign-in. The link and the session that it opens end with the key that made it; a session lasts an hour in which it is not used, and as long as console_session_hours allows at most.",
	}, a.createLink)
	handle(a, route{
		method: http.MethodGet, path: "/v1/companies/{company_id}/console-links", id: "list-console-links", tag: tag, need: pathWrite,
		summary: "List links to the console",
	}, func(ctx context.Context, x *exchange, in *keysIn) (*linksOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.Links(ctx, x.company.Key, page)
		if err != nil {
			return nil, err
		}
		return &linksOut{listByID(in.Paging, list, more, shapeLink)}, nil
	})
	handle(a, route{
		method: http.MethodDelete, path: "/v1/companies/{company_id}/console-links/{link_id}", id: "revoke-console-link", tag: tag, need: pathWrite,
		summary: "Revoke a link", description: "Ends the session that it opened, too.",
	}, func(ctx context.Context, x *exchange, in *linkPath) (*struct{}, error) {
		err := a.opt.Store.RevokeLink(ctx, x.company.Key, in.LinkID, x.audit("console_link.revoked", nil))
		a.keys.forget(x.company.Key)
		return nil, err
	})
}

func (a *API) createLink(ctx context.Context, x *exchange, in *linkCreateIn) (*linkOut, error) {
	b := ConsoleLinkCreate{}
	if in.Body != nil {
		b = *in.Body
	}
	ttl := defaultLinkTTL
	if b.TTLSeconds != nil {
		ttl = time.Duration(*b.TTLSeconds) * time.Second
	}
	n := store.NewLink{
		Company: x.company.Key, Scope: store.ScopeWrite, Maker: x.caller.maker, Token: tokenPrefix + rand.Text() + rand.Text(), ExpiresAt: a.now().Add(ttl),
	}
	if b.ReadOnly {
		n.Scope = store.ScopeRead
	}
	l, err := a.opt.Store.CreateLink(ctx, n, x.audit("console_link.created", map[string]any{"read_only": b.ReadOnly, "ttl_seconds": int64(ttl.Seconds())}))
	if err != nil {
		return nil, err
	}
	out := &linkOut{shapeLink(l)}
	out.Body.URL = cmp.Or(a.opt.Config.PublicURL, "http://"+x.r.Host) + "/console/enter#" + n.Token
	return out, nil
}

func shapeLink(l *store.Link) client.ConsoleLink {
	return client.ConsoleLink{
		ID: l.ID, CompanyID: l.CompanyID, ReadOnly: l.Scope == store.ScopeRead, CreatedBy: l.CreatedBy, CreatedAt: l.CreatedAt, ExpiresAt: l.ExpiresAt,
		UsedAt: l.UsedAt, SessionExpiresAt: l.SessionExpiresAt, RevokedAt: l.RevokedAt,
	}
}

// readSession asks the store for a session of the console that a link opened. It is what its link
// allows, for as long as what made the link stands.
func (k *keyring) readSession(ctx context.Context, hash [32]byte, _ *knownKey, now time.Time) (*knownKey, error) {
	l, err := k.store.LinkBySession(ctx, hash)
	if err != nil {
		return nil, err
	}
	stands, err := k.standing(ctx, l.Maker, now)
	if err != nil {
		return nil, err
	}
	fresh := &knownKey{
		caller: caller{actor: l.ID, keyID: l.ID, scope: l.Scope, company: l.Company, name: l.CompanyID, maker: hash, shown: hash},
		dead:   !stands || l.Maker == [32]byte{} || !linkStands(l, now), read: now,
	}
	if l.SessionExpiresAt != nil {
		fresh.expires = *l.SessionExpiresAt
		fresh.caller.expires = fresh.expires
	}
	k.remember(hash, fresh)
	return fresh, nil
}

// linkStands reports whether the session goes on that a link opened, as far as the link itself knows.
func linkStands(l *store.Link, now time.Time) bool {
	return l.RevokedAt == nil && l.SessionExpiresAt != nil && now.Before(*l.SessionExpiresAt)
}

// readSignedIn asks the store for a session of the console that began with a key. Until it ends it is
// what the key is, and what it makes is the key's.
func (k *keyring) readSignedIn(ctx context.Context, hash [32]byte, _ *knownKey, now time.Time) (*knownKey, error) {
	s, err := k.store.SessionByHash(ctx, hash)
	if err != nil {
		return nil, err
	}
	fresh := &knownKey{read: now, expires: s.ExpiresAt}
	if k.configured(s.Maker) {
		fresh.caller = caller{actor: "operator", scope: store.ScopeOperator, maker: s.Maker}
	} else {
		key, err := k.store.KeyByHash(ctx, s.Maker)
		if err != nil {
			return nil, err
		}
		stands, err := k.standing(ctx, key.Maker, now)
		if err != nil {
			return nil, err
		}
		fresh.caller, fresh.dead = callerOf(key, s.Maker), !stands || !key.ValidAt(now)
	}
	fresh.caller.shown = hash
	k.remember(hash, fresh)
	return fresh, nil
}
