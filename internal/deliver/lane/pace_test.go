package lane

import (
	"cmp"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
)

// limits says whether a receiver takes one more request at a time.
type limits func(at time.Time) bool

// inWindows takes so many requests in each stretch of time, counted anew with each.
func inWindows(n int, each time.Duration) limits {
	var window int64
	taken := 0
	return func(at time.Time) bool {
		if w := at.UnixNano() / int64(each); w != window {
			window, taken = w, 0
		}
		if taken == n {
			return false
		}
		taken++
		return true
	}
}

// ofBucket takes so many a second, and that many at once after a pause.
func ofBucket(perSecond, burst float64) limits {
	tokens, last := burst, now
	return func(at time.Time) bool {
		tokens, last = min(burst, tokens+at.Sub(last).Seconds()*perSecond), at
		if tokens < 1 {
			return false
		}
		tokens--
		return true
	}
}

// push is a lane that always has something to send, for some time, to a receiver that does not take all of it.
type push struct {
	takes       limits
	took        time.Duration  // an answer
	from, until time.Duration  // what is counted
	after       *time.Duration // Retry-After
	status      int            // of what it does not take; 0 for 429
	unlearning  bool           // the control: what is learnt is forgotten at once
}

func (p push) counted() (taken, refused int) {
	type flight struct {
		it *Item
		at time.Time
		ok bool
	}
	l := waiting(0, func(h *hook.Webhook) { h.MaxConcurrency = 64 })
	dice := rand.New(rand.NewPCG(1, 2))
	var flights []flight
	offset := hook.Offset(0)
	for at := now; at.Before(now.Add(p.until)); {
		if len(l.Run) == 0 {
			offset++
			l.Admit(l.Offer(&Item{Offset: offset, Payload: &Payload{Event: &hook.Event{}}}, 0))
		}
		v := l.Next(at)
		if v.Start {
			it := l.begin(at)
			flights = append(flights, flight{it, at.Add(p.took), p.takes(at)})
			continue
		}
		next := v.At
		if len(flights) > 0 && (next.IsZero() || !flights[0].at.After(next)) {
			next = flights[0].at
		}
		at = next
		if len(flights) == 0 || flights[0].at.After(at) {
			continue
		}
		f := flights[0]
		flights = flights[1:]
		l.Answered(f.it)
		answer := retry.Answer{StatusCode: 200}
		if !f.ok {
			answer = retry.Answer{StatusCode: cmp.Or(p.status, 429), Class: hook.ErrThrottled, RetryAfter: p.after}
		}
		d := retry.Decide(answer, l.Standing(f.it), dice.Float64())
		l.Learn(f.it, &d, p.took, at)
		if p.unlearning {
			l.pace = Pace{}
		}
		l.InFlight--
		if at.Sub(now) >= p.from {
			if f.ok {
				taken++
			} else {
				refused++
			}
		}
		if !f.ok {
			l.Again(f.it)
			continue
		}
		f.it.State = Settled
		l.Ahead++
		l.Advance()
	}
	return taken, refused
}

// A lane finds out how fast a receiver takes what it gets: it sends nearly that, and is refused rarely.
func TestPaceIsLearnt(t *testing.T) {
	second, quick := time.Second, 50*time.Millisecond
	for name, x := range map[string]struct {
		takes limits
		rate  float64
		took  time.Duration
		after *time.Duration
	}{
		"2 in each second":              {inWindows(2, time.Second), 2, quick, nil},
		"2 a second":                    {ofBucket(2, 1), 2, quick, nil},
		"2 a second, slowly":            {ofBucket(2, 2), 2, 1500 * time.Millisecond, nil},
		"2 a second, 10 at once":        {ofBucket(2, 10), 2, quick, nil},
		"2 a second, 100 at once":       {ofBucket(2, 100), 2, quick, nil},
		"120 in each minute":            {inWindows(120, time.Minute), 2, quick, nil},
		"2 a second, and says a second": {ofBucket(2, 2), 2, quick, &second},
		"50 a second":                   {ofBucket(50, 50), 50, quick, nil},
		"50 in each second":             {inWindows(50, time.Second), 50, quick, nil},
		"one in five seconds":           {ofBucket(0.2, 1), 0.18, quick, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rate, share := push{takes: x.takes, took: x.took, from: 10 * time.Minute, until: 40 * time.Minute, after: x.after}.rate()
			t.Logf("%.2f a second, %.1f %% of the requests refused", rate, 100*share)
			if rate < 0.9*x.rate || share > 0.1 {
				t.Errorf("%.2f a second, %.1f %% of the requests refused", rate, 100*share)
			}
		})
	}
	if rate, share := (push{takes: ofBucket(2, 1), took: quick, from: 10 * time.Minute, until: 40 * time.Minute, unlearning: true}).rate(); rate > 1.5 || share < 0.3 {
		t.Errorf("control: a lane that learns nothing sends %.2f a second, and %.1f %% of that is refused", rate, 100*share)
	}
}

// rate is how many requests a second were taken, and which share of all was not.
func (p push) rate() (taken, refused float64) {
	ok, no := p.counted()
	return float64(ok) / (p.until - p.from).Seconds(), float64(no) / float64(ok+no)
}

// A pace ends slowly when the receiver takes everything again: what it gets in a second is never much more
// than in the one before, and in some minutes as much as it can take.
func TestPaceIsForgotten(t *testing.T) {
	const full, until = 15 * 60, 24 * 60
	slow := ofBucket(2, 1)
	var got [until]int
	push{took: 50 * time.Millisecond, until: until * time.Second, takes: func(at time.Time) bool {
		second := int(at.Sub(now).Seconds())
		got[second]++
		return second >= full || slow(at)
	}}.counted()
	for s := full; s < until-1; s++ {
		if before := got[s-1]; got[s] > before+before/2+4 {
			t.Errorf("%d requests a second, %d in the next one", before, got[s])
		}
	}
	if n := got[until-2]; n < 1000 {
		t.Errorf("%d requests a second after nine minutes", n)
	}
}

// 503 says that a receiver cannot, and not that it gets too much: one that answers it now and then, however few
// requests come, gets as many as the pauses leave. The control answers 429 to the same.
func TestPaceIsNotLearntOf503(t *testing.T) {
	now503 := func(status int) float64 {
		dice := rand.New(rand.NewPCG(3, 4))
		rate, _ := push{takes: func(time.Time) bool { return dice.IntN(50) > 0 }, status: status, took: 50 * time.Millisecond, from: 10 * time.Minute, until: 20 * time.Minute}.rate()
		return rate
	}
	unlearnt, learnt := now503(503), now503(429)
	t.Logf("%.1f a second, %.1f where it says 429", unlearnt, learnt)
	if unlearnt < 20 {
		t.Errorf("%.1f a second", unlearnt)
	}
	if learnt > unlearnt/2 {
		t.Errorf("control: %.1f a second where a pace is learnt", learnt)
	}
}

// A receiver that takes nothing at all gets no more than the gate lets through, and is tried again at a pace
// that is no lower than the lowest.
func TestPaceIsBounded(t *testing.T) {
	var p Pace
	for at := now; at.Before(now.Add(24 * time.Hour)); at = at.Add(time.Hour) {
		p.passes(at)
		p.slows(at, at)
	}
	if p.limiter.Limit() != slowestPace {
		t.Errorf("%v a second", p.limiter.Limit())
	}
	for at := now; p.limiter != nil; at = at.Add(time.Second) {
		if p.passes(at); at.Sub(now) > time.Hour {
			t.Fatalf("%v a second after an hour in which all went well", p.limiter.Limit())
		}
	}
}
