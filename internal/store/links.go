package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Link opens the console for a company, once: whoever has its token may exchange it for a session.
// Link and session end with the key that made them.
type Link struct {
	ID               string
	Company          hook.CompanyKey
	CompanyID        string
	Scope            Scope    // read or write
	Maker            [32]byte // hash of the key, or of the session, that made it
	CreatedBy        string
	CreatedAt        time.Time
	ExpiresAt        time.Time // of the token
	UsedAt           *time.Time
	SessionExpiresAt *time.Time
	RevokedAt        *time.Time
}

// NewLink is what a link is made of. Token is what the link will hold; the caller made it.
type NewLink struct {
	Company   hook.CompanyKey
	Scope     Scope
	Maker     [32]byte
	Token     string
	ExpiresAt time.Time
}

// linksKept is how long a link stays in the list after it was made.
const linksKept = 30 * 24 * time.Hour

// CreateLink stores a new link, and forgets some old ones.
func (s *Store) CreateLink(ctx context.Context, n NewLink, a Audit) (l *Link, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		now := hook.Now(s.now())
		id, hash := hook.NewID(hook.LinkPrefix, now), KeyHash(n.Token)
		if _, err := q.Exec(ctx, `DELETE FROM links WHERE id IN (SELECT id FROM links WHERE created_at < $1 LIMIT 100)`, sql.Micros(now.Add(-linksKept))); err != nil {
			return err
		}
		if err := s.mayMake(ctx, q, &madeLinks, n.Company, s.caps.Links, now); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, `
			INSERT INTO links (id, company, scope, maker, token_hash, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			id, int64(n.Company), string(n.Scope), n.Maker[:], hash[:], a.Actor, sql.Micros(now), sql.Micros(n.ExpiresAt)); err != nil {
			return err
		}
		if l, err = linkWhere(ctx, q, `l.id = $1`, id); err != nil {
			return err
		}
		return writeAudit(ctx, q, n.Company, id, a, now)
	})
	if err != nil {
		return nil, fmt.Errorf("create link: %w", err)
	}
	return l, nil
}

// Links lists a company's links, used and revoked ones too, the newest first.
func (s *Store) Links(ctx context.Context, company hook.CompanyKey, p Page) (list []*Link, more string, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, selectLinks+` WHERE l.company = $1 AND l.id < $2 ORDER BY l.id DESC LIMIT $3`,
			[]any{int64(company), p.before(), int64(p.Limit + 1)}, func(r sql.Rows) error {
				l, err := scanLink(r)
				list = append(list, l)
				return err
			})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list links: %w", err)
	}
	list, more = next(p, list, func(l *Link) string { return l.ID })
	return list, more, nil
}

// RevokeLink ends a link and the session that it opened.
func (s *Store) RevokeLink(ctx context.Context, company hook.CompanyKey, id string, a Audit) error {
	err := s.write(ctx, func(q sql.Tx) error {
		now := hook.Now(s.now())
		n, err := q.Exec(ctx, `UPDATE links SET revoked_at = $1 WHERE id = $2 AND company = $3 AND revoked_at IS NULL`, sql.Micros(now), id, int64(company))
		if err != nil {
			return err
		}
		if n == 0 {
			return hook.NotFound("link")
		}
		return writeAudit(ctx, q, company, id, a, now)
	})
	if err != nil {
		return fmt.Errorf("revoke link: %w", err)
	}
	return nil
}

// UseLink exchanges a token for a session, whose text the caller made. Of several who try at once,
// one gets it. [hook.NotFound] for a token that is unknown, used, expired or revoked.
func (s *Store) UseLink(ctx context.Context, token, session string, expires time.Time) (l *Link, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		now := hook.Now(s.now())
		hash, open := KeyHash(token), KeyHash(session)
		n, err := q.Exec(ctx, `
			UPDATE links SET used_at = $1, session_hash = $2, session_expires_at = $3
			WHERE token_hash = $4 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $1`, sql.Micros(now), open[:], sql.Micros(expires), hash[:])
		if err != nil {
			return err
		}
		if n == 0 {
			return hook.NotFound("link")
		}
		if l, err = linkWhere(ctx, q, `l.token_hash = $1`, hash[:]); err != nil {
			return err
		}
		return writeAudit(ctx, q, l.Company, l.ID, Audit{Actor: l.ID, Action: "console.entered"}, now)
	})
	if err != nil {
		return nil, fmt.Errorf("use link: %w", err)
	}
	return l, nil
}

// LinkByToken finds the link of a token that can still be used, without using it; [hook.NotFound] when
// there is none.
func (s *Store) LinkByToken(ctx context.Context, token string) (l *Link, err error) {
	hash := KeyHash(token)
	err = s.look(ctx, func(q sql.Tx) error {
		l, err = linkWhere(ctx, q, `l.token_hash = $1`, hash[:])
		return err
	})
	if err == nil && (l.UsedAt != nil || l.RevokedAt != nil || !s.now().Before(l.ExpiresAt)) {
		return nil, hook.NotFound("link")
	}
	return l, err
}

// LinkBySession finds the link that opened a session, valid or not; [hook.NotFound] when there is
// none.
func (s *Store) LinkBySession(ctx context.Context, hash [32]byte) (l *Link, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		l, err = linkWhere(ctx, q, `l.session_hash = $1`, hash[:])
		return err
	})
	return l, err
}

const selectLinks = `
	SELECT l.id, l.company, coalesce(c.id, ''), l.scope, l.maker, l.created_by, l.created_at, l.expires_at, l.used_at, l.session_expires_at, l.revoked_at
	FROM links l LEFT JOIN companies c ON c.key = l.company`

func linkWhere(ctx context.Context, q sql.Tx, condition string, arg any) (l *Link, err error) {
	err = sql.Each(ctx, q, selectLinks+` WHERE `+condition, []any{arg}, func(r sql.Rows) error {
		l, err = scanLink(r)
		return err
	})
	if err == nil && l == nil {
		err = hook.NotFound("link")
	}
	return l, err
}

func scanLink(r sql.Rows) (*Link, error) {
	l := &Link{}
	var maker []byte
	var created, expires int64
	var used, session, revoked *int64
	err := r.Scan(&l.ID, &l.Company, &l.CompanyID, &l.Scope, &maker, &l.CreatedBy, &created, &expires, &used, &session, &revoked)
	copy(l.Maker[:], maker)
	l.CreatedAt, l.ExpiresAt = sql.FromMicros(created), sql.FromMicros(expires)
	l.UsedAt, l.SessionExpiresAt, l.RevokedAt = sql.FromMicrosOrNull(used), sql.FromMicrosOrNull(session), sql.FromMicrosOrNull(revoked)
	return l, err
}
