package lane

import (
	"time"

	"golang.org/x/time/rate"
)

// Bounds of a learnt pace.
const (
	slowestPace = 0.05    // requests a second; what is slower yet is left to the gate
	fastestPace = 1000    // beyond it nothing is slowed down, and the pace forgotten
	paceMargin  = 0.98    // of what went through is sent at first
	paceFall    = 4.0     // by which it is divided at most, at one answer,
	paceFell    = 1.04    // and where it went well for so many seconds
	paceProven  = 10      // seconds
	paceGrowth  = 0.001   // that it gains in a second of answers, and
	paceHaste   = 0.00008 // by which that gain grows with each such second
	paceAnswer  = 2 * time.Second
)

// Pace is how many requests a second a lane sends to an endpoint that answered 429: nearly as many as went
// through until then, and then a little more and more, the bolder the longer it goes well. The zero value is that of an endpoint which takes whatever it gets.
type Pace struct {
	limiter *rate.Limiter // nil for none
	passed  int           // answers that did not ask to wait, since that
	since   time.Time     // when it was slowed down; without a pace, when this second of counting began
	before  int           // without a pace: answers in the second before
	last    time.Time     // of the answers that did not ask to wait
	well    float64       // seconds for which it goes well; an answer counts for paceAnswer at most
}

// passes takes in an answer that did not ask to wait.
func (p *Pace) passes(now time.Time) {
	if p.limiter == nil {
		if gone := now.Sub(p.since); gone >= time.Second {
			if p.before = p.passed; gone >= 2*time.Second {
				p.before = 0
			}
			p.passed, p.since = 0, now
		}
		p.passed++
		return
	}
	gone := min(now.Sub(p.last), paceAnswer).Seconds()
	p.passed, p.last = p.passed+1, now
	p.well += gone
	p.set(float64(p.limiter.Limit())*(1+gone*(paceGrowth+paceHaste*p.well)), now)
}

// slows takes in an answer that asked to wait, to a request of a time. What was under way when another one
// did says nothing new; nor does the next one of which nothing came through in between.
func (p *Pace) slows(started, now time.Time) {
	want := float64(max(p.passed, p.before, 1))
	if p.limiter != nil {
		if started.Before(p.since) || p.passed == 0 {
			return
		}
		before := float64(p.limiter.Limit())
		fell := paceFall
		if p.well >= paceProven {
			fell = paceFell // it was right until then; what came through in all tells how it began
		}
		want = min(max(want/max(now.Sub(p.since).Seconds(), 1), before/fell), before)
	}
	p.passed, p.before, p.since, p.last, p.well = 0, 0, now, now, 0
	p.set(max(want*paceMargin, slowestPace), now)
}

func (p *Pace) set(perSecond float64, now time.Time) {
	burst := max(1, int(perSecond/20))
	switch {
	case perSecond > fastestPace:
		*p = Pace{}
	case p.limiter == nil:
		p.limiter = rate.NewLimiter(rate.Limit(perSecond), burst)
	default:
		p.limiter.SetLimitAt(now, rate.Limit(perSecond))
		p.limiter.SetBurstAt(now, burst)
	}
}

// free is when a bucket has a token; zero for now.
func free(bucket *rate.Limiter, now time.Time) time.Time {
	if bucket == nil {
		return time.Time{}
	}
	tokens := bucket.TokensAt(now)
	if tokens >= 1 {
		return time.Time{}
	}
	wait := time.Duration((1 - tokens) / float64(bucket.Limit()) * float64(time.Second))
	return now.Add(max(wait, time.Millisecond))
}
