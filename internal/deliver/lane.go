package deliver

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
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

// Lane is what decides which deliveries of one webhook may be attempted now, and in what order. It
// knows no store and does no I/O: whoever runs it tells it what was read, what started and what came of
// it, and it says what may start next ([lane.next]), with the reason why not. Nothing about it is safe
// for use by several goroutines.
type lane struct {
	hook *hook.Webhook // its settings; nil until loaded

	// What the cursor has yet to pass: matched events above the low-water mark, by offset.
	items    []*item
	ahead    int // settled ones among them
	read     hook.Offset
	sequence int64 // of the last matched event up to read
	low      hook.Offset
	lowSeq   int64
	above    map[hook.Offset]above // history above the low-water mark, from before this life
	fed      bool                  // by the tail; else it reads its backlog

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

	window     window
	health     health
	limiter    *rate.Limiter
	gate       gate // its endpoint's
	fault      gate // while one of ours lasts
	throttles  int
	ownFaults  int
	inFlight   int     // attempts started and not yet recorded
	sending    int     // those of them that are not yet answered
	unanswered []*item // the same, oldest first
	proven     bool    // its last attempt but for verdicts on events succeeded
	slow       bool    // its last attempt took over a second, or one under way does
	lastStart  time.Time
	replayGap  time.Duration // between two deliveries of its replay
	replayNext time.Time

	// Since they were recorded last.
	delivered, failed, skipped int64
}

// newLane returns a lane whose low-water mark is at an offset, up to which so many events matched. Where
// so many deliveries are parked, the cursor waits too.
func newLane(at hook.Offset, sequence int64, mostParked int) lane {
	return lane{
		read: at, low: at, sequence: sequence, lowSeq: sequence, mostParked: mostParked,
		chains: map[string]*chain{}, known: map[parkedKey]*item{}, past: map[parkedKey]past{}, lost: map[hook.Offset]past{}, window: newWindow(),
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

// next decides whether the lane, which is loaded, may start an attempt now. It changes nothing.
func (l *lane) next(now time.Time) verdict {
	switch {
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

// offer gives the lane the next matched event of the log. Leap is what its sequence is higher by than the
// count of matches up to it.
func (l *lane) offer(it *item, leap int64) *item {
	l.sequence++
	it.kind, it.count, it.sequence = hook.Live, l.sequence, l.sequence+leap
	if it.payload != nil {
		it.payload.refs++
	}
	l.items = append(l.items, it)
	return it
}

// admit puts a live delivery where it waits, unless its story ended in an earlier life.
func (l *lane) admit(it *item) {
	it.object = l.orderKey(it.object)
	if past, ok := l.above[it.offset]; ok {
		delete(l.above, it.offset)
		it.attempts, it.throttles = past.attempts, past.throttles
		if past.settled {
			it.state = settled
			l.ahead++
			return
		}
	}
	l.enqueue(it)
}

// mustHold says that a delivery may not start because an earlier one of its object is parked.
func (l *lane) mustHold(it *item) bool {
	return it.kind == hook.Live && !it.parked && l.blocked[it.object] > 0 && it.object != ""
}

// begin notes that the attempt of a delivery starts, which stands in no line any more.
func (l *lane) begin(it *item, now time.Time) {
	if l.limiter != nil {
		l.limiter.AllowN(now, 1)
	}
	if it.kind == hook.Replay && !it.parked {
		l.replayNext = now.Add(l.replayGap)
	}
	it.state, it.probe = running, l.health.state == Down
	it.attempts = l.number(it) + 1
	l.inFlight++
	l.sending++
	l.lastStart, it.started = now, now
	l.unanswered = append(l.unanswered, it)
}

// answered notes that the attempt of a delivery has ended, though it is not recorded yet.
func (l *lane) answered(it *item) {
	l.sending--
	i := slices.Index(l.unanswered, it)
	l.unanswered = slices.Delete(l.unanswered, i, i+1)
}

// learn lets an answer change what the lane knows of its endpoint. It reports whether that has changed its
// state. An endpoint that comes back starts small.
func (l *lane) learn(it *item, d *retry.Decision, took time.Duration, now time.Time) (changed bool) {
	l.slow = took > slowAttempt
	if d.Gate {
		l.shut(d, now)
	}
	if d.Effect == retry.Neutral {
		l.ownFaults++
		return false
	}
	l.ownFaults = 0
	if changed = l.health.observe(d.Effect, it.offset, it.probe, now) || l.health.pass(now); changed && l.health.state == Healthy {
		l.window = newWindow()
	}
	switch {
	case d.Gate:
		l.throttles++
	case d.Effect == retry.Success:
		l.throttles, l.proven = 0, true
		if l.sending+1 >= l.window.limit(l.hook.MaxConcurrency) {
			l.window.grow(l.hook.MaxConcurrency)
		}
	}
	if d.Shrink {
		l.window.shrink(it.started, now)
	}
	return changed
}

// park counts a delivery that gets a row in parked.
func (l *lane) park(it *item) {
	if it.kind != hook.Live || it.parked {
		return
	}
	if l.parked++; l.parked == l.parkedCap() {
		l.insist()
	}
	if l.blocked != nil {
		l.blocked[it.object]++
	}
}

// unpark counts one whose row goes. Under strict order the next of its object may then go, whatever the
// count says: the store knows best whether one is held behind it.
func (l *lane) unpark(it *item) (release bool) {
	if it.kind != hook.Live || !it.parked {
		return false
	}
	l.parked--
	if l.blocked == nil {
		return false
	}
	if l.blocked[it.object]--; l.blocked[it.object] <= 0 {
		delete(l.blocked, it.object)
	}
	return true
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
		l.low, l.lowSeq = l.items[n].offset, l.items[n].count
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

// limit brings the token bucket in line with the settings.
func (l *lane) limit(now time.Time) {
	switch want := rate.Limit(l.hook.RateLimit); {
	case want == 0:
		l.limiter = nil
	case l.limiter == nil:
		l.limiter = rate.NewLimiter(want, max(1, int(want)))
	case l.limiter.Limit() != want:
		l.limiter.SetLimitAt(now, want)
		l.limiter.SetBurstAt(now, max(1, int(want)))
	}
}

// retries counts the deliveries in memory that have a row in parked. A replay's others are none: they
// may stand behind deliveries that wait for room in parked, which only the retries make.
func (l *lane) retries() (n int) {
	for _, it := range l.known {
		if it.parked {
			n++
		}
	}
	return n
}

// missing are the next deliveries whose events are not in memory.
func (l *lane) missing() (want []hook.Offset) {
	next, _ := l.candidate()
	if next != nil && next.payload == nil || len(l.run) > 0 && l.run[0].payload == nil || len(l.due) > 0 && l.due[0].payload == nil ||
		len(l.replays) > 0 && l.replays[0].payload == nil {
		for _, line := range [][]*item{l.due, l.run, l.replays} {
			for _, it := range line {
				if it.payload == nil && len(want) < fetchAhead {
					want = append(want, it.offset)
				}
			}
		}
	}
	return want
}

// number is the highest attempt number that its delivery has, on whose wish ever.
func (l *lane) number(it *item) int {
	n := max(it.attempts, it.number, l.lost[it.offset].attempts)
	if len(l.known)+len(l.past) == 0 {
		return n
	}
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
		key := parkedKey{kind, it.offset}
		if x := l.known[key]; x != nil {
			n = max(n, x.attempts)
		}
		n = max(n, l.past[key].attempts)
	}
	return n
}

// attempted tells what else is in memory of a delivery how many attempts it has.
func (l *lane) attempted(it *item) {
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
		if x := l.known[parkedKey{kind, it.offset}]; x != nil {
			x.number = max(x.number, it.attempts)
		}
	}
}

// strict orders let the head of the line be the only probe, and then it counts.
func (l *lane) strict() bool { return l.hook.Ordering != hook.Relaxed }

// othersGo says that since a delivery was parked others were delivered, and that this is the last that
// the endpoint let us know: what it says to this one now is about this one.
func (l *lane) othersGo(it *item) bool {
	return !it.parkedAt.IsZero() && l.health.lastSuccess.After(it.parkedAt) && l.health.failures == 0 && l.throttles == 0
}
