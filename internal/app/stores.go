package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/transfer"
)

// backup makes one beside the data of the embedded store, or where temporary files go. Nobody else
// sees the file, and it is gone when it is closed.
func (s *Server) backup(ctx context.Context) (*os.File, error) {
	beside := ""
	if s.cfg.DatabaseURL.Reveal() == "" {
		beside = s.cfg.DataDir
	}
	dir, err := os.MkdirTemp(beside, ".backup-")
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "backup")
	if err := transfer.Backup(ctx, s.store, path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// SettleFile gives a finished file its name, as that of a backup.
func SettleFile(from, to string) error { return transfer.SettleFile(from, to) }

// What the commands are told.
type (
	Progress  = transfer.Progress
	Copied    = transfer.Copied
	Migration = store.Migration
)

// Stores are what the commands do to stores that no server runs on.
type Stores struct {
	Config config.Config // with defaults
	Log    *slog.Logger
}

// options are those of the store that the configuration names. The master key must be there: a command
// makes none.
func (s Stores) options() (store.Options, error) {
	o := store.Options{Dir: s.Config.DataDir, DatabaseURL: s.Config.DatabaseURL.Reveal(), Log: s.Log, Unfinished: true, Fatal: s.die}
	text := s.Config.MasterKey.Reveal()
	if text == "" {
		path := filepath.Join(s.Config.DataDir, "master.key")
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return o, fmt.Errorf("master_key: is not set, and there is no %s", path)
		}
		if err != nil {
			return o, fmt.Errorf("master_key: %w", err)
		}
		text = string(b)
	}
	var err error
	o.MasterKey, err = masterKey(text)
	return o, err
}

// die: nothing that follows a failed fsync may be trusted.
func (s Stores) die(err error) {
	s.Log.Error("the store failed; stopping at once", "error", err)
	os.Exit(3)
}

func open(ctx context.Context, o store.Options) (*store.Store, error) {
	if o.DatabaseURL != "" {
		return store.OpenPostgres(ctx, o)
	}
	return store.OpenSQLite(ctx, o)
}

// Restore fills the store that the configuration names from a backup.
func (s Stores) Restore(ctx context.Context, file string, progress func(Progress)) error {
	o, err := s.options()
	if err != nil {
		return err
	}
	if o.DatabaseURL == "" {
		return transfer.RestoreSQLite(ctx, file, o)
	}
	to, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer to.Close()
	o.Dir = os.TempDir()
	_, err = transfer.RestoreInto(ctx, file, to, o, progress)
	return err
}

// Copy copies everything, or a company, from one store to another: each a directory or a URL.
func (s Stores) Copy(ctx context.Context, from, to, company string, progress func(Progress)) (done Copied, err error) {
	o, err := s.options()
	if err != nil {
		return done, err
	}
	source, target := o.At(from), o.At(to)
	if source.DatabaseURL == "" {
		if _, err := os.Stat(filepath.Join(source.Dir, "atlas-webhooks.db")); err != nil {
			return done, fmt.Errorf("from: there is no store: %w", err)
		}
	}
	source.Unfinished = false
	a, err := open(ctx, source)
	if err != nil {
		return done, fmt.Errorf("from: %w", err)
	}
	defer a.Close()
	b, err := open(ctx, target)
	if err != nil {
		return done, fmt.Errorf("to: %w", err)
	}
	defer b.Close()
	return transfer.Copy(ctx, a, b, transfer.Options{Company: company, Progress: progress})
}

// Migrate brings the schema of the store up to date, or only says how far it is.
func (s Stores) Migrate(ctx context.Context, apply bool) ([]Migration, error) {
	o := store.Options{Dir: s.Config.DataDir, DatabaseURL: s.Config.DatabaseURL.Reveal()}
	return store.Migrate(ctx, o, apply)
}
