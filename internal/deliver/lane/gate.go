package lane

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
)

// Gate is until when a lane sends nothing, whatever waits. The zero value is open.
type Gate struct {
	Until     time.Time
	wait      time.Duration // as asked
	reason    string
	Version   int64 // of the endpoint that asked
	throttles int   // such answers in a row
}

// shut makes the lane wait for what an answer asks: the longest wait counts. What the endpoint asks for
// is durable; a fault of ours is a matter of this process.
func (l *Lane) shut(d *retry.Decision, now time.Time) {
	g, at := &l.Gate, now.Add(d.Wait)
	if d.Effect == retry.Neutral {
		g = &l.Fault
	}
	if at.After(g.Until) {
		*g = Gate{Until: at, wait: d.Wait, reason: d.Reason, Version: l.Hook.EndpointVersion, throttles: l.Throttles + 1}
	}
}

// WaitOn makes the lane go on to wait for what its endpoint asked before, until a time. If the clock was
// set back since, it waits for that once more and not for the clock too: then it says no, the time is
// another.
func (l *Lane) WaitOn(from *hook.Gate, until, now time.Time) bool {
	l.Gate = Gate{Until: until, wait: from.Wait, reason: from.Reason, Version: from.EndpointVersion, throttles: from.Throttles}
	l.Throttles = from.Throttles
	if most := now.Add(from.Wait); until.After(most) {
		l.Gate.Until = most
		return false
	}
	return true
}

// TryNow makes the next attempt at an endpoint that is down, or that asked to wait, due now. There is one at
// first: what it answers says how it goes on.
func (l *Lane) TryNow(now time.Time) {
	if l.Health.State == Down {
		l.Health.ProbeAt = now
	}
	if now.Before(l.Gate.Until) {
		l.Gate, l.Window.Size = Gate{}, 1
	}
}

// Open says that neither the endpoint nor a fault of ours makes the lane wait.
func (l *Lane) Open(now time.Time) bool {
	return !now.Before(l.Gate.Until) && !now.Before(l.Fault.Until)
}

// Closed is the endpoint's gate while it is closed.
func (l *Lane) Closed(now time.Time) Gate {
	if now.Before(l.Gate.Until) {
		return l.Gate
	}
	return Gate{}
}

// OwnFault is the fault of ours that makes the lane wait; "" when none does.
func (l *Lane) OwnFault(now time.Time) string {
	if now.Before(l.Fault.Until) {
		return l.Fault.reason
	}
	return ""
}

// Durable is what is stored of a gate; onWall turns the engine's time into the wall's. Rounded up, so
// that nobody is called a microsecond early.
func (g *Gate) Durable(onWall func(time.Time) time.Time) hook.Gate {
	if g.Until.IsZero() {
		return hook.Gate{}
	}
	at := hook.Now(onWall(g.Until).Add(time.Microsecond - 1))
	return hook.Gate{NotBefore: &at, Wait: g.wait, Reason: g.reason, EndpointVersion: g.Version, Throttles: g.throttles}
}
