package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
)

// State is what a lane calls its endpoint.
type State string

const (
	Healthy State = "healthy"
	Failing State = "failing" // one attempt at a time, at most one a second
	Down    State = "down"    // stands still, with a probe now and then
)

// Limits of failing, from CONTRACT.md "What the answer means".
const (
	failingAfter  = 10 // failures in a row, of at least two events
	failingPace   = time.Second
	downAfter     = 30 * time.Second // without a success
	disableAfter  = 5 * 24 * time.Hour
	disableHours  = 60 // distinct hours with failures
	microsInAHour = int64(time.Hour / time.Microsecond)
)

// health is the record of an endpoint, as far as it matters: what it did since its last success.
type health struct {
	state       State
	failures    int         // in a row
	first       hook.Offset // event of the first of them
	several     bool        // they are of at least two events
	since       time.Time   // of the first of them; zero when there is none
	lastSuccess time.Time
	lastFailure time.Time
	hours       int   // distinct hours in which they were seen
	lastHour    int64 // the last of those
	probes      int   // made since it went down
	probeAt     time.Time
}

// restoreHealth reads back what is durable of it; local turns the wall's time into the engine's.
func restoreHealth(c *hook.Cursor, now time.Time, local func(time.Time) time.Time) health {
	at := func(t *time.Time) time.Time {
		if t == nil {
			return time.Time{}
		}
		return local(*t)
	}
	past := func(t *time.Time) time.Time {
		if x := at(t); x.Before(now) {
			return x
		}
		return now // the clock was set back since
	}
	h := health{
		state: Healthy, failures: c.ConsecutiveFailures, since: past(c.FailingSince), lastSuccess: past(c.LastSuccessAt), lastFailure: past(c.LastFailureAt),
		hours: c.FailingHours, lastHour: c.LastFailingHour, probes: c.ProbeStep, probeAt: at(c.ProbeAt),
	}
	switch {
	case c.ProbeAt != nil:
		h.state, h.several = Down, true
	case h.failures >= failingAfter:
		h.state, h.several = Failing, true
	}
	return h
}

// observe takes in what an answer said about the endpoint. It reports whether the state changed.
func (h *health) observe(e retry.Effect, event hook.Offset, probe bool, now time.Time) (changed bool) {
	before := h.state
	switch e {
	case retry.Success, retry.Alive:
		last := h.lastSuccess
		if e == retry.Success {
			last = now
		}
		*h = health{state: Healthy, lastSuccess: last, lastFailure: h.lastFailure}
	case retry.Failure:
		h.failure(event, probe, now)
	case retry.Neutral:
	}
	return h.state != before
}

func (h *health) failure(event hook.Offset, probe bool, now time.Time) {
	if h.failures == 0 {
		h.first, h.since = event, now
	}
	h.failures++
	h.several = h.several || event != h.first
	h.lastFailure = now
	if hour := now.UnixMicro() / microsInAHour; hour != h.lastHour {
		h.lastHour = hour
		h.hours++
	}
	if h.state == Healthy && h.failures >= failingAfter && h.several {
		h.state = Failing
	}
	if h.state == Down && probe {
		h.probes++
		h.probeAt = now.Add(retry.ProbeWait(h.probes))
	}
}

// downAt is when a failing endpoint is called down.
func (h *health) downAt() time.Time {
	if h.lastSuccess.After(h.since) || h.since.IsZero() {
		return h.lastSuccess.Add(downAfter)
	}
	if !h.lastSuccess.IsZero() {
		return h.lastSuccess.Add(downAfter)
	}
	return h.since.Add(downAfter)
}

// pass lets time pass: a failing endpoint goes down. It reports whether the state changed.
func (h *health) pass(now time.Time) bool {
	if h.state != Failing || now.Before(h.downAt()) {
		return false
	}
	h.state, h.probes, h.probeAt = Down, 0, now.Add(retry.ProbeWait(0))
	return true
}

// hopeless says that the webhook is to be disabled.
func (h *health) hopeless(now time.Time) bool {
	return !h.since.IsZero() && now.Sub(h.since) >= disableAfter && h.hours >= disableHours
}
