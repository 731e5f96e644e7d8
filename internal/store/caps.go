package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// made is something that companies make, use up and forget. rows are all of a company's, alive those
// that count against its cap at $2, over those that may go.
type made struct{ noun, rows, alive, over string }

var (
	madeKeys = made{
		"keys", `api_keys WHERE company = $1`, `revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)`,
		`(revoked_at IS NOT NULL OR expires_at <= $2)`,
	}
	madeLinks = made{
		"links", `links WHERE company = $1`, `used_at IS NULL AND revoked_at IS NULL AND expires_at > $2`,
		`(revoked_at IS NOT NULL OR expires_at <= $2) AND coalesce(session_expires_at, 0) <= $2`,
	}
)

// mayMake refuses one more than a company may have, and keeps the rows of what is over, and with them
// the cost of counting, to as many.
func (s *Store) mayMake(ctx context.Context, q sql.Tx, m *made, company hook.CompanyKey, most int, now time.Time) error {
	if most <= 0 {
		return nil
	}
	var alive, over int
	err := sql.One(ctx, q, `SELECT coalesce(sum(CASE WHEN `+m.alive+` THEN 1 ELSE 0 END), 0), coalesce(sum(CASE WHEN `+m.over+` THEN 1 ELSE 0 END), 0) FROM `+m.rows,
		[]any{int64(company), sql.Micros(now)}, &alive, &over)
	if err != nil {
		return err
	}
	if alive >= most {
		return hook.Refuse(hook.KindConflict, "too_many_"+m.noun, "the company has %d %s, which is its limit; revoke some that are not needed", alive, m.noun)
	}
	if over >= most {
		table := m.rows + ` AND ` + m.over
		_, err = q.Exec(ctx, `DELETE FROM `+m.table()+` WHERE id IN (SELECT id FROM `+table+` ORDER BY id LIMIT $3)`, int64(company), sql.Micros(now), int64(over-most+1))
	}
	return err
}

func (m *made) table() string {
	if m == &madeKeys {
		return "api_keys"
	}
	return "links"
}

// PurgePastStep deletes, of each kind, at most limit entries of the audit log from before a time, and keys
// that were over then.
func (s *Store) PurgePastStep(ctx context.Context, before time.Time, limit int) (n int, err error) {
	statements := []string{
		`DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)`,
		`DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys WHERE revoked_at < $1 ORDER BY revoked_at LIMIT $2)`,
		`DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`,
	}
	err = s.write(ctx, func(q sql.Tx) error {
		n = 0
		for _, statement := range statements {
			gone, err := q.Exec(ctx, statement, sql.Micros(before), int64(limit))
			if err != nil {
				return err
			}
			n += int(gone)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("purge the past: %w", err)
	}
	return n, nil
}

// PurgeTracesStep deletes at most limit traces of records that are as old as kept, by the database's clock.
// Only Postgres has any: those that no later record took away.
func (s *Store) PurgeTracesStep(ctx context.Context, kept time.Duration, limit int) (n int, err error) {
	if _, ok := s.engine.(*postgres.Engine); !ok {
		return 0, nil
	}
	err = s.write(ctx, func(q sql.Tx) error {
		gone, err := q.Exec(ctx, `DELETE FROM records WHERE id IN (SELECT id FROM records WHERE made_at < now() - make_interval(secs => $1) LIMIT $2)`,
			kept.Seconds(), int64(limit))
		n = int(gone)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge traces of records: %w", err)
	}
	return n, nil
}
