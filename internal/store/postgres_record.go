package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// recording is a record under way.
type recording struct {
	xid     string // of the transaction: tells afterwards, if the commit is not answered, whether it took place
	out     Recorded
	session pgSession // knows the configuration that changed
}

// errCommit marks an error of the commit itself, after which only the database knows.
var errCommit = errors.New("commit")

// record commits behind the fence. What the database refuses for its values is written once more in
// small steps, which find the item that is at fault.
func (e *elephant) record(ctx context.Context, r *Record) (Recorded, error) {
	out, err := e.recordBy(ctx, e.pipelined, r)
	if x, ok := errors.AsType[*pgconn.PgError](err); ok && ownFault(x) {
		out, err = e.recordBy(ctx, e.stepwise, r)
	}
	return out, e.mapError(err)
}

// recordBy looks up a commit that is not answered: written twice, its counters would be added twice.
func (e *elephant) recordBy(ctx context.Context, write func(context.Context, *Record, *recording) error, r *Record) (Recorded, error) {
	var done *recording
	err := e.again(ctx, func(ctx context.Context) error {
		done = &recording{session: pgSession{ctx: ctx, e: e}}
		return write(ctx, r, done)
	})
	if errors.Is(err, errCommit) {
		var committed bool
		if committed, err = e.committed(ctx, done.xid, err); committed {
			err = nil
		}
	}
	if err != nil {
		return Recorded{}, err
	}
	done.session.tell()
	return done.out, nil
}

// The first statement of a record that is written in small steps. Sharing the lock on its own row, a
// node cannot be declared dead between this and its commit; its lease can be renewed meanwhile.
const (
	fence    = `SELECT pg_current_xact_id()::text FROM nodes WHERE id = $1 AND NOT dead FOR KEY SHARE`
	unfenced = `SELECT pg_current_xact_id()::text WHERE $1 = ''`
)

// stepwise writes a record one item after another.
func (e *elephant) stepwise(ctx context.Context, r *Record, done *recording) (err error) {
	t, err := e.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = t.Rollback(end) // a connection that is lost rolls back by itself
		}
	}()
	done.session.tx = t
	first := fence
	if r.Node == "" {
		first = unfenced
	}
	err = t.QueryRow(ctx, first, r.Node).Scan(&done.xid)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrFenced
	}
	if err != nil {
		return err
	}
	if done.out, err = writeRecord(ctx, &done.session, r); err != nil {
		return err
	}
	if err := t.Commit(ctx); err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	return nil
}

// committed asks what became of a transaction until the database answers.
func (e *elephant) committed(ctx context.Context, xid string, cause error) (bool, error) {
	for {
		var status string
		asking, cancel := context.WithTimeout(ctx, tryPatience)
		err := e.pool.QueryRow(asking, `SELECT coalesce(pg_xact_status($1::text::xid8), '')`, xid).Scan(&status)
		cancel()
		switch {
		case err == nil && status == "committed":
			return true, nil
		case err == nil && status == "aborted":
			return false, cause
		case err == nil && status == "":
			return false, fmt.Errorf("the outcome of a record is no longer known: %w", cause)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return false, fmt.Errorf("the outcome of a record is not known: %w", errors.Join(cause, ctx.Err()))
		}
	}
}
