package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	p, closeDB, err := postgresProvider(c.ConnConfig)
	if err != nil {
		return nil, err
	}
	defer closeDB()
	return migrateBy(ctx, p, apply)
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

// postgresProvider migrates in a session of its own, which waits for locks no longer than others, so
// that nobody queues behind it for long, but works as long as it must. Nodes that start together take
// turns by a table; the turn of one that was killed ends by itself.
func postgresProvider(c *pgx.ConnConfig) (p *goose.Provider, closeDB func(), err error) {
	files, err := fs.Sub(postgresMigrations, "migrations/postgres")
	if err != nil {
		return nil, nil, err
	}
	turns, err := lock.NewPostgresTableLocker(
		lock.WithTableLeaseDuration(5*time.Second), lock.WithTableHeartbeatInterval(time.Second),
		lock.WithTableLockTimeout(200*time.Millisecond, 1500), lock.WithTableUnlockTimeout(200*time.Millisecond, 25),
	)
	if err != nil {
		return nil, nil, err
	}
	db := stdlib.OpenDB(*patient(c))
	if p, err = goose.NewProvider(goose.DialectPostgres, db, files, goose.WithVerbose(false), goose.WithLocker(turns)); err != nil {
		db.Close()
		return nil, nil, err
	}
	return p, func() { db.Close() }, nil
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
