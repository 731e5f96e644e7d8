package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// The table scheduled beside the log holds events until their time. Everything about a company's rows happens
// under the append lock of its partition, as every append does: so an id is taken once, be it here or in the
// log, and an event that enters the log leaves this table in the same transaction, whoever moves it.

// scheduledColumns are those of an event that is not in the log, in the order in which [scanScheduled] reads
// them.
const scheduledColumns = `company, id, partition, topic, object_key, data, digest, occurred_at, expires_at, deliver_at, accepted_at, cancelled_at`

func eachScheduled(ctx context.Context, q sql.Tx, condition string, args []any, fn func(*hook.Event) error) error {
	return sql.Each(ctx, q, `SELECT `+scheduledColumns+` FROM scheduled WHERE `+condition, args, func(r sql.Rows) error {
		e := &hook.Event{}
		var digest []byte
		var occurred, expires, cancelled *int64
		var deliver, accepted int64
		err := r.Scan(&e.Company, &e.ID, &e.Partition, &e.Topic, &e.ObjectKey, &e.Data, &digest, &occurred, &expires, &deliver, &accepted, &cancelled)
		if err != nil {
			return err
		}
		copy(e.Digest[:], digest)
		at := sql.FromMicros(deliver)
		e.OccurredAt, e.ExpiresAt, e.DeliverAt = sql.FromMicrosOrNull(occurred), sql.FromMicrosOrNull(expires), &at
		e.AcceptedAt, e.CancelledAt = sql.FromMicros(accepted), sql.FromMicrosOrNull(cancelled)
		return fn(e)
	})
}

// scheduledByID is an event that waits, or was cancelled before its time.
func scheduledByID(ctx context.Context, q sql.Tx, company hook.CompanyKey, id string) (e *hook.Event, err error) {
	err = eachScheduled(ctx, q, `company = $1 AND id = $2`, []any{int64(company), id}, func(found *hook.Event) error {
		e = found
		return nil
	})
	if err == nil && e == nil {
		err = hook.NotFound("event")
	}
	return e, err
}

// Schedule accepts events of which some are to enter the log later: those wait in a table beside it, the others
// enter it now. All or none, as [Store.AppendAcross] has it, and of whatever partitions they are. A company
// that would have more waiting than it may is refused.
func (s *Store) Schedule(ctx context.Context, events []*hook.Event) (b Batch, err error) {
	partitions := map[hook.Partition]bool{}
	for _, e := range events {
		partitions[e.Partition] = true
	}
	err = s.engine.AppendFrom(ctx, slices.Collect(maps.Keys(partitions)), func(q sql.Tx) ([]*hook.Event, error) {
		b = Batch{Appended: make([]hook.Appended, len(events))}
		fresh, conflict, err := placeEach(ctx, q, events, b.Appended)
		if err != nil || conflict {
			return nil, err
		}
		return s.insertScheduled(ctx, q, fresh)
	})
	if err != nil {
		return Batch{}, fmt.Errorf("schedule: %w", err)
	}
	return b, nil
}

// placeEach finds out which events are new.
func placeEach(ctx context.Context, q sql.Tx, events []*hook.Event, appended []hook.Appended) (fresh []*hook.Event, conflict bool, err error) {
	met := make(map[log.EventID]*hook.Event, len(events))
	for i, e := range events {
		before := met[log.ID(e)]
		if before == nil && !e.FreshID {
			if before, err = known(ctx, q, e.Company, e.ID); err != nil {
				return nil, false, err
			}
		}
		if before == nil {
			met[log.ID(e)], fresh = e, append(fresh, e)
			appended[i] = hook.Appended{Event: e}
			continue
		}
		met[log.ID(e)] = before
		same := before.Digest == e.Digest
		appended[i] = hook.Appended{Event: before, Duplicate: same, Conflict: !same}
		conflict = conflict || !same
	}
	return fresh, conflict, nil
}

// known is the event that has taken an id, in the log or beside it; nil for none.
func known(ctx context.Context, q sql.Tx, company hook.CompanyKey, id string) (e *hook.Event, err error) {
	err = sql.Each(ctx, q, `SELECT `+log.HeadColumns+` FROM events WHERE company = $1 AND id = $2`, []any{int64(company), id}, func(r sql.Rows) (err error) {
		e, err = log.ScanHead(r)
		return err
	})
	if e != nil || err != nil {
		return e, err
	}
	if e, err = scheduledByID(ctx, q, company, id); hook.IsKind(err, hook.KindNotFound) {
		return nil, nil
	}
	return e, err
}

// insertScheduled writes down those that are to wait, and returns the others.
func (s *Store) insertScheduled(ctx context.Context, q sql.Tx, events []*hook.Event) (now []*hook.Event, err error) {
	added := map[hook.CompanyKey]int{}
	at := hook.Now(s.now())
	for i, e := range events {
		if e.DeliverAt == nil {
			now = append(now, e)
			continue
		}
		added[e.Company]++
		e.AcceptedAt = at.Add(time.Duration(i) * time.Microsecond) // so that those of one time keep the order of their batch
		_, err := q.Exec(ctx, `INSERT INTO scheduled (`+scheduledColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NULL)`,
			int64(e.Company), e.ID, int64(e.Partition), e.Topic, e.ObjectKey, e.Data, e.Digest[:], sql.MicrosOrNull(e.OccurredAt),
			sql.MicrosOrNull(e.ExpiresAt), sql.Micros(*e.DeliverAt), sql.Micros(e.AcceptedAt))
		if err != nil {
			return nil, err
		}
	}
	for _, company := range slices.Sorted(maps.Keys(added)) {
		most := s.caps.Scheduled
		if most <= 0 {
			continue
		}
		var n int
		err := sql.One(ctx, q, `SELECT count(*) FROM (SELECT 1 FROM scheduled WHERE company = $1 AND cancelled_at IS NULL LIMIT $2) AS few`,
			[]any{int64(company), int64(most + 1)}, &n)
		if err != nil {
			return nil, err
		}
		if n > most {
			return nil, hook.Refuse(hook.KindConflict, "too_many_scheduled", "the company may have %d scheduled events; wait for some to be delivered, or cancel some", most)
		}
	}
	return now, nil
}

// withSchedule completes the answer to an append: of a duplicate that is not in the log the rest is read.
func (s *Store) withSchedule(ctx context.Context, b Batch, err error) (Batch, error) {
	if err != nil {
		return b, err
	}
	for i := range b.Appended {
		a := &b.Appended[i]
		if !a.Duplicate || a.Event.Offset != 0 {
			continue
		}
		e, err := s.Event(ctx, a.Event.Company, a.Event.ID)
		switch {
		case err == nil:
			a.Event = e
		case !hook.IsKind(err, hook.KindNotFound): // it is known to be there, and no more
			return Batch{}, err
		}
	}
	return b, nil
}

// clock is the time that scheduled events go by: on Postgres the database's, which all nodes share.
func (s *Store) clock(ctx context.Context, q sql.Tx) (now int64, err error) {
	if _, shared := s.engine.(*postgres.Engine); !shared || s.ownClock {
		return sql.Micros(s.now()), nil
	}
	err = sql.One(ctx, q, `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`, nil, &now)
	return now, err
}

// NextScheduled says for each partition in which events wait how long the first of them has to, by the clock
// that they go by: 0 or less for one that is due.
func (s *Store) NextScheduled(ctx context.Context) (waits map[hook.Partition]time.Duration, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		waits = map[hook.Partition]time.Duration{}
		now, err := s.clock(ctx, q)
		if err != nil {
			return err
		}
		return sql.Each(ctx, q, `
			SELECT o.partition, (SELECT min(deliver_at) FROM scheduled s WHERE s.partition = o.partition AND s.cancelled_at IS NULL) FROM owners o`,
			nil, func(r sql.Rows) error {
				var p hook.Partition
				var at *int64
				err := r.Scan(&p, &at)
				if at != nil {
					waits[p] = time.Duration(*at-now) * time.Microsecond
				}
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("look for scheduled events: %w", err)
	}
	return waits, nil
}

// enterBytes is how much data of events enters the log in one step.
const enterBytes = 8 << 20

// EnterStep moves at most limit events of a partition whose time has come into the log, the earliest first, and
// returns how many. Who else is at it finds the rest, or nothing: an event is in the log or in the table.
func (s *Store) EnterStep(ctx context.Context, p hook.Partition, limit int) (n int, err error) {
	err = s.engine.AppendFrom(ctx, []hook.Partition{p}, func(q sql.Tx) ([]*hook.Event, error) {
		var due []*hook.Event
		now, err := s.clock(ctx, q)
		if err != nil {
			return nil, err
		}
		bytes := 0
		err = eachScheduled(ctx, q, `partition = $1 AND cancelled_at IS NULL AND deliver_at <= $2 ORDER BY deliver_at, accepted_at, id LIMIT $3`,
			[]any{int64(p), now, int64(limit)}, func(e *hook.Event) error {
				if bytes += len(e.Data); bytes > enterBytes && len(due) > 0 {
					return errEnough
				}
				e.DeliverAt = nil
				due = append(due, e)
				return nil
			})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
		for _, e := range due {
			if _, err := q.Exec(ctx, `DELETE FROM scheduled WHERE company = $1 AND id = $2`, int64(e.Company), e.ID); err != nil {
				return nil, err
			}
		}
		n = len(due)
		return due, nil
	})
	if err != nil {
		return 0, fmt.Errorf("enter scheduled events: %w", err)
	}
	return n, nil
}

// ScheduledAt is a place in the order of scheduled events; the zero value is before the first.
type ScheduledAt struct {
	DeliverAt time.Time
	ID        string
}

// Scheduled lists a company's events that wait for their time, the next one first, or those that were cancelled
// before theirs; more says that there are others behind the last. Of the filter the topic and the object count.
func (s *Store) Scheduled(ctx context.Context, company hook.CompanyKey, f EventFilter, cancelled bool, after ScheduledAt, limit int) (list []*hook.Event, more bool, err error) {
	from := int64(-1 << 62)
	if after.ID != "" {
		from = sql.Micros(after.DeliverAt)
	}
	condition := `company = $1 AND cancelled_at IS NULL`
	if cancelled {
		condition = `company = $1 AND cancelled_at IS NOT NULL`
	}
	condition += ` AND (deliver_at, id) > ($2, $3)`
	args := []any{int64(company), from, after.ID}
	if f.Topic != "" {
		args = append(args, f.Topic)
		condition += fmt.Sprintf(` AND topic = $%d`, len(args))
	}
	if f.ObjectID != "" {
		condition += ` AND object_key IN (`
		for i, key := range s.objectKeys(f) {
			if i > 0 {
				condition += `, `
			}
			args = append(args, key)
			condition += fmt.Sprintf(`$%d`, len(args))
		}
		condition += `)`
	}
	args = append(args, int64(limit+1))
	condition += fmt.Sprintf(` ORDER BY deliver_at, id LIMIT $%d`, len(args))
	err = s.read(ctx, func(q sql.Tx) error {
		list, more = list[:0], false
		bytes := 0
		err := eachScheduled(ctx, q, condition, args, func(e *hook.Event) error {
			if len(list) == limit || bytes >= PageBytes {
				more = true
				return errEnough
			}
			bytes += len(e.Data)
			list = append(list, e)
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("list scheduled events: %w", err)
	}
	return list, more, nil
}

// CountScheduled counts the events that wait for their time: a company's, or all, exactly up to a bound.
func (s *Store) CountScheduled(ctx context.Context, company hook.CompanyKey, most int) (n int, err error) {
	condition, args := `cancelled_at IS NULL LIMIT $1`, []any{int64(most)}
	if company != 0 {
		condition, args = `company = $2 AND `+condition, append(args, int64(company))
	}
	err = s.look(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT count(*) FROM (SELECT 1 FROM scheduled WHERE `+condition+`) AS few`, args, &n)
	})
	if err != nil {
		return 0, fmt.Errorf("count scheduled events: %w", err)
	}
	return n, nil
}

// CancelScheduled calls an event off before its time. Its id stays taken. It says no where the event is in the
// log by now, which [Store.CancelEvent] is for; cancelled twice is cancelled.
func (s *Store) CancelScheduled(ctx context.Context, company hook.CompanyKey, id string, a Audit) (done bool, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		done = false
		c, err := companyWhere(ctx, q, `key = $1`, int64(company))
		if err != nil {
			return err
		}
		if _, err := s.lockLog(ctx, q, c.Partition); err != nil { // who moves it comes before this, or after
			return err
		}
		e, err := scheduledByID(ctx, q, company, id)
		if hook.IsKind(err, hook.KindNotFound) {
			return nil
		}
		if done = err == nil; err != nil || e.CancelledAt != nil {
			return err
		}
		now := hook.Now(s.now())
		if _, err := q.Exec(ctx, `UPDATE scheduled SET cancelled_at = $1 WHERE company = $2 AND id = $3`, sql.Micros(now), int64(company), id); err != nil {
			return err
		}
		return writeAudit(ctx, q, company, id, a, now)
	})
	if err != nil {
		return false, fmt.Errorf("cancel event: %w", err)
	}
	return done, nil
}
