package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// snapshot reads in a session of its own, which may take as long as it must. What it sees, Postgres
// keeps until it ends.
func (e *Engine) Snapshot(ctx context.Context, fn func(sql.Tx) error) error {
	c, err := pgx.ConnectConfig(ctx, e.patient(e.pool.Config().ConnConfig))
	if err != nil {
		return e.mapError(err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	return e.mapError(pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(t pgx.Tx) error {
		return fn(&pgSession{ctx: ctx, e: e, tx: t})
	}))
}

// served looks for nodes whose lease has not run out, by the database's clock.
func (e *Engine) Served(ctx context.Context, q sql.Tx) (bool, error) {
	var n int64
	err := sql.One(ctx, q, `SELECT count(*) FROM nodes WHERE NOT dead AND lease_until > now()`, nil, &n)
	return n > 0, err
}

// beginAfter is the only writer of a row that is otherwise locked and never updated.
func (e *Engine) BeginAfter(ctx context.Context, q sql.Tx, p hook.Partition, o int64) error {
	_, err := q.Exec(ctx, `UPDATE partitions SET base_offset = greatest(base_offset, $1) WHERE id = $2`, o, int64(p))
	return err
}
