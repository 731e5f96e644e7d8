package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// ReasonExpired is why a delivery is skipped, and why a parked one is due, that retention gave up.
const ReasonExpired = "expired"

// ExpireStep gives up what a company's webhooks have not resolved of the events from before a time:
// behind a cursor by a skipped range that the engine passes, parked by at most limit rows that the
// engine settles. It returns how many webhooks and rows it gave up. The purge follows when the
// engine is done.
func (s *Store) ExpireStep(ctx context.Context, company hook.CompanyKey, before time.Time, limit int) (n int, err error) {
	late, err := s.unresolvedBefore(ctx, company, before)
	if err != nil || len(late) == 0 {
		return 0, err
	}
	err = s.write(ctx, func(q sql.Tx) error {
		n = 0
		now := hook.Now(s.now())
		for _, u := range late {
			gone, err := u.expire(ctx, q, now, limit)
			if err != nil {
				return err
			}
			n += gone
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("expire: %w", err)
	}
	return n, nil
}

// WarnExpiring tells owners, once a day, whose webhooks have unresolved events from before a time.
func (s *Store) WarnExpiring(ctx context.Context, company hook.CompanyKey, before, expires time.Time) (n int, err error) {
	late, err := s.unresolvedBefore(ctx, company, before)
	if err != nil || len(late) == 0 {
		return 0, err
	}
	err = s.write(ctx, func(q sql.Tx) error {
		n = 0
		now := hook.Now(s.now())
		for _, u := range late {
			var recent int64
			err := sql.One(ctx, q, `SELECT count(*) FROM notices WHERE company = $1 AND webhook = $2 AND kind = 'expiring' AND at > $3`,
				[]any{int64(company), int64(u.webhook), sql.Micros(now.Add(-24 * time.Hour))}, &recent)
			if err != nil {
				return err
			}
			if recent > 0 {
				continue
			}
			n++
			if err := log.AddNotice(ctx, q, Notice{Webhook: u.webhook, Kind: "expiring", Detail: "undelivered events will be given up from " + expires.Format(time.RFC3339)}, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("warn of expiry: %w", err)
	}
	return n, nil
}

// unresolved is a webhook that has something left of the events up to a boundary.
type unresolved struct {
	webhook   hook.WebhookKey
	partition hook.Partition
	boundary  hook.Offset
	behind    bool // its cursor has not passed the boundary, and no range skips what lies between
	place     hook.Offset
	parked    int64 // live rows
}

func (s *Store) unresolvedBefore(ctx context.Context, company hook.CompanyKey, before time.Time) (late []unresolved, err error) {
	err = s.read(ctx, func(q sql.Tx) (err error) {
		late, err = unresolvedIn(ctx, q, company, before)
		return err
	})
	return late, err
}

func unresolvedIn(ctx context.Context, q sql.Tx, company hook.CompanyKey, before time.Time) (late []unresolved, err error) {
	first, err := offsetAt(ctx, q, company, before)
	if err != nil {
		return nil, err
	}
	boundary := first - 1
	var kept bool
	// Postgres expects to meet one soon if it reads the table from its beginning, and drops an order
	// inside EXISTS: the oldest offset it can only find by the index.
	err = sql.One(ctx, q, `
		SELECT coalesce((SELECT min("offset") FROM events e WHERE e.company = c.key AND e."offset" > c.purged_offset AND e."offset" <= $2), 0) > 0
		FROM companies c WHERE c.key = $1`,
		[]any{int64(company), int64(boundary)}, &kept)
	if err != nil || !kept {
		return nil, err
	}
	err = sql.Each(ctx, q, `
		SELECT w.key, w.partition, CASE WHEN u.detached = 0 AND o.swept > u."offset" THEN o.swept ELSE u."offset" END,
			(SELECT count(*) FROM parked p WHERE p.webhook = w.key AND p.kind = 'live' AND p."offset" <= $2 AND p.reason <> 'expired'),
			(SELECT count(*) FROM skips k WHERE k.webhook = w.key AND k.to_offset >= $2 AND k.from_offset <= u."offset" + 1)
		FROM webhooks w JOIN cursors u ON u.webhook = w.key JOIN owners o ON o.partition = w.partition
		WHERE w.company = $1 AND w.deleted_at IS NULL`, []any{int64(company), int64(boundary)}, func(r sql.Rows) error {
		u := unresolved{boundary: boundary}
		var skipped int64
		if err := r.Scan(&u.webhook, &u.partition, &u.place, &u.parked, &skipped); err != nil {
			return err
		}
		u.behind = u.place < boundary && skipped == 0
		if u.behind || u.parked > 0 {
			late = append(late, u)
		}
		return nil
	})
	return late, err
}

func (u *unresolved) expire(ctx context.Context, q sql.Tx, now time.Time, limit int) (n int, err error) {
	if u.behind {
		n++
		if _, err := q.Exec(ctx, `INSERT INTO skips (webhook, from_offset, to_offset, reason, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			int64(u.webhook), int64(u.place)+1, int64(u.boundary), ReasonExpired, sql.Micros(now)); err != nil {
			return 0, err
		}
	}
	if u.parked > 0 {
		// What was held and never attempted leaves no other trace.
		_, err := q.Exec(ctx, `
			INSERT INTO skips (webhook, from_offset, to_offset, reason, at)
			SELECT webhook, "offset", "offset", 'expired', $1 FROM parked
			WHERE webhook = $2 AND kind = 'live' AND attempts = 0 AND "offset" <= $3 AND reason <> 'expired' ORDER BY "offset" LIMIT $4
			ON CONFLICT DO NOTHING`, sql.Micros(now), int64(u.webhook), int64(u.boundary), int64(limit))
		if err != nil {
			return 0, err
		}
		rows, err := q.Exec(ctx, `
			UPDATE parked SET due_at = $1, parked_at = $1, reason = 'expired' WHERE webhook = $2 AND kind = 'live' AND "offset" IN
				(SELECT "offset" FROM parked WHERE webhook = $2 AND kind = 'live' AND "offset" <= $3 AND reason <> 'expired' ORDER BY "offset" LIMIT $4)`,
			sql.Micros(now), int64(u.webhook), int64(u.boundary), int64(limit))
		if err != nil {
			return 0, err
		}
		n += int(rows)
	}
	if err := log.AddNotice(ctx, q, Notice{Webhook: u.webhook, Kind: ReasonExpired, Detail: "undelivered events older than the retention were given up"}, now); err != nil {
		return 0, err
	}
	return n, touch(ctx, q, u.partition, u.webhook)
}
