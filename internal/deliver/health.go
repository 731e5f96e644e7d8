package deliver

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
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
	ThrottledUntil      time.Time       // zero: the endpoint does not ask to wait
	OwnFault            string          // of ours, that it waits for now
	Failure             *advice.Failure // its last attempt that did not deliver; nil: none in this lane's life
	InFlight            int
	Window              int
	Fed                 bool // by the tail: nothing is waiting in the store
	Queued              int  // matched events in memory that wait
	Place               hook.Offset
	Sequence            int64
}

// Health asks the loop about one webhook; ok is false when it has no lane, and so nothing to do.
func (e *Engine) Health(ctx context.Context, w hook.WebhookKey) (Health, bool, error) {
	var h Health
	ok := false
	err := e.within(ctx, func(c *core) {
		h.Runs = c.subscriptions[w] != nil
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
			ThrottledUntil: at(l.Closed(c.now).Until), OwnFault: l.OwnFault(c.now), Failure: l.failure,
		}
		if v := l.may(c.now); !v.Start && v.Reason != lane.ReasonIdle {
			h.Reason = v.Reason
		}
		if c.held {
			h.Reason = reasonHeld
		}
	})
	if err != nil { // the loop may come to it later
		return Health{}, false, err
	}
	return h, ok, nil
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

// Probe makes the next attempt at a webhook's endpoint now, if it is down or asked to wait.
func (e *Engine) Probe(w hook.WebhookKey) {
	select {
	case e.back <- func(c *core) { c.probe(w) }:
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

// OwnFault is a fault of this server that holds deliveries up: no attempt that meets it counts.
type OwnFault struct {
	Reason string // of the last attempt that met it
	Since  time.Time
	LastAt time.Time
}

// OwnFault returns what attempts met within the last minute; nil when they met none.
func (e *Engine) OwnFault(ctx context.Context) (found *OwnFault, err error) {
	err = e.within(ctx, func(c *core) {
		if f := &c.fault; !f.last.IsZero() && c.now.Sub(f.last) <= faultLasts {
			found = &OwnFault{Reason: f.detail, Since: c.onWall(f.since), LastAt: c.onWall(f.last)}
		}
	})
	return found, err
}

// Test makes one attempt beside the lane: signed, sent and classified like any other, but never
// retried, held, ordered or counted.
func (e *Engine) Test(ctx context.Context, w *hook.Webhook, event *hook.Event) (*hook.Attempt, error) {
	r := e.Sender.Send(ctx, send.Request{
		Webhook: w, Event: event, Delivery: hook.Delivery{Kind: hook.Test, Attempt: 1}, Body: wire.Body(event.Topic, event.Data, w.Format),
		Fresh: true, // nobody wants to test whether a kept connection still lives
	})
	answer := retry.Answer{StatusCode: r.StatusCode, Class: r.Class}
	if r.HasRetryAfter {
		answer.RetryAfter = &r.RetryAfter
	}
	outcome := retry.Decide(answer, retry.Standing{}, 0).Outcome
	if outcome != hook.OutcomeDelivered {
		outcome = hook.OutcomeFailed // there is no second try
	}
	return &hook.Attempt{
		Webhook: w.Key, Number: 1, Kind: hook.Test, Version: w.Version, TimestampText: r.TimestampText, Format: w.Format, StartedAt: r.StartedAt,
		Phases: r.Phases, Reused: r.Reused, Outcome: outcome, StatusCode: r.StatusCode, ErrorClass: r.Class, ErrorDetail: r.Detail, RetryAfter: r.RetryAfter,
		AnswerHeader: r.AnswerHeader, AnswerBody: r.AnswerBody,
	}, nil
}
