package deliver

import (
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/match"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// wakeLane gives a webhook its lane: low-water mark at an offset, history to be loaded.
func (c *core) wakeLane(pl *place, at hook.Offset) *consumer {
	l := &consumer{Lane: lane.New(at, pl.sequence, c.mostParked), place: pl, dueMore: true, wakeIndex: -1, idleSince: c.now}
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
	delete(c.lanes, l.place.webhook)
	c.timers.forget(l)
}

func (c *core) loadLane(l *consumer) {
	if !l.loading && !l.place.deleted {
		l.loading = true
		c.read(read{kind: readLane, lane: l, webhook: l.place.webhook, after: l.Low})
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

// laneLoaded takes in a lane's history and settings; later it only renews the settings.
func (c *core) laneLoaded(l *consumer, from store.Lane, err error) {
	if err != nil {
		c.retry(&l.loading, func() { c.loadLane(l) })
		return
	}
	l.loading = false
	before := l.Hook
	l.Hook = from.Webhook
	l.Limit(c.now)
	for _, o := range from.Stranded {
		c.ledger.add(l, store.Item{Free: &store.ParkedKey{Webhook: l.place.webhook, Kind: hook.Live, Offset: o}}, nil)
	}
	if before != nil {
		if before.Ordering != l.Hook.Ordering {
			c.reorder(l, from.Blocked)
		}
		if before.EndpointVersion != l.Hook.EndpointVersion {
			l.Health = lane.Health{State: lane.Healthy, LastSuccess: l.Health.LastSuccess, LastFailure: l.Health.LastFailure}
			l.Gate, l.Fault, l.Throttles, l.OwnFaults, l.Slow, l.Window = lane.Gate{}, lane.Gate{}, 0, 0, false, lane.NewWindow()
			c.forgetEarly(l)
			c.mark(l) // a record of meanwhile may have told of the one before
		}
		c.touch(l)
		return
	}
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

// reorder makes a lane follow a new ordering: what merely waits is read again under the new keys.
func (c *core) reorder(l *consumer, blocked map[string]int) {
	l.Blocked = blocked
	c.detach(l)
}

// admit gives an offered delivery its place: settled long ago, skipped, or in line.
func (c *core) admit(l *consumer, it *lane.Item) {
	if l.Lane.Admit(it); it.State == lane.Settled {
		it.Drop()
		return
	}
	if _, skip := l.place.skipped(it.Offset); skip {
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
	p := l.place.part
	upTo := p.tail
	if l.place.status != hook.Active {
		for _, k := range l.place.skips {
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
		case len(l.Items)-l.Ahead < lane.LowQueue && len(l.Items) < lane.MaxAhead:
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
		c.read(read{kind: readDueOf, lane: l, webhook: l.place.webhook, now: c.wall(), probe: l.Health.State == lane.Down})
	}
	if l.place.replay != 0 && !l.replayDone && len(l.Replays) == 0 && !l.replaying && len(l.Known) <= lane.MaxDue/2 &&
		(l.Health.State == lane.Healthy || l.bare() && !c.now.Before(l.Health.ProbeAt)) {
		l.replaying, l.replayAsked = true, c.commits
		c.read(read{kind: readReplay, lane: l, webhook: l.place.webhook, replay: l.place.replay, after: l.replayAt})
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
		kind: readBacklog, lane: l, webhook: l.place.webhook, company: l.place.company.key, partition: l.place.part.id,
		after: l.Read, upTo: upTo, rules: l.place.rules,
	}
	if r.turn = filtered(r.rules); !r.turn {
		c.read(r)
		return
	}
	co := l.place.company
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
	co := r.lane.place.company
	co.backlog[0] = nil
	for co.backlog = co.backlog[1:]; len(co.backlog) > 0; co.backlog = co.backlog[1:] {
		if r := co.backlog[0]; !r.lane.place.deleted {
			r.after, r.rules = r.lane.Read, r.lane.place.rules
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
		if !r.lane.place.deleted {
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
			held = l.place.part.payloads.Hold(h.event)
		}
		c.admit(l, l.Offer(&lane.Item{Offset: h.offset, Topic: h.topic, Object: h.object, Payload: held, Since: c.now}, l.place.leapAt(h.offset)))
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
	for _, line := range [][]*lane.Item{l.Due, l.Run, l.Replays} {
		for _, it := range slices.Clone(line) {
			if it.Payload != nil {
				continue
			}
			if e, ok := found[it.Offset]; ok {
				it.Payload = l.place.part.payloads.Hold(e)
				it.Topic = e.Topic
			} else if slices.Contains(asked, it.Offset) {
				c.expire(l, it)
			}
		}
	}
	c.touch(l)
}
