package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Paces of what is scheduled.
const (
	// lookEvery is how often, at least, somebody looks for events whose time comes: other nodes accept some, too.
	lookEvery = 400 * time.Millisecond
	// lookLeast is how soon, at the earliest, it looks again.
	lookLeast = 20 * time.Millisecond
	// othersFirst is how long the node that runs a partition has for moving what is due, before any other does.
	othersFirst = 500 * time.Millisecond
	enterRows   = 500
)

// Scheduled is where events wait for their time.
type Scheduled interface {
	NextScheduled(ctx context.Context) (map[hook.Partition]time.Duration, error)
	EnterStep(ctx context.Context, p hook.Partition, limit int) (int, error)
}

// Schedule lets scheduled events into the log when their time has come. Each node does so for the partitions
// that it runs, and for others whose node is late: an event enters once, whoever is at it. What was due while
// no node ran enters when one does, the earliest first.
type Schedule struct {
	Store Scheduled
	Log   *slog.Logger
	Mine  func(hook.Partition) bool // whether this node runs a partition; nil: it runs all
	// Entered, if set, hears of what entered the log, and how late the first of it was.
	Entered func(n int, late time.Duration)
}

// Run works until ctx ends.
func (s *Schedule) Run(ctx context.Context) {
	failing := false
	for {
		wait, err := s.round(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.Log.Error("scheduled events", "error", err)
		}
		if failing = err != nil; failing {
			wait = lookEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// round moves what is due, and says how long to wait for what is due next.
func (s *Schedule) round(ctx context.Context) (wait time.Duration, err error) {
	waits, err := s.Store.NextScheduled(ctx)
	if err != nil {
		return 0, err
	}
	wait = lookEvery
	for p, left := range waits {
		if s.Mine != nil && !s.Mine(p) {
			left += othersFirst
		}
		if left > 0 {
			wait = min(wait, left)
			continue
		}
		// One step for each: whose time comes again and again holds up nobody else's.
		n, failed := s.Store.EnterStep(ctx, p, enterRows)
		if err = errors.Join(err, failed); n > 0 {
			wait = 0
			if s.Entered != nil {
				s.Entered(n, -left)
			}
		}
	}
	return max(wait, lookLeast), err
}
