package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Place is what the engine must know of every webhook of a partition, work or not: some hundred
// bytes each.
type Place struct {
	Webhook   hook.WebhookKey
	Company   hook.CompanyKey
	Partition hook.Partition
	Status    hook.Status
	Deleted   bool
	Version   int64
	Cursor    hook.Cursor
	Rules     []hook.Rule // ascending by From, from the one in force at its place on
	Skips     []SkipRange // that end above the cursor
	// Replay is the key of the running replay, 0 for none.
	Replay int64
}

// SkipRange says that unsettled matches at From ≤ offset ≤ To are skipped, and why.
type SkipRange struct {
	From, To hook.Offset
	Reason   string
}

// Places reads the webhooks of a partition that changed after a configuration version (−1: all that
// are not deleted), in the order of their changes, the partition's swept mark, and the version up to
// which it has read, from one snapshot. When limit or more are returned, which happens where one
// change was about many, there may be others from that version on.
func (s *Store) Places(ctx context.Context, p hook.Partition, since int64, limit int) (places []Place, swept hook.Offset, version int64, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		// The webhooks come first in every join: CROSS JOIN keeps SQLite from walking through all rules.
		where := ` WHERE w.partition = $1 AND w.changed > $2 AND (w.deleted_at IS NULL OR $2 >= 0)`
		err := sql.One(ctx, q, `SELECT swept, coalesce((SELECT w.changed FROM webhooks w`+where+` ORDER BY w.changed LIMIT 1 OFFSET $3), config_version) FROM owners WHERE partition = $1`,
			[]any{int64(p), since, int64(limit - 1)}, &swept, &version)
		if err != nil {
			return err
		}
		at := map[hook.WebhookKey]int{}
		where += ` AND w.changed <= $3`
		args := []any{int64(p), since, version}
		err = sql.Each(ctx, q, `
			SELECT w.company, w.status, w.deleted_at IS NOT NULL, w.version, `+log.CursorColumns+`
			FROM webhooks w CROSS JOIN cursors`+where+` AND webhook = w.key ORDER BY w.changed`, args, func(r sql.Rows) error {
			x := Place{Partition: p}
			var err error
			x.Cursor, err = scanCursor(r, &x.Company, &x.Status, &x.Deleted, &x.Version)
			x.Webhook = x.Cursor.Webhook
			at[x.Webhook] = len(places)
			places = append(places, x)
			return err
		})
		if err != nil {
			return err
		}
		err = sql.Each(ctx, q, `
			SELECT k.webhook, k.from_offset, k.topics, k.filter, k.leap FROM webhooks w CROSS JOIN cursors c CROSS JOIN rules k`+where+`
				AND c.webhook = w.key AND k.webhook = w.key AND k.from_offset >= coalesce((
					SELECT max(x.from_offset) FROM rules x WHERE x.webhook = w.key
						AND x.from_offset <= CASE WHEN c.detached = 1 OR c."offset" > $4 THEN c."offset" ELSE $4 END), 0)
			ORDER BY w.changed, k.from_offset`, append(args, int64(swept)), func(r sql.Rows) error {
			rule, err := scanRule(r)
			if i, ok := at[rule.Webhook]; ok {
				places[i].Rules = append(places[i].Rules, rule)
			}
			return err
		})
		if err != nil {
			return err
		}
		err = sql.Each(ctx, q, `
			SELECT k.webhook, k.from_offset, k.to_offset, k.reason FROM webhooks w CROSS JOIN cursors c CROSS JOIN skips k`+where+`
				AND c.webhook = w.key AND k.webhook = w.key AND k.to_offset > c."offset"
			ORDER BY w.changed, k.from_offset`, args, func(r sql.Rows) error {
			var w hook.WebhookKey
			var k SkipRange
			if err := r.Scan(&w, &k.From, &k.To, &k.Reason); err != nil {
				return err
			}
			if i, ok := at[w]; ok {
				places[i].Skips = append(places[i].Skips, k)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return sql.Each(ctx, q, `SELECT k.webhook, k.key FROM replays k JOIN webhooks w ON w.key = k.webhook`+where+` AND k.status = 'running'`, args, func(r sql.Rows) error {
			var w hook.WebhookKey
			var key int64
			if err := r.Scan(&w, &key); err != nil {
				return err
			}
			if i, ok := at[w]; ok {
				places[i].Replay = key
			}
			return nil
		})
	})
	if err != nil {
		return nil, 0, 0, fmt.Errorf("read places: %w", err)
	}
	return places, swept, version, nil
}

// Progress is how far a partition is, and whose it is.
type Progress struct {
	Partition   hook.Partition
	Node        string // its owner; "" on the embedded store
	Head, Swept hook.Offset
	Lag         int64 // events between the two
}

// Behind is how many events lie between two places of a log, of those in the present era: offsets leap
// where the store went back.
func Behind(head, swept hook.Offset) int64 { return int64(head - max(swept, head/era.Leap*era.Leap)) }

// Progress reads it of all partitions, in their order.
func (s *Store) Progress(ctx context.Context) (list []Progress, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		err := sql.Each(ctx, q, `SELECT partition, node_id, swept FROM owners ORDER BY partition`, nil, func(r sql.Rows) error {
			var p Progress
			err := r.Scan(&p.Partition, &p.Node, &p.Swept)
			list = append(list, p)
			return err
		})
		for i := range list {
			if err == nil {
				err = s.howFar(ctx, q, &list[i])
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the progress: %w", err)
	}
	return list, nil
}

// howFar finds the end of a partition's log, and how many events lie before it that were not passed yet.
func (s *Store) howFar(ctx context.Context, q sql.Tx, p *Progress) (err error) {
	if p.Head, err = s.lastOf(ctx, q, p.Partition); err != nil {
		return err
	}
	p.Lag = Behind(p.Head, p.Swept)
	base := p.Head / era.Leap * era.Leap
	if p.Swept >= base {
		return nil
	}
	var before hook.Offset // the last event of the eras that came before
	err = sql.One(ctx, q, `SELECT coalesce((SELECT "offset" FROM events WHERE `+s.engine.Slice(p.Partition)+` AND "offset" <= $1 ORDER BY "offset" DESC LIMIT 1), 0)`, []any{int64(base)}, &before)
	p.Lag += max(0, Behind(before, p.Swept))
	return err
}

// lastOf is the offset of a partition's last event, where there is one: the next may lie far above it.
func (s *Store) lastOf(ctx context.Context, q sql.Tx, p hook.Partition) (last hook.Offset, err error) {
	err = sql.One(ctx, q, `SELECT coalesce((SELECT "offset" FROM events WHERE `+s.engine.Slice(p)+` ORDER BY "offset" DESC LIMIT 1), 0)`, nil, &last)
	if err == nil && last == 0 {
		return s.head(ctx, q, p)
	}
	return last, err
}

// cursorOf reads a webhook's cursor and resolves its place: an attached one stands where its
// partition was swept to.
func cursorOf(ctx context.Context, q sql.Tx, key hook.WebhookKey) (c hook.Cursor, place hook.Offset, err error) {
	found := false
	err = sql.Each(ctx, q, `SELECT `+log.CursorColumns+` FROM cursors WHERE webhook = $1`, []any{int64(key)}, func(r sql.Rows) error {
		found = true
		c, err = scanCursor(r)
		return err
	})
	if err == nil && !found {
		err = hook.NotFound("webhook")
	}
	if err != nil || c.Detached {
		return c, c.Offset, err
	}
	var swept hook.Offset
	err = sql.One(ctx, q, `SELECT o.swept FROM owners o JOIN webhooks w ON w.partition = o.partition WHERE w.key = $1`, []any{int64(key)}, &swept)
	return c, max(c.Offset, swept), err
}

// scanCursor reads log.CursorColumns, and what stands before them.
func scanCursor(r sql.Rows, before ...any) (c hook.Cursor, err error) {
	var failing, success, failure, probe, notBefore *int64
	var wait int64
	err = r.Scan(append(before, &c.Webhook, &c.Detached, &c.Offset, &c.Sequence, &c.Delivered, &c.Failed, &c.Skipped, &failing, &c.FailingHours, &c.LastFailingHour,
		&c.ConsecutiveFailures, &success, &failure, &probe, &c.ProbeStep,
		&notBefore, &wait, &c.Gate.Reason, &c.Gate.EndpointVersion, &c.Gate.Throttles)...)
	c.FailingSince, c.LastSuccessAt, c.LastFailureAt, c.ProbeAt = sql.FromMicrosOrNull(failing), sql.FromMicrosOrNull(success), sql.FromMicrosOrNull(failure), sql.FromMicrosOrNull(probe)
	c.Gate.NotBefore, c.Gate.Wait = sql.FromMicrosOrNull(notBefore), time.Duration(wait)*time.Microsecond
	return c, err
}

// Lane is what a lane loads when it comes to life.
type Lane struct {
	Webhook *hook.Webhook
	Cursor  hook.Cursor
	// Above is what was attempted above the place: the deliveries that must not be made again, and
	// the attempt numbers of those that must go on.
	Above []Above
	// Parked counts the live parked deliveries.
	Parked int
	// Blocked counts them by object, for strict orders (nil otherwise).
	Blocked map[string]int
	// Stranded are held deliveries that nothing will release: the first of their object, or held
	// under an order that is no longer the webhook's.
	Stranded []hook.Offset
}

// Above is a delivery above the cursor that has a history.
type Above struct {
	Offset    hook.Offset
	Attempts  int  // number of the last
	Throttles int  // those of them, on nobody's wish, that were asked to wait: where it is not settled, all but lost ones
	Settled   bool // delivered, failed or parked
}

// LoadLane reads what a lane needs. Place is its low-water mark.
func (s *Store) LoadLane(ctx context.Context, key hook.WebhookKey, place hook.Offset) (l Lane, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		if l.Webhook, err = s.webhookByKey(ctx, q, key); err != nil {
			return err
		}
		if l.Cursor, _, err = cursorOf(ctx, q, key); err != nil {
			return err
		}
		at := map[hook.Offset]int{}
		err = sql.Each(ctx, q, `SELECT "offset", number, kind, outcome FROM attempts WHERE webhook = $1 AND "offset" > $2 ORDER BY "offset", number`,
			[]any{int64(key), int64(place)}, func(r sql.Rows) error {
				var a Above
				var kind hook.Kind
				var outcome hook.Outcome
				if err := r.Scan(&a.Offset, &a.Attempts, &kind, &outcome); err != nil {
					return err
				}
				a.Settled = kind == hook.Live && (outcome == hook.OutcomeDelivered || outcome == hook.OutcomeFailed || outcome == hook.OutcomeGone)
				if kind == hook.Live && outcome == hook.OutcomeThrottled {
					a.Throttles = 1
				}
				if i, ok := at[a.Offset]; ok {
					l.Above[i].Attempts = a.Attempts
					l.Above[i].Throttles += a.Throttles
					l.Above[i].Settled = l.Above[i].Settled || a.Settled
					return nil
				}
				at[a.Offset] = len(l.Above)
				l.Above = append(l.Above, a)
				return nil
			})
		if err != nil {
			return err
		}
		err = sql.Each(ctx, q, `SELECT "offset", attempts FROM parked WHERE webhook = $1 AND kind = 'live' AND "offset" > $2 ORDER BY "offset"`,
			[]any{int64(key), int64(place)}, func(r sql.Rows) error {
				a := Above{Settled: true}
				if err := r.Scan(&a.Offset, &a.Attempts); err != nil {
					return err
				}
				if i, ok := at[a.Offset]; ok {
					l.Above[i].Settled = true
				} else {
					l.Above = append(l.Above, a)
				}
				return nil
			})
		if err != nil {
			return err
		}
		if err := stranded(ctx, q, &l); err != nil {
			return err
		}
		if l.Webhook.Ordering == hook.ObjectOrder {
			l.Blocked = map[string]int{}
			return sql.Each(ctx, q, `SELECT object_key, count(*) FROM parked WHERE webhook = $1 AND kind = 'live' GROUP BY object_key`, []any{int64(key)}, func(r sql.Rows) error {
				var object string
				var n int
				err := r.Scan(&object, &n)
				l.Blocked[object] = n
				l.Parked += n
				return err
			})
		}
		return sql.One(ctx, q, `SELECT count(*) FROM parked WHERE webhook = $1 AND kind = 'live'`, []any{int64(key)}, &l.Parked)
	})
	if err != nil {
		return Lane{}, fmt.Errorf("load lane: %w", err)
	}
	return l, nil
}

func stranded(ctx context.Context, q sql.Tx, l *Lane) error {
	return sql.Each(ctx, q, `
		SELECT "offset" FROM parked p WHERE webhook = $1 AND kind = 'live' AND due_at IS NULL AND ($2 = 0 OR NOT EXISTS (
			SELECT 1 FROM parked e WHERE e.webhook = p.webhook AND e.object_key = p.object_key AND e.kind = 'live' AND e."offset" < p."offset"))
		ORDER BY "offset" LIMIT 10000`,
		[]any{int64(l.Webhook.Key), sql.Flag(l.Webhook.Ordering == hook.ObjectOrder)}, func(r sql.Rows) error {
			var o hook.Offset
			err := r.Scan(&o)
			l.Stranded = append(l.Stranded, o)
			return err
		})
}

// DuePlace is a position in the order of due times.
type DuePlace struct {
	DueAt   time.Time
	Webhook hook.WebhookKey
	Kind    hook.Kind
	Offset  hook.Offset
}

// Due reads parked deliveries that are due by now, in the order of their due times, after a
// position; and the earliest due time that lies later (nil for none).
func (s *Store) Due(ctx context.Context, p hook.Partition, after DuePlace, now time.Time, limit int) (due []hook.Parked, next *time.Time, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		err := sql.Each(ctx, q, `
			SELECT `+log.ParkedColumns+` FROM parked
			WHERE partition = $1 AND due_at IS NOT NULL AND due_at >= $2 AND due_at <= $3 AND (due_at, webhook, kind, "offset") > ($2, $4, $5, $6)
			ORDER BY due_at, webhook, kind, "offset" LIMIT $7`,
			[]any{int64(p), sql.Micros(after.DueAt), sql.Micros(now), int64(after.Webhook), string(after.Kind), int64(after.Offset), int64(limit)}, func(r sql.Rows) error {
				x, err := log.ScanParked(r)
				due = append(due, x)
				return err
			})
		if err != nil {
			return err
		}
		var later *int64
		err = sql.One(ctx, q, `SELECT min(due_at) FROM parked WHERE partition = $1 AND due_at IS NOT NULL AND due_at > $2`, []any{int64(p), sql.Micros(now)}, &later)
		next = sql.FromMicrosOrNull(later)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read due: %w", err)
	}
	return due, next, nil
}

// DueOf reads one webhook's parked deliveries that are due by now, in the order of their due times.
// With probe set, the due time does not matter: a down endpoint is probed with whatever waits.
func (s *Store) DueOf(ctx context.Context, key hook.WebhookKey, now time.Time, probe bool, limit int) (due []hook.Parked, err error) {
	dueBy := sql.Micros(now)
	if probe {
		dueBy = math.MaxInt64
	}
	err = s.look(ctx, func(q sql.Tx) error {
		return sql.Each(ctx, q, `
			SELECT `+log.ParkedColumns+` FROM parked WHERE webhook = $1 AND due_at IS NOT NULL AND due_at <= $2
			ORDER BY due_at LIMIT $3`,
			[]any{int64(key), dueBy, int64(limit)}, func(r sql.Rows) error {
				x, err := log.ScanParked(r)
				due = append(due, x)
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("read due of a webhook: %w", err)
	}
	return due, nil
}
