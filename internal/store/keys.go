package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Scope is what an API key may do.
type Scope string

// Scopes of API keys.
const (
	ScopeOperator Scope = "operator" // everything, in every company
	ScopeWrite    Scope = "write"    // everything within its company
	ScopeRead     Scope = "read"     // no change, no secret
	ScopePublish  Scope = "publish"  // publishing in its company, and nothing else
)

// Key is an API key without its text, of which only a hash is kept.
type Key struct {
	ID         string
	Company    hook.CompanyKey // 0 for an operator key
	CompanyID  string
	Name       string
	Scope      Scope
	Topics     string // of a publish key: the prefix of the topics that it publishes, see [hook.TopicWithin]
	Hint       string // the last four characters of its text
	CreatedBy  string
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	LastUsedAt *time.Time
	RevokedAt  *time.Time
	Maker      [32]byte // hash of the key or session that made it, with which it ends; zero: an operator did
}

// ValidAt reports whether the key opens anything at an instant.
func (k *Key) ValidAt(now time.Time) bool {
	return k.RevokedAt == nil && (k.ExpiresAt == nil || now.Before(*k.ExpiresAt))
}

// NewKey is what a key is made of. Text is what its bearer will show; the caller made it.
type NewKey struct {
	Company   hook.CompanyKey // 0 for an operator key
	Name      string
	Scope     Scope
	Topics    string // as in [Key]
	ExpiresAt *time.Time
	Text      string
	Maker     [32]byte // as in [Key]
}

// KeyHash is what the store keeps of a key's text.
func KeyHash(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// CreateKey stores a new API key, unless the company has as many as it may have.
func (s *Store) CreateKey(ctx context.Context, n NewKey, a Audit) (k *Key, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		now := hook.Now(s.now())
		id, hash := hook.NewID(hook.KeyPrefix, now), KeyHash(n.Text)
		if n.Company != 0 {
			if err := s.mayMake(ctx, q, &madeKeys, n.Company, s.caps.Keys, now); err != nil {
				return err
			}
		}
		var maker []byte
		if n.Maker != [32]byte{} {
			maker = n.Maker[:]
		}
		if _, err := q.Exec(ctx, `
			INSERT INTO api_keys (id, company, name, scope, topic_prefix, hash, hint, created_by, created_at, expires_at, maker) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			id, int64(n.Company), n.Name, string(n.Scope), n.Topics, hash[:], n.Text[max(0, len(n.Text)-4):], a.Actor, sql.Micros(now), sql.MicrosOrNull(n.ExpiresAt), maker); err != nil {
			return err
		}
		if k, err = keyWhere(ctx, q, `k.id = $1`, id); err != nil {
			return err
		}
		return writeAudit(ctx, q, n.Company, id, a, now)
	})
	if err != nil {
		return nil, fmt.Errorf("create key: %w", err)
	}
	return k, nil
}

// Keys lists a company's keys (0: operator keys), revoked ones too, the newest first.
func (s *Store) Keys(ctx context.Context, company hook.CompanyKey, p Page) (list []*Key, more string, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, selectKeys+` WHERE k.company = $1 AND k.id < $2 ORDER BY k.id DESC LIMIT $3`,
			[]any{int64(company), p.before(), int64(p.Limit + 1)}, func(r sql.Rows) error {
				k, err := scanKey(r)
				list = append(list, k)
				return err
			})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list keys: %w", err)
	}
	list, more = next(p, list, func(k *Key) string { return k.ID })
	return list, more, nil
}

// RevokeKey ends a company's key (0: an operator key), and the keys that it made. A revoked one is not
// found again.
func (s *Store) RevokeKey(ctx context.Context, company hook.CompanyKey, id string, a Audit) error {
	err := s.write(ctx, func(q sql.Tx) error {
		now := hook.Now(s.now())
		n, err := q.Exec(ctx, `UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND company = $3 AND revoked_at IS NULL`, sql.Micros(now), id, int64(company))
		if err != nil {
			return err
		}
		if n == 0 {
			return hook.NotFound("key")
		}
		if _, err := q.Exec(ctx, `
			UPDATE api_keys SET revoked_at = $1
			WHERE company = $2 AND created_by = $3 AND company <> 0 AND revoked_at IS NULL`, sql.Micros(now), int64(company), id); err != nil {
			return err
		}
		return writeAudit(ctx, q, company, id, a, now)
	})
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	return nil
}

// KeyByHash finds the key of a text, valid or not; [hook.NotFound] when there is none. The lookup
// by a hash of the whole text tells nobody how much of a guess was right.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (k *Key, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		k, err = keyWhere(ctx, q, `k.hash = $1`, hash[:])
		return err
	})
	return k, err
}

// TouchKey notes that a key was used. Callers do so rarely: it costs a commit.
func (s *Store) TouchKey(ctx context.Context, id string, at time.Time) error {
	return s.write(ctx, func(q sql.Tx) error {
		_, err := q.Exec(ctx, `UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND coalesce(last_used_at, 0) < $1`, sql.Micros(at), id)
		return err
	})
}

const selectKeys = `
	SELECT k.id, k.company, coalesce(c.id, ''), k.name, k.scope, k.topic_prefix, k.hint, k.created_by, k.created_at, k.expires_at, k.last_used_at, k.revoked_at,
		coalesce(k.maker, (SELECT m.hash FROM api_keys m WHERE m.id = k.created_by AND m.company = k.company AND m.company <> 0))
	FROM api_keys k LEFT JOIN companies c ON c.key = k.company`

func keyWhere(ctx context.Context, q sql.Tx, condition string, arg any) (k *Key, err error) {
	err = sql.Each(ctx, q, selectKeys+` WHERE `+condition, []any{arg}, func(r sql.Rows) error {
		k, err = scanKey(r)
		return err
	})
	if err == nil && k == nil {
		err = hook.NotFound("key")
	}
	return k, err
}

func scanKey(r sql.Rows) (*Key, error) {
	k := &Key{}
	var created int64
	var expires, used, revoked *int64
	var maker []byte
	err := r.Scan(&k.ID, &k.Company, &k.CompanyID, &k.Name, &k.Scope, &k.Topics, &k.Hint, &k.CreatedBy, &created, &expires, &used, &revoked, &maker)
	copy(k.Maker[:], maker)
	k.CreatedAt, k.ExpiresAt, k.LastUsedAt, k.RevokedAt = sql.FromMicros(created), sql.FromMicrosOrNull(expires), sql.FromMicrosOrNull(used), sql.FromMicrosOrNull(revoked)
	return k, err
}
