package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/group"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// writer owns the one connection that writes. It takes whatever waits, does it in one transaction
// and commits; what arrives meanwhile is the next group.
type writer struct {
	*direct
	group.Line
	l       *Engine
	written chan struct{}               // tells the checkpointer that something was committed
	pause   chan chan struct{}          // the checkpointer asks for a moment between two groups
	broken  error                       // after a failed commit nothing is done any more
	version int64                       // owners.config_version as committed
	head    hook.Offset                 // last offset, including the running group's
	last    int64                       // accepted_at of the last event
	seen    map[log.EventID]*hook.Event // ids that the running group met
	fresh   []*hook.Event               // events of the running group
	repeats bool                        // ids came lately that are there already
	waiting bool                        // ids are taken by what is scheduled
	notify  func(hook.Partition, []*hook.Event, int64)
}

func newWriter(ctx context.Context, l *Engine) (*writer, error) {
	conn, err := openDirect(ctx, l.path, l.writePragmas())
	if err != nil {
		return nil, err
	}
	w := &writer{
		direct: conn, l: l, seen: map[log.EventID]*hook.Event{},
		Line: group.NewLine(), pause: make(chan chan struct{}), written: make(chan struct{}, 1),
	}
	if err := guard(ctx, w, l.opt.UnsafeNoSync); err != nil {
		return nil, errors.Join(err, conn.close())
	}
	err = sql.One(ctx, w, `SELECT coalesce(max("offset"), 0), coalesce(max(accepted_at), 0) FROM (SELECT "offset", accepted_at FROM events ORDER BY "offset" DESC LIMIT 1)`, nil, &w.head, &w.last)
	if err == nil {
		// A purge may have emptied the log; no offset is ever given twice.
		var swept int64
		err = sql.One(ctx, w, `SELECT config_version, max(swept, coalesce((SELECT max("offset") FROM cursors), 0), coalesce((SELECT value FROM meta WHERE name = 'base_offset'), 0)),
			EXISTS (SELECT 1 FROM scheduled) FROM owners WHERE partition = 0`, nil, &w.version, &swept, &w.waiting)
		w.head = max(w.head, hook.Offset(swept))
	}
	if err != nil {
		return nil, errors.Join(err, conn.close())
	}
	return w, nil
}

func (w *writer) run() {
	defer func() { _ = w.close() }() // everything is committed
	w.Run(w.pause, w.commit)
}

// commit does a group and answers its callers. If the group fails, each work is tried on its own,
// so that one cannot refuse the others.
func (w *writer) commit(works []*group.Work) {
	if len(works) == 0 {
		return
	}
	start := time.Now()
	err := w.broken
	if err == nil {
		err = w.transaction(works)
	}
	if err != nil && len(works) > 1 && w.broken == nil {
		for _, k := range works {
			w.commit([]*group.Work{k})
		}
		return
	}
	for _, k := range works {
		if err != nil {
			k.Err = w.l.mapError(err)
		}
		k.Answer()
	}
	took := w.Committed(start, works)
	if w.l.opt.Committed != nil && err == nil {
		w.l.opt.Committed(len(works), took)
	}
}

func (w *writer) transaction(works []*group.Work) (err error) {
	ctx := context.Background()
	head, last := w.head, w.last
	w.fresh = w.fresh[:0:0]
	clear(w.seen)
	if _, err := w.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return w.fatal(err)
	}
	defer func() {
		if err != nil {
			w.head, w.last = head, last
			_, _ = w.Exec(ctx, "ROLLBACK") // fails when SQLite has rolled back already
		}
	}()
	if err := w.appendAll(ctx, works); err != nil {
		return w.fatal(err)
	}
	mutated := false
	for _, k := range works {
		switch {
		case k.Record != nil:
			mutated = mutated || len(k.Record.Status) > 0
			k.Recorded, k.Err = log.Write(ctx, w, k.Record)
		case k.Fn != nil:
			mutated = true
			head, fresh := w.head, len(w.fresh)
			if k.Err = sql.Savepoint(ctx, w, func() error { return k.Fn(w) }); k.Err != nil {
				w.head, w.fresh = head, w.fresh[:fresh]
			}
		}
		if k.Err != nil && w.AtFault(k.Err) {
			// SQLite may have rolled everything back by itself (https://sqlite.org/lang_transaction.html,
			// "Response To Errors Within A Transaction"); what follows would commit on its own.
			return w.fatal(k.Err)
		}
		k.Err = w.l.mapError(k.Err)
	}
	version, waiting := w.version, w.waiting
	if mutated {
		if err := sql.One(ctx, w, `SELECT config_version, EXISTS (SELECT 1 FROM scheduled) FROM owners WHERE partition = 0`, nil, &version, &waiting); err != nil {
			return w.fatal(err)
		}
	}
	failpoint.Hit(failpoint.BeforeCommit)
	if _, err := w.Exec(ctx, "COMMIT"); err != nil {
		return w.fatal(err)
	}
	w.version, w.waiting = version, waiting
	select {
	case w.written <- struct{}{}:
	default:
	}
	for _, k := range works {
		k.Batch.ConfigVersion = version
	}
	if w.notify != nil && (len(w.fresh) > 0 || mutated) {
		w.notify(0, w.fresh, version)
	}
	return nil
}

// fatal passes an error on; after an I/O error nothing that follows may be acknowledged, because
// nobody knows what reached the disk: the process must end (and recover from the WAL).
func (w *writer) fatal(err error) error {
	if !w.isFatal(err) {
		return err
	}
	w.broken = fmt.Errorf("the store failed and stopped: %w", err)
	if w.l.opt.Fatal == nil {
		panic(w.broken)
	}
	w.l.opt.Fatal(w.broken)
	return w.broken
}

func (w *writer) isFatal(err error) bool {
	code, ok := Code(err)
	return ok && code&0xff == sqliteIOErr
}

// AtFault reports whether an error is about the database rather than about what was to be written: only
// constraint, type and size errors are an item's own.
func (w *writer) AtFault(err error) bool {
	code, ok := Code(err)
	if !ok {
		return false
	}
	switch code & 0xff {
	case 18, 19, 20, 25: // TOOBIG, CONSTRAINT, MISMATCH, RANGE
		return false
	}
	return true
}
