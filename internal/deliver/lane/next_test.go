package lane

import (
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// waiting is a lane with so many deliveries of the log, each of an object of its own, read and ready.
func waiting(n int, change func(*hook.Webhook)) *Lane {
	l := New(0, 0, 10)
	l.Hook = &hook.Webhook{MaxConcurrency: 8, Ordering: hook.Relaxed, EndpointVersion: 1}
	if change != nil {
		change(l.Hook)
	}
	for i := range n {
		it := l.Offer(&Item{Offset: hook.Offset(i + 1), Object: string(rune('a' + i)), Payload: &Payload{Event: &hook.Event{}}}, 0)
		l.Admit(it)
	}
	return &l
}

// begin starts the attempt of the delivery that is next.
func (l *Lane) begin(at time.Time) *Item {
	it, _ := l.Candidate()
	l.Take(it)
	l.Begin(it, at)
	return it
}

// What a lane may do next, and why not: each reason once, and what lets it go.
func TestNext(t *testing.T) {
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for name, x := range map[string]struct {
		lane func() *Lane
		want Verdict
	}{
		"nothing to do":    {func() *Lane { return waiting(0, nil) }, Verdict{Reason: ReasonIdle}},
		"one waits":        {func() *Lane { return waiting(1, nil) }, Verdict{Start: true}},
		"its event is not": {func() *Lane { l := waiting(1, nil); l.Run[0].Payload = nil; return l }, Verdict{Reason: "reading the event"}},
		"the endpoint asked to wait": {func() *Lane {
			l := waiting(1, nil)
			l.shut(&retry.Decision{Wait: time.Minute, Reason: "asked"}, now)
			return l
		}, Verdict{Reason: "asked", At: in(time.Minute)}},
		"a fault of ours": {func() *Lane {
			l := waiting(1, nil)
			l.shut(&retry.Decision{Wait: time.Second, Reason: "ours", Effect: retry.Neutral}, now)
			return l
		}, Verdict{Reason: "ours", At: in(time.Second)}},
		"the endpoint before both": {func() *Lane {
			l := waiting(1, nil)
			l.shut(&retry.Decision{Wait: time.Second, Reason: "ours", Effect: retry.Neutral}, now)
			l.shut(&retry.Decision{Wait: time.Minute, Reason: "asked"}, now)
			return l
		}, Verdict{Reason: "asked", At: in(time.Minute)}},
		"the time is up": {func() *Lane {
			l := waiting(1, nil)
			l.shut(&retry.Decision{Wait: time.Minute, Reason: "asked"}, now.Add(-time.Minute))
			return l
		}, Verdict{Start: true}},
		"down": {func() *Lane {
			l := waiting(1, nil)
			l.Health.State, l.Health.ProbeAt = Down, in(10*time.Second)
			return l
		}, Verdict{Reason: "down", At: in(10 * time.Second)}},
		"down, time to probe": {func() *Lane {
			l := waiting(1, nil)
			l.Health.State, l.Health.ProbeAt = Down, now
			return l
		}, Verdict{Start: true}},
		"down, probing": {func() *Lane {
			l := waiting(2, nil)
			l.Health.State, l.Health.ProbeAt = Down, now
			l.begin(now)
			return l
		}, Verdict{Reason: "down: a probe is under way"}},
		"failing, one under way": {func() *Lane {
			l := waiting(2, nil)
			l.Health.State = Failing
			l.begin(now)
			return l
		}, Verdict{Reason: "failing: one attempt at a time"}},
		"failing, one a moment ago": {func() *Lane {
			l := waiting(2, nil)
			l.Health.State = Failing
			l.Answered(l.begin(now.Add(-time.Second / 4)))
			l.InFlight--
			return l
		}, Verdict{Reason: "failing: one attempt a second", At: in(time.Second * 3 / 4)}},
		"the window is full": {func() *Lane {
			l := waiting(windowStart+1, nil)
			for range windowStart {
				l.begin(now)
			}
			return l
		}, Verdict{Reason: "window full"}},
		"answered, though not recorded": {func() *Lane {
			l := waiting(windowStart+1, nil)
			var it *Item
			for range windowStart {
				it = l.begin(now)
			}
			l.Answered(it)
			return l
		}, Verdict{Start: true}},
		"no more than the owner allows": {func() *Lane {
			l := waiting(2, func(h *hook.Webhook) { h.MaxConcurrency = 1 })
			l.begin(now)
			return l
		}, Verdict{Reason: "window full"}},
		"strict order": {func() *Lane {
			l := waiting(2, func(h *hook.Webhook) { h.Ordering = hook.WebhookOrder })
			l.begin(now)
			return l
		}, Verdict{Reason: "strict order: one delivery at a time"}},
		"faster than the owner allows": {func() *Lane {
			l := waiting(2, func(h *hook.Webhook) { h.RateLimit = 1 })
			l.Limit(now)
			l.begin(now)
			return l
		}, Verdict{Reason: "rate limit", At: in(time.Second)}},
		"faster than the endpoint took it": {func() *Lane {
			l := waiting(2, nil)
			l.pace.slows(now, now)
			l.begin(now)
			return l
		}, Verdict{Reason: "no faster than the endpoint takes it", At: in(1020408163 * time.Nanosecond)}},
		"a replay takes its time": {func() *Lane {
			l := waiting(0, nil)
			l.Enqueue(&Item{Delivery: hook.Delivery{Kind: hook.Replay}, Offset: 1, Payload: &Payload{Event: &hook.Event{}}})
			l.ReplayNext = in(time.Second)
			return l
		}, Verdict{Reason: "replay rate", At: in(time.Second)}},
		"the house of parked ones is full": {func() *Lane { l := waiting(1, nil); l.Parked = 10; return l }, Verdict{Reason: "parked_full"}},
		"full, but one of them is due": {func() *Lane {
			l := waiting(1, nil)
			l.Parked = 10
			l.Enqueue(&Item{Delivery: hook.Delivery{Kind: hook.Live}, Offset: 9, Parked: true, Payload: &Payload{Event: &hook.Event{}}})
			return l
		}, Verdict{Start: true}},
		"strict order, and one is parked": {func() *Lane {
			l := waiting(1, func(h *hook.Webhook) { h.Ordering = hook.WebhookOrder })
			l.Parked = 1
			return l
		}, Verdict{Reason: "parked_full"}},
		"too far ahead of the oldest": {func() *Lane { l := waiting(1, nil); l.Ahead = maxAhead; return l }, Verdict{Reason: "the oldest attempt is still under way"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := x.lane()
			before := *l
			if got := l.Next(now); got != x.want {
				t.Errorf("%+v, want %+v", got, x.want)
			}
			if l.InFlight != before.InFlight || len(l.Run) != len(before.Run) || l.lastStart != before.lastStart {
				t.Error("the question changed the lane")
			}
		})
	}
}

// What goes first: a retry that is due before the log, the log before a replay; of one object one at a time.
func TestCandidate(t *testing.T) {
	item := func(o hook.Offset, object string, kind hook.Kind, parked bool) *Item {
		return &Item{Delivery: hook.Delivery{Kind: kind}, Offset: o, Object: object, Parked: parked, Payload: &Payload{Event: &hook.Event{}}}
	}
	l := waiting(2, nil) // objects a and b
	l.Enqueue(item(7, "r", hook.Replay, false))
	l.Enqueue(item(3, "a", hook.Live, false))
	l.Enqueue(item(9, "p", hook.Live, true))
	var order []hook.Offset
	for {
		it, _ := l.Candidate()
		if it == nil {
			break
		}
		l.begin(now)
		order = append(order, it.Offset)
		if it.Offset == 2 {
			l.Pass("a") // its first is over: the next of it may go
		}
	}
	if want := []hook.Offset{9, 1, 2, 3, 7}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
}

// Deliveries that wait because each time their receiver asks for patience stop neither the log nor what stands
// behind a replay; when that is delivered, they are next.
func TestCandidateBehindAReplay(t *testing.T) {
	l := waiting(0, nil)
	aside := &Item{Delivery: hook.Delivery{Kind: hook.Live}, Offset: 1, Object: "x", Parked: true, ParkedAt: now, Throttles: retry.AsideAfter, Payload: &Payload{Event: &hook.Event{}}}
	l.Enqueue(aside)
	l.Enqueue(&Item{Delivery: hook.Delivery{Kind: hook.Replay}, Offset: 2, Object: "y", Payload: &Payload{Event: &hook.Event{}}})
	l.Enqueue(&Item{Delivery: hook.Delivery{Kind: hook.Live}, Offset: 3, Object: "y", Payload: &Payload{Event: &hook.Event{}}})
	if it, _ := l.Candidate(); it.Offset != 2 {
		t.Errorf("%d goes first, and what stands behind the replay waits for it", it.Offset)
	}
	l.Health.LastSuccess = now.Add(time.Second)
	if it, _ := l.Candidate(); it != aside {
		t.Errorf("%d goes first although the endpoint works", it.Offset)
	}
}

// An attempt that starts beside another one of its delivery leaves that a number for the case that it is lost with
// its connection and made once more.
func TestNumberBesideAnother(t *testing.T) {
	for fresh, want := range map[bool]int{false: 3, true: 2} {
		l := waiting(0, nil)
		for _, kind := range []hook.Kind{hook.Live, hook.Replay} {
			it := &Item{Delivery: hook.Delivery{Kind: kind}, Offset: 1, Parked: kind == hook.Live, Fresh: fresh, Payload: &Payload{Event: &hook.Event{}}}
			l.Known[Key{kind, 1}] = it
			l.Enqueue(it)
		}
		if first, second := l.begin(now), l.begin(now); first.Attempt != 1 || second.Attempt != want {
			t.Errorf("on connections of their own: %v; %d and %d, want 1 and %d", fresh, first.Attempt, second.Attempt, want)
		}
	}
}

// What was admitted under webhook order is not held behind another when the order is that of objects: nothing would
// let it go before that other one is settled.
func TestMustHoldAfterWebhookOrder(t *testing.T) {
	l := waiting(1, func(h *hook.Webhook) { h.Ordering = hook.WebhookOrder })
	l.Hook.Ordering, l.Blocked = hook.ObjectOrder, map[string]int{"*": 1, "o": 1}
	if it := l.Run[0]; it.Object != "*" || l.MustHold(it) {
		t.Errorf("a delivery of %q is held", it.Object)
	}
	if !l.MustHold(&Item{Delivery: hook.Delivery{Kind: hook.Live}, Object: "o"}) { // the control
		t.Error("a delivery of an object is not held")
	}
}
