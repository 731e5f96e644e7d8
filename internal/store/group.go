package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Limits of one group commit.
const (
	groupWorks  = 512
	groupEvents = 2000
	groupBytes  = 16 << 20
	// maxLinger bounds how long a group waits for company. A group waits a quarter of what a commit
	// takes while commits follow each other closely: what arrives meanwhile shares the fsync, and
	// an append and a record that take turns become one.
	maxLinger = time.Millisecond
)

// work is what one caller wants of the writer: exactly one of events, record and fn.
type work struct {
	events []*hook.Event
	record *Record
	fn     func(tx) error
	here   *here // the database as who asks knew it; on Postgres

	batch    Batch
	recorded Recorded
	err      error
	done     chan struct{}
	// taken is set once, by the writer that begins it or by the caller who gives it up before.
	taken atomic.Bool
}

// writer owns the one connection that writes. It takes whatever waits, does it in one transaction
// and commits; what arrives meanwhile is the next group.
type writer struct {
	*direct
	line
	l       *lite
	written chan struct{}           // tells the checkpointer that something was committed
	pause   chan chan struct{}      // the checkpointer asks for a moment between two groups
	broken  error                   // after a failed commit nothing is done any more
	version int64                   // owners.config_version as committed
	head    hook.Offset             // last offset, including the running group's
	last    int64                   // accepted_at of the last event
	seen    map[eventID]*hook.Event // ids that the running group met
	fresh   []*hook.Event           // events of the running group
	repeats bool                    // ids came lately that are there already
	notify  func(hook.Partition, []*hook.Event, int64)
}

// line is where callers wait for the goroutine that commits for them.
type line struct {
	queue  chan *work
	quit   chan struct{} // closed by stop
	ended  chan struct{} // closed when the goroutine has returned
	took   time.Duration // what a commit takes, on average
	idleAt time.Time     // when the last one ended
	alone  bool          // it was for one caller
}

func newLine() line {
	return line{queue: make(chan *work, groupWorks), quit: make(chan struct{}), ended: make(chan struct{})}
}

type eventID struct {
	company hook.CompanyKey
	id      string
}

func newWriter(ctx context.Context, l *lite) (*writer, error) {
	conn, err := openDirect(ctx, l.path, l.writePragmas())
	if err != nil {
		return nil, err
	}
	w := &writer{
		direct: conn, l: l, seen: map[eventID]*hook.Event{},
		line: newLine(), pause: make(chan chan struct{}), written: make(chan struct{}, 1),
	}
	if err := guard(ctx, w, l.opt.UnsafeNoSync); err != nil {
		return nil, errors.Join(err, conn.close())
	}
	err = one(ctx, w, `SELECT coalesce(max("offset"), 0), coalesce(max(accepted_at), 0) FROM (SELECT "offset", accepted_at FROM events ORDER BY "offset" DESC LIMIT 1)`, nil, &w.head, &w.last)
	if err == nil {
		// A purge may have emptied the log; no offset is ever given twice.
		var swept int64
		err = one(ctx, w, `SELECT config_version, max(swept, coalesce((SELECT max("offset") FROM cursors), 0), coalesce((SELECT value FROM meta WHERE name = 'base_offset'), 0)) FROM owners WHERE partition = 0`, nil, &w.version, &swept)
		w.head = max(w.head, hook.Offset(swept))
	}
	if err != nil {
		return nil, errors.Join(err, conn.close())
	}
	return w, nil
}

// do hands work to the writer and waits for its commit. A caller whose context ends before the
// writer has begun gives the work up: it is not done. Afterwards an append leaves its caller with an
// unknown outcome; records and functions, which write into what their caller holds, are waited for.
func (w *line) do(ctx context.Context, k *work) error {
	k.done = make(chan struct{})
	closed := unavailable("store_closed", errors.New("the store is closed"))
	select {
	case w.queue <- k:
	case <-ctx.Done():
		return unavailable("store_busy", ctx.Err())
	case <-w.quit:
		return closed
	}
	select {
	case <-k.done:
		return k.err
	case <-w.ended:
		if k.taken.CompareAndSwap(false, true) {
			return closed
		}
	case <-ctx.Done():
		if k.taken.CompareAndSwap(false, true) {
			return unavailable("store_busy", ctx.Err())
		}
		if k.events != nil {
			return &hook.Error{
				Kind: hook.KindUnavailable, Code: "outcome_unknown", RetryAfter: time.Second,
				Detail: "the commit did not finish in time; try again with the same id", Err: ctx.Err(),
			}
		}
	}
	<-k.done
	return k.err
}

func (w *line) stop() { close(w.quit) }

func (w *writer) run() {
	defer close(w.ended)
	defer func() { _ = w.close() }() // everything is committed
	for {
		select {
		case k := <-w.queue:
			w.commit(w.gather(k))
		case resume := <-w.pause:
			<-resume
		case <-w.quit:
			for {
				select {
				case k := <-w.queue:
					w.commit(w.gather(k))
				default:
					return
				}
			}
		}
	}
}

// gather takes what waits; under load it lingers a moment for more.
func (w *line) gather(first *work) (group []*work) {
	events, bytes := 0, 0
	take := func(k *work) {
		if !k.taken.CompareAndSwap(false, true) {
			return // given up
		}
		group = append(group, k)
		events += len(k.events)
		for _, e := range k.events {
			bytes += len(e.Data)
		}
	}
	take(first)
	var timeout <-chan time.Time
	wait := w.linger()
	for len(group) < groupWorks && events < groupEvents && bytes < groupBytes {
		select {
		case k := <-w.queue:
			take(k)
			continue
		default:
		}
		if timeout == nil {
			if wait == 0 {
				break
			}
			timeout = time.After(wait)
		}
		select {
		case k := <-w.queue:
			take(k)
			continue
		case <-timeout:
		}
		break
	}
	return group
}

// commit does a group and answers its callers. If the group fails, each work is tried on its own,
// so that one cannot refuse the others.
func (w *writer) commit(group []*work) {
	if len(group) == 0 {
		return
	}
	start := time.Now()
	err := w.broken
	if err == nil {
		err = w.transaction(group)
	}
	if err != nil && len(group) > 1 && w.broken == nil {
		for _, k := range group {
			w.commit([]*work{k})
		}
		return
	}
	for _, k := range group {
		if err != nil {
			k.err = w.l.mapError(err)
		}
		close(k.done)
	}
	took := w.committed(start, group)
	if w.l.opt.Committed != nil && err == nil {
		w.l.opt.Committed(len(group), took)
	}
}

// committed notes what a commit took, for the next one.
func (w *line) committed(start time.Time, group []*work) (took time.Duration) {
	w.idleAt, w.alone = time.Now(), len(group) == 1
	took = w.idleAt.Sub(start)
	w.took += (took - w.took) / 8
	return took
}

// linger is how long the next group waits for company: a quarter of a commit while they follow each
// other closely, not at all otherwise. A caller who was alone would wait for nobody, and that a whole
// millisecond: an idle process sleeps no shorter.
func (w *line) linger() time.Duration {
	if w.alone || time.Since(w.idleAt) > w.took {
		return 0
	}
	return min(w.took/4, maxLinger)
}

func (w *writer) transaction(group []*work) (err error) {
	ctx := context.Background()
	head, last := w.head, w.last
	w.fresh = w.fresh[:0:0]
	clear(w.seen)
	if _, err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return w.fatal(err)
	}
	defer func() {
		if err != nil {
			w.head, w.last = head, last
			_, _ = w.exec(ctx, "ROLLBACK") // fails when SQLite has rolled back already
		}
	}()
	if err := w.appendAll(ctx, group); err != nil {
		return w.fatal(err)
	}
	mutated := false
	for _, k := range group {
		switch {
		case k.record != nil:
			mutated = mutated || len(k.record.Status) > 0
			k.recorded, k.err = writeRecord(ctx, w, k.record)
		case k.fn != nil:
			mutated = true
			k.err = savepoint(ctx, w, func() error { return k.fn(w) })
		}
		if k.err != nil && storeFault(k.err) {
			// SQLite may have rolled everything back by itself (https://sqlite.org/lang_transaction.html,
			// "Response To Errors Within A Transaction"); what follows would commit on its own.
			return w.fatal(k.err)
		}
		k.err = w.l.mapError(k.err)
	}
	version := w.version
	if mutated {
		if err := one(ctx, w, `SELECT config_version FROM owners WHERE partition = 0`, nil, &version); err != nil {
			return w.fatal(err)
		}
	}
	failpoint.Hit(failpoint.BeforeCommit)
	if _, err := w.exec(ctx, "COMMIT"); err != nil {
		return w.fatal(err)
	}
	w.version = version
	select {
	case w.written <- struct{}{}:
	default:
	}
	for _, k := range group {
		k.batch.ConfigVersion = version
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
	code, ok := sqliteCode(err)
	return ok && code&0xff == sqliteIOErr
}

// savepoint runs fn so that its failure undoes only what fn did.
func savepoint(ctx context.Context, q tx, fn func() error) error {
	if _, err := q.exec(ctx, "SAVEPOINT one"); err != nil {
		return err
	}
	err := fn()
	if err != nil {
		if _, undo := q.exec(ctx, "ROLLBACK TO one"); undo != nil {
			return errors.Join(err, undo)
		}
	}
	_, release := q.exec(ctx, "RELEASE one")
	return errors.Join(err, release)
}
