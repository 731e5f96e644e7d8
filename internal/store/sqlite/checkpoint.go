package sqlite

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Sizes of the write-ahead log at which something happens.
const (
	walPassive = 8 << 20   // copy pages back, beside readers and the writer
	walRestart = 64 << 20  // and make the writer start again at its beginning
	walGate    = 256 << 20 // and let no new reader in for that moment
	walRefuse  = 2 << 30   // intake answers 503
)

// checkpoints copies the write-ahead log back into the database from a connection of its own:
// automatic checkpoints would run inside somebody's commit (p99 580 ms against 50 ms). It watches
// free disk space on the way. While nothing is written it sleeps.
func (l *Engine) checkpoints(ctx context.Context) {
	const pause = 250 * time.Millisecond
	l.watchDisk()
	for {
		var again <-chan time.Time
		if l.full.Load() {
			again = time.After(time.Second) // nothing is written, and yet space may come back
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-l.writer.written:
		}
		l.watchDisk()
		if l.walFile() >= walPassive {
			start := time.Now()
			size, err := l.checkpoint(ctx)
			if err != nil && ctx.Err() == nil {
				l.checkpointFailed(err, size)
			}
			if l.opt.Checkpointed != nil {
				l.opt.Checkpointed(size, time.Since(start))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// checkpointFailed ends the process after an I/O error, as a commit does: a page that could not be
// written must not be tried again, since the kernel may say "written" the second time (an fsync that
// failed has forgotten it). The next start copies it from the log. Anything else can wait.
func (l *Engine) checkpointFailed(err error, size int64) {
	switch {
	case !l.writer.isFatal(err):
		if l.opt.Log != nil {
			l.opt.Log.Warn("checkpoint", "error", err, "wal_bytes", size)
		}
	case l.opt.Fatal == nil:
		panic(err)
	default:
		// Its connection does not tell the system's number; what has no room is not fatal and has a code of its own.
		l.opt.Fatal(fmt.Errorf("checkpoint: %w: most likely %s, %w", err, unix.ErrnoName(unix.EIO), unix.EIO))
	}
}

// walFile is the size of the log's file. What of it is in use, a checkpoint tells.
func (l *Engine) walFile() int64 {
	info, err := os.Stat(l.path + "-wal")
	if err != nil {
		return 0
	}
	return info.Size()
}

// checkpoint copies what it can beside the others, and returns how many bytes of the log were in
// use. When they are many, the writer waits between two groups while the (by then short) rest is
// copied: the log cannot begin again while somebody still appends to it. It is begun again, not cut:
// to write over what is there needs no new blocks, so no commit waits for the file system's journal.
func (l *Engine) checkpoint(ctx context.Context) (size int64, err error) {
	if size, _, err = l.copyBack(ctx, "PASSIVE"); err != nil || size < walRestart || time.Now().Before(l.restartAt) {
		return size, err
	}
	if size > walGate {
		l.gate.Lock() // waits for readers, which are short by construction
		defer l.gate.Unlock()
	}
	resume := make(chan struct{})
	select {
	case l.writer.pause <- resume:
	case <-ctx.Done():
		return size, ctx.Err()
	}
	defer close(resume)
	// The writer waits meanwhile. A reader that is not ours, as somebody's shell, may hold its snapshot for
	// hours: it is waited for no longer than a moment, now and then.
	if _, err := l.copyDB.ExecContext(ctx, "PRAGMA busy_timeout = 100"); err != nil {
		return size, err
	}
	_, held, err := l.copyBack(ctx, "RESTART")
	if held {
		l.restartAt = time.Now().Add(5 * time.Second)
	}
	return size, err
}

// copyBack runs one checkpoint and returns how many bytes of the log were in use before it, and whether
// somebody's snapshot kept it from its end.
func (l *Engine) copyBack(ctx context.Context, mode string) (size int64, held bool, err error) {
	failpoint.Hit(failpoint.Checkpoint)
	var busy, frames, copied int64
	if err := l.copyDB.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &copied); err != nil {
		return l.walSize.Load(), false, err
	}
	failpoint.Hit(failpoint.Checkpointed)
	const frame = 4096 + 24
	size = max(frames, 0) * frame
	if copied == frames {
		l.walSize.Store(0) // the next commit begins it again
	} else {
		l.walSize.Store(size)
	}
	return size, busy != 0, nil
}

// watchDisk refuses appends below the low-water mark, so that there is room to record what was
// accepted already.
func (l *Engine) watchDisk() {
	d, err := l.Disk()
	if err != nil || l.full.Swap(d.Low()) == d.Low() || l.opt.Log == nil {
		return
	}
	if d.Low() {
		l.opt.Log.Error("the disk is below its low-water mark: no events are accepted until there is room; deliveries go on",
			"path", d.Path, "free_bytes", d.Free, "low_water_mark_bytes", d.Mark)
		return
	}
	l.opt.Log.Info("the disk has room again: events are accepted", "path", d.Path, "free_bytes", d.Free)
}

// Disk says how much room there is for the database.
func (l *Engine) Disk() (sql.Disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(l.opt.Dir, &fs); err != nil {
		return sql.Disk{}, fmt.Errorf("free space of %s: %w", l.opt.Dir, err)
	}
	return sql.Disk{Path: l.opt.Dir, Free: int64(fs.Bavail) * fs.Bsize, Mark: l.opt.MinFreeDisk}, nil
}
