package httpapi

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type keyCreateIn struct {
	CompanyPath
	Body client.KeyCreate
}

type keyOut struct{ Body client.Key }

type keysIn struct {
	CompanyPath
	Paging
}

type keysOut struct{ Body *client.List[client.Key] }

type keyPath struct {
	CompanyPath
	KeyID string `path:"key_id"`
}

type callerOut struct{ Body client.Caller }

func (a *API) keyRoutes() {
	const tag = "Keys"
	handle(a, route{
		method: http.MethodGet, path: "/v1/caller", id: "get-caller", tag: tag, need: anyKey,
		summary: "Whose key this is", description: "What the key of this very request may do, and for which company.",
	}, func(_ context.Context, x *exchange, _ *struct{}) (*callerOut, error) {
		out := client.Caller{Actor: x.caller.actor, Scope: client.Scope(x.caller.scope), CompanyID: orNull(x.caller.name)}
		if end := x.caller.expires; !end.IsZero() {
			out.ExpiresAt = &end
		}
		return &callerOut{out}, nil
	})
	handle(a, route{
		method: http.MethodPost, path: "/v1/companies/{company_id}/keys", id: "create-key", tag: tag, need: pathWrite, status: http.StatusCreated, creates: true,
		summary: "Create a company key", description: "A company's own write key can create read keys. A publish key (awp_…) is for producers: it publishes events of its company, of the topics that topic_prefix names where it has one, and does nothing else. What a key or a session of the console makes never outlives it: it ends with it, and expires when it does.",
	}, a.createKey)
	handle(a, route{
		method: http.MethodGet, path: "/v1/companies/{company_id}/keys", id: "list-keys", tag: tag, need: pathWrite, summary: "List a company's keys",
	}, func(ctx context.Context, x *exchange, in *keysIn) (*keysOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.Keys(ctx, x.company.Key, page)
		if err != nil {
			return nil, err
		}
		return &keysOut{listByID(in.Paging, list, more, shapeKey)}, nil
	})
	handle(a, route{
		method: http.MethodDelete, path: "/v1/companies/{company_id}/keys/{key_id}", id: "revoke-key", tag: tag, need: pathWrite,
		summary: "Revoke a key", description: "With it end the keys, links and sessions that were made with it. It opens nothing any more within five seconds, on all nodes.",
	}, func(ctx context.Context, x *exchange, in *keyPath) (*struct{}, error) {
		err := a.opt.Store.RevokeKey(ctx, x.company.Key, in.KeyID, x.audit("key.revoked", nil))
		a.keys.forget(x.company.Key)
		return nil, err
	})
}

func (a *API) createKey(ctx context.Context, x *exchange, in *keyCreateIn) (*keyOut, error) {
	b := in.Body
	if !x.caller.operator() && b.Scope != client.Read {
		return nil, errOperator
	}
	if b.ExpiresAt != nil && !b.ExpiresAt.After(a.opt.Now()) {
		return nil, hook.Invalid("expires_at", "invalid_time", "lies in the past")
	}
	if b.Topics != "" && (b.Scope != client.PublishOnly || !hook.ValidTopic(b.Topics)) {
		return nil, hook.Invalid("topic_prefix", "invalid_topic_prefix", "belongs to publish keys only, and is a topic, or what topics begin with before a dot")
	}
	n := store.NewKey{Company: x.company.Key, Name: b.Name, Scope: store.Scope(b.Scope), Topics: b.Topics, ExpiresAt: b.ExpiresAt, Text: keyPrefix(b.Scope) + rand.Text() + rand.Text()}
	if !x.caller.operator() { // whose keys are changed without their companies' noticing
		n.Maker = x.caller.maker
		if end := x.caller.expires; !end.IsZero() && (n.ExpiresAt == nil || n.ExpiresAt.After(end)) {
			n.ExpiresAt = &end
		}
	}
	detail := map[string]any{"name": b.Name, "scope": b.Scope}
	if b.Topics != "" {
		detail["topic_prefix"] = b.Topics
	}
	k, err := a.opt.Store.CreateKey(ctx, n, x.audit("key.created", detail))
	if err != nil {
		return nil, err
	}
	out := &keyOut{shapeKey(k)}
	out.Body.Key = n.Text
	return out, nil
}

// keyPrefix is what the text of a company's key begins with: what it may do is seen before it is used.
func keyPrefix(s client.Scope) string {
	if s == client.PublishOnly {
		return "awp_"
	}
	return "awc_"
}

func shapeKey(k *store.Key) client.Key {
	return client.Key{
		ID: k.ID, CompanyID: k.CompanyID, Name: k.Name, Scope: client.Scope(k.Scope), Topics: k.Topics, Hint: k.Hint, CreatedBy: k.CreatedBy,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, LastUsedAt: k.LastUsedAt, RevokedAt: k.RevokedAt,
	}
}
