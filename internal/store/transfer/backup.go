package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sqlite"
)

// Backup writes everything that the store holds into a file, which must not exist, while the store is
// in use. The file is a database of the embedded store, whatever the engine, and complete as soon as
// it is there. It holds all that was acknowledged before the call.
func Backup(ctx context.Context, s *store.Store, path string) error {
	part := path + ".part"
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("backup: %w", errors.Join(err, fmt.Errorf("%s: %w", path, fs.ErrExist)))
	}
	defer os.RemoveAll(part)
	err := errors.Join(os.RemoveAll(part), os.Mkdir(part, 0o700))
	if err == nil {
		if e, ok := s.Engine().(*sqlite.Engine); ok {
			err = e.Backup(ctx, filepath.Join(part, sqlite.FileName))
		} else {
			err = backupAcross(ctx, s, part)
		}
	}
	if err == nil {
		err = SettleFile(filepath.Join(part, sqlite.FileName), path)
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// backupAcross copies everything as it is now into a store of the embedded kind.
func backupAcross(ctx context.Context, s *store.Store, dir string) error {
	to, err := s.OpenTwin(ctx, dir)
	if err != nil {
		return err
	}
	_, err = Copy(ctx, s, to, Options{live: true})
	return errors.Join(err, to.Close())
}

// SettleFile gives a finished file its name, once it is on disk; the name outlasts a power cut, too.
func SettleFile(from, to string) error {
	if err := syncPath(from); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncPath(filepath.Dir(to))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// RestoreSQLite makes the embedded store of opt.Dir from a backup. There must be none yet. The restored
// store delivers nothing until [store.Store.Resume].
func RestoreSQLite(ctx context.Context, backup string, opt store.Options) error {
	path := filepath.Join(opt.Dir, sqlite.FileName)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w", errors.Join(err, fmt.Errorf("%s: %w", path, fs.ErrExist)))
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err := withCopyOf(ctx, backup, opt, func(s *store.Store) error { return restored(ctx, s) }, func(file string) error { return SettleFile(file, path) })
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// RestoreInto fills an empty store from a backup, or goes on with that. The restored store delivers
// nothing until [store.Store.Resume].
func RestoreInto(ctx context.Context, backup string, to *store.Store, opt store.Options, progress func(Progress)) (done Copied, err error) {
	err = withCopyOf(ctx, backup, opt, func(from *store.Store) error {
		done, err = Copy(ctx, from, to, Options{Progress: progress, held: true})
		return err
	}, nil)
	if err != nil {
		return Copied{}, fmt.Errorf("restore: %w", err)
	}
	return done, nil
}

// withCopyOf opens a copy of a backup beside the store that it is for, so that the backup itself stays
// as it is. Then gets the copy's file, closed.
func withCopyOf(ctx context.Context, backup string, opt store.Options, use func(*store.Store) error, then func(file string) error) error {
	dir, err := os.MkdirTemp(opt.Dir, ".restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, sqlite.FileName)
	if err := copyFile(backup, file); err != nil {
		return err
	}
	opt.Dir, opt.UnsafeNoSync = dir, true // it is synced when it is finished
	s, err := store.OpenSQLite(ctx, opt)
	if err != nil {
		return err
	}
	if err = sound(ctx, s); err == nil {
		err = use(s)
	}
	if err := errors.Join(err, s.Close()); err != nil || then == nil {
		return err
	}
	return then(file)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// sound refuses a file that was damaged or cut.
func sound(ctx context.Context, s *store.Store) error {
	return s.Engine().Snapshot(ctx, func(q sql.Tx) error {
		var first string
		if err := sql.One(ctx, q, `PRAGMA quick_check(1)`, nil, &first); err != nil {
			return err
		}
		if first != "ok" {
			return fmt.Errorf("the backup is damaged: %s", first)
		}
		return nil
	})
}

// restored begins an era, and keeps the store from delivering.
func restored(ctx context.Context, s *store.Store) error {
	return s.Engine().Write(ctx, func(q sql.Tx) error {
		_, err := s.BeginEra(ctx, q, era.Setback{Cause: era.CauseRestored, Hold: true})
		return err
	})
}
