package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The first statement of every record. Sharing the lock on its own row, a node cannot be declared
// dead between this and its commit. The transaction's id tells afterwards, if the commit is not
// answered, whether it took place.
const (
	fence    = `SELECT pg_current_xact_id()::text FROM nodes WHERE id = $1 AND NOT dead FOR SHARE`
	unfenced = `SELECT pg_current_xact_id()::text WHERE $1 = ''`
)

// record commits behind the fence. A commit that is not answered is looked up: written twice, its
// counters would be added twice.
func (e *elephant) record(ctx context.Context, r *Record) (out Recorded, err error) {
	var xid string
	var s *pgSession
	err = e.again(ctx, func(ctx context.Context) error {
		xid = ""
		return e.recordOnce(ctx, r, &out, &xid, &s)
	})
	if errors.Is(err, errCommit) {
		var committed bool
		if committed, err = e.committed(ctx, xid, err); committed {
			err = nil
		}
	}
	if err != nil {
		return Recorded{}, e.mapError(err)
	}
	s.tell()
	return out, nil
}

// errCommit marks an error of the commit itself, after which only the database knows.
var errCommit = errors.New("commit")

func (e *elephant) recordOnce(ctx context.Context, r *Record, out *Recorded, xid *string, s **pgSession) (err error) {
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
	*s = &pgSession{ctx: ctx, e: e, tx: t}
	first := fence
	if r.Node == "" {
		first = unfenced
	}
	err = t.QueryRow(ctx, first, r.Node).Scan(xid)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrFenced
	}
	if err != nil {
		return err
	}
	if *out, err = writeRecord(ctx, *s, r); err != nil {
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
