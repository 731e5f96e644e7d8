// Package retry decides what an answer means for its delivery, for the lane and for the endpoint.
//
// [Decide] is a pure function: what came back, where the delivery stands in its schedule, and a
// throw of the dice for the jitter go in; a [Decision] with its reason comes out. Nothing here
// knows a clock or the network.
package retry

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Bounds of waiting.
const (
	MaxRetryAfter = 24 * time.Hour
	jitter        = 0.2 // each delay is spread by ±20 %
	throttleFirst = 1 * time.Second
	throttleMax   = 5 * time.Minute
	ownFaultFirst = 500 * time.Millisecond
	ownFaultMax   = 30 * time.Second
	// FreshFor is how long after its creation, activation or change an endpoint's 410 is an
	// ordinary failure: receivers that register first and store their record second answer it.
	FreshFor = 5 * time.Minute
	// AsideAfter is how many throttled answers to one event make others be tried before it, and
	// CountAfter how many make it go by the schedule, while others are delivered.
	AsideAfter = 3
	CountAfter = 10
)

// Answer is what one attempt came to.
type Answer struct {
	StatusCode int // 0 when no final status was received in full
	Class      hook.ErrorClass
	RetryAfter *time.Duration // nil when the receiver asked for none
	Lost       bool           // a kept connection ended before one byte of an answer
}

// Standing is where a delivery and its lane stand before the answer.
type Standing struct {
	Step      int             // steps of the schedule used
	Schedule  []time.Duration // delays after the first attempt
	Throttles int             // throttled answers in a row at this lane, before this one
	Here      int             // throttled answers in a row to this event, before this one
	// Others says that since the last of those others were delivered, and none was throttled after: the
	// answer is this event's, and not the endpoint's state.
	Others    bool
	OwnFaults int  // own faults in a row at this lane, before this one
	Fresh     bool // the endpoint is younger than FreshFor
	Probe     bool // sent to find out whether a down endpoint is back; uses no step
}

// Effect is what an answer says about the endpoint as a whole.
type Effect int

const (
	Neutral Effect = iota // says nothing (an own fault, a kept connection that ended)
	Success               // delivered
	Alive                 // a verdict on the event by an endpoint that works
	Failure               // counts towards failing
)

// Decision says what to do.
type Decision struct {
	Outcome hook.Outcome // "" for an own fault: nothing is recorded
	Wait    time.Duration
	Counted bool // a step of the schedule is used
	// Gate says that the whole lane waits, not only this delivery.
	Gate bool
	// Slower says that the endpoint wants fewer requests a second, and not only a pause: 429 says so, and 503 does
	// not, which an endpoint may answer however few come.
	Slower bool
	// Throttled says that the answer asked to wait, whatever comes of it.
	Throttled bool
	// Aside says that others are to be tried before this delivery.
	Aside bool
	// Shrink says that the endpoint wants fewer requests at once.
	Shrink  bool
	Disable bool // the endpoint is gone: the webhook becomes INACTIVE
	Effect  Effect
	Reason  string
}

// Decide is the table of CONTRACT.md, "What the answer means". Dice is uniform in [0, 1).
func Decide(a Answer, s Standing, dice float64) Decision {
	switch {
	case a.Lost:
		return Decision{Outcome: hook.OutcomeRetry, Reason: "the receiver had closed the kept connection; sent again at once"}
	case a.Class == hook.ErrOwnFault:
		return Decision{Wait: growing(ownFaultFirst, ownFaultMax, s.OwnFaults, dice), Gate: true, Reason: "a fault of ours; not counted"}
	case a.Class == hook.ErrNone && a.StatusCode >= 200 && a.StatusCode <= 299:
		return Decision{Outcome: hook.OutcomeDelivered, Counted: true, Effect: Success, Reason: "delivered"}
	case a.StatusCode == 410 && !s.Fresh:
		return Decision{Outcome: hook.OutcomeGone, Counted: true, Effect: Alive, Disable: true, Reason: "410: the endpoint is gone"}
	case a.StatusCode == 429 || a.StatusCode == 503 || a.StatusCode != 0 && a.RetryAfter != nil:
		return throttled(a, s, dice)
	}
	return failed(a, s, dice)
}

// throttled: an answer that asks to wait is the endpoint's state, unless one event alone is answered so.
func throttled(a Answer, s Standing, dice float64) Decision {
	here := s.Here + 1
	if s.Others && here > AsideAfter {
		return throttledAlone(a, s, dice)
	}
	d := askedToWait(a, s.Throttles, dice)
	d.Gate, d.Shrink, d.Effect = true, true, effect(a)
	d.Slower = a.StatusCode == 429
	d.Aside = here >= AsideAfter
	return d
}

// throttledAlone: the lane goes on. The event waits as it is asked to, and in the end as the schedule
// says, whichever is longer.
func throttledAlone(a Answer, s Standing, dice float64) Decision {
	d := askedToWait(a, s.Here, dice)
	if s.Here+1 >= CountAfter {
		asked := d.Wait
		if d = failed(a, s, dice); a.RetryAfter != nil {
			d.Wait = max(d.Wait, asked)
		}
		d.Reason, d.Shrink = "throttled alone for the tenth time; "+d.Reason, false
	} else {
		d.Reason = "this event alone is throttled; the others go on"
	}
	d.Throttled, d.Effect = true, Alive
	return d
}

func askedToWait(a Answer, throttles int, dice float64) Decision {
	d := Decision{Outcome: hook.OutcomeThrottled, Throttled: true, Reason: "the endpoint asked us to wait"}
	if a.RetryAfter != nil {
		d.Wait = min(max(*a.RetryAfter, 0), MaxRetryAfter)
	}
	// Also after Retry-After: 0, so that nobody can make us turn in circles.
	if pace := growing(throttleFirst, throttleMax, throttles, dice); a.RetryAfter == nil || d.Wait == 0 {
		d.Wait, d.Reason = pace, "the endpoint throttles; slowing down"
	}
	return d
}

func failed(a Answer, s Standing, dice float64) Decision {
	d := Decision{
		Outcome: hook.OutcomeRetry, Counted: !s.Probe, Effect: effect(a), Reason: "failed; the schedule has another step",
		Shrink: a.StatusCode == 0,
	}
	switch {
	case s.Probe:
		d.Wait, d.Reason = spread(probed(s), dice), "a probe of a down endpoint; no step used"
	case s.Step >= len(s.Schedule):
		d.Outcome, d.Reason = hook.OutcomeFailed, "failed; the schedule is at its end"
	default:
		d.Wait = spread(s.Schedule[s.Step], dice)
	}
	return d
}

// probed is when a delivery that served as a probe is due again: its own step, once more.
func probed(s Standing) time.Duration {
	if len(s.Schedule) == 0 {
		return throttleMax
	}
	return s.Schedule[min(s.Step, len(s.Schedule)-1)]
}

// effect: connection errors, timeouts, 5xx, 401, 403 and 404 are about the endpoint; every other
// answer is about the event and proves the endpoint alive.
func effect(a Answer) Effect {
	switch {
	case a.Class == hook.ErrTLS: // also with a status, where a client certificate was missing
		return Failure
	case a.StatusCode == 0, a.StatusCode >= 500, a.StatusCode < 200, a.StatusCode == 401, a.StatusCode == 403, a.StatusCode == 404:
		return Failure
	default:
		return Alive
	}
}

// spread moves a delay by up to ±20 %, so that a thousand deliveries that failed together do not
// come back together.
func spread(d time.Duration, dice float64) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*dice))
}

// growing doubles from first to most.
func growing(first, most time.Duration, before int, dice float64) time.Duration {
	return spread(min(first<<min(before, 20), most), dice)
}

// ProbeWait is the pause before the n-th probe (from 0) of a down endpoint: 10 s, 20 s … 5 min.
func ProbeWait(n int) time.Duration {
	return min(10*time.Second<<min(n, 10), 5*time.Minute)
}
