// Package sqlite is the embedded engine: one file, one writer that commits for all in groups, and readers
// beside it.
package sqlite

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/group"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// minSQLite is the first version without the WAL-reset bug (https://sqlite.org/wal.html#walresetbug).
const minSQLite = "3.51.3"

// FileName is the embedded store's file in its directory.
const FileName = "atlas-webhooks.db"

// Engine is the embedded one: one file, one writer connection that takes appends, records and
// mutations in one group commit (writer.go), and a pool of read-only connections.
type Engine struct {
	opt     Options
	path    string
	lock    *os.File // flock: one process per file
	writer  *writer
	copyDB  *stdsql.DB // migrates; then it copies the log back, on one connection
	readers *readers
	gate    sync.RWMutex
	stop    context.CancelFunc
	done    sync.WaitGroup
	full    atomic.Bool // free disk is below the low-water mark
	walSize atomic.Int64
	// restartAt is when the log may be begun again at the earliest; only the checkpoints use it.
	restartAt time.Time
	once      sync.Once // closes
}

// Options is what the engine needs to know; the store's own say what each means.
type Options struct {
	Dir          string
	Now          func() time.Time
	Fatal        func(error)
	Committed    func(group int, took time.Duration)
	Checkpointed func(wal int64, took time.Duration)
	MinFreeDisk  int64
	UnsafeNoSync bool
	Log          *slog.Logger
}

// Open opens the database in opt.Dir, creating or migrating it.
func Open(ctx context.Context, opt Options) (*Engine, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.MinFreeDisk == 0 {
		opt.MinFreeDisk = 64 << 20
	}
	l := &Engine{opt: opt, path: filepath.Join(opt.Dir, FileName)}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", l.path, err), l.release())
	}
	return l, nil
}

func (l *Engine) open(ctx context.Context) error {
	if err := os.MkdirAll(l.opt.Dir, 0o700); err != nil {
		return err
	}
	if err := l.lockFile(); err != nil {
		return err
	}
	if err := l.private(); err != nil {
		return err
	}
	// As durable as fsync, without waiting for the file's timestamps: see the driver's own account.
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return err
	}
	var err error
	if l.copyDB, err = stdsql.Open("sqlite", l.dsn(l.writePragmas())); err != nil {
		return err
	}
	l.copyDB.SetMaxOpenConns(1)
	if err := l.migrate(ctx); err != nil {
		return err
	}
	readDB, err := stdsql.Open("sqlite", l.dsn([]string{"query_only(1)", "cache_size(-2048)", "temp_store(MEMORY)", busyTimeout}))
	if err != nil {
		return err
	}
	l.readers = newReaders(readDB, Readers)
	if l.writer, err = newWriter(ctx, l); err != nil {
		return err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	l.done.Go(l.writer.run)
	l.done.Go(func() { l.checkpoints(run) })
	return nil
}

const busyTimeout = "busy_timeout(10000)"

// writePragmas are those of the connections that write.
func (l *Engine) writePragmas() []string {
	sync := "synchronous(FULL)"
	if l.opt.UnsafeNoSync {
		sync = "synchronous(OFF)"
	}
	return []string{
		busyTimeout, "journal_mode(WAL)", sync, "wal_autocheckpoint(0)", "journal_size_limit(" + strconv.Itoa(walRestart) + ")",
		// No more: a commit that has split a page looks through the whole cache for pages behind the end.
		"cache_size(-8192)", "temp_store(MEMORY)",
	}
}

func (l *Engine) dsn(pragmas []string) string {
	v := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	return "file:" + (&url.URL{Path: l.path}).EscapedPath() + "?" + v.Encode()
}

// lockFile refuses a second process: two writers would each number events for themselves.
func (l *Engine) lockFile() error {
	f, err := os.OpenFile(filepath.Join(l.opt.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return errors.New("another process has this data directory open")
	}
	l.lock = f
	return nil
}

// private makes the store's files their owner's alone, before anything is in them and whatever the
// process's umask. SQLite gives its other files the mode of the database, but keeps one that is there.
func (l *Engine) private() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Close()
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if changed := os.Chmod(l.path+suffix, 0o600); changed != nil && !errors.Is(changed, fs.ErrNotExist) {
			err = errors.Join(err, changed)
		}
	}
	return err
}

// guard refuses to run on an engine that could lose what it acknowledged.
func guard(ctx context.Context, q sql.Tx, unsafeNoSync bool) error {
	var version, journal string
	var sync int
	err := sql.One(ctx, q, `SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode), (SELECT synchronous FROM pragma_synchronous)`, nil, &version, &journal, &sync)
	if err != nil {
		return err
	}
	if olderVersion(version, minSQLite) {
		return fmt.Errorf("SQLite %s is older than %s", version, minSQLite)
	}
	if journal != "wal" || sync < 2 && !unsafeNoSync {
		return fmt.Errorf("journal_mode is %s, synchronous is %d: need wal, 2 (FULL)", journal, sync)
	}
	return nil
}

func olderVersion(a, b string) bool {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2]) // what is missing is 0
	_, _ = fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// migrate brings the file's schema up to date, once it is sure that the engine may write to it.
func (l *Engine) migrate(ctx context.Context) error {
	conn, err := l.copyDB.Conn(ctx)
	if err != nil {
		return err
	}
	s := newSession(conn)
	if err := errors.Join(guard(ctx, s, l.opt.UnsafeNoSync), s.close()); err != nil {
		return err
	}
	return bringUp(ctx, l.copyDB)
}

func (l *Engine) Partitions() int { return 1 }

func (l *Engine) Slice(hook.Partition) string { return `1 = 1` }

func (l *Engine) OnAppend(fn func(hook.Partition, []*hook.Event, int64)) { l.writer.notify = fn }

// read runs fn in a read transaction. The gate closes for the moment in which a checkpoint needs
// every reader gone.
func (l *Engine) Read(ctx context.Context, fn func(sql.Tx) error) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	return l.mapError(l.readers.read(ctx, fn))
}

func (l *Engine) Look(ctx context.Context, fn func(sql.Tx) error) error { return l.Read(ctx, fn) }

func (l *Engine) Write(ctx context.Context, fn func(sql.Tx) error) error {
	w := group.Work{Fn: fn}
	return l.writer.Do(ctx, &w)
}

// lockLog: the single writer is the append lock.
func (l *Engine) LockLog(context.Context, sql.Tx, hook.Partition) (hook.Offset, error) {
	return l.writer.head, nil
}

func (l *Engine) Head(ctx context.Context, q sql.Tx, _ hook.Partition) (head hook.Offset, err error) {
	err = sql.One(ctx, q, `SELECT max(coalesce((SELECT max("offset") FROM events), 0), coalesce((SELECT value FROM meta WHERE name = 'base_offset'), 0))`, nil, &head)
	return head, err
}

// EachEvent asks for one after the other: a statement costs no turn to anywhere.
func (l *Engine) EachEvent(ctx context.Context, q sql.Tx, _ hook.Partition, offsets []hook.Offset, fn func(*hook.Event)) error {
	for _, o := range offsets {
		if err := log.EachEvent(ctx, q, `SELECT `+log.EventColumns+` FROM events WHERE "offset" = $1`, []any{int64(o)}, fn); err != nil {
			return err
		}
	}
	return nil
}

// beginAfter runs on the writer.
func (l *Engine) BeginAfter(ctx context.Context, q sql.Tx, _ hook.Partition, o int64) error {
	l.writer.head = max(l.writer.head, hook.Offset(o))
	return sql.SetMeta(ctx, q, "base_offset", int64(l.writer.head))
}

// lastBeat: the only process says nothing to others.
func (l *Engine) LastBeat(context.Context, sql.Tx) (int64, error) { return 0, nil }

// served: whoever has this file open has it alone.
func (l *Engine) Served(context.Context, sql.Tx) (bool, error) { return false, nil }

func (l *Engine) Snapshot(ctx context.Context, fn func(sql.Tx) error) error { return l.Read(ctx, fn) }

// appendAcross has one partition to go to.
func (l *Engine) AppendAcross(ctx context.Context, events []*hook.Event) (log.Batch, error) {
	return l.Append(ctx, 0, events)
}

func (l *Engine) Append(ctx context.Context, _ hook.Partition, events []*hook.Event) (log.Batch, error) {
	if err := l.mayAppend(); err != nil {
		return log.Batch{}, err
	}
	w := group.Work{Events: events}
	if err := l.writer.Do(ctx, &w); err != nil {
		return log.Batch{}, err // the writer may still be at it
	}
	failpoint.Hit(failpoint.Appended)
	return w.Batch, nil
}

// AppendFrom numbers and inserts on the writer, which has appended for the others of the group before.
func (l *Engine) AppendFrom(ctx context.Context, _ []hook.Partition, fn func(sql.Tx) ([]*hook.Event, error)) error {
	if err := l.mayAppend(); err != nil {
		return err
	}
	return l.Write(ctx, func(q sql.Tx) error {
		events, err := fn(q)
		if err != nil {
			return err
		}
		w := l.writer
		first := len(w.fresh)
		for _, e := range events {
			w.number(e)
		}
		return w.insertEvents(w.fresh[first:])
	})
}

// mayAppend refuses what would make a store larger that has no room, or whose log cannot be reset.
func (l *Engine) mayAppend() error {
	if l.full.Load() {
		return sql.DiskUnavailable("disk_low", errors.New("free disk space is below the low-water mark"))
	}
	if l.walSize.Load() > walRefuse {
		return sql.Unavailable("store_behind", errors.New("the write-ahead log is over its limit"))
	}
	return nil
}

func (l *Engine) Record(ctx context.Context, r *log.Record) (log.Recorded, error) {
	w := group.Work{Record: r}
	err := l.writer.Do(ctx, &w)
	failpoint.Hit(failpoint.Recorded)
	return w.Recorded, err
}

func (l *Engine) Close() (err error) {
	l.once.Do(func() {
		if l.writer != nil {
			l.writer.Stop()
			l.stop()
		}
		l.done.Wait()
		err = l.release()
	})
	return err
}

func (l *Engine) release() error {
	var errs []error
	if l.readers != nil {
		errs = append(errs, l.readers.close())
	}
	if l.copyDB != nil {
		errs = append(errs, l.copyDB.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// mapError turns what SQLite says into what a caller may see: a full disk or a busy file is
// unavailable, everything else is what it is.
func (l *Engine) mapError(err error) error {
	if code, ok := Code(err); ok {
		switch code & 0xff {
		case sqliteFull:
			return sql.DiskUnavailable("disk_full", err)
		case sqliteBusy, sqliteLocked:
			return sql.Unavailable("store_busy", err)
		}
	}
	return err
}

// Result codes (https://sqlite.org/rescode.html).
const (
	sqliteBusy   = 5
	sqliteLocked = 6
	sqliteIOErr  = 10
	sqliteFull   = 13
	sqliteUnique = 2067 // extended
)
