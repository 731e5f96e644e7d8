package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
)

// recording is a record under way.
type recording struct {
	id       string   // tells afterwards, if the commit is not answered, whether it took place
	finished []string // ids of records before it, which nobody will ask about
	out      log.Recorded
	session  pgSession // knows the configuration that changed
	here     *here     // the database as it is known; nil where nobody looks
}

// fence are the arguments of a fence.
func (r *recording) fence(node string) []any {
	if r.here == nil {
		return []any{node, int64(0), ""}
	}
	return []any{node, r.here.era.Number, r.here.row}
}

// errCommit marks an error of the commit itself, after which only the database knows.
var errCommit = errors.New("commit")

// record commits behind the fence. What the database refuses for its values is written once more in
// small steps, which find the item that is at fault.
func (e *Engine) Record(ctx context.Context, r *log.Record) (log.Recorded, error) {
	out, err := e.recordBy(ctx, e.pipelined, r)
	if x, ok := errors.AsType[*pgconn.PgError](err); ok && ownFault(x) {
		out, err = e.recordBy(ctx, e.stepwise, r)
	}
	return out, e.mapError(err)
}

// RecordStepwise records in small steps, as [Engine.Record] does where a value is refused; for tests.
func (e *Engine) RecordStepwise(ctx context.Context, r *log.Record) (log.Recorded, error) {
	out, err := e.recordBy(ctx, e.stepwise, r)
	return out, e.mapError(err)
}

// recordBy looks up a commit that is not answered: written twice, its counters would be added twice.
// Its transaction id would not do: after a crash another transaction gets it, if nothing of the first
// had reached the disk.
func (e *Engine) recordBy(ctx context.Context, write func(context.Context, *log.Record, *recording) error, r *log.Record) (log.Recorded, error) {
	var done *recording
	err := e.again(ctx, func(ctx context.Context) error {
		k, err := e.at()
		if err != nil {
			return err
		}
		done = &recording{id: rand.Text(), finished: e.finished.take(), session: pgSession{ctx: ctx, e: e}, here: k}
		err = write(ctx, r, done)
		if err != nil {
			e.finished.add(done.finished...)
		}
		return err
	})
	if errors.Is(err, errCommit) {
		var committed bool
		if committed, err = e.committed(ctx, done.id, err); committed {
			err = nil
		}
	}
	if err != nil {
		return log.Recorded{}, err
	}
	e.finished.add(done.id)
	done.session.announce()
	return done.out, nil
}

// finished are the ids of records that were committed, and answered.
type finished struct {
	sync.Mutex
	ids []string
}

func (s *finished) take() (ids []string) {
	s.Lock()
	defer s.Unlock()
	ids, s.ids = s.ids, nil
	return ids
}

func (s *finished) add(ids ...string) {
	s.Lock()
	defer s.Unlock()
	s.ids = append(s.ids, ids...)
}

const (
	// The first statement of a record that is written in small steps. Sharing the lock on its own row,
	// a node cannot be declared dead between this and its commit; its lease can be renewed meanwhile.
	// The era's row is another one where the database was restored meanwhile.
	fence = `SELECT FROM nodes WHERE id = $1 AND NOT dead AND ` + inEra + ` FOR KEY SHARE`
	inEra = `($3::text = '' OR EXISTS (SELECT 1 FROM eras e WHERE e.number = $2 AND e.xmin::text = $3))`

	nameRecord    = `INSERT INTO records (id) VALUES ($1)`
	forgetRecords = `DELETE FROM records WHERE id = ANY($1)`
)

// stepwise writes a record one item after another.
func (e *Engine) stepwise(ctx context.Context, r *log.Record, done *recording) (err error) {
	t, err := e.pool.BeginTx(ctx, readCommitted)
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
	if r.Node != "" {
		alive, err := t.Exec(ctx, fence, done.fence(r.Node)...)
		if err != nil {
			return err
		}
		if alive.RowsAffected() == 0 {
			return log.ErrFenced
		}
	}
	if _, err := t.Exec(ctx, nameRecord, done.id); err != nil {
		return err
	}
	if _, err := t.Exec(ctx, forgetRecords, done.finished); err != nil {
		return err
	}
	if done.out, err = log.Write(ctx, &done.session, r); err != nil {
		return err
	}
	if err := t.Commit(ctx); err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	return nil
}

// committed asks what became of a record until the database answers. Where it finds no trace it
// leaves one, so that the record cannot be committed later either: a transaction can outlive the
// connection that it came by.
func (e *Engine) committed(ctx context.Context, id string, cause error) (bool, error) {
	for {
		void, err := e.trace(ctx, id)
		switch {
		case err == nil && void:
			return false, cause
		case err == nil:
			return true, nil
		case errors.Is(err, era.ErrWentBack):
			return false, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return false, fmt.Errorf("the outcome of a record is not known: %w", errors.Join(cause, ctx.Err()))
		}
	}
}

func (e *Engine) trace(ctx context.Context, id string) (void bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	// It waits for a transaction that has written the row and not yet ended.
	if _, err := e.pool.Exec(ctx, `INSERT INTO records (id, void) VALUES ($1, true) ON CONFLICT (id) DO NOTHING`, id); err != nil {
		return false, err
	}
	err = e.pool.QueryRow(ctx, `SELECT void FROM records WHERE id = $1`, id).Scan(&void)
	return void, err
}
