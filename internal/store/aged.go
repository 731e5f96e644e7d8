package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Aged is what a look at the oldest events of a partition found.
type Aged struct {
	Companies []hook.CompanyKey // of events that are due, each once
	First     hook.Offset       // the first event that is there; those before it are gone for ever
	UpTo      hook.Offset       // the look came up to here
	Oldest    *time.Time        // when the first was accepted; nil where there is none
}

// Aged finds whose events were accepted before a time, after an offset, at most limit of them. The last
// event of the log is never due, because no offset may be given twice. What it costs goes by what is
// due, and not by how many companies there are.
func (s *Store) Aged(ctx context.Context, p hook.Partition, after hook.Offset, before time.Time, limit int) (a Aged, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		a = Aged{UpTo: after}
		var accepted int64
		err := sql.One(ctx, q, `SELECT "offset", accepted_at FROM events WHERE `+s.engine.Slice(p)+` AND "offset" > $1 ORDER BY "offset" LIMIT 1`,
			[]any{int64(after)}, &a.First, &accepted)
		if errors.Is(err, sql.ErrNoRow) {
			return nil
		}
		if err != nil {
			return err
		}
		a.Oldest = sql.FromMicrosOrNull(&accepted)
		if !a.Oldest.Before(before) {
			return nil
		}
		head, err := s.head(ctx, q, p)
		if err != nil {
			return err
		}
		due, err := firstSince(ctx, q, s.engine.Slice(p), a.First, head, before)
		if err != nil {
			return err
		}
		seen := map[hook.CompanyKey]bool{}
		return sql.Each(ctx, q, `SELECT "offset", company FROM events WHERE `+s.engine.Slice(p)+` AND "offset" > $1 AND "offset" <= $2 ORDER BY "offset" LIMIT $3`,
			[]any{int64(after), int64(due - 1), int64(limit)}, func(r sql.Rows) error {
				var key hook.CompanyKey
				err := r.Scan(&a.UpTo, &key)
				if !seen[key] {
					seen[key] = true
					a.Companies = append(a.Companies, key)
				}
				return err
			})
	})
	if err != nil {
		return Aged{}, fmt.Errorf("look for aged events: %w", err)
	}
	return a, nil
}

// Unresolved lists, in the order of webhooks after one, the companies of webhooks that have something
// parked or stand at a place of their own: nobody else can have an event that is about to expire. It
// returns the last webhook that it came to, 0 when there are no more.
func (s *Store) Unresolved(ctx context.Context, after hook.WebhookKey, limit int) (companies []hook.CompanyKey, last hook.WebhookKey, err error) {
	found := map[hook.WebhookKey]hook.CompanyKey{} // 0 for a deleted one
	err = s.read(ctx, func(q sql.Tx) error {
		for _, query := range []string{withParked, withPlace} {
			err := sql.Each(ctx, q, query, []any{int64(after), int64(limit)}, func(r sql.Rows) error {
				var key hook.WebhookKey
				var company hook.CompanyKey
				err := r.Scan(&key, &company)
				found[key] = company
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list what is unresolved: %w", err)
	}
	keys := slices.Sorted(maps.Keys(found))
	if len(keys) >= limit { // what lies beyond these, each statement may have cut off
		keys = keys[:limit]
		last = keys[limit-1]
	}
	for _, key := range keys {
		if company := found[key]; company != 0 && !slices.Contains(companies, company) {
			companies = append(companies, company)
		}
	}
	return companies, last, nil
}

const (
	// From one webhook to the next, over any number of rows of each.
	withParked = `
		WITH RECURSIVE waits (key) AS (
			SELECT min(webhook) FROM parked WHERE webhook > $1
			UNION ALL SELECT (SELECT min(webhook) FROM parked WHERE webhook > waits.key) FROM waits WHERE waits.key IS NOT NULL)
		SELECT waits.key, coalesce((SELECT w.company FROM webhooks w WHERE w.key = waits.key AND w.deleted_at IS NULL), 0)
		FROM waits WHERE waits.key IS NOT NULL LIMIT $2`
	withPlace = `
		SELECT c.webhook, coalesce((SELECT w.company FROM webhooks w WHERE w.key = c.webhook AND w.deleted_at IS NULL), 0)
		FROM cursors c WHERE c.detached = 1 AND c.webhook > $1 ORDER BY c.webhook LIMIT $2`
)

// agedMarks is up to where this process has deleted what goes by its age alone: a step does not pass
// what the steps before it left behind, see [Store.PurgeCompanyStep].
type agedMarks struct {
	notice, test    string
	bucket, webhook int64
	since           time.Time // when they began from the beginning
}

// PurgeAgedStep deletes at most limit rows of each of the tables whose rows go by their age alone, from
// before a time: statistics, tests and notices. It returns how many; one caller at a time.
func (s *Store) PurgeAgedStep(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if now := s.now(); now.Sub(s.aged.since) >= purgeAgain {
		s.aged = agedMarks{since: now}
	}
	from, to := s.aged, s.aged
	err = s.read(ctx, func(q sql.Tx) error {
		to = from
		err := sql.Each(ctx, q, `
			SELECT bucket, webhook FROM stats WHERE (bucket, webhook) > ($1, $2) AND bucket <= $3 ORDER BY bucket, webhook LIMIT $4`,
			[]any{from.bucket, from.webhook, before.Unix()/60 - 1, int64(limit)}, func(r sql.Rows) error { return r.Scan(&to.bucket, &to.webhook) })
		for _, x := range []struct {
			table string
			mark  *string
		}{{"notices", &to.notice}, {"tests", &to.test}} {
			if err == nil {
				err = sql.One(ctx, q, `SELECT coalesce(max(id), $1) FROM (SELECT id, at FROM `+x.table+` WHERE id > $1 ORDER BY id LIMIT $2) AS oldest WHERE at < $3`,
					[]any{*x.mark, int64(limit), sql.Micros(before)}, x.mark)
			}
		}
		return err
	})
	if err != nil || to == from {
		return 0, err
	}
	err = s.write(ctx, func(q sql.Tx) (err error) {
		n, err = deleteAll(ctx, q, []deletion{
			{`DELETE FROM stats WHERE (bucket, webhook) > ($1, $2) AND (bucket, webhook) <= ($3, $4)`, []any{from.bucket, from.webhook, to.bucket, to.webhook}},
			{`DELETE FROM notices WHERE id > $1 AND id <= $2`, []any{from.notice, to.notice}},
			{`DELETE FROM tests WHERE id > $1 AND id <= $2`, []any{from.test, to.test}},
		})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge what is aged: %w", err)
	}
	s.aged = to
	return n, nil
}
