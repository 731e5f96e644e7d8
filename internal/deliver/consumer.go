package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// consumer is a lane that the engine runs: the lane decides, and the consumer says what of it is being
// read, recorded or waited for. It exists only while its webhook has work, and only the engine's loop
// touches it.
type consumer struct {
	lane
	place *place

	dueMore bool    // the store holds more that is due
	expired []*item // given up by retention, until the lane is loaded

	loading, reading, fetching, dueReading, replaying bool // reads under way

	kept        gate   // its endpoint's, as the store has it
	recording   int    // its news under way to the store
	dueAsked    uint64 // count of commits when it asked what is due
	replayAsked uint64 // and what its replay covers
	inLine      bool   // for a slot
	wake        time.Time
	wakeIndex   int  // in the heap of timers; −1 when not
	index       int  // among the consumers that are awake
	late        bool // its oldest unsettled delivery is older than an attached one may be
	idleSince   time.Time
	replayDone  bool // nothing is left to look at; only deliveries under way
	replayAt    hook.Offset
	replayID    string

	// What the next record says of it.
	touched   bool
	answers   []store.Answer // of its last successes, not yet kept
	answersAt time.Time      // when some were handed over last
	answered  int            // successes, ever
	stat      *store.Stat
	statAt    time.Time
}

// may decides whether an attempt may start now: whether the webhook is to have any, then what its lane
// says.
func (l *consumer) may(now time.Time) verdict {
	switch {
	case l.hook == nil:
		return verdict{reason: "loading"}
	case l.place.deleted:
		return verdict{reason: "deleted"}
	case l.place.status != hook.Active:
		return verdict{reason: string(l.place.status)}
	case l.place.part.leaving:
		return verdict{reason: "moving to another node"}
	}
	return l.next(now)
}

// line is where the lane waits for a slot.
func (l *consumer) line() int {
	if l.pooled() {
		return slowLine
	}
	return fastLine
}

// again puts a delivery that started, but is not settled, back at the head of its line.
func (c *core) again(l *consumer, it *item) {
	l.again(it)
	if l.place.deleted {
		c.abandon(l)
	}
}

// idle says that nothing is left to do or to remember.
func (l *consumer) idle(now time.Time) bool {
	return l.hook != nil && (l.fed || l.place.status != hook.Active) && len(l.items) == 0 && len(l.due) == 0 && len(l.replays) == 0 && l.inFlight == 0 && l.recording == 0 && !l.dueMore &&
		!l.touched && !l.reading && !l.fetching && !l.dueReading && !l.replaying && !l.loading && l.health.state == Healthy &&
		len(l.past)+len(l.lost) == 0 && l.open(now) && l.place.replay == 0 && l.stat == nil && len(l.answers) == 0 &&
		(l.limiter == nil || l.limiter.TokensAt(now) >= float64(l.limiter.Burst())) // the next lane begins with a full one
}

// otherwise is what the store has of a gate that must be told anew: it differs from every gate.
var otherwise = gate{version: -1}

// restoreGate makes a lane go on to wait for what its endpoint asked before. If the clock was set back
// since, it waits for that once more and not for the clock too.
func (c *core) restoreGate(l *consumer, from *hook.Gate) {
	if from.NotBefore == nil {
		return
	}
	l.kept = otherwise
	if from.EndpointVersion != l.hook.EndpointVersion {
		return
	}
	l.gate = gate{c.local(*from.NotBefore), from.Wait, from.Reason, from.EndpointVersion, from.Throttles}
	l.throttles = from.Throttles
	if most := c.now.Add(from.Wait); l.gate.until.After(most) {
		l.gate.until = most
		c.mark(l)
		return
	}
	l.kept = l.gate
}

// gatesAnew tells the store anew until when lanes wait, after the clock was set that it goes by.
func (c *core) gatesAnew() {
	for _, l := range c.awake {
		if l.kept != (gate{}) {
			l.kept = otherwise
			c.mark(l)
		}
	}
}

// durable is what is stored of it; onWall turns the engine's time into the wall's.
func healthRow(h *health, onWall func(time.Time) time.Time) store.Health {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = hook.Now(onWall(t))
		return &t
	}
	return store.Health{
		FailingSince: at(h.since), LastSuccessAt: at(h.lastSuccess), LastFailureAt: at(h.lastFailure), ProbeAt: at(h.probeAt),
		FailingHours: h.hours, ConsecutiveFailures: h.failures, ProbeStep: h.probes, LastFailingHour: h.lastHour,
	}
}
