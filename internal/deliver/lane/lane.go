// Package lane decides which deliveries of one webhook may be attempted now, and in what order.
//
// A [Lane] holds the webhook's deliveries that the cursor has yet to pass, in the order of the log, and the
// parked ones that are due. Deliveries of one object stand in a chain, of which one at a time may go; the
// [Health] of the endpoint, the [Gate] that it closes, the [Window] of requests that it takes at once and the
// [Pace] at which it takes them say whether any may. [Lane.Next] puts all that together and answers with its
// reason. There is no store here, no channel and no clock: everything that the lane knows was told it, and time
// is an argument.
package lane

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
)

// Limits of one lane.
const (
	// MaxQueued is how many matched events wait in memory before the lane detaches and reads its
	// backlog from the store instead; fewQueued is how many always may, whatever the others hold.
	MaxQueued = 20_000
	fewQueued = 1000
	// maxAhead is how far settled deliveries may run ahead of the low-water mark.
	maxAhead = 16_384
	// lowQueue is when a lane that reads its backlog asks for more.
	lowQueue = 256
	// FetchAhead is how many payloads a lane that reads its backlog asks for at once.
	FetchAhead = 64
	// MaxDue is how many parked deliveries that are due a lane keeps in memory.
	MaxDue = 64
	// slowAttempt is how long an attempt takes that makes a lane slow.
	slowAttempt = time.Second
)

// Lane is what decides which deliveries of one webhook may be attempted now, and in what order. It
// knows no store and does no I/O: whoever runs it tells it what was read, what started and what came of
// it, and it says what may start next ([Lane.Next]), with the reason why not. Nothing about it is safe
// for use by several goroutines.
type Lane struct {
	Hook *hook.Webhook // its settings; nil until loaded

	// What the cursor has yet to pass: matched events above the low-water mark, by offset.
	Items    []*Item
	Ahead    int // settled ones among them
	Read     hook.Offset
	sequence int64 // of the last matched event up to read
	Low      hook.Offset
	LowSeq   int64
	Above    map[hook.Offset]Above // history above the low-water mark, from before this life
	Fed      bool                  // by the tail; else it reads its backlog

	// What may start, in order. An object has at most one delivery here or in flight; those behind
	// it stand in its chain.
	Run     []*Item
	Due     []*Item // parked, or asked for
	Chains  map[string]*chain
	Replays []*Item

	Parked     int            // live rows in parked
	mostParked int            // beyond, the cursor waits
	Blocked    map[string]int // by object, under object order
	Known      map[Key]*Item
	Past       map[Key]Past         // rows that a read under way may show as they were
	Lost       map[hook.Offset]Past // the same of attempts that were lost with a connection, which change no row

	Window     Window
	Health     Health
	Limiter    *rate.Limiter
	Gate       Gate // its endpoint's
	Fault      Gate // while one of ours lasts
	Throttles  int
	throttled  time.Time // when the last of them came
	pace       Pace
	ownFaults  int
	InFlight   int     // attempts started and not yet recorded
	Sending    int     // those of them that are not yet answered
	unanswered []*Item // the same, oldest first
	Proven     bool    // its last attempt but for verdicts on events succeeded
	// EndpointSince is from when on what was delivered tells of the endpoint.
	EndpointSince time.Time
	slow          bool // its last attempt took over a second, or one under way does
	lastStart     time.Time
	ReplayGap     time.Duration // between two deliveries of its replay
	ReplayNext    time.Time

	// Since they were recorded last.
	Delivered, Failed, Skipped int64
}

// New returns a lane whose low-water mark is at an offset, up to which so many events matched. Where
// so many deliveries are parked, the cursor waits too.
func New(at hook.Offset, sequence int64, mostParked int) Lane {
	return Lane{
		Read: at, Low: at, sequence: sequence, LowSeq: sequence, mostParked: mostParked,
		Chains: map[string]*chain{}, Known: map[Key]*Item{}, Past: map[Key]Past{}, Lost: map[hook.Offset]Past{}, Window: newWindow(),
		Health: Health{State: Healthy},
	}
}

// Pooled lanes share a quarter of the slots: nobody knows yet, or somebody knows too well, how
// long they hold one.
func (l *Lane) Pooled() bool { return l.slow || !l.Proven || l.Health.State != Healthy }

// Verdict is what a lane may do next, with its reason.
type Verdict struct {
	Start  bool
	Reason string    // why not, in the words of the API
	At     time.Time // when to ask again; zero: when something changes
}

// Next decides whether the lane, which is loaded, may start an attempt now. It changes nothing.
func (l *Lane) Next(now time.Time) Verdict {
	switch {
	case now.Before(l.Gate.Until):
		return Verdict{Reason: l.Gate.reason, At: l.Gate.Until}
	case now.Before(l.Fault.Until):
		return Verdict{Reason: l.Fault.reason, At: l.Fault.Until}
	}
	switch l.Health.State {
	case Down:
		if l.InFlight > 0 {
			return Verdict{Reason: "down: a probe is under way"}
		}
		if now.Before(l.Health.ProbeAt) {
			return Verdict{Reason: "down", At: l.Health.ProbeAt}
		}
	case Failing:
		if l.InFlight > 0 {
			return Verdict{Reason: "failing: one attempt at a time"}
		}
		if at := l.lastStart.Add(failingPace); now.Before(at) {
			return Verdict{Reason: "failing: one attempt a second", At: at}
		}
	case Healthy:
		if l.Hook.Ordering == hook.WebhookOrder && l.InFlight > 0 {
			return Verdict{Reason: "strict order: one delivery at a time"}
		}
		if l.Sending >= l.Window.Limit(l.Hook.MaxConcurrency) {
			return Verdict{Reason: "window full"}
		}
	}
	it, reason := l.Candidate()
	if it == nil {
		return Verdict{Reason: reason}
	}
	if at := free(l.Limiter, now); !at.IsZero() {
		return Verdict{Reason: "rate limit", At: at}
	}
	if at := free(l.pace.limiter, now); !at.IsZero() {
		return Verdict{Reason: "no faster than the endpoint takes it", At: at}
	}
	if it.Kind == hook.Replay && !it.Parked && now.Before(l.ReplayNext) {
		return Verdict{Reason: "replay rate", At: l.ReplayNext}
	}
	if it.Payload == nil {
		return Verdict{Reason: "reading the event"}
	}
	return Verdict{Start: true}
}

// ReasonIdle is that of a lane with nothing to do, which needs no telling.
const ReasonIdle = "idle"

// Candidate is the delivery that would go next: what is parked and due, then the log, then replays, then what is
// set aside. That goes after replays too: deliveries of the log may stand behind one, and if it is delivered,
// nothing is set aside any more.
func (l *Lane) Candidate() (*Item, string) {
	for _, it := range l.Due {
		if !l.aside(it) {
			return it, ""
		}
	}
	reason := ReasonIdle
	switch {
	case len(l.Run) == 0:
	case l.Parked >= l.parkedCap():
		reason = "parked_full"
	case l.Ahead >= maxAhead:
		reason = "the oldest attempt is still under way"
	default:
		return l.Run[0], ""
	}
	switch {
	case len(l.Replays) > 0 && l.Ahead < maxAhead:
		return l.Replays[0], ""
	case len(l.Due) > 0:
		return l.Due[0], ""
	}
	return nil, reason
}

// aside says that the receiver asked to wait each time when it got a delivery, and that no other was
// delivered since: others are tried first, to learn whether that is the endpoint's state or the event's.
func (l *Lane) aside(it *Item) bool {
	return it.Throttles >= retry.AsideAfter && !l.Health.LastSuccess.After(it.ParkedAt)
}

// parkedCap is how many deliveries may wait to be retried before the cursor waits too.
func (l *Lane) parkedCap() int {
	if l.Hook.Ordering == hook.WebhookOrder {
		return 1
	}
	return l.mostParked
}

// Offer gives the lane the next matched event of the log. Leap is what its sequence is higher by than the
// count of matches up to it.
func (l *Lane) Offer(it *Item, leap int64) *Item {
	l.sequence++
	it.Kind, it.count, it.Sequence = hook.Live, l.sequence, l.sequence+leap
	if it.Payload != nil {
		it.Payload.Refs++
	}
	l.Items = append(l.Items, it)
	return it
}

// Admit puts a live delivery where it waits, unless its story ended in an earlier life.
func (l *Lane) Admit(it *Item) {
	it.Object = l.OrderKey(it.Object)
	if past, ok := l.Above[it.Offset]; ok {
		delete(l.Above, it.Offset)
		it.Attempt, it.Throttles = past.Attempts, past.Throttles
		if past.Settled {
			it.State = Settled
			l.Ahead++
			return
		}
	}
	l.Enqueue(it)
}

// MustHold says that a delivery may not start because an earlier one of its object is parked. One that was admitted
// under webhook order, which has changed since, is of no object.
func (l *Lane) MustHold(it *Item) bool {
	return it.Kind == hook.Live && !it.Parked && l.Blocked[it.Object] > 0 && it.Object != "" && it.Object != "*"
}

// Begin notes that the attempt of a delivery starts, which stands in no line any more.
func (l *Lane) Begin(it *Item, now time.Time) {
	for _, bucket := range []*rate.Limiter{l.Limiter, l.pace.limiter} {
		if bucket != nil {
			bucket.AllowN(now, 1)
		}
	}
	if it.Kind == hook.Replay && !it.Parked {
		l.ReplayNext = now.Add(l.ReplayGap)
	}
	it.State, it.Probe = running, l.Health.State == Down
	it.Attempt = l.Number(it) + 1
	l.InFlight++
	l.Sending++
	l.lastStart, it.started = now, now
	l.unanswered = append(l.unanswered, it)
}

// Answered notes that the attempt of a delivery has ended, though it is not recorded yet.
func (l *Lane) Answered(it *Item) {
	l.Sending--
	i := slices.Index(l.unanswered, it)
	l.unanswered = slices.Delete(l.unanswered, i, i+1)
}

// Learn lets an answer change what the lane knows of its endpoint. It reports whether that has changed its
// state. An endpoint that comes back starts small.
func (l *Lane) Learn(it *Item, d *retry.Decision, took time.Duration, now time.Time) (changed bool) {
	l.slow = took > slowAttempt
	if d.Gate {
		l.shut(d, now)
	}
	if d.Effect == retry.Neutral {
		l.ownFaults++
		return false
	}
	l.ownFaults = 0
	if changed = l.Health.observe(d.Effect, it.Offset, it.Probe, l.alone(it), now) || l.Health.Pass(now); changed && l.Health.State == Healthy {
		l.Window = newWindow()
	}
	switch {
	case d.Slower:
		l.pace.slows(it.started, now)
	case !d.Throttled:
		l.pace.passes(now)
	}
	switch {
	case d.Gate && it.started.Before(l.throttled): // it was under way when another one was asked to wait
		l.Throttles = max(l.Throttles, 1)
	case d.Gate:
		l.Throttles++
		l.throttled = now
	case d.Effect == retry.Success:
		l.Throttles, l.Proven = 0, true
		if l.Sending+1 >= l.Window.Limit(l.Hook.MaxConcurrency) {
			l.Window.grow(l.Hook.MaxConcurrency)
		}
	}
	if d.Shrink {
		l.Window.shrink(it.started, now)
	}
	return changed
}

// alone says that nothing but a delivery which is under way may be tried: by a strict order, or because
// nothing else waits.
func (l *Lane) alone(it *Item) bool {
	parked := l.Parked
	if it.Parked && it.Kind == hook.Live {
		parked--
	}
	return l.Hook.Ordering == hook.WebhookOrder || l.InFlight == 1 && len(l.Run)+len(l.Due)+len(l.Replays)+parked == 0
}

// Park counts a delivery that gets a row in parked.
func (l *Lane) Park(it *Item) {
	if it.Kind != hook.Live || it.Parked {
		return
	}
	if l.Parked++; l.Parked == l.parkedCap() {
		l.insist()
	}
	if l.Blocked != nil {
		l.Blocked[it.Object]++
	}
}

// Unpark counts one whose row goes. Under strict order the next of its object may then go, whatever the
// count says: the store knows best whether one is held behind it.
func (l *Lane) Unpark(it *Item) (release bool) {
	if it.Kind != hook.Live || !it.Parked {
		return false
	}
	l.Parked--
	if l.Blocked == nil {
		return false
	}
	if l.Blocked[it.Object]--; l.Blocked[it.Object] <= 0 {
		delete(l.Blocked, it.Object)
	}
	return true
}

func (l *Lane) stand(it *Item) {
	switch {
	case it.Kind == hook.Replay && !it.Parked:
		l.Replays = append(l.Replays, it)
	case it.Parked:
		l.Due = append(l.Due, it)
	default:
		l.Run = append(l.Run, it)
	}
}

// Advance moves the low-water mark over everything settled, and drops it.
func (l *Lane) Advance() {
	n := 0
	for n < len(l.Items) && l.Items[n].State == Settled {
		l.Low, l.LowSeq = l.Items[n].Offset, l.Items[n].count
		if l.Items[n].Skipped {
			l.Skipped++
		}
		l.Ahead--
		l.Items[n] = nil
		n++
	}
	if l.Items = l.Items[n:]; len(l.Items) == 0 {
		l.Items = nil
		l.Low, l.LowSeq = max(l.Low, l.Read), l.sequence
		return
	}
	if before := l.Items[0].Offset - 1; before > l.Low {
		l.Low = before
	}
}

// Limit brings the token bucket in line with the settings.
func (l *Lane) Limit(now time.Time) {
	switch want := rate.Limit(l.Hook.RateLimit); {
	case want == 0:
		l.Limiter = nil
	case l.Limiter == nil:
		l.Limiter = rate.NewLimiter(want, max(1, int(want)))
	case l.Limiter.Limit() != want:
		l.Limiter.SetLimitAt(now, want)
		l.Limiter.SetBurstAt(now, max(1, int(want)))
	}
}

// Retries counts the deliveries in memory that have a row in parked. A replay's others are none: they
// may stand behind deliveries that wait for room in parked, which only the retries make.
func (l *Lane) Retries() (n int) {
	for _, it := range l.Known {
		if it.Parked {
			n++
		}
	}
	return n
}

// Missing are the next deliveries whose events are not in memory.
func (l *Lane) Missing() (want []hook.Offset) {
	next, _ := l.Candidate()
	if next != nil && next.Payload == nil || len(l.Run) > 0 && l.Run[0].Payload == nil || len(l.Due) > 0 && l.Due[0].Payload == nil ||
		len(l.Replays) > 0 && l.Replays[0].Payload == nil {
		for _, it := range l.Unread() {
			if len(want) < FetchAhead {
				want = append(want, it.Offset)
			}
		}
	}
	return want
}

// Number is the highest attempt number that its delivery has, on whose wish ever, or may get: what is under way on
// a kept connection is made once more, under the next number, if it is lost with that.
func (l *Lane) Number(it *Item) int {
	n := max(it.Attempt, it.Number, l.Lost[it.Offset].Attempts)
	if len(l.Known)+len(l.Past) == 0 {
		return n
	}
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
		key := Key{kind, it.Offset}
		if x := l.Known[key]; x != nil {
			n = max(n, x.Attempt)
			if x != it && !x.Fresh && slices.Contains(l.unanswered, x) {
				n = max(n, x.Attempt+1)
			}
		}
		n = max(n, l.Past[key].Attempts)
	}
	return n
}

// Attempted tells what else is in memory of a delivery how many attempts it has.
func (l *Lane) Attempted(it *Item) {
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
		if x := l.Known[Key{kind, it.Offset}]; x != nil {
			x.Number = max(x.Number, it.Attempt)
		}
	}
}

// Strict orders let the head of the line be the only probe.
func (l *Lane) Strict() bool { return l.Hook.Ordering != hook.Relaxed }

// Standing is what decides, beside the answer itself, what becomes of a delivery that was attempted.
func (l *Lane) Standing(it *Item) retry.Standing {
	throttles := l.Throttles
	if it.started.Before(l.throttled) && throttles > 0 {
		throttles-- // together with the last, not after it
	}
	return retry.Standing{Step: it.Step, Throttles: throttles, OwnFaults: l.ownFaults, Here: it.Throttles, Others: l.othersGo(it)}
}

// NewEndpoint forgets what the lane knows of its endpoint, which is another now.
func (l *Lane) NewEndpoint(now time.Time) {
	l.EndpointSince = now
	l.Health = Health{State: Healthy, LastSuccess: l.Health.LastSuccess, LastFailure: l.Health.LastFailure}
	l.Gate, l.Fault, l.Throttles, l.pace, l.ownFaults, l.slow, l.Window = Gate{}, Gate{}, 0, Pace{}, 0, false, newWindow()
}

// Linger calls the lane slow as soon as one of its attempts takes over a second, and not only when that
// ends. It returns those that do, and when the next one will; zero for never.
func (l *Lane) Linger(now time.Time) (slow []*Item, next time.Time) {
	for i, it := range l.unanswered {
		if at := it.started.Add(slowAttempt); now.Before(at) {
			return l.unanswered[:i], at
		}
		l.slow = true
	}
	return l.unanswered, time.Time{}
}

// Crowded says that the lane keeps more waiting in memory than it may: fewer while the memory of all lanes
// is short of room for more of them, or of their events. Settled deliveries ahead of the low-water mark are
// counted with the others: they are dropped last.
func (l *Lane) Crowded(full, heavy bool) bool {
	waits := len(l.Items) - l.Ahead
	return waits > MaxQueued || full && waits > fewQueued || heavy && waits > l.Sending+windowStart
}

// Hungry says that a lane which reads its backlog should read on.
func (l *Lane) Hungry() bool { return len(l.Items)-l.Ahead < lowQueue && len(l.Items) < maxAhead }

// Unread are the deliveries in line whose events are not in memory.
func (l *Lane) Unread() (list []*Item) {
	for _, line := range [][]*Item{l.Due, l.Run, l.Replays} {
		for _, it := range line {
			if it.Payload == nil {
				list = append(list, it)
			}
		}
	}
	return list
}

// othersGo says that since a delivery was parked others were delivered, and that this is the last that
// the endpoint let us know: what it says to this one now is about this one.
func (l *Lane) othersGo(it *Item) bool {
	return !it.ParkedAt.IsZero() && l.Health.LastSuccess.After(it.ParkedAt) && l.Health.LastSuccess.After(l.EndpointSince) && l.Health.Failures == 0 && l.Throttles == 0
}
