package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// consumer is a lane that the engine runs: the lane decides, and the consumer says what of it is being
// read, recorded or waited for. It exists only while its webhook has work, and only the engine's loop
// touches it.
type consumer struct {
	lane.Lane
	place *place

	dueMore bool         // the store holds more that is due
	expired []*lane.Item // given up by retention, until the lane is loaded

	loading, reading, fetching, dueReading, replaying bool // reads under way

	kept        lane.Gate // its endpoint's, as the store has it
	recording   int       // its news under way to the store
	dueAsked    uint64    // count of commits when it asked what is due
	replayAsked uint64    // and what its replay covers
	inLine      bool      // for a slot
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
func (l *consumer) may(now time.Time) lane.Verdict {
	switch {
	case l.Hook == nil:
		return lane.Verdict{Reason: "loading"}
	case l.place.deleted:
		return lane.Verdict{Reason: "deleted"}
	case l.place.status != hook.Active:
		return lane.Verdict{Reason: string(l.place.status)}
	case l.place.part.leaving:
		return lane.Verdict{Reason: "moving to another node"}
	}
	return l.Next(now)
}

// line is where the lane waits for a slot.
func (l *consumer) line() int {
	if l.Pooled() {
		return slowLine
	}
	return fastLine
}

// again puts a delivery that started, but is not settled, back at the head of its line.
func (c *core) again(l *consumer, it *lane.Item) {
	l.Again(it)
	if l.place.deleted {
		c.abandon(l)
	}
}

// idle says that nothing is left to do or to remember.
func (l *consumer) idle(now time.Time) bool {
	return l.Hook != nil && (l.Fed || l.place.status != hook.Active) && len(l.Items) == 0 && len(l.Due) == 0 && len(l.Replays) == 0 && l.InFlight == 0 && l.recording == 0 && !l.dueMore &&
		!l.touched && !l.reading && !l.fetching && !l.dueReading && !l.replaying && !l.loading && l.Health.State == lane.Healthy &&
		len(l.Past)+len(l.Lost) == 0 && l.Open(now) && l.place.replay == 0 && l.stat == nil && len(l.answers) == 0 &&
		(l.Limiter == nil || l.Limiter.TokensAt(now) >= float64(l.Limiter.Burst())) // the next lane begins with a full one
}

// otherwise is what the store has of a gate that must be told anew: it differs from every gate.
var otherwise = lane.Gate{Version: -1}

// restoreGate makes a lane go on to wait for what its endpoint asked before.
func (c *core) restoreGate(l *consumer, from *hook.Gate) {
	if from.NotBefore == nil {
		return
	}
	l.kept = otherwise
	if from.EndpointVersion != l.Hook.EndpointVersion {
		return
	}
	if !l.WaitOn(from, c.local(*from.NotBefore), c.now) {
		c.mark(l)
		return
	}
	l.kept = l.Gate
}

// gatesAnew tells the store anew until when lanes wait, after the clock was set that it goes by.
func (c *core) gatesAnew() {
	for _, l := range c.awake {
		if l.kept != (lane.Gate{}) {
			l.kept = otherwise
			c.mark(l)
		}
	}
}

// durable is what is stored of it; onWall turns the engine's time into the wall's.
func healthRow(h *lane.Health, onWall func(time.Time) time.Time) store.Health {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = hook.Now(onWall(t))
		return &t
	}
	return store.Health{
		FailingSince: at(h.Since), LastSuccessAt: at(h.LastSuccess), LastFailureAt: at(h.LastFailure), ProbeAt: at(h.ProbeAt),
		FailingHours: h.Hours, ConsecutiveFailures: h.Failures, ProbeStep: h.Probes, LastFailingHour: h.LastHour,
	}
}
