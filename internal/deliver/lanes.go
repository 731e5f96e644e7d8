package deliver

import (
	"cmp"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/match"
	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// consumer is a lane that the engine runs: the lane decides, and the consumer says what of it is being
// read, recorded or waited for. It exists only while its webhook has work, and only the engine's loop
// touches it.
type consumer struct {
	lane.Lane
	subscription *subscription

	dueMore bool         // the store holds more that is due
	expired []*lane.Item // given up by retention, until the lane is loaded

	lateAt time.Time // on the wall, when the first of what it holds expires; zero for never

	loading, reading, fetching, dueReading, replaying bool // reads under way

	kept        lane.Gate       // its endpoint's, as the store has it
	recording   int             // its news under way to the store
	dueAsked    uint64          // count of commits when it asked what is due
	replayAsked uint64          // and what its replay covers
	wished      bool            // somebody wants a probe, which is what is due first: that is being read
	failure     *advice.Failure // its last attempt that did not deliver, in this life
	inLine      bool            // for a slot
	wake        time.Time
	wakeIndex   int  // in the heap of timers; −1 when not
	index       int  // among the consumers that are awake
	late        bool // its oldest unsettled delivery is older than an attached one may be
	idleSince   time.Time
	replayDone  bool // nothing is left to look at; only deliveries under way
	replayAt    hook.Offset

	// What the next record says of it.
	touched   bool
	answers   []store.Answer // of its last successes, not yet kept
	answersAt time.Time      // when some were handed over last
	answered  int            // successes, ever
	stat      *store.Stat
	statAt    time.Time
}

// may decides whether an attempt may start now: whether the webhook is to have any, then what its lane
// says.
func (l *consumer) may(now time.Time) lane.Verdict {
	switch {
	case l.Hook == nil:
		return lane.Verdict{Reason: "loading"}
	case l.subscription.deleted:
		return lane.Verdict{Reason: "deleted"}
	case l.subscription.status != hook.Active:
		return lane.Verdict{Reason: string(l.subscription.status)}
	case l.subscription.part.leaving:
		return lane.Verdict{Reason: "moving to another node"}
	case l.cancelling():
		return lane.Verdict{Reason: "the next event is being cancelled"}
	case l.wished && l.Health.State == lane.Down && len(l.Due) == 0:
		return lane.Verdict{Reason: "reading what is due"}
	}
	return l.Next(now)
}

// again puts a delivery that started, but is not settled, back at the head of its line.
func (c *core) again(l *consumer, it *lane.Item) {
	l.Again(it)
	if l.subscription.deleted {
		c.abandon(l)
	}
}

// idle says that nothing is left to do or to remember.
func (l *consumer) idle(now time.Time) bool {
	return l.Hook != nil && (l.Fed || l.subscription.status != hook.Active) && len(l.Items) == 0 && len(l.Due) == 0 && len(l.Replays) == 0 && l.InFlight == 0 && l.recording == 0 && !l.dueMore &&
		!l.touched && !l.reading && !l.fetching && !l.dueReading && !l.replaying && !l.loading && l.Health.State == lane.Healthy &&
		len(l.Past)+len(l.Lost) == 0 && l.Open(now) && l.subscription.replay == 0 && l.stat == nil && len(l.answers) == 0 &&
		(l.Limiter == nil || l.Limiter.TokensAt(now) >= float64(l.Limiter.Burst())) // the next lane begins with a full one
}

// otherwise is what the store has of a gate that must be told anew: it differs from every gate.
var otherwise = lane.Gate{Version: -1}

// restoreGate makes a lane go on to wait for what its endpoint asked before.
func (c *core) restoreGate(l *consumer, from *hook.Gate) {
	if from.NotBefore == nil {
		return
	}
	l.kept = otherwise
	if from.EndpointVersion != l.Hook.EndpointVersion {
		return
	}
	if !l.WaitOn(from, c.local(*from.NotBefore), c.now) {
		c.mark(l)
		return
	}
	l.kept = l.Gate
}

// gatesAnew tells the store anew until when lanes wait, after the clock was set that it goes by.
func (c *core) gatesAnew() {
	for _, l := range c.awake {
		if l.kept != (lane.Gate{}) {
			l.kept = otherwise
			c.mark(l)
		}
	}
}

// durable is what is stored of it; onWall turns the engine's time into the wall's.
func healthRow(h *lane.Health, onWall func(time.Time) time.Time) store.Health {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = hook.Now(onWall(t))
		return &t
	}
	return store.Health{
		FailingSince: at(h.Since), LastSuccessAt: at(h.LastSuccess), LastFailureAt: at(h.LastFailure), ProbeAt: at(h.ProbeAt),
		FailingHours: h.Hours, ConsecutiveFailures: h.Failures, ProbeStep: h.Probes, LastFailingHour: h.LastHour,
	}
}

// wakeLane gives a webhook its lane: low-water mark at an offset, history to be loaded.
func (c *core) wakeLane(pl *subscription, at hook.Offset) *consumer {
	l := &consumer{Lane: lane.New(at, pl.sequence, c.mostParked), subscription: pl, dueMore: true, wakeIndex: -1, idleSince: c.now}
	pl.lane = l
	c.lanes[pl.webhook] = l
	l.index, c.awake = len(c.awake), append(c.awake, l)
	c.restless = true
	c.loadLane(l)
	return l
}

// asleep forgets a lane that has nothing to do, or whose webhook is gone.
func (c *core) asleep(l *consumer) {
	last := c.awake[len(c.awake)-1]
	c.awake[l.index], last.index = last, l.index
	c.awake[len(c.awake)-1] = nil
	c.awake = c.awake[:len(c.awake)-1]
	delete(c.lanes, l.subscription.webhook)
	c.timers.forget(l)
}

func (c *core) loadLane(l *consumer) {
	if !l.loading && !l.subscription.deleted {
		l.loading = true
		c.read(read{kind: readLane, lane: l, webhook: l.subscription.webhook, after: l.Low})
	}
}

// retry asks again in a second after a read that failed. Until then the read counts as under way: a
// lane that waits for it is not idle.
func (c *core) retry(underWay *bool, ask func()) {
	c.timers.in(c.now, time.Second, func() {
		*underWay = false
		ask()
	})
}

// repairNoticed is how long before the last change of a webhook another one was made at most, that the lane hears
// of only with it.
const repairNoticed = 10 * time.Second

// laneLoaded takes in a lane's history and settings; later it only renews the settings.
func (c *core) laneLoaded(l *consumer, from store.Lane, err error) {
	if err != nil {
		c.retry(&l.loading, func() { c.loadLane(l) })
		return
	}
	l.loading = false
	before := l.Hook
	l.Hook = from.Webhook
	if c.mostOfOne > 0 {
		l.Hook.MaxConcurrency = min(l.Hook.MaxConcurrency, c.mostOfOne)
	}
	l.Limit(c.now)
	for _, o := range from.Stranded {
		c.ledger.add(l, store.Item{Free: &store.ParkedKey{Webhook: l.subscription.webhook, Kind: hook.Live, Offset: o}}, nil)
	}
	if before != nil {
		if before.Ordering != l.Hook.Ordering {
			c.reorder(l, from.Blocked)
		}
		if before.EndpointVersion != l.Hook.EndpointVersion {
			l.NewEndpoint(c.now)
			l.failure, l.dueMore = nil, true
			c.forgetEarly(l)
			c.mark(l) // a record of meanwhile may have told of the one before, or parked what it did not take
			c.ledger.repairs = append(c.ledger.repairs, store.Repair{Webhook: l.subscription.webhook, Since: l.Hook.UpdatedAt.Add(-repairNoticed)})
		}
		c.touch(l)
		return
	}
	l.EndpointSince = c.local(l.Hook.EndpointSince)
	l.Health = lane.RestoreHealth(&from.Cursor, c.now, c.local)
	if most := c.now.Add(retry.ProbeWait(l.Health.Probes)); l.Health.ProbeAt.After(most) {
		l.Health.ProbeAt = most // the clock was set back since
	}
	c.restoreGate(l, &from.Cursor.Gate)
	l.Proven = from.Cursor.LastSuccessAt != nil && from.Cursor.ConsecutiveFailures == 0
	l.Parked, l.Blocked = from.Parked, from.Blocked
	l.answered = int(from.Cursor.Delivered)
	if len(from.Above) > 0 {
		l.Above = make(map[hook.Offset]lane.Above, len(from.Above))
		for _, a := range from.Above {
			l.Above[a.Offset] = lane.Above{Attempts: a.Attempts, Throttles: a.Throttles, Settled: a.Settled}
		}
	}
	for _, it := range l.Items {
		c.admit(l, it)
	}
	c.touch(l)
}

// reorder makes a lane follow a new ordering: what merely waits is read again under the new keys. So is what is held
// for nothing now: records of meanwhile held deliveries under the former ordering.
func (c *core) reorder(l *consumer, blocked map[string]int) {
	l.Blocked = blocked
	c.detach(l)
	c.loadLane(l)
}

// admit says what an offered delivery is: settled long ago, skipped, or in line.
func (c *core) admit(l *consumer, it *lane.Item) {
	if l.Lane.Admit(it); it.State == lane.Settled {
		it.Drop()
		return
	}
	if _, skip := l.subscription.skipped(it.Offset); skip {
		c.skip(l, it)
	}
}

// detach makes a lane that cannot keep up read its backlog from the store.
func (c *core) detach(l *consumer) {
	l.Cut()
	c.mark(l)
}

// supply asks the store for what the lane will need next. One that stands still reads only what it
// is to skip.
func (c *core) supply(l *consumer) {
	p := l.subscription.part
	upTo := p.tail
	if l.subscription.status != hook.Active {
		for _, k := range l.subscription.skips {
			if k.To > l.Read && k.From <= l.Read+1 && !l.reading && p.version >= 0 {
				l.reading = true
				c.readBacklog(l, min(k.To, upTo))
			}
		}
		return
	}
	if !l.Fed && !l.reading && p.version >= 0 {
		switch {
		case l.Read >= p.tail:
			l.Fed = true
		case l.Hungry():
			l.reading = true
			c.readBacklog(l, upTo)
		}
	}
	if !l.fetching && (c.payloads <= maxPayloads || l.InFlight == 0) {
		if want := l.Missing(); len(want) > 0 {
			l.fetching = true
			c.read(read{kind: readEvents, lane: l, partition: p.id, offsets: want})
		}
	}
	if l.dueMore && len(l.Due) == 0 && l.Retries() <= lane.MaxDue/2 && !l.dueReading && l.Open(c.now) &&
		(l.Health.State != lane.Down || !c.now.Before(l.Health.ProbeAt) && l.InFlight == 0) {
		l.dueMore, l.dueReading, l.dueAsked = false, true, c.commits
		c.read(read{kind: readDueOf, lane: l, webhook: l.subscription.webhook, now: c.wall(), probe: l.Health.State == lane.Down})
	}
	if l.subscription.replay != 0 && !l.replayDone && len(l.Replays) == 0 && !l.replaying && len(l.Known) <= lane.MaxDue/2 &&
		(l.Health.State == lane.Healthy || l.bare() && !c.now.Before(l.Health.ProbeAt)) {
		l.replaying, l.replayAsked = true, c.commits
		c.read(read{kind: readReplay, lane: l, webhook: l.subscription.webhook, replay: l.subscription.replay, after: l.replayAt})
	}
}

// bare says that the lane has nothing to attempt but what its replay covers. Then that is what an
// endpoint is probed with which does not answer.
func (l *consumer) bare() bool {
	return l.Fed && len(l.Items) == l.Ahead && len(l.Due) == 0 && l.InFlight == 0 && !l.dueMore && !l.dueReading
}

// readBacklog has the next part of a lane's backlog read. Lanes of a company that have filters take
// turns: only one of them holds events in memory for its filter to look at.
func (c *core) readBacklog(l *consumer, upTo hook.Offset) {
	r := read{
		kind: readBacklog, lane: l, webhook: l.subscription.webhook, company: l.subscription.company.key, partition: l.subscription.part.id,
		after: l.Read, upTo: upTo, rules: l.subscription.rules,
	}
	if r.turn = filtered(r.rules); !r.turn {
		c.read(r)
		return
	}
	co := l.subscription.company
	if co.backlog = append(co.backlog, &r); len(co.backlog) == 1 {
		c.read(r)
	}
}

func filtered(rules []rule) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return r.filter != nil })
}

// endTurn lets the company's next lane read, when this read was one of those that take turns.
func (c *core) endTurn(r *read) {
	if !r.turn {
		return
	}
	co := r.lane.subscription.company
	co.backlog[0] = nil
	for co.backlog = co.backlog[1:]; len(co.backlog) > 0; co.backlog = co.backlog[1:] {
		if r := co.backlog[0]; !r.lane.subscription.deleted {
			r.after, r.rules = r.lane.Read, r.lane.subscription.rules
			r.upTo = max(r.upTo, r.after)
			c.read(*r)
			return
		}
	}
	co.backlog = nil
}

// backlogFound has the filters asked that the next events of a backlog need.
func (c *core) backlogFound(r *read, hits []hit, readTo hook.Offset, err error) {
	var questions []match.Question
	for _, h := range hits {
		if h.filter != nil {
			questions = append(questions, match.Question{Event: h.event, Filters: []string{h.filter.text}})
		}
	}
	if len(questions) == 0 {
		c.endTurn(r)
		c.backlogRead(r.lane, r.after, hits, readTo, err)
		return
	}
	c.asks = append(c.asks, ask{r.company, questions, func(c *core, answers []match.Answer) {
		kept := hits[:0]
		for _, h := range hits {
			ok := h.filter == nil
			if !ok {
				ok, answers = answers[0][0], answers[1:]
			}
			if ok {
				kept = append(kept, h)
			}
		}
		c.endTurn(r)
		if !r.lane.subscription.deleted {
			c.backlogRead(r.lane, r.after, kept, readTo, nil)
		}
	}})
}

// backlogRead takes in the next matched events of a lane that reads its own backlog.
func (c *core) backlogRead(l *consumer, after hook.Offset, hits []hit, readTo hook.Offset, err error) {
	if err != nil {
		c.retry(&l.reading, func() { c.touch(l) })
		return
	}
	l.reading = false
	if after != l.Read { // it was cut meanwhile
		c.touch(l)
		return
	}
	for _, h := range hits {
		if h.offset <= l.Read {
			continue
		}
		var held *lane.Payload
		if h.event != nil {
			held = l.subscription.part.payloads.Hold(h.event)
		}
		if h.event != nil {
			l.expects(h.event)
		}
		c.admit(l, l.Offer(&lane.Item{Offset: h.offset, Object: h.object, Payload: held, Since: c.now}, l.subscription.leapAt(h.offset)))
		held.Drop()
	}
	l.Read = max(l.Read, readTo)
	l.Advance()
	if l.touched || len(hits) == 0 {
		c.mark(l)
	}
	c.touch(l)
}

// eventsRead takes in payloads. A delivery whose event is gone was purged: it expired.
func (c *core) eventsRead(l *consumer, asked []hook.Offset, events []*hook.Event, err error) {
	if err != nil {
		c.retry(&l.fetching, func() { c.touch(l) })
		return
	}
	l.fetching = false
	found := make(map[hook.Offset]*hook.Event, len(events))
	for _, e := range events {
		found[e.Offset] = e
	}
	for _, it := range l.Unread() {
		if e, ok := found[it.Offset]; ok {
			it.Payload = l.subscription.part.payloads.Hold(e)
			l.expects(e)
		} else if slices.Contains(asked, it.Offset) {
			c.expire(l, it)
		}
	}
	c.touch(l)
}

// dueRead routes parked deliveries that are due to their lanes.
func (c *core) dueRead(r *read, due []hook.Parked, next *time.Time, full bool, err error) {
	p := r.part
	p.dueReading = false
	if err != nil {
		p.dueStale = false
		c.dueSoon(p, c.wall().Add(time.Second))
		return
	}
	for i := range due {
		x := &due[i]
		p.dueFrom = store.DuePlace{DueAt: *x.DueAt, Webhook: x.Webhook, Kind: x.Kind, Offset: x.Offset}
		pl := c.subscriptions[x.Webhook]
		if pl == nil || pl.deleted || pl.status != hook.Active && x.Reason != store.ReasonExpired {
			continue // a lane that comes to life asks for itself
		}
		l := pl.lane
		if l == nil {
			l = c.wakeLane(pl, max(pl.offset, c.attachedAt(pl)))
			l.Fed = !pl.detached
		}
		c.addDue(l, x, r)
		c.touch(l)
	}
	p.dueLater = next != nil || full
	switch {
	case p.dueStale:
		c.dueAgain(p)
	case full:
		p.dueAt = c.now
	case next != nil:
		c.dueSoon(p, *next) // what was parked since it was asked may be due before
	}
}

// attachedAt is the effective place of a webhook without a lane: an attached one has nothing
// unsettled up to what was offered.
func (c *core) attachedAt(pl *subscription) hook.Offset {
	if pl.detached {
		return pl.offset
	}
	return pl.offered()
}

// addDue takes one parked delivery into memory, if there is room and it is not there. It was read when so
// many replays had ended: if its lane's was not among them, it is read again.
func (c *core) addDue(l *consumer, x *hook.Parked, r *read) {
	if x.Kind == hook.Replay && r.ended < l.subscription.ended {
		l.dueMore = true
		return
	}
	key := lane.Key{Kind: x.Kind, Offset: x.Offset}
	if was, ok := l.Past[key]; ok && (was.Over || x.Attempts < was.Attempts) {
		return // the row was read before its last attempt was recorded
	}
	it, here := l.Known[key]
	if x.Reason == store.ReasonExpired || x.Reason == store.ReasonCancelled {
		if !here {
			it = l.ParkedItem(x, c.now)
			l.Known[key] = it
		}
		l.expired = append(l.expired, it)
		return
	}
	if here {
		return
	}
	if len(l.Due) >= lane.MaxDue {
		l.dueMore = true
		return
	}
	it = l.ParkedItem(x, c.now)
	it.Due, it.ParkedAt = c.local(*x.DueAt), c.local(x.ParkedAt)
	it.Number, it.ReplayID = l.Number(it), r.replays[it.Replay]
	l.Known[key] = it
	l.Enqueue(it)
}

// forgetEarly drops what was read to probe with and is not due, now that the endpoint is back: it is
// read again in its time.
func (c *core) forgetEarly(l *consumer) {
	c.letWait(l, func(it *lane.Item) bool { return it.Parked && it.Due.After(c.now) })
}

// letWait drops from memory what waits of parked deliveries and replays and is not wanted.
func (c *core) letWait(l *consumer, unwanted func(*lane.Item) bool) {
	var list []*lane.Item
	for _, it := range l.Known {
		if it.State == lane.Waiting && unwanted(it) {
			list = append(list, it)
		}
	}
	slices.SortFunc(list, func(a, b *lane.Item) int { return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Kind, b.Kind)) })
	for _, it := range list {
		l.Remove(it)
		delete(l.Known, lane.Key{Kind: it.Kind, Offset: it.Offset})
		it.Drop()
	}
}

// expireDue settles what retention has given up, but for what is being sent, and what lies beyond
// where the lane has read.
func (c *core) expireDue(l *consumer) {
	l.expired = slices.DeleteFunc(l.expired, func(it *lane.Item) bool {
		return it.State != lane.Waiting || l.Known[lane.Key{Kind: it.Kind, Offset: it.Offset}] != it || c.expire(l, it)
	})
}

// dueOfRead takes in what one lane asked for.
func (c *core) dueOfRead(r *read, due []hook.Parked, full bool, err error) {
	l := r.lane
	if err != nil {
		l.dueMore = true
		c.retry(&l.dueReading, func() { c.touch(l) })
		return
	}
	l.dueReading, l.wished = false, false
	l.dueMore = l.dueMore || full       // a wish of meanwhile is not in this answer
	later := func(x *hook.Parked) int { // what somebody asked for is what an endpoint is probed with
		if r.probe && x.Reason == store.ReasonRequested {
			return 0
		}
		return 1
	}
	slices.SortFunc(due, func(a, b hook.Parked) int {
		return cmp.Or(cmp.Compare(later(&a), later(&b)), cmp.Compare(a.Offset, b.Offset))
	})
	for i := range due {
		c.addDue(l, &due[i], r)
	}
	if r.probe && l.Health.State != lane.Down {
		c.forgetEarly(l)
	}
	c.touch(l)
}

// dueSoon makes the partition look at its parked deliveries no later than at a time of the wall.
func (c *core) dueSoon(p *partition, wall time.Time) {
	if wall.Before(p.dueFrom.DueAt) { // the clock was set back: what is due now sorts before what was
		p.dueFrom, p.dueStale = store.DuePlace{}, p.dueReading
	}
	p.dueLater = true
	if at := c.local(wall); at.Before(p.dueAt) {
		p.dueAt = at
	}
}

// dueAgain makes the partition look at all that is due, from the beginning.
func (c *core) dueAgain(p *partition) {
	p.dueFrom, p.dueStale, p.dueAt = store.DuePlace{}, p.dueReading, c.now
}

// lookAt is when to look at what is parked, zero while that is under way: when some of it is due,
// and before that now and then at the clock.
func (p *partition) lookAt(now time.Time) time.Time {
	switch at := now.Add(lookAtClock); {
	case p.dueReading:
		return time.Time{}
	case p.dueLater && at.Before(p.dueAt):
		return at
	}
	return p.dueAt
}

// replayRead takes in the next deliveries that a replay covers. They are attempted last, at the
// replay's rate; what fails is parked and retried like any other.
func (c *core) replayRead(l *consumer, work replayWork, err error) {
	if err != nil {
		c.retry(&l.replaying, func() { c.touch(l) })
		return
	}
	l.replaying = false
	if l.subscription.replay != work.replay.Key {
		return // it was cancelled meanwhile
	}
	failpoint.Hit(failpoint.Replay)
	for _, x := range work.items {
		key := lane.Key{Kind: hook.Replay, Offset: x.Offset}
		if _, here := l.Known[key]; here {
			continue
		}
		it := &lane.Item{
			Delivery: hook.Delivery{Kind: hook.Replay, Sequence: x.Sequence, Replay: work.replay.Key, ReplayID: work.replay.ID},
			Offset:   x.Offset, Object: l.OrderKey(x.ObjectKey), Number: x.Attempts, Since: c.now,
		}
		it.Number = l.Number(it)
		l.Known[key] = it
		l.Enqueue(it)
	}
	l.replayAt, l.replayDone = work.upTo, work.done
	l.ReplayGap = 0
	if work.replay.Rate > 0 {
		l.ReplayGap = time.Duration(float64(time.Second) / work.replay.Rate)
	}
	c.replayMoved(l)
	c.touch(l)
}

// replayMoved notes how far a replay has come: every delivery up to its place was attempted at
// least once, and is delivered, failed or parked.
func (c *core) replayMoved(l *consumer) {
	place, underWay := l.replayAt, false
	for key, it := range l.Known {
		if key.Kind == hook.Replay && !it.Parked && it.Replay == l.subscription.replay {
			place, underWay = min(place, key.Offset-1), true
		}
	}
	m := c.replayNews(l, l.subscription.replay)
	m.Place = max(m.Place, place)
	m.Done = l.replayDone && !underWay
}

// replayNews is what the next record says of a replay.
func (c *core) replayNews(l *consumer, replay int64) *store.ReplayMove {
	m := c.ledger.replays[replay]
	if m == nil {
		if c.ledger.replays == nil {
			c.ledger.replays, c.ledger.replaying = map[int64]*store.ReplayMove{}, map[int64]*consumer{}
		}
		m = &store.ReplayMove{Key: replay}
		c.ledger.replays[replay], c.ledger.replaying[replay] = m, l
	}
	return m
}

// countReplay adds one outcome to its replay's progress.
func (c *core) countReplay(l *consumer, it *lane.Item, outcome hook.Outcome) {
	m := c.replayNews(l, it.Replay)
	if !it.Parked {
		m.Started++
	}
	switch outcome {
	case hook.OutcomeDelivered:
		m.Delivered++
	case hook.OutcomeFailed, hook.OutcomeGone:
		m.Failed++
	case hook.OutcomeRetry, hook.OutcomeThrottled:
	}
}

// endReplay drops what waits in memory of a finished or cancelled replay, and what a read under way will
// bring of it. What is still parked is read again: of one that was cancelled, nothing is.
func (c *core) endReplay(pl *subscription) {
	c.ended++
	pl.ended = c.ended
	if l := pl.lane; l != nil {
		c.letWait(l, func(it *lane.Item) bool { return it.Kind == hook.Replay })
		l.replayDone, l.replayAt, l.dueMore = false, 0, true
	}
}
