package httpapi

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// caller is who makes a request.
type caller struct {
	actor   string // as the audit log names it: a key's id, or "operator"
	keyID   string // "" for the configured operator key
	scope   store.Scope
	company hook.CompanyKey // of a company key
	name    string          // the company's id
	maker   [32]byte        // hash of the key, or of the session that a link opened: with it ends what the caller makes
	topics  string          // of a publish key: the prefix of the topics that it publishes
	expires time.Time       // of the maker; zero: never
	shown   [32]byte        // hash of what the caller showed: a key, or a session
}

func (c caller) operator() bool { return c.scope == store.ScopeOperator }

func (c caller) publisher() bool { return c.scope == store.ScopePublish }

func (c caller) mayWrite() bool { return c.scope == store.ScopeOperator || c.scope == store.ScopeWrite }

// need is what a route asks of its caller.
type need int

const (
	open         need = iota // no key
	anyKey                   // any key
	operatorOnly             // an operator key
	publishing               // an operator key, or a publish key; the one thing that a publish key may do
	companyRead              // a key of the company, or an operator key that names it
	companyWrite             // likewise, with scope write
	pathRead                 // an operator key, or a key of the company that the path names
	pathWrite                // likewise, with scope write
)

var (
	errUnauthorized = hook.Refuse(hook.KindUnauthorized, "unauthorized", "send Authorization: Bearer <key> with a key that is valid")
	errPublishOnly  = hook.Refuse(hook.KindForbidden, "scope_not_allowed", "this key has scope publish, which allows publishing only")
	errReadOnly     = hook.Refuse(hook.KindForbidden, "scope_not_allowed", "this key has scope read, which does not allow this")
	errOperator     = hook.Refuse(hook.KindForbidden, "operator_required", "only an operator key may do this")
)

// admit finds out who asks, whether they may, how often they did, and for which company.
func (x *exchange) admit(n need) error {
	if n == open {
		return nil
	}
	if x.r.Header["Content-Encoding"] != nil {
		return &hook.Error{Kind: kindMediaType, Code: "unsupported_media_type", Detail: "send the body as it is, without Content-Encoding"}
	}
	key, ok := bearer(x.r)
	if !ok {
		return errUnauthorized
	}
	var err error
	if x.caller, err = x.api.keys.find(x.r.Context(), key, peerOf(x.r)); err != nil {
		return err
	}
	if err := x.api.limits.take(x); err != nil {
		return err
	}
	switch {
	case n != publishing && x.caller.publisher():
		return errPublishOnly
	case n == publishing && !x.caller.operator() && !x.caller.publisher():
		return errOperator
	case n == operatorOnly && !x.caller.operator():
		return errOperator
	case (n == companyWrite || n == pathWrite) && !x.caller.mayWrite():
		return errReadOnly
	case n == companyRead || n == companyWrite:
		return x.findCompany()
	case n == pathRead || n == pathWrite:
		return x.companyOfPath()
	}
	return nil
}

func bearer(r *http.Request) (string, bool) {
	given := r.Header["Authorization"]
	if len(given) != 1 {
		return "", false
	}
	scheme, key, ok := strings.Cut(given[0], " ")
	return key, ok && strings.EqualFold(scheme, "Bearer") && key != "" && len(key) <= 256
}

const companyHeader = "X-Atlas-Company-Id"

// findCompany is the company that a request is about: the key's own, or the one that an operator
// names. It exists from its first mention.
func (x *exchange) findCompany() error {
	named := x.r.Header.Get(companyHeader)
	if !x.caller.operator() {
		if named != "" && named != x.caller.name {
			return hook.Refuse(hook.KindForbidden, "other_company", "this key belongs to another company than %s names", companyHeader)
		}
		named = x.caller.name
	}
	switch {
	case named == "":
		return hook.Refuse(hook.KindMalformed, "company_required", "an operator key names the company with %s", companyHeader)
	case !hook.ValidCompanyID(named):
		return hook.Refuse(hook.KindMalformed, "invalid_company_id", "%s must be 1–64 of A-Z a-z 0-9 _ : -", companyHeader)
	}
	var err error
	x.company, err = x.api.opt.Store.EnsureCompany(x.r.Context(), named)
	return err
}

// companyOfPath is the company in the path: any for an operator, their own for everybody else. To
// them another company looks like none.
func (x *exchange) companyOfPath() error {
	id := x.r.PathValue("company_id")
	if !hook.ValidCompanyID(id) || !x.caller.operator() && id != x.caller.name {
		return hook.NotFound("company")
	}
	var err error
	if x.r.Method == http.MethodGet {
		x.company, err = x.api.opt.Store.Company(x.r.Context(), id)
	} else {
		x.company, err = x.api.opt.Store.EnsureCompany(x.r.Context(), id)
	}
	return err
}

// How long a key's row is believed, and thus how long a revoked key may still open something; and
// how often the use of a key is written down.
const (
	believed  = 2 * time.Second
	touchedBy = 10 * time.Minute
)

// keyring knows the keys and the console's sessions that were used lately, by the hash of their text.
type keyring struct {
	store interface {
		KeyStore
		LinkStore
		SessionStore
	}
	operators [][32]byte // hashes of the configured operator keys
	now       func() time.Time

	mu    sync.Mutex
	known map[[32]byte]*knownKey
	// strangers slows down, for each neighbourhood of addresses, whoever tries keys that do not exist.
	strangers map[netip.Prefix]*rate.Limiter
	// narrow is all that they get of the store at once.
	narrow chan struct{}
}

type knownKey struct {
	caller  caller
	dead    bool      // revoked, or expired when its row was read
	expires time.Time // zero: never
	read    time.Time // when its row was read
	touched time.Time
}

// Bounds of the keyring's maps; they are emptied when they are full.
const (
	maxKnown     = 100_000
	maxStrangers = 10_000
)

func newKeyring(s Store, cfg config.Config, now func() time.Time) *keyring {
	k := &keyring{store: s, now: now, known: map[[32]byte]*knownKey{}, strangers: map[netip.Prefix]*rate.Limiter{}, narrow: make(chan struct{}, 2)}
	for _, key := range []config.Secret{cfg.OperatorKey, cfg.OperatorKeyPrevious} {
		if key != "" {
			k.operators = append(k.operators, store.KeyHash(key.Reveal()))
		}
	}
	return k
}

// find returns the caller of a key. Hashes are compared, so that time tells nothing about how much
// of a guess was right.
func (k *keyring) find(ctx context.Context, text string, peer netip.Addr) (caller, error) {
	hash := store.KeyHash(text)
	if k.configured(hash) {
		return caller{actor: "operator", scope: store.ScopeOperator, maker: hash, shown: hash}, nil
	}
	read := k.reader(text)
	if read == nil {
		return caller{}, errUnauthorized
	}
	now := k.now()
	k.mu.Lock()
	known, stranger := k.known[hash], k.strangers[neighbourhood(peer)]
	k.mu.Unlock()
	if known == nil || now.Sub(known.read) >= believed {
		slowed := known == nil && stranger != nil && stranger.TokensAt(now) < 1
		if slowed { // a valid key, which may come from behind the same proxy, waits its turn; it is never refused
			select {
			case k.narrow <- struct{}{}:
				defer func() { <-k.narrow }()
			case <-ctx.Done():
				return caller{}, ctx.Err()
			}
		}
		var err error
		if known, err = read(ctx, hash, known, now); err != nil {
			if hook.IsKind(err, hook.KindNotFound) {
				k.blame(neighbourhood(peer), now)
				if slowed {
					return caller{}, hook.Refuse(hook.KindLimited, "too_many_bad_keys", "too many keys were tried that do not exist")
				}
				return caller{}, errUnauthorized
			}
			return caller{}, err
		}
	}
	if known.dead || !known.expires.IsZero() && !now.Before(known.expires) {
		return caller{}, errUnauthorized
	}
	return known.caller, nil
}

// configured reports whether a hash is that of a configured operator key.
func (k *keyring) configured(hash [32]byte) bool {
	for i := range k.operators {
		if subtle.ConstantTimeCompare(hash[:], k.operators[i][:]) == 1 {
			return true
		}
	}
	return false
}

// reader is what asks the store about a text of that form; nil where none of ours has it.
func (k *keyring) reader(text string) func(context.Context, [32]byte, *knownKey, time.Time) (*knownKey, error) {
	switch prefix, _, _ := strings.Cut(text, "_"); prefix + "_" {
	case "awo_", "awc_", "awp_":
		return k.readKey
	case sessionPrefix:
		return k.readSession
	case signedInPrefix:
		return k.readSignedIn
	}
	return nil
}

// standing reports whether what was made with a key or a session still stands: its maker does, and the
// maker's maker, and so on. A zero hash is nobody: it stands.
func (k *keyring) standing(ctx context.Context, maker [32]byte, now time.Time) (bool, error) {
	for range maxChain {
		if maker == [32]byte{} || k.configured(maker) {
			return true, nil
		}
		key, err := k.store.KeyByHash(ctx, maker)
		if err == nil {
			if !key.ValidAt(now) {
				return false, nil
			}
			maker = key.Maker
			continue
		}
		if !hook.IsKind(err, hook.KindNotFound) {
			return false, err
		}
		l, err := k.store.LinkBySession(ctx, maker)
		if hook.IsKind(err, hook.KindNotFound) || err == nil && !linkStands(l, now) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		maker = l.Maker
	}
	return false, nil
}

// maxChain bounds how far back makers are asked for: a session that a link opened can make a link.
const maxChain = 8

// readKey asks the store for a key that is unknown, or known for too long.
func (k *keyring) readKey(ctx context.Context, hash [32]byte, before *knownKey, now time.Time) (*knownKey, error) {
	row, err := k.store.KeyByHash(ctx, hash)
	if err != nil {
		return nil, err
	}
	stands, err := k.standing(ctx, row.Maker, now)
	if err != nil {
		return nil, err
	}
	fresh := &knownKey{caller: callerOf(row, hash), dead: !stands || !row.ValidAt(now), read: now}
	fresh.expires = fresh.caller.expires
	if row.LastUsedAt != nil {
		fresh.touched = *row.LastUsedAt
	}
	if before != nil && before.touched.After(fresh.touched) {
		fresh.touched = before.touched
	}
	touch := !fresh.dead && now.Sub(fresh.touched) >= touchedBy
	if touch {
		fresh.touched = now
	}
	k.remember(hash, fresh)
	if touch {
		// When a key was last used is a hint for its owner: a store that cannot note it now is no
		// reason to refuse the request.
		_ = k.store.TouchKey(ctx, row.ID, now)
	}
	return fresh, nil
}

// callerOf is who shows a key, or a session that began with it.
func callerOf(row *store.Key, shown [32]byte) caller {
	c := caller{actor: row.ID, keyID: row.ID, scope: row.Scope, company: row.Company, name: row.CompanyID, topics: row.Topics, maker: shown, shown: shown}
	if row.ExpiresAt != nil {
		c.expires = *row.ExpiresAt
	}
	return c
}

func (k *keyring) remember(hash [32]byte, fresh *knownKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= maxKnown {
		clear(k.known)
	}
	k.known[hash] = fresh
}

// stands reports whether what a caller showed still opens what it opened, by at most believed. A
// store that does not answer leaves it as it is.
func (k *keyring) stands(ctx context.Context, c caller) bool {
	if k.configured(c.shown) {
		return true
	}
	now := k.now()
	k.mu.Lock()
	known := k.known[c.shown]
	k.mu.Unlock()
	if known == nil || now.Sub(known.read) >= believed {
		var err error
		for _, read := range []func(context.Context, [32]byte, *knownKey, time.Time) (*knownKey, error){k.readKey, k.readSession, k.readSignedIn} {
			if known, err = read(ctx, c.shown, known, now); !hook.IsKind(err, hook.KindNotFound) {
				break
			}
		}
		if err != nil {
			return !hook.IsKind(err, hook.KindNotFound)
		}
	}
	return !known.dead && (known.expires.IsZero() || now.Before(known.expires))
}

// blame counts a key that does not exist against the address that tried it.
func (k *keyring) blame(from netip.Prefix, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.strangers[from]
	if l == nil {
		if len(k.strangers) >= maxStrangers {
			clear(k.strangers)
		}
		l = rate.NewLimiter(10, 20)
		k.strangers[from] = l
	}
	l.AllowN(now, 1)
}

// forget makes a revocation in a company on this node effective at once, for what was made with it, too.
func (k *keyring) forget(company hook.CompanyKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for hash, known := range k.known {
		if known.caller.company == company {
			delete(k.known, hash)
		}
	}
}
