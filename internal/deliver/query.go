package deliver

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Health is what the engine knows of a webhook that the store does not.
type Health struct {
	Runs                bool // the engine runs the webhook's partition
	State               lane.State
	Reason              string // why the lane does not start an attempt now; "" when it may
	Since               time.Time
	ConsecutiveFailures int
	LastSuccessAt       time.Time
	LastFailureAt       time.Time
	NextProbeAt         time.Time
	InFlight            int
	Window              int
	Fed                 bool // by the tail: nothing is waiting in the store
	Queued              int  // matched events in memory that wait
	Place               hook.Offset
	Sequence            int64
}

// Health asks the loop about one webhook; ok is false when it has no lane, and so nothing to do.
func (e *Engine) Health(ctx context.Context, w hook.WebhookKey) (h Health, ok bool, err error) {
	err = e.within(ctx, func(c *core) {
		h.Runs = c.places[w] != nil
		l := c.lanes[w]
		if l == nil || l.Hook == nil {
			return
		}
		ok = true
		c.age(l)
		at := func(t time.Time) time.Time {
			if t.IsZero() {
				return t
			}
			return c.onWall(t)
		}
		h = Health{
			Runs: true, State: l.Health.State, Since: at(l.Health.Since), ConsecutiveFailures: l.Health.Failures, LastSuccessAt: at(l.Health.LastSuccess),
			LastFailureAt: at(l.Health.LastFailure), NextProbeAt: at(l.Health.ProbeAt), InFlight: l.InFlight, Window: l.Window.Limit(l.Hook.MaxConcurrency),
			Fed: l.Fed, Queued: len(l.Items) - l.Ahead, Place: l.Low, Sequence: l.LowSeq,
		}
		if v := l.may(c.now); !v.Start && v.Reason != lane.ReasonIdle {
			h.Reason = v.Reason
		}
		if c.held {
			h.Reason = reasonHeld
		}
	})
	return h, ok, err
}

// Leased reports whether this node may send, as far as it knows.
func (e *Engine) Leased() bool { return e.Members == nil || e.lease.holds(time.Now()) }

// reasonHeld is why nothing is sent after a restore.
const reasonHeld = "restored from a backup; waits for an operator"

// Release lets an engine that was held make attempts.
func (e *Engine) Release(ctx context.Context) error {
	return e.within(ctx, func(c *core) { c.held = false })
}

// Kick makes a webhook look for wishes that were written into the store: a retry, a replay.
func (e *Engine) Kick(w hook.WebhookKey) {
	select {
	case e.back <- func(c *core) { c.kick(w) }:
	case <-e.done:
	}
}

// within runs fn in the loop and waits for it.
func (e *Engine) within(ctx context.Context, fn func(*core)) error {
	done := make(chan struct{})
	select {
	case e.back <- func(c *core) { fn(c); close(done) }:
	case <-e.done:
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-e.done:
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
}

// InFlight is how many attempts are under way or not yet recorded.
func (e *Engine) InFlight() int { return int(e.inFlight.Load()) }
