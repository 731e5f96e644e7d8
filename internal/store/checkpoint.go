package store

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
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
func (l *lite) checkpoints(ctx context.Context) {
	const pause = 250 * time.Millisecond
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
		if size := l.wal(); size >= walPassive {
			start := time.Now()
			if err := l.checkpoint(ctx, size); err != nil && ctx.Err() == nil {
				l.checkpointFailed(err, size)
			}
			if l.opt.Checkpointed != nil {
				l.opt.Checkpointed(size, time.Since(start))
			}
			l.wal()
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
func (l *lite) checkpointFailed(err error, size int64) {
	switch {
	case !l.writer.isFatal(err):
		if l.opt.Log != nil {
			l.opt.Log.Warn("checkpoint", "error", err, "wal_bytes", size)
		}
	case l.opt.Fatal == nil:
		panic(err)
	default:
		l.opt.Fatal(fmt.Errorf("checkpoint: %w", err))
	}
}

func (l *lite) wal() int64 {
	info, err := os.Stat(l.path + "-wal")
	if err != nil {
		return 0
	}
	l.walSize.Store(info.Size())
	return info.Size()
}

// checkpoint copies what it can beside the others. When the log has grown, the writer waits
// between two groups while the (by then short) rest is copied and the log is reset: the WAL cannot
// be reset while somebody still appends to it.
func (l *lite) checkpoint(ctx context.Context, size int64) error {
	if _, err := l.writeDB.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return err
	}
	if size < walRestart {
		return nil
	}
	if size > walGate {
		l.gate.Lock() // waits for readers, which are short by construction
		defer l.gate.Unlock()
	}
	resume := make(chan struct{})
	select {
	case l.writer.pause <- resume:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer close(resume)
	_, err := l.writeDB.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// watchDisk refuses appends below the low-water mark, so that there is room to record what was
// accepted already.
func (l *lite) watchDisk() {
	if l.opt.MinFreeDisk < 0 {
		return
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(l.opt.Dir, &fs); err == nil {
		l.full.Store(int64(fs.Bavail)*fs.Bsize < l.opt.MinFreeDisk)
	}
}
