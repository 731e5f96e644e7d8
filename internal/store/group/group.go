// Package group is the group commit: many callers hand their work to one goroutine, which does what waits
// in one transaction. Both engines have it, SQLite for everything and Postgres for appends.
package group

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Limits of one group commit.
const (
	mostWorks  = 512
	mostEvents = 2000
	mostBytes  = 16 << 20
	// maxLinger bounds how long a group waits for company. A group waits a quarter of what a commit
	// takes while commits follow each other closely: what arrives meanwhile shares the fsync, and
	// an append and a record that take turns become one.
	maxLinger = time.Millisecond
)

// Work is what one caller wants of the writer: exactly one of Events, Record and Fn.
type Work struct {
	Events []*hook.Event
	Record *log.Record
	Fn     func(sql.Tx) error
	Era    string // in which who asks knew the database; "" where nobody looks

	Batch    log.Batch
	Recorded log.Recorded
	Err      error
	done     chan struct{}
	// taken is set once, by the writer that begins it or by the caller who gives it up before.
	taken atomic.Bool
}

// Line is where callers wait for the goroutine that commits for them.
type Line struct {
	queue  chan *Work
	Quit   chan struct{} // closed by Stop
	Ended  chan struct{} // closed when the goroutine has returned
	took   time.Duration // what a commit takes, on average
	idleAt time.Time     // when the last one ended
	alone  bool          // it was for one caller
}

// NewLine is a line that nobody serves yet.
func NewLine() Line {
	return Line{queue: make(chan *Work, mostWorks), Quit: make(chan struct{}), Ended: make(chan struct{})}
}

// Do hands work to the writer and waits for its commit. A caller whose context ends before the
// writer has begun gives the work up: it is not done. Afterwards an append leaves its caller with an
// unknown outcome; records and functions, which write into what their caller holds, are waited for.
func (w *Line) Do(ctx context.Context, k *Work) error {
	k.done = make(chan struct{})
	closed := sql.Unavailable("store_closed", errors.New("the store is closed"))
	select {
	case w.queue <- k:
	case <-ctx.Done():
		return sql.Unavailable("store_busy", ctx.Err())
	case <-w.Quit:
		return closed
	}
	select {
	case <-k.done:
		return k.Err
	case <-w.Ended:
		if k.taken.CompareAndSwap(false, true) {
			return closed
		}
	case <-ctx.Done():
		if k.taken.CompareAndSwap(false, true) {
			return sql.Unavailable("store_busy", ctx.Err())
		}
		if k.Events != nil {
			return &hook.Error{
				Kind: hook.KindUnavailable, Code: "outcome_unknown", RetryAfter: time.Second,
				Detail: "the commit did not finish in time; try again with the same id", Err: ctx.Err(),
			}
		}
	}
	<-k.done
	return k.Err
}

// Stop ends the line; what waits is still done.
func (w *Line) Stop() { close(w.Quit) }

// Answer lets the caller have what its work came to.
func (k *Work) Answer() { close(k.done) }

// Run does what waits until the line is stopped, and has nothing left. Between two groups it stands still
// for who asks for a pause, until that one closes what it sent; nil where nobody does.
func (w *Line) Run(pause <-chan chan struct{}, commit func([]*Work)) {
	defer close(w.Ended)
	for {
		select {
		case k := <-w.queue:
			commit(w.gather(k))
		case resume := <-pause:
			<-resume
		case <-w.Quit:
			for {
				select {
				case k := <-w.queue:
					commit(w.gather(k))
				default:
					return
				}
			}
		}
	}
}

// gather takes what waits; under load it lingers a moment for more.
func (w *Line) gather(first *Work) (group []*Work) {
	events, bytes := 0, 0
	take := func(k *Work) {
		if !k.taken.CompareAndSwap(false, true) {
			return // given up
		}
		group = append(group, k)
		events += len(k.Events)
		for _, e := range k.Events {
			bytes += len(e.Data)
		}
	}
	take(first)
	var timeout <-chan time.Time
	wait := w.linger()
	for len(group) < mostWorks && events < mostEvents && bytes < mostBytes {
		select {
		case k := <-w.queue:
			take(k)
			continue
		default:
		}
		if timeout == nil {
			if wait == 0 {
				break
			}
			timeout = time.After(wait)
		}
		select {
		case k := <-w.queue:
			take(k)
			continue
		case <-timeout:
		}
		break
	}
	return group
}

// Committed notes what a commit took, for the next one.
func (w *Line) Committed(start time.Time, group []*Work) (took time.Duration) {
	w.idleAt, w.alone = time.Now(), len(group) == 1
	took = w.idleAt.Sub(start)
	w.took += (took - w.took) / 8
	return took
}

// linger is how long the next group waits for company: a quarter of a commit while they follow each
// other closely, not at all otherwise. A caller who was alone would wait for nobody, and that a whole
// millisecond: an idle process sleeps no shorter.
func (w *Line) linger() time.Duration {
	if w.alone || time.Since(w.idleAt) > w.took {
		return 0
	}
	return min(w.took/4, maxLinger)
}
