package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

type itemState uint8

const (
	waiting itemState = iota
	running
	settled // its outcome is in a record, committed or about to be
)

// above is a delivery above the low-water mark that has a history from before the lane's life.
type above struct {
	attempts  int // number of the last
	throttles int // of those, that were asked to wait
	settled   bool
}

// item is a delivery that a lane holds.
type item struct {
	offset   hook.Offset
	sequence int64
	count    int64 // of a live one: the webhook's matches up to it
	topic    string
	object   string // the key of its ordering; "" when nothing orders it
	kind     hook.Kind
	state    itemState
	parked   bool // has a row in parked
	skipped  bool // settled by being given up
	probe    bool // the running attempt is a probe
	pooled   bool // it holds one of the slow slots
	fresh    bool // its last attempt ended with its connection
	attempts int  // number of its last attempt
	number   int  // of the delivery's last attempt of any kind, as far as known
	step     int  // steps of the schedule used
	// throttles is how often in a row the receiver asked to wait when it got this one, and parkedAt when
	// it was parked the last time, zero when it is not.
	throttles int
	parkedAt  time.Time
	replay    int64
	bytes     int64
	payload   *payload
	since     time.Time // when the lane got it
	due       time.Time // of a parked one
	started   time.Time // when its attempt under way began
}

// past is how a delivery left memory: a row with fewer attempts is older than that.
type past struct {
	attempts int
	commit   uint64 // the engine's count of commits then
}

type parkedKey struct {
	kind   hook.Kind
	offset hook.Offset
}

// before orders a retry among what waits: before everything that was not attempted, which the cap on
// parked deliveries may hold up, and among retries by offset.
func (it *item) before(x *item) bool { return !x.parked || x.offset > it.offset }

// parkedItem is a parked delivery in memory.
func (l *lane) parkedItem(x *hook.Parked, now time.Time) *item {
	it := &item{
		offset: x.Offset, sequence: x.Sequence, object: x.ObjectKey, kind: x.Kind, parked: true,
		attempts: x.Attempts, number: x.Number, step: x.Step, throttles: x.Throttles, replay: x.Replay, since: now,
		fresh: x.Reason == string(hook.ErrReset),
	}
	if l.hook != nil {
		it.object = l.orderKey(it.object)
	}
	return it
}
