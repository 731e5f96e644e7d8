package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"modernc.org/libc"
	capi "modernc.org/sqlite/lib"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// backupPages is how much of the database is copied between two groups: a mebibyte.
const backupPages = 256

// Backup copies the database page by page on the writer's own connection, between its groups: SQLite
// then carries each commit over into what was copied already (https://sqlite.org/backup.html). A
// connection of another one's would have to begin again after each commit, or to hold the write-ahead
// log back for as long as it takes.
func (l *Engine) Backup(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return err
	}
	to, err := openDirect(ctx, path, []string{"journal_mode = OFF", "synchronous = OFF"}) // it is synced when it is finished
	if err != nil {
		return err
	}
	var b *pageCopy
	err = l.paused(ctx, func(from *direct) (err error) {
		b, err = copyPages(from, to)
		return err
	})
	for more := err == nil; more && err == nil; {
		start := time.Now()
		err = l.paused(ctx, func(*direct) (err error) {
			if more, err = b.step(backupPages); err == nil && !more {
				err = b.finish() // here, so that nobody has committed since the last page
			}
			return err
		})
		if err != nil {
			break
		}
		select {
		case <-time.After(time.Since(start)): // the other half of the time is the commits'
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if b != nil && b.handle != 0 {
		err = errors.Join(err, l.paused(context.WithoutCancel(ctx), func(*direct) error { return b.finish() }))
	}
	return errors.Join(err, to.close())
}

// paused runs fn with the writer's connection while it waits between two groups.
func (l *Engine) paused(ctx context.Context, fn func(*direct) error) error {
	resume := make(chan struct{})
	select {
	case l.writer.pause <- resume:
	case <-l.writer.Ended:
		return sql.Unavailable("store_closed", errors.New("the store is closed"))
	case <-ctx.Done():
		return ctx.Err()
	}
	defer close(resume)
	if l.writer.broken != nil {
		return fmt.Errorf("the store has failed: %w", l.writer.broken)
	}
	return fn(l.writer.direct)
}

// pageCopy copies the pages of a database into another one. It is used where its source may be.
type pageCopy struct {
	from, to *direct
	handle   uintptr
}

func copyPages(from, to *direct) (*pageCopy, error) {
	name, err := libc.CString("main")
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(from.tls, name)
	b := &pageCopy{from: from, to: to, handle: capi.Xsqlite3_backup_init(from.tls, to.db, name, from.db, name)}
	if b.handle == 0 {
		return nil, to.fail(capi.Xsqlite3_errcode(to.tls, to.db))
	}
	return b, nil
}

// step copies so many pages and says whether there are more.
func (b *pageCopy) step(pages int32) (more bool, err error) {
	switch rc := capi.Xsqlite3_backup_step(b.from.tls, b.handle, pages); rc {
	case capi.SQLITE_OK:
		return true, nil
	case capi.SQLITE_DONE:
		return false, nil
	default:
		return false, &directError{int(rc), "copy pages: " + libc.GoString(capi.Xsqlite3_errstr(b.from.tls, rc))}
	}
}

func (b *pageCopy) finish() error {
	rc := capi.Xsqlite3_backup_finish(b.from.tls, b.handle)
	if b.handle = 0; rc != capi.SQLITE_OK {
		return &directError{int(rc), "copy pages: " + libc.GoString(capi.Xsqlite3_errstr(b.from.tls, rc))}
	}
	return nil
}
