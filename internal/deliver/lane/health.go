package lane

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
	failingAfter  = 10 // failures in a row, of at least two events or of one that is alone
	failingPace   = time.Second
	downAfter     = 30 * time.Second // without a success
	disableAfter  = 5 * 24 * time.Hour
	disableHours  = 60 // distinct hours with failures
	microsInAHour = int64(time.Hour / time.Microsecond)
)

// Health is the record of an endpoint, as far as it matters: what it did since its last success.
type Health struct {
	State       State
	Failures    int         // in a row
	first       hook.Offset // event of the first of them
	several     bool        // they are of at least two events
	Since       time.Time   // of the first of them; zero when there is none
	LastSuccess time.Time
	LastFailure time.Time // of any attempt that did not deliver
	Hours       int       // distinct hours in which they were seen
	LastHour    int64     // the last of those
	Probes      int       // made since it went down
	ProbeAt     time.Time
}

// RestoreHealth reads back what is durable of it; local turns the wall's time into the engine's.
func RestoreHealth(c *hook.Cursor, now time.Time, local func(time.Time) time.Time) Health {
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
	h := Health{
		State: Healthy, Failures: c.ConsecutiveFailures, Since: past(c.FailingSince), LastSuccess: past(c.LastSuccessAt), LastFailure: past(c.LastFailureAt),
		Hours: c.FailingHours, LastHour: c.LastFailingHour, Probes: c.ProbeStep, ProbeAt: at(c.ProbeAt),
	}
	switch {
	case c.ProbeAt != nil:
		h.State, h.several = Down, true
	case h.Failures >= failingAfter:
		h.State, h.several = Failing, true
	}
	return h
}

// observe takes in what an answer said about the endpoint. It reports whether the state changed.
func (h *Health) observe(e retry.Effect, event hook.Offset, probe, alone bool, now time.Time) (changed bool) {
	before := h.State
	switch e {
	case retry.Success, retry.Alive:
		success, failure := h.LastSuccess, now
		if e == retry.Success {
			success, failure = now, h.LastFailure
		}
		*h = Health{State: Healthy, LastSuccess: success, LastFailure: failure}
	case retry.Failure:
		h.failure(event, probe, alone, now)
	case retry.Neutral:
	}
	return h.State != before
}

// failure counts one. Failures of one event alone are about the endpoint where no other may be tried.
func (h *Health) failure(event hook.Offset, probe, alone bool, now time.Time) {
	if h.Failures == 0 {
		h.first, h.Since = event, now
	}
	h.Failures++
	h.several = h.several || event != h.first
	h.LastFailure = now
	if hour := now.UnixMicro() / microsInAHour; hour != h.LastHour {
		h.LastHour = hour
		h.Hours++
	}
	if h.State == Healthy && h.Failures >= failingAfter && (h.several || alone) {
		h.State = Failing
	}
	if h.State == Down && probe {
		h.Probes++
		h.ProbeAt = now.Add(retry.ProbeWait(h.Probes))
	}
}

// downAt is when a failing endpoint is called down.
func (h *Health) downAt() time.Time {
	if h.LastSuccess.After(h.Since) || h.Since.IsZero() {
		return h.LastSuccess.Add(downAfter)
	}
	if !h.LastSuccess.IsZero() {
		return h.LastSuccess.Add(downAfter)
	}
	return h.Since.Add(downAfter)
}

// Pass lets time pass: a failing endpoint goes down. It reports whether the state changed.
func (h *Health) Pass(now time.Time) bool {
	if h.State != Failing || now.Before(h.downAt()) {
		return false
	}
	h.State, h.Probes, h.ProbeAt = Down, 0, now.Add(retry.ProbeWait(0))
	return true
}

// Hopeless says that the webhook is to be disabled.
func (h *Health) Hopeless(now time.Time) bool {
	return !h.Since.IsZero() && now.Sub(h.Since) >= disableAfter && h.Hours >= disableHours
}
