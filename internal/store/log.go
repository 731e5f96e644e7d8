package store

import (
	"context"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Append accepts events of one partition: it joins the partition's group commit and returns after
// the fsync. Offsets are gapless and in the order of commits; an id that is there already takes no
// offset. An event with FreshID set is not looked up: nobody can have used its id. After an error
// outcome_unknown the events still belong to the writer; try again with copies.
func (s *Store) Append(ctx context.Context, p hook.Partition, events []*hook.Event) (Batch, error) {
	b, err := s.engine.Append(ctx, p, events)
	return s.withSchedule(ctx, b, err)
}

// AppendAcross accepts events of several partitions, each in the one that it names, all or none: where one
// clashes, none is appended. Else it is as Append.
func (s *Store) AppendAcross(ctx context.Context, events []*hook.Event) (Batch, error) {
	b, err := s.engine.AppendAcross(ctx, events)
	return s.withSchedule(ctx, b, err)
}

// OnAppend makes fn hear of every commit that appended events or changed configuration, on the writer's
// goroutine: it must not block. Within a partition it is in order, but for what was appended across
// several: offsets tell. The events are shared and must not be changed.
// Call it before the first append.
func (s *Store) OnAppend(fn func(p hook.Partition, events []*hook.Event, configVersion int64)) {
	s.engine.OnAppend(fn)
}

// Tail reads committed events after an offset, with their data, until the limits are reached
// (always at least one), and the configuration version that they were read under.
func (s *Store) Tail(ctx context.Context, p hook.Partition, after hook.Offset, limit, maxBytes int) (events []*hook.Event, version int64, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		if err := sql.One(ctx, q, `SELECT config_version FROM owners WHERE partition = $1`, []any{int64(p)}, &version); err != nil {
			return err
		}
		r, err := q.Query(ctx, `SELECT `+log.EventColumns+` FROM events WHERE `+s.engine.Slice(p)+` AND "offset" > $1 ORDER BY "offset" LIMIT $2`, int64(after), int64(limit))
		if err != nil {
			return err
		}
		defer r.Close()
		for bytes := 0; bytes < maxBytes && r.Next(); {
			e, err := log.ScanEvent(r)
			if err != nil {
				return err
			}
			bytes += int(e.Size())
			events = append(events, e)
		}
		return r.Err()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read tail: %w", err)
	}
	return events, version, nil
}

// Head is the last offset of a partition.
func (s *Store) Head(ctx context.Context, p hook.Partition) (head hook.Offset, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
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
	err = s.look(ctx, func(q sql.Tx) error {
		return sql.Each(ctx, q, `
			SELECT "offset", topic, object_key FROM events
			WHERE company = $1 AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`,
			[]any{int64(c), int64(after), int64(upTo), int64(limit)}, func(r sql.Rows) error {
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

// Events reads the events at the given offsets, in that order; purged ones are left out.
func (s *Store) Events(ctx context.Context, p hook.Partition, offsets []hook.Offset) (events []*hook.Event, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		return s.engine.EachEvent(ctx, q, p, offsets, func(e *hook.Event) { events = append(events, e) })
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

// Record commits what the engine found out, behind the fence, and returns after the fsync.
func (s *Store) Record(ctx context.Context, r *Record) (Recorded, error) {
	return s.engine.Record(ctx, r)
}
