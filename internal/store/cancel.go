package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// CancelEvent calls off an event of the log of which no attempt was recorded: each webhook that has yet to pass
// it skips it, as does one that is made later and begins before it, and no replay covers it. Who calls has seen to
// it that none is under way either (deliver's Cancel), as the node that runs the partition; "" is whoever has the
// store for itself. Cancelled twice is cancelled.
func (s *Store) CancelEvent(ctx context.Context, node string, company hook.CompanyKey, id string, a Audit) error {
	err := s.write(ctx, func(q sql.Tx) error {
		e, err := eventByID(ctx, q, company, id)
		if err != nil {
			return err
		}
		c, err := companyWhere(ctx, q, `key = $1`, int64(company))
		if err != nil {
			return err
		}
		if err := s.stillOwns(ctx, q, node, c.Partition); err != nil {
			return err
		}
		cancelled, attempted := false, false
		err = sql.One(ctx, q, `SELECT EXISTS (SELECT 1 FROM cancellations WHERE company = $1 AND "offset" = $2),
			EXISTS (SELECT 1 FROM webhooks w JOIN attempts a ON a.webhook = w.key WHERE w.company = $1 AND a."offset" = $2)`,
			[]any{int64(company), int64(e.Offset)}, &cancelled, &attempted)
		switch {
		case err != nil || cancelled:
			return err
		case attempted:
			return hook.Refuse(hook.KindConflict, "already_delivered", "an attempt to deliver the event has been made")
		}
		now := hook.Now(s.now())
		if _, err := q.Exec(ctx, `INSERT INTO cancellations (company, "offset", at) VALUES ($1, $2, $3)`, int64(company), int64(e.Offset), sql.Micros(now)); err != nil {
			return err
		}
		if err := callOff(ctx, q, company, c.Partition, e.Offset, now); err != nil {
			return err
		}
		return writeAudit(ctx, q, company, id, a, now)
	})
	if err != nil {
		return fmt.Errorf("cancel event: %w", err)
	}
	return nil
}

// stillOwns is the fence of who decides by what its memory says: the node lives, and runs the partition, until
// the end of the transaction.
func (s *Store) stillOwns(ctx context.Context, q sql.Tx, node string, p hook.Partition) error {
	if _, shared := s.engine.(*postgres.Engine); !shared || node == "" {
		return nil
	}
	n, err := q.Exec(ctx, `SELECT FROM nodes WHERE id = $1 AND NOT dead FOR KEY SHARE`, node)
	if err == nil && n > 0 {
		n, err = q.Exec(ctx, `SELECT FROM owners WHERE partition = $1 AND node_id = $2 FOR SHARE`, int64(p), node)
	}
	if err == nil && n == 0 {
		err = NotOwner()
	}
	return err
}

// NotOwner refuses what only the node that runs a partition may decide.
func NotOwner() error {
	return &hook.Error{
		Kind: hook.KindUnavailable, Code: "not_owner", RetryAfter: time.Second,
		Detail: "the node that delivers the company's events is changing; try again",
	}
}

// callOff tells the webhooks that have yet to pass an event.
func callOff(ctx context.Context, q sql.Tx, company hook.CompanyKey, p hook.Partition, o hook.Offset, now time.Time) error {
	at := sql.Micros(now)
	waiting := `
		webhooks w JOIN cursors u ON u.webhook = w.key JOIN owners n ON n.partition = w.partition
		WHERE w.company = $1 AND w.deleted_at IS NULL AND (
			CASE WHEN u.detached = 0 AND n.swept > u."offset" THEN n.swept ELSE u."offset" END < $2
			OR EXISTS (SELECT 1 FROM parked x WHERE x.webhook = w.key AND x."offset" = $2))`
	version, err := log.CountChange(ctx, q, p)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		query string
		third int64
	}{
		{`INSERT INTO skips (webhook, from_offset, to_offset, reason, at) SELECT w.key, $2, $2, 'cancelled', $3 FROM ` + waiting + ` ON CONFLICT DO NOTHING`, at},
		{`UPDATE webhooks SET changed = $3 WHERE key IN (SELECT w.key FROM ` + waiting + `)`, version},
		{`DELETE FROM parked WHERE kind IN ('manual', 'replay') AND "offset" = $2 AND CAST($3 AS BIGINT) > 0 AND webhook IN (SELECT key FROM webhooks WHERE company = $1 AND deleted_at IS NULL)`, at},
		// What was held behind another of its object.
		{`UPDATE parked SET due_at = $3, parked_at = $3, reason = 'expired' WHERE kind = 'live' AND "offset" = $2 AND webhook IN (SELECT key FROM webhooks WHERE company = $1 AND deleted_at IS NULL)`, at},
	} {
		if _, err := q.Exec(ctx, x.query, int64(company), int64(o), x.third); err != nil {
			return err
		}
	}
	return nil
}

// skipCancelled makes a webhook that begins in the past skip what was called off.
func skipCancelled(ctx context.Context, q sql.Tx, company hook.CompanyKey, webhook hook.WebhookKey, after hook.Offset) error {
	_, err := q.Exec(ctx, `
		INSERT INTO skips (webhook, from_offset, to_offset, reason, at)
		SELECT $1, "offset", "offset", 'cancelled', at FROM cancellations WHERE company = $2 AND "offset" > $3`,
		int64(webhook), int64(company), int64(after))
	return err
}

// cancelledAt is when an event of the log was called off; nil when it was not.
func cancelledAt(ctx context.Context, q sql.Tx, company hook.CompanyKey, o hook.Offset) (at *time.Time, err error) {
	err = sql.Each(ctx, q, `SELECT at FROM cancellations WHERE company = $1 AND "offset" = $2`, []any{int64(company), int64(o)}, func(r sql.Rows) error {
		var us int64
		err := r.Scan(&us)
		at = sql.FromMicrosOrNull(&us)
		return err
	})
	return at, err
}

// PurgeScheduledStep deletes at most limit events that were called off before their time, from before a time.
func (s *Store) PurgeScheduledStep(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		deleted, err := q.Exec(ctx, `
			DELETE FROM scheduled WHERE (company, id) IN (SELECT company, id FROM scheduled WHERE cancelled_at < $1 ORDER BY cancelled_at LIMIT $2)`,
			sql.Micros(before), int64(limit))
		n = int(deleted)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge cancelled events: %w", err)
	}
	return n, nil
}
