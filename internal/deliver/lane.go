package deliver

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Limits of one lane.
const (
	// maxQueued is how many matched events wait in memory before the lane detaches and reads its
	// backlog from the store instead; fewQueued is how many always may, whatever the others hold.
	maxQueued = 20_000
	fewQueued = 1000
	// maxAhead is how far settled deliveries may run ahead of the low-water mark.
	maxAhead = 16_384
	// lowQueue is when a lane that reads its backlog asks for more.
	lowQueue = 256
	// fetchAhead is how many payloads a lane that reads its backlog asks for at once.
	fetchAhead = 64
	// maxDue is how many parked deliveries that are due a lane keeps in memory.
	maxDue = 64
	// slowAttempt is how long an attempt takes that makes a lane slow.
	slowAttempt = time.Second
)

type itemState uint8

const (
	waiting itemState = iota
	running
	settled // its outcome is in a record, committed or about to be
)

// item is a delivery that a lane holds.
type item struct {
	offset   hook.Offset
	sequence int64
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

// lane is the consumer of one webhook; it exists only while there is work. Only the engine's loop
// touches it.
type lane struct {
	place *place
	hook  *hook.Webhook // nil until loaded

	// What the cursor has yet to pass: matched events above the low-water mark, by offset.
	items    []*item
	ahead    int // settled ones among them
	read     hook.Offset
	sequence int64 // count of matches up to read
	low      hook.Offset
	lowSeq   int64
	above    map[hook.Offset]store.Above // history above the low-water mark, from before this life
	fed      bool                        // by the tail; else it reads its backlog

	// What may start, in order. An object has at most one delivery here or in flight; those behind
	// it stand in its chain.
	run     []*item
	due     []*item // parked, or asked for
	chains  map[string]*chain
	replays []*item

	parked     int            // live rows in parked
	mostParked int            // beyond, the cursor waits
	blocked    map[string]int // by object, under object order
	known      map[parkedKey]*item
	past       map[parkedKey]past   // rows that a read under way may show as they were
	lost       map[hook.Offset]past // the same of attempts that were lost with a connection, which change no row
	dueMore    bool                 // the store holds more that is due
	expired    []*item              // given up by retention, until the lane is loaded

	loading, reading, fetching, dueReading, replaying bool

	window      window
	health      health
	limiter     *rate.Limiter
	gate        gate // its endpoint's
	fault       gate // while one of ours lasts
	kept        gate // its endpoint's, as the store has it
	throttles   int
	ownFaults   int
	inFlight    int     // attempts started and not yet recorded
	sending     int     // those of them that are not yet answered
	unanswered  []*item // the same, oldest first
	recording   int     // its news under way to the store
	dueAsked    uint64  // count of commits when it asked what is due
	replayAsked uint64  // and what its replay covers
	proven      bool    // its last attempt but for verdicts on events succeeded
	slow        bool    // its last attempt took over a second, or one under way does
	lastStart   time.Time
	inLine      bool // for a slot
	wake        time.Time
	wakeIndex   int  // in the heap of timers; −1 when not
	index       int  // among the lanes that are awake
	late        bool // its oldest unsettled delivery is older than an attached one may be
	idleSince   time.Time
	replayDone  bool // nothing is left to look at; only deliveries under way
	replayAt    hook.Offset
	replayID    string
	replayGap   time.Duration // between two of its deliveries
	replayNext  time.Time

	// What the next record says of it.
	touched                    bool
	delivered, failed, skipped int64
	answers                    []store.Answer // of its last successes, not yet kept
	answersAt                  time.Time      // when some were handed over last
	answered                   int            // successes, ever
	stat                       *store.Stat
	statAt                     time.Time
}

func newLane(p *place, at hook.Offset) *lane {
	return &lane{
		place: p, read: at, low: at, sequence: p.sequence, lowSeq: p.sequence, dueMore: true,
		chains: map[string]*chain{}, known: map[parkedKey]*item{}, past: map[parkedKey]past{}, lost: map[hook.Offset]past{}, window: newWindow(), wakeIndex: -1,
		health: health{state: Healthy},
	}
}

// pooled lanes share a quarter of the slots: nobody knows yet, or somebody knows too well, how
// long they hold one.
func (l *lane) pooled() bool { return l.slow || !l.proven || l.health.state != Healthy }

// verdict is what a lane may do next, with its reason.
type verdict struct {
	start  bool
	reason string    // why not, in the words of the API
	at     time.Time // when to ask again; zero: when something changes
}

// next decides whether the lane may start an attempt now. It changes nothing.
func (l *lane) next(now time.Time) verdict {
	switch {
	case l.hook == nil:
		return verdict{reason: "loading"}
	case l.place.deleted:
		return verdict{reason: "deleted"}
	case l.place.status != hook.Active:
		return verdict{reason: string(l.place.status)}
	case l.place.part.leaving:
		return verdict{reason: "moving to another node"}
	case now.Before(l.gate.until):
		return verdict{reason: l.gate.reason, at: l.gate.until}
	case now.Before(l.fault.until):
		return verdict{reason: l.fault.reason, at: l.fault.until}
	}
	switch l.health.state {
	case Down:
		if l.inFlight > 0 {
			return verdict{reason: "down: a probe is under way"}
		}
		if now.Before(l.health.probeAt) {
			return verdict{reason: "down", at: l.health.probeAt}
		}
	case Failing:
		if l.inFlight > 0 {
			return verdict{reason: "failing: one attempt at a time"}
		}
		if at := l.lastStart.Add(failingPace); now.Before(at) {
			return verdict{reason: "failing: one attempt a second", at: at}
		}
	case Healthy:
		if l.hook.Ordering == hook.WebhookOrder && l.inFlight > 0 {
			return verdict{reason: "strict order: one delivery at a time"}
		}
		if l.sending >= l.window.limit(l.hook.MaxConcurrency) {
			return verdict{reason: "window full"}
		}
	}
	it, reason := l.candidate()
	if it == nil {
		return verdict{reason: reason}
	}
	if l.limiter != nil {
		if tokens := l.limiter.TokensAt(now); tokens < 1 {
			wait := time.Duration((1 - tokens) / float64(l.limiter.Limit()) * float64(time.Second))
			return verdict{reason: "rate limit", at: now.Add(max(wait, time.Millisecond))}
		}
	}
	if it.kind == hook.Replay && !it.parked && now.Before(l.replayNext) {
		return verdict{reason: "replay rate", at: l.replayNext}
	}
	if it.payload == nil {
		return verdict{reason: "reading the event"}
	}
	return verdict{start: true}
}

// reasonIdle is that of a lane with nothing to do, which needs no telling.
const reasonIdle = "idle"

// candidate is the delivery that would go next: what is parked and due, then the log, then what is set
// aside, then replays.
func (l *lane) candidate() (*item, string) {
	for _, it := range l.due {
		if !l.aside(it) {
			return it, ""
		}
	}
	reason := reasonIdle
	switch {
	case len(l.run) == 0:
	case l.parked >= l.parkedCap():
		reason = "parked_full"
	case l.ahead >= maxAhead:
		reason = "the oldest attempt is still under way"
	default:
		return l.run[0], ""
	}
	switch {
	case len(l.due) > 0:
		return l.due[0], ""
	case len(l.replays) > 0 && l.ahead < maxAhead:
		return l.replays[0], ""
	}
	return nil, reason
}

// aside says that the receiver asked to wait each time when it got a delivery, and that no other was
// delivered since: others are tried first, to learn whether that is the endpoint's state or the event's.
func (l *lane) aside(it *item) bool {
	return it.throttles >= retry.AsideAfter && !l.health.lastSuccess.After(it.parkedAt)
}

// parkedCap is how many deliveries may wait to be retried before the cursor waits too.
func (l *lane) parkedCap() int {
	if l.hook.Ordering == hook.WebhookOrder {
		return 1
	}
	return l.mostParked
}

// offer gives the lane the next matched event of the log.
func (l *lane) offer(offset hook.Offset, topic, object string, p *payload, now time.Time) *item {
	l.sequence++
	it := &item{offset: offset, sequence: l.sequence + l.place.leapAt(offset), topic: topic, object: object, kind: hook.Live, payload: p, since: now}
	if p != nil {
		p.refs++
	}
	l.items = append(l.items, it)
	return it
}

// admit puts a live delivery where it waits, unless its story ended in an earlier life.
func (l *lane) admit(it *item) {
	it.object = l.orderKey(it.object)
	if past, ok := l.above[it.offset]; ok {
		delete(l.above, it.offset)
		it.attempts, it.throttles = past.Attempts, past.Throttles
		if past.Settled {
			it.state = settled
			l.ahead++
			return
		}
	}
	l.enqueue(it)
}

func (l *lane) stand(it *item) {
	switch {
	case it.kind == hook.Replay && !it.parked:
		l.replays = append(l.replays, it)
	case it.parked:
		l.due = append(l.due, it)
	default:
		l.run = append(l.run, it)
	}
}

// advance moves the low-water mark over everything settled, and drops it.
func (l *lane) advance() {
	n := 0
	for n < len(l.items) && l.items[n].state == settled {
		l.low, l.lowSeq = l.items[n].offset, l.place.count(l.items[n])
		if l.items[n].skipped {
			l.skipped++
		}
		l.ahead--
		l.items[n] = nil
		n++
	}
	if l.items = l.items[n:]; len(l.items) == 0 {
		l.items = nil
		l.low, l.lowSeq = max(l.low, l.read), l.sequence
		return
	}
	if before := l.items[0].offset - 1; before > l.low {
		l.low = before
	}
}

// idle says that nothing is left to do or to remember.
func (l *lane) idle(now time.Time) bool {
	return l.hook != nil && (l.fed || l.place.status != hook.Active) && len(l.items) == 0 && len(l.due) == 0 && len(l.replays) == 0 && l.inFlight == 0 && l.recording == 0 && !l.dueMore &&
		!l.touched && !l.reading && !l.fetching && !l.dueReading && !l.replaying && !l.loading && l.health.state == Healthy &&
		len(l.past)+len(l.lost) == 0 && l.open(now) && l.place.replay == 0 && l.stat == nil && len(l.answers) == 0 &&
		(l.limiter == nil || l.limiter.TokensAt(now) >= float64(l.limiter.Burst())) // the next lane begins with a full one
}
