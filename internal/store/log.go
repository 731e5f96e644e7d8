package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Batch is what an append answers.
type Batch struct {
	Appended      []hook.Appended // in the order of the events given
	ConfigVersion int64           // of the partition; 0 across several
}

// Append accepts events of one partition: it joins the partition's group commit and returns after
// the fsync. Offsets are gapless and in the order of commits; an id that is there already takes no
// offset. An event with FreshID set is not looked up: nobody can have used its id. After an error
// outcome_unknown the events still belong to the writer; try again with copies.
func (s *Store) Append(ctx context.Context, p hook.Partition, events []*hook.Event) (Batch, error) {
	return s.engine.append(ctx, p, events)
}

// AppendAcross accepts events of several partitions, each in the one that it names, all or none: where one
// clashes, none is appended. Else it is as Append.
func (s *Store) AppendAcross(ctx context.Context, events []*hook.Event) (Batch, error) {
	return s.engine.appendAcross(ctx, events)
}

// OnAppend makes fn hear of every commit that appended events or changed configuration, on the writer's
// goroutine: it must not block. Within a partition it is in order, but for what was appended across
// several: offsets tell. The events are shared and must not be changed.
// Call it before the first append.
func (s *Store) OnAppend(fn func(p hook.Partition, events []*hook.Event, configVersion int64)) {
	s.onAppend(fn)
}

// appendAll numbers and inserts the events of all callers of a group. Ids are looked up after the
// lock is held (here: on the only writer), so that a concurrent duplicate cannot leave a hole. Mostly
// there is none, which the index of ids finds out anyway: so it is asked first only while duplicates
// come, and otherwise when it refuses one.
func (w *writer) appendAll(ctx context.Context, group []*work) error {
	w.last = max(w.last, micros(w.l.opt.Now()))
	if !w.repeats {
		head := w.head
		err := w.insertNew(group)
		if code, ok := sqliteCode(err); !ok || code != sqliteUnique {
			return err
		}
		// The group's transaction holds nothing else yet.
		if _, err := w.exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		if _, err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		w.head, w.fresh = head, w.fresh[:0]
	}
	if err := w.known(ctx, group); err != nil {
		return err
	}
	w.repeats = len(w.seen) > 0
	return w.insertUnknown(group)
}

// insertNew numbers and inserts everything. It fails if an id is there already, or comes twice.
func (w *writer) insertNew(group []*work) error {
	for _, k := range group {
		if k.events == nil {
			continue
		}
		k.batch.Appended = make([]hook.Appended, len(k.events))
		for i, e := range k.events {
			w.number(e)
			k.batch.Appended[i].Event = e
		}
	}
	return w.insertEvents(w.fresh)
}

// insertUnknown numbers and inserts the events whose ids were not seen.
func (w *writer) insertUnknown(group []*work) error {
	for _, k := range group {
		if k.events == nil {
			continue
		}
		k.batch.Appended = make([]hook.Appended, len(k.events))
		if w.conflicts(k) {
			continue // all or nothing: nothing of this caller's is appended
		}
		for i, e := range k.events {
			id := eventID{e.Company, e.ID}
			if known, ok := w.seen[id]; ok {
				k.batch.Appended[i] = hook.Appended{Event: known, Duplicate: true}
				continue
			}
			w.number(e)
			w.seen[id] = e
			k.batch.Appended[i] = hook.Appended{Event: e}
		}
	}
	return w.insertEvents(w.fresh)
}

// number gives an event its place in the log.
func (w *writer) number(e *hook.Event) {
	w.head++
	e.Offset, e.AcceptedAt = w.head, fromMicros(w.last)
	w.fresh = append(w.fresh, e)
}

// conflicts reports whether some event of a caller clashes with what is there, or with itself.
func (w *writer) conflicts(k *work) (found bool) {
	var own map[eventID]*hook.Event
	for i, e := range k.events {
		id := eventID{e.Company, e.ID}
		before, ok := w.seen[id]
		if !ok {
			if before, ok = own[id]; !ok {
				if own == nil {
					own = make(map[eventID]*hook.Event, len(k.events))
				}
				own[id] = e
				continue
			}
		}
		if before.Digest != e.Digest {
			k.batch.Appended[i] = hook.Appended{Event: before, Conflict: true}
			found = true
		}
	}
	return found
}

// known looks up, in one statement for many, the ids that producers gave.
func (w *writer) known(ctx context.Context, group []*work) error {
	const chunk = 32
	var args []any
	flush := func() error {
		if len(args) == 0 {
			return nil
		}
		for len(args) > 2 && len(args) < 2*chunk { // two statement texts stay prepared: for one id, and for many
			args = append(args, nil, nil)
		}
		n := len(args) / 2
		query := `SELECT e."offset", e.id, e.company, e.topic, e.object_key, e.digest, e.occurred_at, e.accepted_at FROM (VALUES ` +
			strings.Repeat("(?,?),", n-1) + `(?,?)) AS v JOIN events e ON e.company = v.column1 AND e.id = v.column2`
		err := each(ctx, w, query, args, func(r rows) error {
			e, err := scanEventHead(r)
			if err == nil {
				w.seen[eventID{e.Company, e.ID}] = e
			}
			return err
		})
		args = args[:0]
		return err
	}
	for _, k := range group {
		for _, e := range k.events {
			if e.FreshID {
				continue
			}
			args = append(args, int64(e.Company), e.ID)
			if len(args) == 2*chunk {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

func scanEventHead(r rows) (*hook.Event, error) {
	e := &hook.Event{}
	var digest sql.RawBytes
	var occurred *int64
	var accepted int64
	if err := r.Scan(&e.Offset, &e.ID, &e.Company, &e.Topic, &e.ObjectKey, &digest, &occurred, &accepted); err != nil {
		return nil, err
	}
	copy(e.Digest[:], digest)
	e.OccurredAt, e.AcceptedAt = fromMicrosOrNull(occurred), fromMicros(accepted)
	return e, nil
}

// Tail reads committed events after an offset, with their data, until the limits are reached
// (always at least one), and the configuration version that they were read under.
func (s *Store) Tail(ctx context.Context, p hook.Partition, after hook.Offset, limit, maxBytes int) (events []*hook.Event, version int64, err error) {
	err = s.read(ctx, func(q tx) error {
		if err := one(ctx, q, `SELECT config_version FROM owners WHERE partition = $1`, []any{int64(p)}, &version); err != nil {
			return err
		}
		r, err := q.query(ctx, `SELECT `+eventColumns+` FROM events WHERE `+s.slice(p)+` AND "offset" > $1 ORDER BY "offset" LIMIT $2`, int64(after), int64(limit))
		if err != nil {
			return err
		}
		defer r.Close()
		for bytes := 0; bytes < maxBytes && r.Next(); {
			e, err := scanEvent(r)
			if err != nil {
				return err
			}
			bytes += len(e.Data)
			events = append(events, e)
		}
		return r.Err()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read tail: %w", err)
	}
	return events, version, nil
}

func scanEvent(r rows) (*hook.Event, error) {
	e := &hook.Event{}
	var digest []byte
	var occurred *int64
	var accepted int64
	if err := r.Scan(&e.Offset, &e.ID, &e.Company, &e.Topic, &e.ObjectKey, &digest, &occurred, &accepted, &e.Data); err != nil {
		return nil, err
	}
	copy(e.Digest[:], digest)
	e.OccurredAt, e.AcceptedAt = fromMicrosOrNull(occurred), fromMicros(accepted)
	return e, nil
}

// Head is the last offset of a partition.
func (s *Store) Head(ctx context.Context, p hook.Partition) (head hook.Offset, err error) {
	err = s.look(ctx, func(q tx) error {
		head, err = s.head(ctx, q, p)
		return err
	})
	return head, err
}

// Ref is an event without its payload, as the covering index of a company's backlog has it.
type Ref struct {
	Offset    hook.Offset
	Topic     string
	ObjectKey string
}

// Backlog reads a company's events after an offset and up to a last one, without payloads.
func (s *Store) Backlog(ctx context.Context, c hook.CompanyKey, after, upTo hook.Offset, limit int) (refs []Ref, err error) {
	err = s.look(ctx, func(q tx) error {
		return each(ctx, q, `
			SELECT "offset", topic, object_key FROM events
			WHERE company = $1 AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`,
			[]any{int64(c), int64(after), int64(upTo), int64(limit)}, func(r rows) error {
				var e Ref
				if err := r.Scan(&e.Offset, &e.Topic, &e.ObjectKey); err != nil {
					return err
				}
				refs = append(refs, e)
				return nil
			})
	})
	if err != nil {
		return nil, fmt.Errorf("read backlog: %w", err)
	}
	return refs, nil
}

// eventLister is a snapshot that reads any number of events in one statement.
type eventLister interface {
	listEvents(ctx context.Context, p hook.Partition, offsets []hook.Offset, scan func(rows) error) error
}

// Events reads the events at the given offsets, in that order; purged ones are left out.
func (s *Store) Events(ctx context.Context, p hook.Partition, offsets []hook.Offset) (events []*hook.Event, err error) {
	scan := func(r rows) error {
		e, err := scanEvent(r)
		if err == nil {
			events = append(events, e)
		}
		return err
	}
	err = s.look(ctx, func(q tx) error {
		if many, ok := q.(eventLister); ok {
			return many.listEvents(ctx, p, offsets, scan)
		}
		for _, o := range offsets {
			err := each(ctx, q, `SELECT `+eventColumns+` FROM events WHERE `+s.slice(p)+` AND "offset" = $1`, []any{int64(o)}, scan)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}
