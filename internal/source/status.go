package source

import (
	"sync"
	"time"
)

// State is what a source does now.
type State string

// States of a source.
const (
	Starting State = "starting" // it connects for the first time
	Running  State = "running"
	Holding  State = "holding" // messages wait here, because the intake takes none now
	Failing  State = "failing" // it cannot be received from
	Standby  State = "standby" // another node receives
	Stopped  State = "stopped"
)

// states are all that there are.
var states = []string{string(Starting), string(Running), string(Holding), string(Failing), string(Standby), string(Stopped)}

// Status is what is known of a source on this node. Counts are since the process began.
type Status struct {
	Definition
	State       State
	Reason      string // of holding and failing
	Since       time.Time
	Lag         Lag
	LagKnown    bool
	Received    int64
	Accepted    int64 // events
	Duplicates  int64 // events that were there already
	SetAside    int64 // messages that became dead letters
	Unnamed     int64 // messages that would be doubled if they came again
	Expired     int64 // messages that the source let go of before they were received
	LastEventAt time.Time
	DeadLetters int64 // that there are now
}

// board is a status that several goroutines write and read.
type board struct {
	mu sync.Mutex
	s  Status
}

func (b *board) read() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s
}

func (b *board) change(fn func(s *Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn(&b.s)
}

// enter says what the source does now, and reports whether that is another state than before.
func (b *board) enter(state State, reason string, now time.Time) (changed bool) {
	b.change(func(s *Status) {
		if changed = s.State != state; changed {
			s.Since = now
		}
		s.State, s.Reason = state, reason
	})
	return changed
}
