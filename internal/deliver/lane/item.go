package lane

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

type itemState uint8

const (
	Waiting itemState = iota
	running
	Settled // its outcome is in a record, committed or about to be
)

// Above is a delivery above the low-water mark that has a history from before the lane's life.
type Above struct {
	Attempts  int // number of the last
	Throttles int // of those, that were asked to wait
	Settled   bool
}

// Item is a delivery that a lane holds.
type Item struct {
	hook.Delivery
	Offset  hook.Offset
	count   int64  // of a live one: the webhook's matches up to it
	Object  string // the key of its ordering; "" when nothing orders it
	State   itemState
	Parked  bool // has a row in parked
	Skipped bool // settled by being given up
	Probe   bool // the running attempt is a probe
	Pooled  bool // it holds one of the slow slots
	Fresh   bool // its last attempt ended with its connection
	// Won says that another attempt of the event was answered 2xx while this one was under way: it is
	// recorded, and changes nothing.
	Won    bool
	Number int // of the delivery's last attempt of any kind, as far as known
	Step   int // steps of the schedule used
	// throttles is how often in a row the receiver asked to wait when it got this one, and parkedAt when
	// it was parked the last time, zero when it is not.
	Throttles int
	ParkedAt  time.Time
	Bytes     int64
	Payload   *Payload
	Since     time.Time // when the lane got it
	Due       time.Time // of a parked one
	started   time.Time // when its attempt under way began
}

// Past is how a delivery left memory: a row with fewer attempts is older than that.
type Past struct {
	Attempts int
	Commit   uint64 // the engine's count of commits then
	Over     bool   // it is at its end: any row is older
}

// Key tells the delivery of an event that its rule asked for from those that somebody asked for.
type Key struct {
	Kind   hook.Kind
	Offset hook.Offset
}

// before orders a retry among what waits: before everything that was not attempted, which the cap on
// parked deliveries may hold up, and among retries by offset.
func (it *Item) before(x *Item) bool { return !x.Parked || x.Offset > it.Offset }

// ParkedItem is a parked delivery in memory.
func (l *Lane) ParkedItem(x *hook.Parked, now time.Time) *Item {
	it := &Item{
		Delivery: hook.Delivery{Kind: x.Kind, Attempt: x.Attempts, Sequence: x.Sequence, Replay: x.Replay},
		Offset:   x.Offset, Object: x.ObjectKey, Parked: true, Number: x.Number, Step: x.Step, Throttles: x.Throttles, Since: now,
		Fresh: x.Reason == string(hook.ErrReset),
	}
	if l.Hook != nil {
		it.Object = l.OrderKey(it.Object)
	}
	return it
}
