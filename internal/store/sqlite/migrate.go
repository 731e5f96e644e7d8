package sqlite

import (
	"context"
	stdsql "database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/schema"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema of the store in a directory up to date, if apply is set, and lists its steps.
func Migrate(ctx context.Context, opt Options, apply bool) ([]schema.Step, error) {
	l := &Engine{opt: opt, path: filepath.Join(opt.Dir, FileName)}
	if _, err := os.Stat(l.path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w; the first start makes it", l.path, fs.ErrNotExist)
	}
	if apply {
		if err := l.lockFile(); err != nil {
			return nil, err
		}
		defer l.lock.Close()
	}
	db, err := stdsql.Open("sqlite", l.dsn([]string{"synchronous(FULL)", busyTimeout}))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	return schema.Migrate(ctx, p, apply)
}

func provider(db *stdsql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithVerbose(false))
}

func bringUp(ctx context.Context, db *stdsql.DB) error {
	p, err := provider(db)
	if err == nil {
		_, err = schema.Migrate(ctx, p, true)
	}
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}
