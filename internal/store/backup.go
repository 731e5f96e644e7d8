package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sqlite"
)

// Backup writes everything that the store holds into a file, which must not exist, while the store is
// in use. The file is a database of the embedded store, whatever the engine, and complete as soon as
// it is there. It holds all that was acknowledged before the call.
func (s *Store) Backup(ctx context.Context, path string) error {
	part := path + ".part"
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("backup: %w", errors.Join(err, fmt.Errorf("%s: %w", path, fs.ErrExist)))
	}
	defer os.RemoveAll(part)
	err := errors.Join(os.RemoveAll(part), os.Mkdir(part, 0o700))
	if err == nil {
		if e, ok := s.engine.(*sqlite.Engine); ok {
			err = e.Backup(ctx, filepath.Join(part, sqlite.FileName))
		} else {
			err = s.backupAcross(ctx, part)
		}
	}
	if err == nil {
		err = settleFile(filepath.Join(part, sqlite.FileName), path)
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// backupAcross copies everything as it is now into a store of the embedded kind.
func (s *Store) backupAcross(ctx context.Context, dir string) error {
	to, err := OpenSQLite(ctx, Options{Dir: dir, MasterKey: s.key, Now: s.now, UnsafeNoSync: true, Unfinished: true})
	if err != nil {
		return err
	}
	_, err = Copy(ctx, s, to, CopyOptions{live: true})
	return errors.Join(err, to.Close())
}

// settleFile gives a finished file its name, once it is on disk.
func settleFile(from, to string) error {
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
// store delivers nothing until [Store.Resume].
func RestoreSQLite(ctx context.Context, backup string, opt Options) error {
	path := filepath.Join(opt.Dir, sqlite.FileName)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w", errors.Join(err, fmt.Errorf("%s: %w", path, fs.ErrExist)))
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err := withCopyOf(ctx, backup, opt, func(s *Store) error { return s.restored(ctx) }, func(file string) error { return settleFile(file, path) })
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// RestoreInto fills an empty store from a backup, or goes on with that. The restored store delivers
// nothing until [Store.Resume].
func RestoreInto(ctx context.Context, backup string, to *Store, opt Options, progress func(CopyProgress)) (done Copied, err error) {
	err = withCopyOf(ctx, backup, opt, func(from *Store) error {
		done, err = Copy(ctx, from, to, CopyOptions{Progress: progress, held: true})
		return err
	}, nil)
	if err != nil {
		return Copied{}, fmt.Errorf("restore: %w", err)
	}
	return done, nil
}

// withCopyOf opens a copy of a backup beside the store that it is for, so that the backup itself stays
// as it is. Then gets the copy's file, closed.
func withCopyOf(ctx context.Context, backup string, opt Options, use func(*Store) error, then func(file string) error) error {
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
	s, err := OpenSQLite(ctx, opt)
	if err != nil {
		return err
	}
	if err = s.sound(ctx); err == nil {
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
func (s *Store) sound(ctx context.Context) error {
	return s.engine.Snapshot(ctx, func(q sql.Tx) error {
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
func (s *Store) restored(ctx context.Context) error {
	return s.write(ctx, func(q sql.Tx) error {
		_, err := s.beginEra(ctx, q, era.Setback{Cause: era.CauseRestored, Hold: true})
		return err
	})
}

// HeldSince says since when a restored store waits for an operator; nil when it does not.
func (s *Store) HeldSince(ctx context.Context) (*time.Time, error) {
	var since *int64
	err := s.read(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT (SELECT value FROM meta WHERE name = $1)`, []any{era.MetaHeld}, &since)
	})
	return sql.FromMicrosOrNull(since), err
}

// Resume lets a restored store deliver.
func (s *Store) Resume(ctx context.Context) error {
	return s.write(ctx, func(q sql.Tx) error {
		_, err := q.Exec(ctx, `DELETE FROM meta WHERE name = $1`, era.MetaHeld)
		return err
	})
}
