package httpapi

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Principal is who a key belongs to, and what it may do.
type Principal struct {
	Actor     string // as the audit log names it
	CompanyID string // "" for an operator
	Operator  bool
	MayWrite  bool
}

// Identify finds out whose key it is that a request came with in another way than its
// Authorization header. It slows down addresses that guess, as the API itself does.
func (a *API) Identify(r *http.Request, key string) (Principal, error) {
	c, err := a.keys.find(r.Context(), key, peerOf(r))
	if err != nil {
		return Principal{}, err
	}
	if c.publisher() {
		return Principal{}, errPublishOnly
	}
	return Principal{Actor: c.actor, CompanyID: c.name, Operator: c.operator(), MayWrite: c.mayWrite()}, nil
}

// SignIn begins a session with a key: a text that the API takes as the key until the returned instant,
// until [API.SignOut], or until the key ends.
func (a *API) SignIn(r *http.Request, key string) (session string, p Principal, expires time.Time, err error) {
	if strings.HasPrefix(key, sessionPrefix) || strings.HasPrefix(key, signedInPrefix) {
		return "", p, expires, errUnauthorized // a session begins no other
	}
	if p, err = a.Identify(r, key); err != nil {
		return "", p, expires, err
	}
	session, expires = signedInPrefix+rand.Text()+rand.Text(), a.now().Add(a.sessionLength())
	err = a.opt.Store.BeginSession(r.Context(), session, store.Session{Maker: store.KeyHash(key), ExpiresAt: expires})
	return session, p, expires, err
}

// sessionLength is how long a session lasts that is used all the time. The console ends it before, when
// it is not.
func (a *API) sessionLength() time.Duration {
	return time.Duration(a.opt.Config.ConsoleSessionHours) * time.Hour
}

// SignOut ends a session, on all nodes within seconds, and with it what it made.
func (a *API) SignOut(ctx context.Context, session string) error {
	err := a.opt.Store.EndSession(ctx, session)
	hash := store.KeyHash(session)
	a.keys.mu.Lock()
	defer a.keys.mu.Unlock()
	delete(a.keys.known, hash)
	return err
}

// LinkCompany is the company whose console a link opens, while the link can be used. It is not used up.
func (a *API) LinkCompany(r *http.Request, token string) (string, error) {
	if !strings.HasPrefix(token, tokenPrefix) || len(token) > 128 {
		return "", errLink
	}
	l, err := a.opt.Store.LinkByToken(r.Context(), token)
	if hook.IsKind(err, hook.KindNotFound) {
		err = errLink
	}
	if err != nil {
		return "", err
	}
	return l.CompanyID, nil
}

// Enter exchanges the token of a console link for a session, once: a text that the API takes as a
// key until the returned instant, or until the link or the key that made it is revoked.
func (a *API) Enter(r *http.Request, token string) (session string, expires time.Time, err error) {
	if !strings.HasPrefix(token, tokenPrefix) || len(token) > 128 {
		return "", expires, errLink
	}
	session, expires = sessionPrefix+rand.Text()+rand.Text(), a.now().Add(a.sessionLength())
	if _, err := a.opt.Store.UseLink(r.Context(), token, session, expires); err != nil {
		if hook.IsKind(err, hook.KindNotFound) {
			err = errLink
		}
		return "", expires, err
	}
	// A link whose maker was revoked opens nothing.
	known, err := a.keys.readSession(r.Context(), store.KeyHash(session), nil, a.opt.Now())
	if err == nil && known.dead {
		err = errLink
	}
	if err != nil {
		return "", expires, err
	}
	return session, expires, nil
}

var errLink = hook.Refuse(hook.KindForbidden, "link_not_valid", "this link was used already, has expired or was revoked; ask for a new one")

// Describe is what the API would answer to an error of [API.Identify] and [API.Enter].
func Describe(err error) *client.Problem { return problemOf(err, "") }

type uncountedKey struct{}

// Uncounted marks the requests of a program that asks several questions to answer one, and counts
// for itself: they do not use up the rate of their key.
func Uncounted(ctx context.Context) context.Context {
	return context.WithValue(ctx, uncountedKey{}, true)
}
