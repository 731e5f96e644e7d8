// Package postgres is the engine that many nodes share: a pool of sessions without state, group commits for each
// partition, records behind a fence, the nodes and their leases, and the database's eras.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// postgresPartitions is how many partitions a log in Postgres has.
const postgresPartitions = 64

// Limits of ours, for a server that says nothing any more. A connection on which a call has waited so
// long is given up, so that the next call begins on a fresh one: after the server is back, nobody
// waits for what was sent to it before.
const (
	callPatience = 8 * time.Second // with a transaction; a little more than the server allows a statement
	tryPatience  = 3 * time.Second // with one of several tries of an append or of a question
	pingPatience = 2 * time.Second // with a connection that was idle
)

// sessionsOpen bounds the pool unless the URL says pool_max_conns.
const sessionsOpen = 24

// Engine is the one on Postgres: a pool of sessions without state, and for each partition a
// goroutine that commits appends in groups (postgres_append.go).
type Engine struct {
	opt      Options
	pool     *pgxpool.Pool
	few      *pgxpool.Pool                     // for leases, beside the crowd
	lines    [postgresPartitions + 1]*appender // the last is for what goes across partitions
	present  present                           // what this process knows of the database that it is on
	notify   func(hook.Partition, []*hook.Event, int64)
	finished finished
	set      map[string]string // what each session begins with
	doors    doors
	ending   atomic.Bool
	done     sync.WaitGroup
	once     sync.Once
}

// Options is what the engine needs to know; the store's own say what each means.
type Options struct {
	URL          string
	Now          func() time.Time // nil: this machine's clock, and for events the database's
	Committed    func(group int, took time.Duration)
	HoldWhenBack bool
	Log          *slog.Logger
	// Forget is called when the database turned out to be another one than was known.
	Forget func()
}

// Open opens the database at opt.URL, creating or migrating it.
func Open(ctx context.Context, opt Options) (*Engine, error) {
	e := &Engine{opt: opt}
	if err := e.open(ctx); err != nil {
		e.Close()
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	return e, nil
}

func (e *Engine) now() time.Time {
	if e.opt.Now == nil {
		return time.Now()
	}
	return e.opt.Now()
}

func (e *Engine) forget() {
	if e.opt.Forget != nil {
		e.opt.Forget()
	}
}

func (e *Engine) open(ctx context.Context) error {
	c, err := e.config()
	if err != nil {
		return err
	}
	if e.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return err
	}
	few := c.Copy()
	few.MaxConns, few.MinConns = 2, 0
	if e.few, err = pgxpool.NewWithConfig(ctx, few); err != nil {
		return err
	}
	if err := e.pool.Ping(ctx); err != nil {
		return plainly(err)
	}
	if err := e.checkSessions(ctx, c.ConnConfig); err != nil {
		return err
	}
	if err := e.migrate(ctx, c.ConnConfig); err != nil {
		return err
	}
	for p := range e.lines {
		e.lines[p] = newAppender(e, hook.Partition(p))
		e.done.Go(e.lines[p].run)
	}
	return nil
}

// migrate brings the schema up to date.
func (e *Engine) migrate(ctx context.Context, c *pgx.ConnConfig) error {
	if _, err := e.migrations(ctx, c, true); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}

func (e *Engine) Partitions() int { return postgresPartitions }

func (e *Engine) Slice(p hook.Partition) string { return fmt.Sprintf(`partition = %d`, p) }

func (e *Engine) OnAppend(fn func(hook.Partition, []*hook.Event, int64)) { e.notify = fn }

func (e *Engine) Read(ctx context.Context, fn func(sql.Tx) error) error {
	return e.session(ctx, func(ctx context.Context, c *pgx.Conn) error {
		s := snapshot{c: c}
		if err := fn(&pgSession{ctx: ctx, e: e, tx: &s}); err != nil {
			return rollBack(ctx, c, err)
		}
		return s.end(ctx)
	})
}

func (e *Engine) Look(ctx context.Context, fn func(sql.Tx) error) error {
	return e.session(ctx, func(ctx context.Context, c *pgx.Conn) error { return fn(&pgSession{ctx: ctx, e: e, tx: c}) })
}

// session runs fn on a connection. One on which a transaction is still open afterwards is closed.
func (e *Engine) session(ctx context.Context, fn func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	c, err := e.pool.Acquire(ctx)
	if err != nil {
		return e.mapError(err)
	}
	defer c.Release()
	return e.mapError(fn(ctx, c.Conn()))
}

// write makes configuration changes take turns, so that what fn has looked up still holds when it
// writes. Appends and records go on beside it.
func (e *Engine) Write(ctx context.Context, fn func(sql.Tx) error) error {
	k, err := e.mayWrite(ctx)
	if err != nil {
		return err
	}
	var s *pgSession
	err = e.again(ctx, func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, e.pool, readCommitted, func(t pgx.Tx) error {
			s = &pgSession{ctx: ctx, e: e, tx: t}
			if _, err := s.Exec(ctx, `SELECT value FROM meta WHERE name = 'changes' FOR UPDATE`); err != nil {
				return err
			}
			if err := e.still(ctx, s, k); err != nil {
				return err
			}
			return fn(s)
		})
	})
	if err == nil {
		s.announce()
	}
	return e.mapError(err)
}

// again repeats a transaction that the database broke off in favour of another one.
func (e *Engine) again(ctx context.Context, transaction func(context.Context) error) (err error) {
	for try := range 10 {
		bounded, cancel := context.WithTimeout(ctx, callPatience)
		err = transaction(bounded)
		cancel()
		if !conflicted(err) {
			return err
		}
		select {
		case <-time.After(time.Duration(try) * 5 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
	return err
}

// lockLog locks the partition's row. The last offset is read by a statement of its own: one that
// waited for the lock would still see what was there before.
func (e *Engine) LockLog(ctx context.Context, q sql.Tx, p hook.Partition) (hook.Offset, error) {
	if _, err := q.Exec(ctx, LockPartition, int64(p)); err != nil {
		return 0, err
	}
	return e.Head(ctx, q, p)
}

const (
	// LockPartition is what every append begins with.
	LockPartition = `SELECT id FROM partitions WHERE id = $1 FOR UPDATE`
	// It locks nothing where the row is another one than that which is known, also after it has waited
	// for who wrote it.
	lockSamePartition = `SELECT id FROM partitions WHERE id = $1 AND ($2::text = '' OR xmin::text = $2) FOR UPDATE`
)

func (e *Engine) Head(ctx context.Context, q sql.Tx, p hook.Partition) (head hook.Offset, err error) {
	err = sql.One(ctx, q, `
		SELECT greatest((SELECT "offset" FROM events WHERE partition = $1 ORDER BY "offset" DESC LIMIT 1), base_offset)
		FROM partitions WHERE id = $1`, []any{int64(p)}, &head)
	return head, err
}

// EachEvent reads any number in one statement.
func (e *Engine) EachEvent(ctx context.Context, q sql.Tx, p hook.Partition, offsets []hook.Offset, fn func(*hook.Event)) error {
	return log.EachEvent(ctx, q, `
		SELECT `+log.EventColumns+`
		FROM unnest($2::bigint[]) WITH ORDINALITY AS g (at, n) JOIN events e ON e.partition = $1 AND e."offset" = g.at ORDER BY g.n`,
		[]any{int64(p), sql.Array(offsets, func(o hook.Offset) int64 { return int64(o) })}, fn)
}

func (e *Engine) Close() error {
	e.once.Do(func() {
		e.ending.Store(true)
		for _, a := range e.lines {
			if a != nil {
				a.Stop()
			}
		}
		e.done.Wait()
		for _, pool := range []*pgxpool.Pool{e.few, e.pool} {
			if pool != nil {
				pool.Close()
			}
		}
	})
	return nil
}

// mapError turns what Postgres, or the way to it, says into what a caller may see.
func (e *Engine) mapError(err error) error {
	var known *hook.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, errStandby), errors.Is(err, errReplaced):
		return sql.Unavailable("store_busy", err)
	case e.ending.Load():
		return sql.Unavailable("store_closed", err)
	}
	if _, outside := errors.AsType[*pgconn.ConnectError](err); outside {
		e.doors.shut(e.opt.Log, err)
		return sql.Unavailable("store_busy", err) // whatever the server says: it is not about what was asked
	}
	if x, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case x.Code == "53100":
			return sql.Unavailable("disk_full", err)
		case away(x.Code):
			return sql.Unavailable("store_busy", err)
		}
		if e.present.here.Load() != nil && (x.Code == "42P01" || x.Code == "42P10") { // tables and keys that were there: it is being restored
			return sql.Unavailable("store_busy", err)
		}
		return err
	}
	if lost(err) {
		return sql.Unavailable("store_busy", err)
	}
	return err
}

// away codes say that the server cannot serve this role now, whatever is asked: it is overloaded, stops,
// takes no writes, has changed a password or a right, or is being restored
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
func away(code string) bool {
	switch code {
	case "42501", "42P01": // a right was taken away; a table is not there, for the moment
		return true
	}
	switch code[:2] {
	case "08", "25", "28", "3D", "3F", "40", "53", "55", "57", "58":
		return true
	}
	return false
}

// lost errors are about the connection, or about the time that a caller gave.
func lost(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || pgconn.SafeToRetry(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "conn is closed")
}

// ownFault reports whether an error is about the values of one statement: bad data, a violated
// constraint (https://www.postgresql.org/docs/current/errcodes-appendix.html).
func ownFault(err *pgconn.PgError) bool {
	return strings.HasPrefix(err.Code, "22") || strings.HasPrefix(err.Code, "23")
}

// conflicted transactions were broken off in favour of another one: in a conflict, in a deadlock, or
// because this process stood still inside it.
func conflicted(err error) bool {
	x, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (x.Code == "40001" || x.Code == "40P01" || x.Code == "25P03")
}

// ambiguous errors leave it open whether a transaction under way took place: the answer did not come.
// What the driver calls safe to try again is no exception: it says so of a connection that it closed
// itself, after the answer to a commit did not come.
func ambiguous(err error) bool {
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return false
	}
	if x, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(x.Code, "57P") || strings.HasPrefix(x.Code, "08")
	}
	return true
}
