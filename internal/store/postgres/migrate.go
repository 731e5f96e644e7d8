package postgres

import (
	"context"
	stdsql "database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/schema"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema of the database at opt.URL up to date, if apply is set, and lists its steps.
func Migrate(ctx context.Context, opt Options, apply bool) ([]schema.Step, error) {
	e := &Engine{opt: opt}
	c, err := e.config()
	if err != nil {
		return nil, err
	}
	list, err := e.migrations(ctx, c.ConnConfig, apply)
	return list, plainly(err)
}

// Tables of ours that say which steps were taken, and whose turn it is to take them. Another program on
// the same database may use the same library under its own names.
const (
	stepsTable = "atlas_webhooks_migrations"
	turnsTable = "atlas_webhooks_migrating"
)

// migrations migrates in a session of its own, which waits for locks no longer than others, so that
// nobody queues behind it for long, but works as long as it must. Nodes that start together take turns by
// a table; the turn of one that was killed ends by itself.
func (e *Engine) migrations(ctx context.Context, c *pgx.ConnConfig, apply bool) ([]schema.Step, error) {
	db := stdlib.OpenDB(*e.patient(c))
	defer db.Close()
	if apply {
		if err := e.ownSchema(ctx, db); err != nil {
			return nil, err
		}
	}
	steps, err := adoptSteps(ctx, db, apply)
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	turns, err := lock.NewPostgresTableLocker(
		lock.WithTableName(turnsTable), lock.WithTableLeaseDuration(5*time.Second), lock.WithTableHeartbeatInterval(time.Second),
		lock.WithTableLockTimeout(200*time.Millisecond, 1500), lock.WithTableUnlockTimeout(200*time.Millisecond, 25),
	)
	if err != nil {
		return nil, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithVerbose(false), goose.WithLocker(turns), goose.WithTableName(steps))
	if err != nil {
		return nil, err
	}
	if e.opt.Log != nil {
		defer time.AfterFunc(waitsLong, func() {
			e.opt.Log.Info("waiting for the schema: it is being brought up to date, by this node or by another that has begun")
		}).Stop()
	}
	return schema.Migrate(ctx, p, apply)
}

// waitsLong is how long nothing is said of a wait.
const waitsLong = 2 * time.Second

// ownSchema makes the schema that the URL names first in its search path.
func (e *Engine) ownSchema(ctx context.Context, db *stdsql.DB) error {
	first, _, _ := strings.Cut(e.set["search_path"], ",")
	if first = strings.Trim(strings.TrimSpace(first), `"`); first == "" || strings.HasPrefix(first, "$") {
		return nil
	}
	var there bool
	if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, first).Scan(&there); err != nil || there {
		return err
	}
	if _, err := db.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{first}.Sanitize()); err != nil {
		return fmt.Errorf("make the schema %s: %w", first, err)
	}
	return nil
}

// adoptSteps returns the table of the steps taken. A store that was made when it still had the library's
// name for it gets its own, if apply is set; the other one is left to whoever uses it.
func adoptSteps(ctx context.Context, db *stdsql.DB, apply bool) (table string, err error) {
	const shared = "goose_db_version"
	var own, others, ours bool
	err = db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL, to_regclass('owners') IS NOT NULL AND to_regclass('partitions') IS NOT NULL`,
		stepsTable, shared).Scan(&own, &others, &ours)
	switch {
	case err != nil:
		return "", err
	case own || !others || !ours:
		return stepsTable, nil
	case !apply:
		return shared, nil
	}
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = t.Rollback() }() // nothing is left of what was committed
	for _, statement := range []string{
		`LOCK TABLE goose_db_version IN SHARE ROW EXCLUSIVE MODE`, // nodes that start together take turns
		`CREATE TABLE IF NOT EXISTS ` + stepsTable + ` (LIKE goose_db_version INCLUDING ALL)`,
		`INSERT INTO ` + stepsTable + ` (version_id, is_applied, tstamp) SELECT version_id, is_applied, tstamp FROM goose_db_version
			WHERE NOT EXISTS (SELECT FROM ` + stepsTable + `) ORDER BY id`,
	} {
		if _, err := t.ExecContext(ctx, statement); err != nil {
			return "", err
		}
	}
	return stepsTable, t.Commit()
}
