package sqlite

import (
	"context"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/group"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// appendAll numbers and inserts the events of all callers of a group. Ids are looked up after the
// lock is held (here: on the only writer), so that a concurrent duplicate cannot leave a hole. Mostly
// there is none, which the index of ids finds out anyway: so it is asked first only while duplicates
// come, and otherwise when it refuses one.
func (w *writer) appendAll(ctx context.Context, works []*group.Work) error {
	w.last = max(w.last, sql.Micros(w.l.opt.Now()))
	if !w.repeats && !w.waiting {
		head := w.head
		err := w.insertNew(works)
		if code, ok := Code(err); !ok || code != sqliteUnique {
			return err
		}
		// The group's transaction holds nothing else yet.
		if _, err := w.Exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		if _, err := w.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		w.head, w.fresh = head, w.fresh[:0]
	}
	if err := w.known(ctx, works); err != nil {
		return err
	}
	w.repeats = len(w.seen) > 0
	return w.insertUnknown(works)
}

// insertNew numbers and inserts everything. It fails if an id is there already, or comes twice.
func (w *writer) insertNew(works []*group.Work) error {
	for _, k := range works {
		if k.Events == nil {
			continue
		}
		k.Batch.Appended = make([]hook.Appended, len(k.Events))
		for i, e := range k.Events {
			w.number(e)
			k.Batch.Appended[i].Event = e
		}
	}
	return w.insertEvents(w.fresh)
}

// insertUnknown numbers and inserts the events whose ids were not seen.
func (w *writer) insertUnknown(works []*group.Work) error {
	for _, k := range works {
		if k.Events == nil {
			continue
		}
		k.Batch.Appended = make([]hook.Appended, len(k.Events))
		if w.conflicts(k) {
			continue // all or nothing: nothing of this caller's is appended
		}
		for i, e := range k.Events {
			id := log.ID(e)
			if known, ok := w.seen[id]; ok {
				k.Batch.Appended[i] = hook.Appended{Event: known, Duplicate: true}
				continue
			}
			w.number(e)
			w.seen[id] = e
			k.Batch.Appended[i] = hook.Appended{Event: e}
		}
	}
	return w.insertEvents(w.fresh)
}

// number gives an event its place in the log.
func (w *writer) number(e *hook.Event) {
	w.head++
	e.Offset, e.AcceptedAt = w.head, sql.FromMicros(w.last)
	w.fresh = append(w.fresh, e)
}

// conflicts reports whether some event of a caller clashes with what is there, or with itself.
func (w *writer) conflicts(k *group.Work) (found bool) {
	var own map[log.EventID]*hook.Event
	for i, e := range k.Events {
		id := log.ID(e)
		before, ok := w.seen[id]
		if !ok {
			if before, ok = own[id]; !ok {
				if own == nil {
					own = make(map[log.EventID]*hook.Event, len(k.Events))
				}
				own[id] = e
				continue
			}
		}
		if before.Digest != e.Digest {
			k.Batch.Appended[i] = hook.Appended{Event: before, Conflict: true}
			found = true
		}
	}
	return found
}

// known looks up, in one statement for many, the ids that producers gave.
func (w *writer) known(ctx context.Context, works []*group.Work) error {
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
		query := `SELECT ` + log.HeadColumns + ` FROM (VALUES ` +
			strings.Repeat("(?,?),", n-1) + `(?,?)) AS v JOIN events e ON e.company = v.column1 AND e.id = v.column2`
		queries := []string{query}
		if w.waiting {
			queries = append(queries, strings.Replace(strings.Replace(query, "JOIN events", "JOIN scheduled", 1), `"offset"`, "0", 1))
		}
		defer func() { args = args[:0] }()
		for _, query := range queries {
			err := sql.Each(ctx, w, query, args, func(r sql.Rows) error {
				e, err := log.ScanHead(r)
				if err == nil {
					w.seen[log.ID(e)] = e
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, k := range works {
		for _, e := range k.Events {
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
