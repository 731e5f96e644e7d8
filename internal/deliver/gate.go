package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
)

// gate is until when a lane sends nothing, whatever waits. The zero value is open.
type gate struct {
	until     time.Time
	wait      time.Duration // as asked
	reason    string
	version   int64 // of the endpoint that asked
	throttles int   // such answers in a row
}

// shut makes the lane wait for what an answer asks: the longest wait counts. What the endpoint asks for
// is durable; a fault of ours is a matter of this process.
func (l *lane) shut(d *retry.Decision, now time.Time) {
	g, at := &l.gate, now.Add(d.Wait)
	if d.Effect == retry.Neutral {
		g = &l.fault
	}
	if at.After(g.until) {
		*g = gate{until: at, wait: d.Wait, reason: d.Reason, version: l.hook.EndpointVersion, throttles: l.throttles + 1}
	}
}

// open says that neither the endpoint nor a fault of ours makes the lane wait.
func (l *lane) open(now time.Time) bool {
	return !now.Before(l.gate.until) && !now.Before(l.fault.until)
}

// closed is the endpoint's gate while it is closed.
func (l *lane) closed(now time.Time) gate {
	if now.Before(l.gate.until) {
		return l.gate
	}
	return gate{}
}

// durable is what is stored of a gate; onWall turns the engine's time into the wall's. Rounded up, so
// that nobody is called a microsecond early.
func (g *gate) durable(onWall func(time.Time) time.Time) hook.Gate {
	if g.until.IsZero() {
		return hook.Gate{}
	}
	at := hook.Now(onWall(g.until).Add(time.Microsecond - 1))
	return hook.Gate{NotBefore: &at, Wait: g.wait, Reason: g.reason, EndpointVersion: g.version, Throttles: g.throttles}
}
