package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
)

// Migration is a step of the schema.
type Migration struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`       // of its file
	AppliedAt *time.Time `json:"applied_at"` // nil: not yet
}

// Migrate brings the schema of the store that opt names up to date if apply is set, and lists its
// steps. The code runs before and after each step, so that nodes of this version and of the one before
// can serve meanwhile.
func Migrate(ctx context.Context, opt Options, apply bool) (list []Migration, err error) {
	if opt.DatabaseURL != "" {
		list, err = migratePostgresAt(ctx, opt, apply)
	} else {
		list, err = migrateSQLiteAt(ctx, opt, apply)
	}
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	return list, nil
}

func migratePostgresAt(ctx context.Context, opt Options, apply bool) ([]Migration, error) {
	e := &elephant{opt: opt}
	c, err := e.config()
	if err != nil {
		return nil, err
	}
	list, err := e.migrations(ctx, c.ConnConfig, apply)
	return list, plainly(err)
}

func migrateSQLiteAt(ctx context.Context, opt Options, apply bool) ([]Migration, error) {
	l := &lite{opt: opt, path: filepath.Join(opt.Dir, databaseName)}
	if _, err := os.Stat(l.path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w; the first start makes it", l.path, fs.ErrNotExist)
	}
	if apply {
		if err := l.lockFile(); err != nil {
			return nil, err
		}
		defer l.lock.Close()
	}
	db, err := sql.Open("sqlite", l.dsn([]string{"synchronous(FULL)", busyTimeout}))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	p, err := sqliteProvider(db)
	if err != nil {
		return nil, err
	}
	return migrateBy(ctx, p, apply)
}

func sqliteProvider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithVerbose(false))
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
func (e *elephant) migrations(ctx context.Context, c *pgx.ConnConfig, apply bool) ([]Migration, error) {
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
	files, err := fs.Sub(postgresMigrations, "migrations/postgres")
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
	return migrateBy(ctx, p, apply)
}

// waitsLong is how long nothing is said of a wait.
const waitsLong = 2 * time.Second

// ownSchema makes the schema that the URL names first in its search path.
func (e *elephant) ownSchema(ctx context.Context, db *sql.DB) error {
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
func adoptSteps(ctx context.Context, db *sql.DB, apply bool) (table string, err error) {
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

// migrateBy refuses a schema that is newer than this program.
func migrateBy(ctx context.Context, p *goose.Provider, apply bool) ([]Migration, error) {
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return nil, err
	}
	if have > want {
		return nil, fmt.Errorf("the schema is at version %d, this program knows %d: it was written by a newer version", have, want)
	}
	for apply && have < want {
		failpoint.Hit(failpoint.Migration)
		if _, err := p.UpByOne(ctx); errors.Is(err, goose.ErrNoNextVersion) {
			break // another node was faster
		} else if err != nil {
			return nil, err
		}
	}
	steps, err := p.Status(ctx)
	if err != nil {
		return nil, err
	}
	var list []Migration
	for _, s := range steps {
		m := Migration{Version: s.Source.Version, Name: filepath.Base(s.Source.Path)}
		if s.State == goose.StateApplied {
			at := s.AppliedAt.UTC()
			m.AppliedAt = &at
		}
		list = append(list, m)
	}
	return list, nil
}
