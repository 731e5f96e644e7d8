package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// PurgeCompanyStep deletes at most some limit of a company's rows from before a time: attempts and
// parked leftovers, then the events themselves, statistics, notices and tests. It returns how many:
// 0 when there is no more to do. Events that some webhook has not passed, or still has parked,
// stay; so does the last event of the log, because no offset may be given twice.
//
// What goes is found on a read snapshot, so that the writer is held up by the deletions alone. First
// of all the boundary is written down: from then on nothing below it is shown or counted, although
// it goes in several steps.
//
// No step looks at where the steps before it have been: on Postgres what they deleted stays in the
// way until it is vacuumed, which no vacuum can as long as somebody reads an older snapshot, such as
// a backup. A step that had to pass all of it would become slower with each one.
func (s *Store) PurgeCompanyStep(ctx context.Context, company hook.CompanyKey, before time.Time, limit int) (n int, err error) {
	p := purge{s: s, company: company, before: before, left: limit, from: s.purges.of(company, s.now())}
	if err := s.read(ctx, func(q sql.Tx) error { return p.plan(ctx, q) }); err != nil {
		return 0, fmt.Errorf("plan purge: %w", err)
	}
	if len(p.steps) == 0 && !p.moved {
		s.purges.reached(company, p.to)
		return 0, nil
	}
	err = s.write(ctx, func(q sql.Tx) (err error) {
		if p.moved {
			if _, err := q.Exec(ctx, `UPDATE companies SET purged_offset = $1 WHERE key = $2 AND purged_offset < $1`, int64(p.boundary), int64(company)); err != nil {
				return err
			}
		}
		n, err = deleteAll(ctx, q, p.steps)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge: %w", err)
	}
	s.purges.reached(company, p.to)
	return n, nil
}

// purges knows for each company up to where this process has purged it.
type purges struct {
	sync.Mutex
	done map[hook.CompanyKey]purged
}

// purged is up to where nothing was left when it was looked for.
type purged struct {
	offset hook.Offset // of events, attempts and all that is about one event
	minute int64       // of statistics
	since  time.Time   // when it was looked for from the beginning
}

// purgeAgain is how often a purge begins from the beginning: an attempt that was under way when its
// event went is recorded afterwards.
const purgeAgain = 24 * time.Hour

func (x *purges) of(company hook.CompanyKey, now time.Time) purged {
	x.Lock()
	defer x.Unlock()
	p, ok := x.done[company]
	if !ok || now.Sub(p.since) >= purgeAgain {
		if x.done == nil {
			x.done = map[hook.CompanyKey]purged{}
		}
		p = purged{since: now}
		x.done[company] = p
	}
	return p
}

func (x *purges) reached(company hook.CompanyKey, to purged) {
	x.Lock()
	defer x.Unlock()
	p := x.done[company]
	p.offset, p.minute = max(p.offset, to.offset), max(p.minute, to.minute)
	x.done[company] = p
}

// purgeStretch is how many offsets a step looks at, at most.
const purgeStretch = 10_000

// purge is the plan of one step.
type purge struct {
	s        *Store
	company  hook.CompanyKey
	before   time.Time
	left     int         // rows that the step may still delete
	from, to purged      // where the steps before have been, and this one
	boundary hook.Offset // the last that may go
	moved    bool
	upTo     hook.Offset // the last that this step looks at
	steps    []deletion
}

type deletion struct {
	query string
	args  []any
}

// deleteAll makes deletions, and returns how many rows went.
func deleteAll(ctx context.Context, q sql.Tx, list []deletion) (n int, err error) {
	for _, x := range list {
		failpoint.Hit(failpoint.Purge)
		deleted, err := q.Exec(ctx, x.query, x.args...)
		if err != nil {
			return 0, err
		}
		n += int(deleted)
	}
	return n, nil
}

func (p *purge) plan(ctx context.Context, q sql.Tx) error {
	p.steps, p.to = nil, purged{}
	if err := p.findBoundary(ctx, q); err != nil {
		return err
	}
	if err := p.findStretch(ctx, q); err != nil {
		return err
	}
	keys, err := p.webhooks(ctx, q)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := p.planWebhook(ctx, q, key); err != nil || p.left <= 0 {
			return err
		}
	}
	return p.planEvents(ctx, q)
}

// findBoundary finds the last offset that may go.
func (p *purge) findBoundary(ctx context.Context, q sql.Tx) error {
	c, err := companyWhere(ctx, q, `key = $1`, int64(p.company))
	if err != nil {
		return err
	}
	first, err := offsetAt(ctx, q, p.company, p.before)
	if err != nil {
		return err
	}
	head, err := p.s.engine.Head(ctx, q, c.Partition)
	if err != nil {
		return err
	}
	var purged, place, parked hook.Offset
	err = sql.One(ctx, q, `
		SELECT c.purged_offset,
			coalesce((SELECT min(CASE WHEN u.detached = 0 AND o.swept > u."offset" THEN o.swept ELSE u."offset" END)
				FROM webhooks w JOIN cursors u ON u.webhook = w.key JOIN owners o ON o.partition = w.partition
				WHERE w.company = c.key AND w.deleted_at IS NULL), $2),
			coalesce((SELECT min((SELECT min(p."offset") FROM parked p WHERE p.webhook = w.key AND p.kind = 'live' AND p."offset" > c.purged_offset))
				FROM webhooks w WHERE w.company = c.key AND w.deleted_at IS NULL), $2)
		FROM companies c WHERE c.key = $1`, []any{int64(p.company), int64(lastOffset)}, &purged, &place, &parked)
	if err != nil {
		return err
	}
	p.boundary = max(purged, min(first-1, head-1, place, parked-1))
	// What lies between may all be other companies': then nothing of this one's is gone, and it may say so.
	err = sql.One(ctx, q, `SELECT coalesce((SELECT min("offset") FROM events WHERE company = $1 AND "offset" > $2 AND "offset" <= $3), 0) > 0`,
		[]any{int64(p.company), int64(purged), int64(p.boundary)}, &p.moved)
	return err
}

// findStretch begins at the first event that is left.
func (p *purge) findStretch(ctx context.Context, q sql.Tx) error {
	var first hook.Offset
	err := sql.One(ctx, q, `SELECT coalesce((SELECT min("offset") FROM events WHERE company = $1 AND "offset" > $2 AND "offset" <= $3), $3)`,
		[]any{int64(p.company), int64(p.from.offset), int64(p.boundary)}, &first)
	p.upTo = min(p.boundary, first+purgeStretch)
	return err
}

// webhooks are those that hold something to delete, asked in one statement: most never do, and there
// can be very many. The deleted ones are left out, which are erased as a whole.
func (p *purge) webhooks(ctx context.Context, q sql.Tx) (keys []hook.WebhookKey, err error) {
	err = sql.Each(ctx, q, `
		SELECT w.key FROM webhooks w WHERE w.company = $1 AND w.deleted_at IS NULL AND (
			EXISTS (SELECT 1 FROM attempts x WHERE x.webhook = w.key AND x."offset" > $2 AND x."offset" <= $3)
			OR EXISTS (SELECT 1 FROM unrecordable x WHERE x.webhook = w.key AND x."offset" > $2 AND x."offset" <= $3)
			OR EXISTS (SELECT 1 FROM parked x WHERE x.webhook = w.key AND x.kind = 'manual' AND x."offset" > $2 AND x."offset" <= $3)
			OR EXISTS (SELECT 1 FROM parked x WHERE x.webhook = w.key AND x.kind = 'replay' AND x."offset" > $2 AND x."offset" <= $3)
			OR EXISTS (SELECT 1 FROM skips x WHERE x.webhook = w.key AND x.to_offset > $2 AND x.to_offset <= $3)
			OR EXISTS (SELECT 1 FROM stats x WHERE x.webhook = w.key AND x.bucket > $4 AND x.bucket <= $5)
			OR EXISTS (SELECT 1 FROM tests x WHERE x.webhook = w.key AND x.at <= $6))
		ORDER BY w.id`, []any{int64(p.company), int64(p.from.offset), int64(p.upTo), p.from.minute, p.lastMinute(), p.lastTest()}, func(r sql.Rows) error {
		var key hook.WebhookKey
		err := r.Scan(&key)
		keys = append(keys, key)
		return err
	})
	return keys, err
}

// lastMinute is the last bucket of statistics that may go.
func (p *purge) lastMinute() int64 { return p.before.Unix()/60 - 1 }

// lastTest is the last instant whose test deliveries may go.
func (p *purge) lastTest() int64 { return sql.Micros(p.before) - 1 }

// planWebhook goes through the tables that hold rows by webhook. Each query names the value of the
// last row that may go in this step, and counts the rows up to there.
func (p *purge) planWebhook(ctx context.Context, q sql.Tx, key hook.WebhookKey) error {
	done, upTo := int64(p.from.offset), int64(p.upTo)
	for _, t := range []struct {
		find, remove string
		after, bound int64
	}{
		{
			`SELECT "offset" FROM attempts WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`,
			`DELETE FROM attempts WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3`, done, upTo,
		},
		{
			`SELECT "offset" FROM unrecordable WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`,
			`DELETE FROM unrecordable WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3`, done, upTo,
		},
		{
			`SELECT "offset" FROM parked WHERE webhook = $1 AND kind = 'manual' AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`,
			`DELETE FROM parked WHERE webhook = $1 AND kind = 'manual' AND "offset" > $2 AND "offset" <= $3`, done, upTo,
		},
		{
			`SELECT "offset" FROM parked WHERE webhook = $1 AND kind = 'replay' AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`,
			`DELETE FROM parked WHERE webhook = $1 AND kind = 'replay' AND "offset" > $2 AND "offset" <= $3`, done, upTo,
		},
		{
			`SELECT to_offset FROM skips WHERE webhook = $1 AND to_offset > $2 AND to_offset <= $3 ORDER BY to_offset LIMIT $4`,
			`DELETE FROM skips WHERE webhook = $1 AND to_offset > $2 AND to_offset <= $3`, done, upTo,
		},
		{
			`SELECT bucket FROM stats WHERE webhook = $1 AND bucket > $2 AND bucket <= $3 ORDER BY bucket LIMIT $4`,
			`DELETE FROM stats WHERE webhook = $1 AND bucket > $2 AND bucket <= $3`, p.from.minute, p.lastMinute(),
		},
		{
			`SELECT at FROM tests WHERE webhook = $1 AND at > $2 AND at <= $3 ORDER BY at LIMIT $4`,
			`DELETE FROM tests WHERE webhook = $1 AND at > $2 AND at <= $3`, 0, p.lastTest(),
		},
	} {
		var last int64
		n := 0
		err := sql.Each(ctx, q, t.find, []any{int64(key), t.after, t.bound, int64(p.left)}, func(r sql.Rows) error {
			n++
			return r.Scan(&last)
		})
		if err != nil {
			return err
		}
		if n > 0 {
			p.steps = append(p.steps, deletion{t.remove, []any{int64(key), t.after, last}})
		}
		if p.left -= n; p.left <= 0 {
			return nil
		}
	}
	return nil
}

// planEvents comes last: an event stays as long as something speaks of it.
func (p *purge) planEvents(ctx context.Context, q sql.Tx) error {
	p.to.minute = p.lastMinute()
	var last hook.Offset
	n := 0
	err := sql.Each(ctx, q, `SELECT "offset" FROM events WHERE company = $1 AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`,
		[]any{int64(p.company), int64(p.from.offset), int64(p.upTo), int64(p.left)}, func(r sql.Rows) error {
			n++
			return r.Scan(&last)
		})
	if err != nil {
		return err
	}
	if n > 0 {
		args := []any{int64(p.company), int64(p.from.offset), int64(last)}
		p.steps = append(p.steps, deletion{`DELETE FROM cancellations WHERE company = $1 AND "offset" > $2 AND "offset" <= $3`, args},
			deletion{`DELETE FROM events WHERE company = $1 AND "offset" > $2 AND "offset" <= $3`, args})
	}
	if p.left -= n; p.left <= 0 {
		p.to.offset = last
		return nil
	}
	p.to.offset = p.upTo
	var id string
	err = sql.One(ctx, q, `
		SELECT coalesce(max(id), '') FROM (SELECT id, at FROM notices WHERE company = $1 ORDER BY id LIMIT $2) AS oldest WHERE at < $3`,
		[]any{int64(p.company), int64(p.left), sql.Micros(p.before)}, &id)
	if err == nil && id != "" {
		p.steps = append(p.steps, deletion{`DELETE FROM notices WHERE company = $1 AND id <= $2`, []any{int64(p.company), id}})
	}
	return err
}

// PurgeAnswersStep deletes at most limit saved answers to POSTs from before a time.
func (s *Store) PurgeAnswersStep(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		deleted, err := q.Exec(ctx, `
			DELETE FROM idempotency WHERE (company, key) IN (SELECT company, key FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2)`,
			sql.Micros(before), int64(limit))
		n = int(deleted)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge answers: %w", err)
	}
	return n, nil
}

// erasures are the rows of a webhook, by table, in the order in which they go.
var erasures = []string{
	`DELETE FROM attempts WHERE webhook = $1 AND (webhook, "offset", number) IN (SELECT webhook, "offset", number FROM attempts WHERE webhook = $1 ORDER BY "offset", number LIMIT $2)`,
	`DELETE FROM parked WHERE webhook = $1 AND (kind, "offset") IN (SELECT kind, "offset" FROM parked WHERE webhook = $1 ORDER BY kind, "offset" LIMIT $2)`,
	`DELETE FROM stats WHERE webhook = $1 AND bucket IN (SELECT bucket FROM stats WHERE webhook = $1 ORDER BY bucket LIMIT $2)`,
	`DELETE FROM unrecordable WHERE webhook = $1 AND ("offset", number) IN (SELECT "offset", number FROM unrecordable WHERE webhook = $1 LIMIT $2)`,
	`DELETE FROM skips WHERE webhook = $1 AND (from_offset, to_offset) IN (SELECT from_offset, to_offset FROM skips WHERE webhook = $1 LIMIT $2)`,
	`DELETE FROM replays WHERE key IN (SELECT key FROM replays WHERE webhook = $1 LIMIT $2)`,
	`DELETE FROM notices WHERE id IN (SELECT n.id FROM notices n JOIN webhooks w ON w.company = n.company WHERE w.key = $1 AND n.webhook = $1 LIMIT $2)`,
	`DELETE FROM tests WHERE webhook = $1 AND $2 > 0`,
	`DELETE FROM answers WHERE webhook = $1 AND $2 > 0`,
	`DELETE FROM rules WHERE webhook = $1 AND $2 > 0`,
	`DELETE FROM cursors WHERE webhook = $1 AND $2 > 0`,
	`DELETE FROM webhooks WHERE key = $1 AND $2 > 0`,
}

// EraseDeletedStep deletes at most some limit of the rows of a webhook that was deleted before a
// time, the webhook's own last, and returns how many: 0 when there is no more to do. Before must
// leave the engine the time to hear of the deletion.
func (s *Store) EraseDeletedStep(ctx context.Context, before time.Time, limit int) (n int, err error) {
	var key int64
	err = s.read(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT key FROM webhooks WHERE deleted_at < $1 ORDER BY deleted_at LIMIT 1`, []any{sql.Micros(before)}, &key)
	})
	if errors.Is(err, sql.ErrNoRow) {
		return 0, nil
	}
	if err == nil {
		err = s.write(ctx, func(q sql.Tx) error {
			n = 0
			for _, query := range erasures {
				if n >= limit {
					return nil
				}
				deleted, err := q.Exec(ctx, query, key, int64(limit-n))
				if err != nil {
					return err
				}
				n += int(deleted)
			}
			return nil
		})
	}
	if err != nil {
		return 0, fmt.Errorf("erase webhook: %w", err)
	}
	return n, nil
}
