package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// finished takes in what an attempt came to: it decides, and puts the outcome into the ledger. The
// slot stays taken until that is recorded.
func (c *core) finished(x *result) {
	failpoint.Hit(failpoint.Answered)
	s, r := &x.start, &x.result
	l, it := s.lane, s.item
	if x.lost != nil {
		c.lost(s, x.lost)
	}
	l.Lane.Answered(it)
	s.payload.Drop()
	answer := retry.Answer{StatusCode: r.StatusCode, Class: r.Class}
	if r.HasRetryAfter {
		answer.RetryAfter = &r.RetryAfter
	}
	d := retry.Decide(answer, retry.Standing{
		Step: it.Step, Schedule: s.webhook.RetrySchedule, Throttles: l.Throttles, OwnFaults: l.OwnFaults,
		Here: it.Throttles, Others: l.OthersGo(it),
		Fresh: c.wall().Sub(s.webhook.EndpointSince) < retry.FreshFor, Probe: it.Probe && !l.Strict(),
	}, c.dice.Float64())
	if l.Hook.EndpointVersion == s.webhook.EndpointVersion { // else it says nothing about the one of now
		if r.Class == hook.ErrOwnFault && r.Detail != "" {
			d.Reason = "a fault of ours, not counted: " + r.Detail
		}
		if before := l.Health.State; l.Learn(it, &d, r.Phases.Total, c.now) {
			c.changed(l, before)
		}
	}
	switch {
	case d.Throttled:
		it.Throttles++
	case d.Outcome != "":
		it.Throttles = 0
	}
	if r.Class == hook.ErrOwnFault {
		c.faultOfOurs(l, r)
	} else {
		it.Fresh = r.Class == hook.ErrReset
	}
	if d.Outcome == "" {
		it.Attempts-- // it was not made
		c.slots.release(l, it)
		l.InFlight--
		c.again(l, it)
		if it.Kind == hook.Replay && it.Replay != l.place.replay { // which has ended; if it was cancelled, this ends here
			c.letWait(l, func(x *lane.Item) bool { return x == it })
			l.dueMore = true
		}
		c.touch(l)
		return
	}
	c.ledger.add(l, c.settle(l, it, &d, s, r), it)
	if d.Disable && l.place.status == hook.Active && l.Hook.EndpointVersion == s.webhook.EndpointVersion {
		c.disable(l, hook.ReasonGone)
	}
	if l.Health.Hopeless(c.now) && l.place.status == hook.Active {
		c.disable(l, hook.ReasonFailing)
	}
	c.mark(l)
	c.touch(l)
}

// lost records an attempt that was lost with a kept connection, before the one that followed it at
// once: it says nothing of the endpoint, uses no step, and is in no statistics. A place in the rate
// it takes like any other.
func (c *core) lost(s *start, r *send.Result) {
	l, it := s.lane, s.item
	d := retry.Decide(retry.Answer{Class: r.Class, Lost: true}, retry.Standing{}, 0)
	a := attemptOf(s, &d, r)
	c.attempts = append(c.attempts, attempted{a, s.webhook, s.payload.Event})
	c.ledger.add(l, store.Item{Attempt: a}, nil)
	l.Attempted(it)                                                             // the one that followed it may turn out not to have been made
	l.Lost[it.Offset] = lane.Past{Attempts: it.Attempts, Commit: c.commits + 2} // its commit is the next, or the one after
	it.Attempts, it.Fresh = it.Attempts+1, true
	if l.Limiter != nil {
		l.Limiter.ReserveN(c.now, 1)
	}
}

// attemptOf is what is recorded of the item's last attempt.
func attemptOf(s *start, d *retry.Decision, r *send.Result) *hook.Attempt {
	it := s.item
	return &hook.Attempt{
		Webhook: s.lane.place.webhook, Offset: it.Offset, Number: it.Attempts, Sequence: it.Sequence, Kind: it.Kind, Counted: d.Counted,
		Version: s.webhook.Version, TimestampText: r.TimestampText, Format: s.webhook.Format, Replay: it.Replay, StartedAt: r.StartedAt,
		Phases: r.Phases, Reused: r.Reused, Outcome: d.Outcome, StatusCode: r.StatusCode, ErrorClass: r.Class, ErrorDetail: r.Detail, RetryAfter: r.RetryAfter,
	}
}

// changed tells what became of an endpoint.
func (c *core) changed(l *consumer, before lane.State) {
	switch {
	case l.Health.State == lane.Healthy:
		l.dueMore = true
		c.forgetEarly(l)
		if before == lane.Down {
			c.events = append(c.events, notice{l.Hook.ID, "recovered", "the endpoint answers again"})
			c.ledger.notices = append(c.ledger.notices, store.Notice{Webhook: l.place.webhook, Kind: "recovered", Detail: "the endpoint answers again"})
		}
	case l.Health.State == lane.Down:
		c.events = append(c.events, notice{l.Hook.ID, "down", "30 s without a success"})
		c.ledger.notices = append(c.ledger.notices, store.Notice{Webhook: l.place.webhook, Kind: "down", Detail: "30 s without a success; probing"})
	case l.Health.State == lane.Failing:
		c.events = append(c.events, notice{l.Hook.ID, "failing", "10 failures in a row"})
	}
}

// disable makes a webhook INACTIVE: at once in memory, durably with the next record.
func (c *core) disable(l *consumer, reason string) {
	l.place.status = hook.Inactive
	c.ledger.status = append(c.ledger.status, store.StatusChange{
		Webhook: l.place.webhook, Partition: l.place.part.id, EndpointVersion: l.Hook.EndpointVersion, Status: hook.Inactive, Reason: reason,
	})
	c.events = append(c.events, notice{l.Hook.ID, "disabled", reason})
	c.detach(l)
}

// settle turns a decision into what is recorded, and what memory holds of the delivery.
func (c *core) settle(l *consumer, it *lane.Item, d *retry.Decision, s *start, r *send.Result) store.Item {
	a := attemptOf(s, d, r)
	out := store.Item{Attempt: a}
	c.attempts = append(c.attempts, attempted{a, s.webhook, s.payload.Event})
	c.count(l, a, it, r)
	if it.Kind == hook.Replay {
		c.countReplay(l, it, d.Outcome)
	}
	if d.Counted && d.Outcome == hook.OutcomeRetry {
		it.Step++
	}
	switch d.Outcome {
	case hook.OutcomeDelivered, hook.OutcomeFailed, hook.OutcomeGone:
		if it.Kind == hook.Live {
			if d.Outcome == hook.OutcomeDelivered {
				l.Delivered++
			} else {
				l.Failed++
			}
		}
		c.unpark(l, it, &out)
	case hook.OutcomeRetry:
		c.park(l, it, &out, d.Wait, string(r.Class))
	case hook.OutcomeThrottled:
		// A delivery that never failed stays at the head of its lane, which waits as a whole, until others
		// are to be tried before it: unless the order lets none.
		if it.Parked || it.Kind == hook.Replay || d.Aside && l.Hook.Ordering != hook.WebhookOrder {
			c.park(l, it, &out, d.Wait, string(r.Class))
		}
	}
	return out
}

// count keeps the statistics and the last answers.
func (c *core) count(l *consumer, a *hook.Attempt, it *lane.Item, r *send.Result) {
	minute := c.wall().Unix() / 60
	if l.stat == nil {
		l.stat, l.statAt = &store.Stat{Webhook: l.place.webhook, Bucket: minute}, c.now
	} else if l.stat.Bucket != minute {
		c.ledger.stats = append(c.ledger.stats, *l.stat)
		l.stat, l.statAt = &store.Stat{Webhook: l.place.webhook, Bucket: minute}, c.now
	}
	l.stat.Latency.Add(a.Phases.Total)
	switch a.Outcome {
	case hook.OutcomeDelivered:
		l.stat.Delivered++
		if it.Kind == hook.Live && it.Payload != nil {
			l.stat.Arrival.Add(c.wall().Sub(it.Payload.Event.AcceptedAt))
		}
		const kept = 20
		answer := store.Answer{
			Webhook: l.place.webhook, Slot: l.answered % kept, Offset: a.Offset, Number: a.Number, Header: r.AnswerHeader, Body: r.AnswerBody,
		}
		if len(l.answers) < kept {
			l.answers = append(l.answers, answer)
		} else {
			l.answers[(answer.Slot-l.answers[0].Slot+kept)%kept] = answer // in the place of the one that had its slot
		}
		l.answered++
	case hook.OutcomeFailed, hook.OutcomeGone:
		l.stat.Failed++
		a.AnswerHeader, a.AnswerBody = r.AnswerHeader, r.AnswerBody
	case hook.OutcomeRetry, hook.OutcomeThrottled:
		l.stat.Retried++
		a.AnswerHeader, a.AnswerBody = r.AnswerHeader, r.AnswerBody
	}
}

// park gives a delivery a due time; the cursor may pass it.
func (c *core) park(l *consumer, it *lane.Item, out *store.Item, wait time.Duration, reason string) {
	due := hook.Now(c.wall().Add(wait))
	c.parkRow(l, it, out, &due, reason)
}

func (c *core) parkRow(l *consumer, it *lane.Item, out *store.Item, due *time.Time, reason string) {
	l.Lane.Park(it)
	object := it.Object
	if object == "*" {
		object = ""
	}
	out.Park = &hook.Parked{
		Webhook: l.place.webhook, Kind: it.Kind, Offset: it.Offset, Partition: l.place.part.id, Sequence: it.Sequence, ObjectKey: object,
		Attempts: it.Attempts, Step: it.Step, Throttles: it.Throttles, DueAt: due, ParkedAt: hook.Now(c.wall()), Reason: reason, Replay: it.Replay,
	}
}

// unpark forgets a settled delivery's row, and lets the next of its object go under strict order.
func (c *core) unpark(l *consumer, it *lane.Item, out *store.Item) {
	if it.Parked {
		out.Unpark = &store.ParkedKey{Webhook: l.place.webhook, Kind: it.Kind, Offset: it.Offset}
	}
	if l.Lane.Unpark(it) {
		out.Release = &store.ParkedKey{Webhook: l.place.webhook, Object: it.Object}
	}
}

// holdBack parks a delivery behind an earlier one of its object, without a due time of its own.
func (c *core) holdBack(l *consumer, it *lane.Item) {
	var out store.Item
	c.parkRow(l, it, &out, nil, "held")
	// If what it waits for is settled by now, the record itself lets it go.
	out.Release = &store.ParkedKey{Webhook: l.place.webhook, Object: it.Object}
	it.State = lane.Settled
	l.Ahead++
	it.Drop()
	c.ledger.add(l, out, nil)
	l.Pass(it.Object)
	c.mark(l)
}

// skip settles a delivery that its owner, or retention, gave up.
func (c *core) skip(l *consumer, it *lane.Item) {
	it.State, it.Skipped = lane.Settled, true
	l.Ahead++
	it.Drop()
	l.Remove(it)
	c.mark(l)
}

// expire settles a delivery that retention gave up, or whose event was purged meanwhile. What was
// parked out of order is counted when the cursor passes it: until then a restart would skip it again.
// It says no where the lane has yet to read up to there.
func (c *core) expire(l *consumer, it *lane.Item) bool {
	switch ahead := l.ItemAt(it.Offset); {
	case it.Kind != hook.Live:
	case !it.Parked:
		c.skip(l, it)
		return true
	case it.Offset <= l.Low:
		l.Skipped++
	case ahead != nil:
		ahead.Skipped = true
	default:
		return false
	}
	var out store.Item
	c.unpark(l, it, &out)
	key := lane.Key{Kind: it.Kind, Offset: it.Offset}
	delete(l.Known, key)
	l.Past[key] = lane.Past{Attempts: it.Attempts + 1, Commit: c.commits + 2} // its commit is the next, or the one after
	it.Drop()
	l.Remove(it)
	c.ledger.add(l, out, nil)
	if it.Kind == hook.Replay && l.place.replay == it.Replay {
		c.replayMoved(l)
	}
	c.mark(l)
	return true
}
