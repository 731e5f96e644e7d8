package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// step is a statement of a pipelined transaction.
type step struct {
	query string
	args  []any
	read  func(pgx.Rows) error // reads the answer; nil when it has none of interest
}

// transact sends a whole transaction in one go, its COMMIT included, so that whoever waits for its
// locks never waits for a turn of this process. The locking step comes first.
func (e *Engine) transact(ctx context.Context, lock step, rest ...step) error {
	c, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release() // and close it, if the transaction is still open
	steps := append([]step{{query: begin}, lock}, append(rest, step{query: commit})...)
	return pipeline(ctx, c.Conn(), steps)
}

// Every transaction names its isolation: whoever waited for a lock must see what was committed before it
// was granted, whatever the role, the database or the server take for the default.
const begin, commit = "BEGIN ISOLATION LEVEL READ COMMITTED", "COMMIT"

var readCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// pipeline sends steps in one go and reads their answers. A synchronisation point follows each that
// may take locks: only from there on the server counts a client that sends no more as idle in a
// transaction, and ends it. Otherwise it would wait for the rest, and hold the locks, for ever. What
// follows an error is refused up to COMMIT, which then rolls back.
func pipeline(ctx context.Context, c *pgx.Conn, steps []step) (err error) {
	prepared := make([]*pgconn.StatementDescription, len(steps))
	for i, s := range steps {
		if prepared[i], err = c.Prepare(ctx, s.query, s.query); err != nil {
			return rollBack(ctx, c, err)
		}
	}
	p := c.PgConn().StartPipeline(ctx)
	err = sendSteps(p, c, steps, prepared)
	for i := 0; i < len(steps) && err == nil; i++ {
		if err = readStep(p, c, steps[i]); err == nil && steps[i].query != begin {
			_, err = p.GetResults() // the synchronisation point
		}
	}
	if err != nil {
		_ = p.Close() // its error comes after the one that is known
		return rollBack(ctx, c, err)
	}
	return p.Close()
}

func sendSteps(p *pgconn.Pipeline, c *pgx.Conn, steps []step, prepared []*pgconn.StatementDescription) error {
	for i, s := range steps {
		var q pgx.ExtendedQueryBuilder
		if err := q.Build(c.TypeMap(), prepared[i], s.args); err != nil {
			return fmt.Errorf("encode a statement: %w", err)
		}
		p.SendQueryStatement(prepared[i], q.ParamValues, q.ParamFormats, q.ResultFormats)
		if s.query != begin {
			p.SendPipelineSync()
		}
	}
	return p.Flush()
}

func readStep(p *pgconn.Pipeline, c *pgx.Conn, s step) error {
	result, err := p.GetResults()
	if err != nil {
		return err
	}
	r, ok := result.(*pgconn.ResultReader)
	if !ok {
		return fmt.Errorf("the pipeline is out of step: %T", result)
	}
	if s.read != nil {
		if err := s.read(pgx.RowsFromResultReader(c.TypeMap(), r)); err != nil {
			return err
		}
	}
	_, err = r.Close()
	return err
}

// rollBack ends a transaction that an error has left open, so that its session can be used on.
func rollBack(ctx context.Context, c *pgx.Conn, cause error) error {
	if !c.IsClosed() && !c.PgConn().IsBusy() && c.PgConn().TxStatus() != 'I' {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = c.Exec(end, "ROLLBACK") // else the pool closes it
	}
	return cause
}
