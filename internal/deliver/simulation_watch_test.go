package deliver

import (
	"fmt"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// watch is what the simulation knows of a webhook's attempts in one life of the engine, to hold each
// start against.
type watch struct {
	inFlight int
	lost     map[made]bool // attempts that a kept connection took with it, not recorded
	made     map[made]bool
	won      map[hook.Offset]bool // deliveries of which an attempt was answered 2xx
	gate     asked                // for as long as this engine lives
	kept     asked                // and beyond that: by answers that are recorded
	asks     map[made]asked       // by those that are not
	// patience is the event that was asked to wait last, since another was delivered, which knows that.
	patience  hook.Offset
	succeeded bool
	rate      float64
	tokens    float64
	tokensAt  time.Time
	// ordered is from where on its order counts: what there was when that changed may be in any.
	ordered hook.Offset
}

// asked is a wait that an endpoint asked for.
type asked struct {
	until   time.Time
	version int64 // of the endpoint
}

// longer is the longer of two waits, as far as they are about the same endpoint.
func (a asked) longer(b asked) asked {
	switch {
	case b.version > a.version:
		return b
	case b.version == a.version:
		a.until = later(a.until, b.until)
	}
	return a
}

type made struct {
	offset  hook.Offset
	attempt int
}

func newWatch() *watch {
	return &watch{made: map[made]bool{}, won: map[hook.Offset]bool{}, lost: map[made]bool{}, asks: map[made]asked{}}
}

// watchAnew begins with an engine that knows nothing of paces, but of gates what is recorded. What one
// that ended well has made is not made again.
func (s *simulation) watchAnew(well bool) {
	before := s.watch
	s.watch = map[hook.WebhookKey]*watch{}
	for key := range s.memory.webhooks {
		s.watch[key] = newWatch()
		if before != nil {
			s.watch[key].ordered = before[key].ordered
			s.watch[key].gate, s.watch[key].kept = before[key].kept, before[key].kept
		}
		if well {
			s.watch[key].made = before[key].made
		}
	}
}

// begin checks what must hold of an attempt that starts.
func (s *simulation) begin(x attempt) error {
	if x.Kind == hook.Live && s.over(x.Event) {
		return fmt.Errorf("webhook %d: %d is attempted after its event expired", x.Webhook.Key, x.item.Offset)
	}
	key := x.Webhook.Key
	w, b := s.memory.webhooks[key], s.watch[key]
	b.inFlight++
	s.sent++
	s.running = append(s.running, &flight{x, s.now})
	s.log("    webhook %d offset %d attempt %d %s starts", key, x.item.Offset, x.Attempt, x.Kind)
	describe := func(format string, args ...any) error {
		return fmt.Errorf("webhook %d, offset %d, attempt %d (%s): %s", key, x.item.Offset, x.Attempt, x.Kind, fmt.Sprintf(format, args...))
	}
	switch d, sequence := w.delivery(x.item.Offset); {
	case d == nil:
		return describe("it does not match")
	case x.Sequence != sequence:
		return describe("sequence %d, want %d", x.Sequence, sequence)
	case x.Attempt <= d.number():
		return describe("recorded already")
	case x.Kind == hook.Live && (d.made() > 0 || b.won[x.item.Offset]):
		return describe("delivered already")
	case b.made[made{x.item.Offset, x.Attempt}]:
		return describe("made already")
	case b.inFlight > max(w.hook.MaxConcurrency, x.Webhook.MaxConcurrency):
		return describe("%d in flight, the limit is %d", b.inFlight, w.hook.MaxConcurrency)
	case s.now.Before(b.gate.until) && b.gate.version == x.Webhook.EndpointVersion:
		return describe("the endpoint asked for nothing before %s", b.gate.until)
	case !b.token(s.now, x.Webhook.RateLimit):
		return describe("faster than %v a second", x.Webhook.RateLimit)
	}
	b.made[made{x.item.Offset, x.Attempt}] = true
	if told, cancelled := s.cancelled[x.item.Replay]; cancelled && s.core.partitions[0].version >= told {
		return describe("replay %d was cancelled", x.item.Replay)
	}
	if p, ok := w.parked[lane.Key{Kind: x.Kind, Offset: x.item.Offset}]; ok && x.item.Parked && p.DueAt != nil && p.DueAt.After(s.wall()) && !x.item.Probe && s.knobs.jump == 0 {
		return describe("due at %s only", p.DueAt)
	}
	if x.Webhook.Ordering != w.hook.Ordering {
		b.ordered = s.memory.head() // it has not heard yet
	}
	return s.inOrder(w, &x, describe)
}

// token takes a token of the webhook's bucket, which is full after a change of its rate.
func (b *watch) token(now time.Time, rate float64) bool {
	most := max(1, float64(int(rate)))
	if b.rate != rate {
		b.rate, b.tokens, b.tokensAt = rate, most, now
	}
	if rate == 0 {
		return true
	}
	b.tokens = min(most, b.tokens+now.Sub(b.tokensAt).Seconds()*rate) - 1
	b.tokensAt = now
	return b.tokens > -0.01
}

// over says that an event has expired.
func (s *simulation) over(e *hook.Event) bool {
	return e.ExpiresAt != nil && !s.wall().Before(*e.ExpiresAt)
}

// givenUp says that a delivery was skipped before the cursor passed it, as its event had expired by the clock
// of then.
func (w *memoryWebhook) givenUp(d *memoryDelivery) bool {
	return d.event.ExpiresAt != nil && slices.ContainsFunc(w.skips, func(k store.SkipRange) bool { return k.From == d.event.Offset && k.To == k.From })
}

// inOrder: no two deliveries of an object are in flight together, and under strict order nothing
// starts while an earlier delivery of its object is not at its end.
func (s *simulation) inOrder(w *memoryWebhook, x *attempt, describe func(string, ...any) error) error {
	object, from := x.Event.ObjectKey, s.watch[w.hook.Key].ordered
	if x.item.Offset <= from {
		return nil
	}
	for _, f := range s.running[:len(s.running)-1] {
		if f.start.Webhook.Key == w.hook.Key && f.start.item.Offset > from && object != "" && f.start.Event.ObjectKey == object {
			return describe("two deliveries of %s are in flight, the other is %d", object, f.start.item.Offset)
		}
	}
	if w.hook.Ordering == hook.Relaxed || x.Kind != hook.Live || w.hook.Ordering == hook.ObjectOrder && object == "" {
		return nil
	}
	same := func(key string) bool { return w.hook.Ordering == hook.WebhookOrder || key == object }
	for k, p := range w.parked {
		if k.Kind == hook.Live && k.Offset > from && k.Offset < x.item.Offset && same(p.ObjectKey) && p.Reason != store.ReasonExpired && !s.over(s.memory.events[k.Offset-1]) {
			return describe("%s order, and %d is parked", w.hook.Ordering, k.Offset)
		}
	}
	for _, d := range w.deliveries[max(w.passed, w.after(from)):] {
		o := d.event.Offset
		if o >= x.item.Offset {
			break
		}
		if it := x.lane.ItemAt(o); d.event.ExpiresAt != nil && (len(d.attempts) > 0 || it == nil || it.Skipped) {
			continue // it may have expired ahead of the cursor, or of the record that tells
		}
		if _, skip := x.lane.subscription.skipped(o); !skip && o > w.expired && same(d.event.ObjectKey) && s.memory.settled(w, d) == pending && !s.over(d.event) && !w.givenUp(d) {
			return describe("%s order, and %d is pending", w.hook.Ordering, o)
		}
	}
	return nil
}

// repeated notes that an attempt was lost with its connection and made once more, under the next
// number: it takes a place in the rate, and may not be made again.
func (b *watch) repeated(s *simulation, f *flight) {
	s.sent++
	b.lost[made{f.start.item.Offset, f.start.Attempt}] = true
	f.start.Attempt++
	b.made[made{f.start.item.Offset, f.start.Attempt}] = true
	if f.start.Webhook.RateLimit > 0 && b.rate == f.start.Webhook.RateLimit {
		b.tokens--
	}
}

// ended notes what an attempt's answer asks for.
func (b *watch) ended(s *simulation, f *flight, r *send.Result) {
	b.inFlight--
	wait := time.Duration(0)
	switch {
	case r.Class == hook.ErrOwnFault:
		delete(b.made, made{f.start.item.Offset, f.start.Attempt})
		wait = 400 * time.Millisecond
	case r.StatusCode == 429, r.StatusCode == 503:
		wait = 800 * time.Millisecond
		if r.HasRetryAfter && r.RetryAfter > 0 {
			wait = r.RetryAfter
		}
		if s.alone(f, b) {
			b.asks[made{f.start.item.Offset, f.start.Attempt}] = asked{}
			return // the others go on
		}
		b.patience = f.start.item.Offset
	default:
		if r.StatusCode/100 == 2 {
			b.patience, b.succeeded, b.won[f.start.item.Offset] = 0, true, true
		}
		return
	}
	ask := asked{s.now.Add(wait), f.start.Webhook.EndpointVersion}
	b.gate = b.gate.longer(ask)
	if r.Class != hook.ErrOwnFault {
		b.asks[made{f.start.item.Offset, f.start.Attempt}] = ask
	}
}

// alone says that an event was asked to wait so often, and others were not since they were delivered,
// that the webhook need not wait.
func (s *simulation) alone(f *flight, b *watch) bool {
	w := s.memory.webhooks[f.start.Webhook.Key]
	d, _ := w.delivery(f.start.item.Offset)
	return b.patience == 0 && (b.succeeded || w.cursor.LastSuccessAt != nil) && d.throttles(f.start.Kind) >= 3
}

// throttles counts the answers in a row that asked to wait, as recorded.
func (d *memoryDelivery) throttles(kind hook.Kind) (n int) {
	for _, a := range slices.Backward(d.attempts) {
		switch {
		case a.kind != kind, a.lost:
		case a.status != 429 && a.status != 503:
			return n
		default:
			n++
		}
	}
	return n
}

// countsRightly checks an attempt that is recorded whose answer asked to wait: it uses a step of the
// schedule only after nine others, while others are delivered.
func (w *memoryWebhook) countsRightly(a *hook.Attempt) error {
	if a.StatusCode != 429 && a.StatusCode != 503 || a.Outcome == hook.OutcomeThrottled {
		return nil
	}
	d, _ := w.delivery(a.Offset)
	others := slices.ContainsFunc(w.deliveries, func(x *memoryDelivery) bool {
		return x != d && slices.ContainsFunc(x.attempts, func(t try) bool { return t.outcome == hook.OutcomeDelivered })
	})
	if n := d.throttles(a.Kind); n < 10 || !others { // this one is recorded already
		return fmt.Errorf("webhook %d, offset %d: %d counts as %s, the %d. in a row; others were delivered: %t", a.Webhook, a.Offset, a.StatusCode, a.Outcome, n, others)
	}
	return nil
}

// recorded makes what an attempt's answer asked for outlast the engine. One that was lost with its
// connection is recorded before the one that followed it, and uses no step.
func (b *watch) recorded(a *hook.Attempt) error {
	switch this, before := (made{a.Offset, a.Number}), (made{a.Offset, a.Number - 1}); {
	case b.lost[before]:
		return fmt.Errorf("offset %d: attempt %d was lost with its connection and is not recorded", a.Offset, before.attempt)
	case b.lost[this] && (a.Counted || a.Outcome != hook.OutcomeRetry || !a.Reused):
		return fmt.Errorf("offset %d: attempt %d was lost with its connection and is recorded as %+v", a.Offset, a.Number, a)
	default:
		delete(b.lost, this)
	}
	b.kept = b.kept.longer(b.asks[made{a.Offset, a.Number}])
	return nil
}

// clockSet: a gate is stored by the wall clock. Set ahead, it ends earlier for an engine that has yet to
// read it, before the one of before could tell where it stands now; so does one that a record under way tells of.
func (b *watch) clockSet(ahead time.Duration, l *consumer) {
	if ahead <= 0 {
		return
	}
	b.kept.until = b.kept.until.Add(-ahead)
	for attempt, ask := range b.asks {
		ask.until = ask.until.Add(-ahead)
		b.asks[attempt] = ask
	}
	if l == nil || l.Hook == nil {
		b.gate.until = b.gate.until.Add(-ahead)
	}
}
