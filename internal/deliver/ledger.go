package deliver

import (
	"maps"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// ledger collects what the next record says. One record is under way at a time; what is found out
// meanwhile is the next group.
type ledger struct {
	items     []store.Item
	done      []outcome   // the attempts among them
	lanes     []*consumer // whose cursor or health changed
	status    []store.StatusChange
	stats     []store.Stat
	notices   []store.Notice
	replays   map[int64]*store.ReplayMove
	replaying map[int64]*consumer // whose they are
	swept     map[hook.Partition]hook.Offset
	rewind    []hook.Partition
	repairs   []store.Repair
	writing   *writing
}

// outcome is a delivery's news under way to the store. An attempt's slot is freed by the commit.
type outcome struct {
	lane      *consumer
	item      *lane.Item // nil when nothing was sent
	throttled bool       // it stays at the head of its lane
	due       *time.Time
	held      *store.ParkedKey // parked without a due time
}

// writing is a record under way, and what its commit changes.
type writing struct {
	record    *store.Record
	done      []outcome
	places    []placed
	swept     map[hook.Partition]hook.Offset
	replaying map[int64]*consumer
}

type placed struct {
	lane         *consumer
	subscription *subscription
	detached     bool
}

// add puts a delivery's news into the next record. An item that was attempted is settled by it,
// unless it stays at the head of its lane.
func (g *ledger) add(l *consumer, news store.Item, it *lane.Item) {
	g.items = append(g.items, news)
	l.recording++
	o := outcome{lane: l, item: it}
	if p := news.Park; p != nil {
		if o.due = p.DueAt; o.due == nil {
			o.held = &store.ParkedKey{Webhook: p.Webhook, Kind: p.Kind, Offset: p.Offset}
		}
	}
	if it == nil {
		g.done = append(g.done, o)
		return
	}
	o.throttled = news.Attempt.Outcome == hook.OutcomeThrottled && news.Park == nil && !it.Won
	g.done = append(g.done, o)
	if it.Kind == hook.Live && !it.Parked && !o.throttled {
		it.State = lane.Settled
		l.Ahead++
	}
}

// mark makes the next record say where a lane stands.
func (c *core) mark(l *consumer) {
	if !l.touched && l.Hook != nil {
		l.touched = true
		c.ledger.lanes = append(c.ledger.lanes, l)
	}
}

// record takes what has been collected as one transaction, or nil when there is nothing to write
// or one is under way.
func (c *core) record() *store.Record {
	g := &c.ledger
	if g.writing != nil || g.empty() {
		return nil
	}
	r := &store.Record{
		Node: c.node, At: hook.Now(c.wall()), Items: g.items, Status: g.status, Stats: g.stats, Notices: g.notices, Swept: g.swept, Rewind: g.rewind, Repairs: g.repairs,
	}
	w := &writing{record: r, done: g.done, swept: g.swept, replaying: g.replaying}
	for _, key := range slices.Sorted(maps.Keys(g.replays)) {
		r.Replays = append(r.Replays, *g.replays[key])
	}
	for _, l := range g.lanes {
		l.Advance()
		detached := l.detached()
		r.Cursors = append(r.Cursors, store.CursorMove{
			Webhook: l.subscription.webhook, Detached: detached, Offset: l.Low, Sequence: l.LowSeq,
			Delivered: l.Delivered, Failed: l.Failed, Skipped: l.Skipped, Health: healthRow(&l.Health, c.onWall),
		})
		if g := l.Closed(c.now); g != l.kept {
			r.Gates = append(r.Gates, store.GateMove{Webhook: l.subscription.webhook, Gate: g.Durable(c.onWall)})
			l.kept = g
		}
		r.Answers = append(r.Answers, l.flushAnswers(c.now)...)
		if !detached {
			l.subscription.detached = false // at once: the swept mark must heed it from now on
		}
		w.places = append(w.places, placed{l, l.subscription, detached})
		l.Delivered, l.Failed, l.Skipped, l.touched = 0, 0, 0, false
	}
	// As much is likely to be found out while this is under way.
	*g = ledger{writing: w, items: make([]store.Item, 0, len(g.items)), done: make([]outcome, 0, len(g.done))}
	return r
}

func (g *ledger) empty() bool {
	return len(g.items)+len(g.lanes)+len(g.status)+len(g.stats)+len(g.notices)+len(g.replays)+len(g.swept)+len(g.rewind)+len(g.repairs) == 0
}

// detached says whether the lane's own place counts from the next record on.
func (l *consumer) detached() bool {
	if !l.Fed || l.subscription.status != hook.Active {
		return true
	}
	return l.subscription.detached && len(l.Items) > 0 || l.late
}

// flushAnswers hands over the last successes' answers, at most once a second.
func (l *consumer) flushAnswers(now time.Time) []store.Answer {
	if len(l.answers) == 0 || now.Sub(l.answersAt) < time.Second {
		return nil
	}
	a := l.answers
	l.answers, l.answersAt = nil, now
	return a
}

// recorded takes in a commit: slots are free again, and what waited for it goes on.
func (c *core) recorded(out store.Recorded) {
	w := c.ledger.writing
	c.ledger.writing = nil
	c.commits++
	for _, p := range w.places {
		p.subscription.detached = p.subscription.detached || p.detached
	}
	for id, swept := range w.swept {
		if p := c.partitions[id]; p != nil {
			p.swept = swept
		}
	}
	for _, o := range w.done {
		c.settled(o)
	}
	for _, id := range out.Rewound {
		if p := c.partitions[id]; p != nil {
			c.rewind(p)
			c.dueAgain(p)
		}
	}
	for _, m := range w.record.Replays {
		if l := w.replaying[m.Key]; m.Done && l != nil && l.subscription.replay == m.Key {
			c.endReplay(l.subscription)
			l.subscription.replay = 0
			if l.subscription.lane != nil {
				c.touch(l.subscription.lane) // to read what is still parked of it: nothing else may come
			}
		}
	}
	for _, x := range w.record.Repairs {
		if l := c.lanes[x.Webhook]; l != nil {
			l.dueMore = true
			c.touch(l)
		}
	}
	for i := range out.Settled {
		if x := &out.Settled[i]; c.lanes[x.Webhook] != nil {
			c.lanes[x.Webhook].Unpark(c.lanes[x.Webhook].ParkedItem(x, c.now)) // another attempt of its delivery was answered 2xx
		}
	}
	for _, p := range w.places {
		c.touch(p.lane)
	}
	for i := range out.Released {
		x := &out.Released[i]
		if pl := c.subscriptions[x.Webhook]; pl != nil && pl.lane != nil {
			c.addDue(pl.lane, x, &read{ended: c.ended})
			c.touch(pl.lane)
		} else {
			c.kick(x.Webhook)
		}
	}
	for _, k := range out.SetAside {
		if l := c.lanes[k.Webhook]; l != nil {
			c.events = append(c.events, notice{l.Hook.ID, "unrecordable", "the store refused a result; it was set aside"})
		}
	}
}

// settled frees an attempt's slot and lets the object's next delivery go.
func (c *core) settled(o outcome) {
	l, it := o.lane, o.item
	l.recording--
	switch {
	case o.held != nil && l.Hook.Ordering != hook.ObjectOrder:
		c.ledger.add(l, store.Item{Free: o.held}, nil) // the ordering changed meanwhile: nothing would release it
	case o.due == nil:
	case o.due.After(c.wall()):
		c.dueSoon(l.subscription.part, *o.due) // now that a read of the partition finds it
	default:
		l.dueMore = true // the commit took so long that the partition may have looked past it
	}
	if it == nil {
		return
	}
	c.slots.release(l, it)
	l.InFlight--
	if o.throttled {
		c.again(l, it)
		return
	}
	key := lane.Key{Kind: it.Kind, Offset: it.Offset}
	if l.Known[key] == it { // else a read has brought it back already
		delete(l.Known, key)
	}
	if x := (lane.Past{Attempts: it.Attempt, Commit: c.commits, Over: l.Past[key].Over}); !l.over(l.subscription.part, x) {
		l.Past[key] = x
	}
	l.Attempted(it)
	it.Drop()
	l.Pass(it.Object)
	if it.Kind == hook.Replay && l.subscription.replay == it.Replay {
		c.replayMoved(l)
	}
}

// sweep moves the partitions' low-water marks, detaches who lags, lets go of idle lanes, and hands
// over statistics. Once a second.
func (c *core) sweep() {
	for _, p := range c.partitions {
		p.low = p.tail
	}
	for co, p := range c.waiting {
		p.low = min(p.low, co.judging.upTo)
	}
	c.items = 0
	for _, l := range slices.Backward(c.awake) { // the index of who is let go of goes to one that was looked at
		c.items += len(l.Items)
		if l.subscription.part.version >= 0 {
			l.subscription.part.low = min(l.subscription.part.low, c.sweepLane(l))
		}
	}
	for _, p := range c.partitions {
		if p.version >= 0 && p.low > p.swept {
			if c.ledger.swept == nil {
				c.ledger.swept = map[hook.Partition]hook.Offset{}
			}
			c.ledger.swept[p.id] = p.low
		}
	}
}

// sweepLane returns how far the low-water mark may go for this lane.
func (c *core) sweepLane(l *consumer) hook.Offset {
	p := l.subscription.part
	if l.Fed {
		l.Read = max(l.Read, l.subscription.offered())
	}
	l.late = len(l.Items) > 0 && c.now.Sub(l.Items[0].Since) > lagging
	if l.detached() != l.subscription.detached && l.Hook != nil {
		c.mark(l)
	}
	l.forget(p, c.commits)
	if l.stat != nil && c.now.Sub(l.statAt) >= statsEvery {
		c.ledger.stats = append(c.ledger.stats, *l.stat)
		l.stat = nil
	}
	if len(l.answers) > 0 && c.now.Sub(l.answersAt) >= time.Second {
		c.mark(l)
	}
	// A lane that stands still, with its own place written, needs no sweep.
	if !l.subscription.detached || l.stat != nil || len(l.answers) > 0 || l.idle(c.now) {
		c.restless = true
	}
	switch {
	case !l.idle(c.now):
		l.idleSince = c.now
	case l.kept != (lane.Gate{}):
		c.mark(l) // it has opened, and nothing came that would have told
	case c.now.Sub(l.idleSince) >= idleAfter:
		c.letGo(l)
		return p.tail
	}
	if l.subscription.detached {
		return p.tail // its own place counts already
	}
	if len(l.Items) == 0 && l.Fed {
		return p.tail
	}
	if len(l.Items) > 0 {
		return min(p.tail, l.Items[0].Offset-1)
	}
	return min(p.tail, l.Low)
}

// forget drops what no read can bring back any more: it is committed, and no read under way is older.
func (l *consumer) forget(p *partition, commits uint64) {
	for key, x := range l.Past {
		if commits >= x.Commit && l.over(p, x) {
			delete(l.Past, key)
		}
	}
	for o, x := range l.Lost {
		if commits >= x.Commit && l.over(p, x) {
			delete(l.Lost, o)
		}
	}
}

// over says that no read is under way that was asked for before a delivery left memory.
func (l *consumer) over(p *partition, x lane.Past) bool {
	return (!l.dueReading || l.dueAsked >= x.Commit) && (!l.replaying || l.replayAsked >= x.Commit) && (!p.dueReading || p.dueAsked >= x.Commit)
}

// letGo ends a lane that has nothing to do; its subscription remembers where it stood.
func (c *core) letGo(l *consumer) {
	l.Advance()
	l.subscription.offset, l.subscription.sequence, l.subscription.lane = l.Low, l.LowSeq, nil
	c.asleep(l)
}

// longWait is how long an endpoint may ask to wait without a notice that it does.
const longWait = time.Hour

// finished takes in what an attempt came to: it decides, and puts the outcome into the ledger. The
// slot stays taken until that is recorded.
func (c *core) finished(s *attempt) {
	failpoint.Hit(failpoint.Answered)
	l, it, r := s.lane, s.item, &s.result
	if s.lost != nil {
		c.lost(s)
	}
	l.Lane.Answered(it)
	s.payload.Drop()
	answer := retry.Answer{StatusCode: r.StatusCode, Class: r.Class}
	if r.HasRetryAfter {
		answer.RetryAfter = &r.RetryAfter
	}
	// Under a strict order the same delivery is the probe each time. Where the endpoint answers, its schedule
	// goes on meanwhile, in its own time: the event may be the cause, and must not stop the others for ever.
	answered := l.Strict() && r.StatusCode != 0
	probe := it.Probe && !(answered && !it.Due.After(c.now))
	standing := l.Standing(it)
	standing.Schedule, standing.Fresh = s.Webhook.RetrySchedule, c.wall().Sub(s.Webhook.EndpointSince) < retry.FreshFor
	standing.Probe = probe
	d := retry.Decide(answer, standing, c.dice.Float64())
	if probe && answered && d.Outcome == hook.OutcomeRetry {
		d.Wait = it.Due.Sub(c.now)
	}
	if l.Hook.EndpointVersion == s.Webhook.EndpointVersion { // else it says nothing about the one of now
		c.failed(s, &d)
		if r.Class == hook.ErrOwnFault && r.Detail != "" {
			d.Reason = "a fault of ours, not counted: " + r.Detail
		}
		before, waited := l.Health.State, l.Gate.Until
		if l.Learn(it, &d, r.Phases.Total, c.now) {
			c.changed(l, before)
		}
		if waited.Sub(c.now) <= longWait && l.Gate.Until.Sub(c.now) > longWait {
			c.ledger.notices = append(c.ledger.notices, store.Notice{Webhook: l.subscription.webhook, Kind: "throttled", Detail: c.sentence(l)})
		}
	} else {
		d.Wait = 0 // and what waited when that came was made due
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
		it.Attempt-- // it was not made
		c.slots.release(l, it)
		l.InFlight--
		c.again(l, it)
		switch {
		case it.Won && it.Parked:
			c.letWait(l, func(x *lane.Item) bool { return x == it })
		case it.Kind == hook.Replay && it.Replay != l.subscription.replay: // which has ended; if it was cancelled, this ends here
			c.letWait(l, func(x *lane.Item) bool { return x == it })
			l.dueMore = true
		}
		it.Won = false
		c.touch(l)
		return
	}
	c.ledger.add(l, c.settle(s, &d), it)
	if d.Disable && l.subscription.status == hook.Active && l.Hook.EndpointVersion == s.Webhook.EndpointVersion {
		c.disable(l, hook.ReasonGone)
	}
	if l.Health.Hopeless(c.now) && l.subscription.status == hook.Active {
		c.disable(l, hook.ReasonFailing)
	}
	c.mark(l)
	c.touch(l)
}

// failed remembers the last attempt that did not deliver. Answers that are alike get their advice once.
func (c *core) failed(s *attempt, d *retry.Decision) {
	l, r := s.lane, &s.result
	if d.Outcome == "" || d.Outcome == hook.OutcomeDelivered {
		return
	}
	if f := l.failure; f != nil && f.Class == r.Class && f.StatusCode == r.StatusCode && f.Detail == r.Detail {
		later := *f // whoever asked for the health reads the one before
		later.At = r.StartedAt
		l.failure = &later
		return
	}
	a := attemptOf(s, d, r)
	a.AnswerHeader, a.AnswerBody = r.AnswerHeader, r.AnswerBody
	f := advice.FailureOf(a, s.Webhook)
	l.failure = &f
}

// sentence says how a webhook fares, as the API does.
func (c *core) sentence(l *consumer) string {
	var throttled time.Time
	if g := l.Closed(c.now); !g.Until.IsZero() {
		throttled = c.onWall(g.Until)
	}
	return advice.Sentence(&advice.Standing{
		Throttled: throttled,
		Status:    l.subscription.status, Failing: l.Health.State == lane.Failing, Down: l.Health.State == lane.Down, Failures: l.Health.Failures,
		Since: c.onWall(l.Health.Since), LastSuccess: c.onWall(l.Health.LastSuccess), Last: l.failure, Waiting: -1,
	})
}

// lost records an attempt that was lost with a kept connection, before the one that followed it at
// once: it says nothing of the endpoint, uses no step, and is in no statistics. A token of the rate
// it takes like any other.
func (c *core) lost(s *attempt) {
	l, it, r := s.lane, s.item, s.lost
	d := retry.Decide(retry.Answer{Class: r.Class, Lost: true}, retry.Standing{}, 0)
	a := attemptOf(s, &d, r)
	c.attempts = append(c.attempts, attempted{a, s.Webhook, s.Event})
	c.ledger.add(l, store.Item{Attempt: a}, nil)
	l.Attempted(it)                                                            // the one that followed it may turn out not to have been made
	l.Lost[it.Offset] = lane.Past{Attempts: it.Attempt, Commit: c.commits + 2} // its commit is the next, or the one after
	it.Attempt, it.Fresh = it.Attempt+1, true
	if l.Limiter != nil {
		l.Limiter.ReserveN(c.now, 1)
	}
}

// attemptOf is what is recorded of the item's last attempt.
func attemptOf(s *attempt, d *retry.Decision, r *send.Result) *hook.Attempt {
	it := s.item
	return &hook.Attempt{
		Webhook: s.lane.subscription.webhook, Offset: it.Offset, Number: it.Attempt, Sequence: it.Sequence, Kind: it.Kind, Counted: d.Counted,
		Version: s.Webhook.Version, TimestampText: r.TimestampText, Format: s.Webhook.Format, Changes: s.Webhook.IncludeChanges && s.Event.Changes != nil, Replay: it.Replay, StartedAt: r.StartedAt,
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
			c.ledger.notices = append(c.ledger.notices, store.Notice{Webhook: l.subscription.webhook, Kind: "recovered", Detail: "the endpoint answers again"})
		}
	case l.Health.State == lane.Down:
		why := c.sentence(l)
		c.events = append(c.events, notice{l.Hook.ID, "down", why})
		c.ledger.notices = append(c.ledger.notices, store.Notice{Webhook: l.subscription.webhook, Kind: "down", Detail: why})
	case l.Health.State == lane.Failing:
		c.events = append(c.events, notice{l.Hook.ID, "failing", c.sentence(l)})
	}
}

// disable makes a webhook INACTIVE: at once in memory, durably with the next record.
func (c *core) disable(l *consumer, reason string) {
	l.subscription.status = hook.Inactive
	why := advice.Sentence(&advice.Standing{Status: hook.Inactive, StatusReason: reason, Last: l.failure, Waiting: -1})
	c.ledger.status = append(c.ledger.status, store.StatusChange{
		Webhook: l.subscription.webhook, Partition: l.subscription.part.id, EndpointVersion: l.Hook.EndpointVersion, Status: hook.Inactive, Reason: reason, Detail: why,
	})
	c.events = append(c.events, notice{l.Hook.ID, "disabled", why})
	c.disabled = append(c.disabled, reason)
	c.detach(l)
}

// settle turns a decision into what is recorded, and what memory holds of the delivery.
func (c *core) settle(s *attempt, d *retry.Decision) store.Item {
	l, it, r := s.lane, s.item, &s.result
	a := attemptOf(s, d, r)
	out := store.Item{Attempt: a}
	c.attempts = append(c.attempts, attempted{a, s.Webhook, s.Event})
	c.count(l, a, it, r)
	if it.Won {
		if it.Kind == hook.Replay && !it.Parked { // else it is counted when its row goes
			c.countReplay(l, it, hook.OutcomeDelivered)
		}
		return out
	}
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
		if d.Outcome == hook.OutcomeDelivered && (it.Parked || it.Kind != hook.Live) {
			c.won(l, it, &out)
		}
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
		l.stat, l.statAt = &store.Stat{Webhook: l.subscription.webhook, Bucket: minute}, c.now
	} else if l.stat.Bucket != minute {
		c.ledger.stats = append(c.ledger.stats, *l.stat)
		l.stat, l.statAt = &store.Stat{Webhook: l.subscription.webhook, Bucket: minute}, c.now
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
			Webhook: l.subscription.webhook, Slot: l.answered % kept, Offset: a.Offset, Number: a.Number, Header: r.AnswerHeader, Body: r.AnswerBody,
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
	if at := expiry(it); at != nil && at.Before(due) {
		due = *at // to be given up then
	}
	c.parkRow(l, it, out, &due, reason)
}

func (c *core) parkRow(l *consumer, it *lane.Item, out *store.Item, due *time.Time, reason string) {
	l.Lane.Park(it)
	object := it.Object
	if object == "*" {
		object = ""
	}
	out.Park = &hook.Parked{
		Webhook: l.subscription.webhook, Kind: it.Kind, Offset: it.Offset, Partition: l.subscription.part.id, Sequence: it.Sequence, ObjectKey: object,
		Attempts: it.Attempt, Step: it.Step, Throttles: it.Throttles, DueAt: due, ParkedAt: hook.Now(c.wall()), Reason: reason, Replay: it.Replay,
	}
}

// unpark forgets a settled delivery's row, and lets the next of its object go under strict order.
func (c *core) unpark(l *consumer, it *lane.Item, out *store.Item) {
	if it.Parked {
		out.Unpark = &store.ParkedKey{Webhook: l.subscription.webhook, Kind: it.Kind, Offset: it.Offset}
	}
	if l.Lane.Unpark(it) {
		out.Release = &store.ParkedKey{Webhook: l.subscription.webhook, Object: it.Object}
	}
}

// won lets go of whatever else waits of a delivery that was made: it is not sent again.
func (c *core) won(l *consumer, it *lane.Item, out *store.Item) {
	out.Settle = &store.ParkedKey{Webhook: l.subscription.webhook, Offset: it.Offset}
	if it.Kind != hook.Live && l.Blocked != nil {
		out.Release = &store.ParkedKey{Webhook: l.subscription.webhook, Object: it.Object}
	}
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
		key := lane.Key{Kind: kind, Offset: it.Offset}
		switch x := l.Known[key]; {
		case kind == it.Kind, x != nil && x.State == lane.Waiting && !x.Parked: // a replay's first attempt is a wish of its own
			continue
		case x != nil && x.State == lane.Waiting:
			l.Remove(x)
			delete(l.Known, key)
			x.Drop()
		case x != nil:
			x.Won = true
		}
		l.Past[key] = lane.Past{Attempts: max(l.Past[key].Attempts, it.Attempt), Commit: c.commits + 2, Over: kind == hook.Live} // its commit is the next, or the one after
	}
}

// holdBack parks a delivery behind an earlier one of its object, without a due time of its own.
func (c *core) holdBack(l *consumer, it *lane.Item) {
	var out store.Item
	c.parkRow(l, it, &out, nil, "held")
	// If what it waits for is settled by now, the record itself lets it go.
	out.Release = &store.ParkedKey{Webhook: l.subscription.webhook, Object: it.Object}
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

// expire settles a delivery whose event has expired, or was purged meanwhile, or that retention gave up. What was
// parked out of order is counted when the cursor passes it: until then a restart would skip it again.
// It says no where the lane has yet to read up to there.
func (c *core) expire(l *consumer, it *lane.Item) bool {
	unseen := it.Attempt == 0 && c.late(it) // of what retention gives up, the store has written so itself
	switch ahead := l.ItemAt(it.Offset); {
	case it.Kind != hook.Live:
	case !it.Parked:
		c.skip(l, it)
		if unseen {
			c.ledger.add(l, store.Item{Skip: expired(l, it)}, nil)
		}
		return true
	case it.Offset <= l.Low:
		l.Skipped++
	case ahead != nil:
		ahead.Skipped = true
	default:
		return false
	}
	var out store.Item
	if unseen {
		out.Skip = expired(l, it)
	}
	c.unpark(l, it, &out)
	key := lane.Key{Kind: it.Kind, Offset: it.Offset}
	delete(l.Known, key)
	l.Past[key] = lane.Past{Attempts: it.Attempt + 1, Commit: c.commits + 2} // its commit is the next, or the one after
	it.Drop()
	l.Remove(it)
	c.ledger.add(l, out, nil)
	if it.Kind == hook.Replay && l.subscription.replay == it.Replay {
		c.replayMoved(l)
	}
	c.mark(l)
	return true
}

// parks says that a record that is not committed yet parks a delivery of an event.
func (g *ledger) parks(p hook.Partition, o hook.Offset) bool {
	at := func(it store.Item) bool { return it.Park != nil && it.Park.Partition == p && it.Park.Offset == o }
	return slices.ContainsFunc(g.items, at) || g.writing != nil && slices.ContainsFunc(g.writing.record.Items, at)
}

// ownFault is a fault of ours that held deliveries up, by the engine's time.
type ownFault struct {
	detail string
	since  time.Time // when it began: no longer than faultLasts passed between one attempt that met it and the next
	last   time.Time // when an attempt met it last
	told   time.Time // when operators were
}

// faultLasts is how long a fault of ours is thought to go on after an attempt met it. A lane that meets
// one tries again within [retry.Decide]'s longest wait, which is shorter.
const faultLasts = time.Minute

// faultOfOurs notes one, and tells operators: at once, and again each minute while it lasts.
func (c *core) faultOfOurs(l *consumer, r *send.Result) {
	f := &c.fault
	if c.now.Sub(f.last) > faultLasts {
		f.since = c.now
	}
	f.last = c.now
	c.faulty = append(c.faulty, string(r.Phase))
	if r.Detail == f.detail && c.now.Sub(f.told) < time.Minute {
		return
	}
	f.detail, f.told = r.Detail, c.now
	c.events = append(c.events, notice{l.Hook.ID, "waits for a fault of ours", r.Detail})
}
