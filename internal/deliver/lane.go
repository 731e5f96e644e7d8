package deliver

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
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
	attempts int  // number of its last attempt
	number   int  // of the delivery's last attempt of any kind, as far as known
	step     int  // steps of the schedule used
	replay   int64
	bytes    int64
	payload  *payload
	since    time.Time // when the lane got it
	started  time.Time // when its attempt under way began
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

// chain is what a lane holds of one object: one delivery in line or in flight, the others behind it.
type chain struct {
	head   *item
	behind []*item
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
	sequence int64 // of the last matched event up to read
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
	past       map[parkedKey]past // rows that a read under way may show as they were
	dueMore    bool               // the store holds more that is due
	expired    []*item            // given up by retention, until the lane is loaded

	loading, reading, fetching, dueReading, replaying bool

	window      window
	health      health
	limiter     *rate.Limiter
	notBefore   time.Time // the gate
	gate        string    // why it is closed
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
		chains: map[string]*chain{}, known: map[parkedKey]*item{}, past: map[parkedKey]past{}, window: newWindow(), wakeIndex: -1,
		health: health{state: Healthy},
	}
}

// pooled lanes share a quarter of the slots: nobody knows yet, or somebody knows too well, how
// long they hold one.
func (l *lane) pooled() bool { return l.slow || !l.proven || l.health.state != Healthy }

// line is where the lane waits for a slot.
func (l *lane) line() int {
	if l.pooled() {
		return slowLine
	}
	return fastLine
}

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
	case now.Before(l.notBefore):
		return verdict{reason: l.gate, at: l.notBefore}
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

// candidate is the delivery that would go next: what is parked and due, then the log, then replays.
func (l *lane) candidate() (*item, string) {
	if len(l.due) > 0 {
		return l.due[0], ""
	}
	switch {
	case len(l.run) == 0:
	case l.parked >= l.parkedCap():
		if len(l.replays) == 0 {
			return nil, "parked_full"
		}
	case l.ahead >= maxAhead:
		return nil, "the oldest attempt is still under way"
	default:
		return l.run[0], ""
	}
	if len(l.replays) > 0 {
		return l.replays[0], ""
	}
	return nil, "idle"
}

// parkedCap is how many deliveries may wait to be retried before the cursor waits too.
func (l *lane) parkedCap() int {
	if l.hook.Ordering == hook.WebhookOrder {
		return 1
	}
	return l.mostParked
}

// orderKey is what two deliveries must share to be ordered.
func (l *lane) orderKey(object string) string {
	if l.hook != nil && l.hook.Ordering == hook.WebhookOrder {
		return "*"
	}
	return object
}

// offer gives the lane the next matched event of the log.
func (l *lane) offer(offset hook.Offset, topic, object string, p *payload, now time.Time) *item {
	l.sequence++
	it := &item{offset: offset, sequence: l.sequence, topic: topic, object: object, kind: hook.Live, payload: p, since: now}
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
		it.attempts = past.Attempts
		if past.Settled {
			it.state = settled
			l.ahead++
			return
		}
	}
	l.enqueue(it)
}

// enqueue puts a delivery in line: behind another of its object, if there is one. A retry goes before
// what still waits.
func (l *lane) enqueue(it *item) {
	if it.object == "" {
		l.stand(it)
		return
	}
	c := l.chains[it.object]
	switch {
	case c == nil:
		l.chains[it.object] = &chain{head: it}
	case it.parked && c.head.state == waiting && it.before(c.head):
		l.take(c.head)
		c.behind = slices.Insert(c.behind, 0, c.head)
		c.head = it
	case it.parked:
		i := slices.IndexFunc(c.behind, it.before)
		if i < 0 {
			i = len(c.behind)
		}
		c.behind = slices.Insert(c.behind, i, it)
		return
	default:
		c.behind = append(c.behind, it)
		return
	}
	l.stand(it)
}

// before orders a retry among what waits: before everything that was not attempted, which the cap on
// parked deliveries may hold up, and among retries by offset.
func (it *item) before(x *item) bool { return !x.parked || x.offset > it.offset }

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

// again puts a delivery that started, but is not settled, back at the head of its line.
func (l *lane) again(it *item) {
	it.state, it.probe = waiting, false
	switch {
	case it.kind == hook.Replay && !it.parked:
		l.replays = slices.Insert(l.replays, 0, it)
	case it.parked:
		l.due = slices.Insert(l.due, 0, it)
	default:
		l.run = slices.Insert(l.run, 0, it)
	}
}

// take removes a delivery from its line. It says whether it stood in one.
func (l *lane) take(it *item) bool {
	for _, line := range []*[]*item{&l.due, &l.run, &l.replays} {
		if len(*line) > 0 && (*line)[0] == it {
			(*line)[0] = nil
			*line = (*line)[1:]
			return true
		}
		if i := slices.Index(*line, it); i >= 0 {
			*line = slices.Delete(*line, i, i+1)
			return true
		}
	}
	return false
}

// pass lets the next delivery of an object go when the one before it is settled.
func (l *lane) pass(object string) {
	if object == "" {
		return
	}
	c := l.chains[object]
	if c == nil || len(c.behind) == 0 {
		delete(l.chains, object)
		return
	}
	c.head, c.behind = c.behind[0], c.behind[1:]
	l.stand(c.head)
}

// advance moves the low-water mark over everything settled, and drops it.
func (l *lane) advance() {
	n := 0
	for n < len(l.items) && l.items[n].state == settled {
		l.low, l.lowSeq = l.items[n].offset, l.items[n].sequence
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

// lastTouched is the index of the last item that is not merely waiting.
func (l *lane) lastTouched() int {
	for i, it := range slices.Backward(l.items) {
		if it.state != waiting {
			return i
		}
	}
	return -1
}

// cut drops what merely waits, to be read again from the store: the lane detaches.
func (l *lane) cut(drop func(*payload)) {
	keep := l.lastTouched() + 1
	for _, it := range l.items[keep:] {
		if it.attempts > 0 { // it was throttled: its next attempt goes on counting
			if l.above == nil {
				l.above = map[hook.Offset]store.Above{}
			}
			l.above[it.offset] = store.Above{Offset: it.offset, Attempts: it.attempts}
		}
		drop(it.payload)
		it.payload = nil
		it.offset = 0 // marks it as dropped
	}
	if keep > 0 {
		l.read, l.sequence = l.items[keep-1].offset, l.items[keep-1].sequence
	} else {
		l.read, l.sequence = l.low, l.lowSeq
	}
	clear(l.items[keep:])
	l.items = l.items[:keep]
	dropped := func(it *item) bool { return it.offset == 0 }
	heads := slices.DeleteFunc(slices.Clone(l.run), func(it *item) bool { return !dropped(it) })
	l.run = slices.DeleteFunc(l.run, dropped)
	for _, c := range l.chains {
		c.behind = slices.DeleteFunc(c.behind, dropped)
	}
	for _, it := range heads {
		l.pass(it.object)
	}
	l.fed = false
}

// idle says that nothing is left to do or to remember.
func (l *lane) idle() bool {
	return l.hook != nil && len(l.items) == 0 && len(l.due) == 0 && len(l.replays) == 0 && l.inFlight == 0 && l.recording == 0 && !l.dueMore &&
		!l.touched && !l.reading && !l.fetching && !l.dueReading && !l.replaying && !l.loading && l.health.state == Healthy &&
		len(l.past) == 0 && l.place.replay == 0 && l.stat == nil && len(l.answers) == 0
}
