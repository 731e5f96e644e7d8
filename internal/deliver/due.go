package deliver

import (
	"cmp"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// dueRead routes parked deliveries that are due to their lanes.
func (c *core) dueRead(p *partition, due []hook.Parked, next *time.Time, full bool, err error) {
	p.dueReading = false
	if err != nil {
		p.dueStale = false
		c.dueSoon(p, c.wall().Add(time.Second))
		return
	}
	for i := range due {
		x := &due[i]
		p.dueFrom = store.DuePlace{DueAt: *x.DueAt, Webhook: x.Webhook, Kind: x.Kind, Offset: x.Offset}
		pl := c.places[x.Webhook]
		if pl == nil || pl.deleted || pl.status != hook.Active && x.Reason != store.ReasonExpired {
			continue // a lane that comes to life asks for itself
		}
		l := pl.lane
		if l == nil {
			l = c.wakeLane(pl, max(pl.offset, c.attachedAt(pl)))
			l.fed = !pl.detached
		}
		c.addDue(l, x)
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
// unsettled up to the tail.
func (c *core) attachedAt(pl *place) hook.Offset {
	if pl.detached {
		return pl.offset
	}
	return pl.part.tail
}

// addDue takes one parked delivery into memory, if there is room and it is not there.
func (c *core) addDue(l *lane, x *hook.Parked) {
	key := parkedKey{x.Kind, x.Offset}
	if was, ok := l.past[key]; ok && x.Attempts < was.attempts {
		return // the row was read before its last attempt was recorded
	}
	it, here := l.known[key]
	if x.Reason == store.ReasonExpired {
		if !here {
			it = l.parkedItem(x, c.now)
			l.known[key] = it
		}
		l.expired = append(l.expired, it)
		return
	}
	if here {
		return
	}
	if len(l.due) >= maxDue {
		l.dueMore = true
		return
	}
	it = l.parkedItem(x, c.now)
	it.number = l.number(it)
	l.known[key] = it
	l.enqueue(it)
}

// parkedItem is a parked delivery in memory.
func (l *lane) parkedItem(x *hook.Parked, now time.Time) *item {
	it := &item{
		offset: x.Offset, sequence: x.Sequence, object: x.ObjectKey, kind: x.Kind, parked: true,
		attempts: x.Attempts, number: x.Number, step: x.Step, replay: x.Replay, since: now,
	}
	if l.hook != nil {
		it.object = l.orderKey(it.object)
	}
	return it
}

// expireDue settles what retention has given up, but for what is being sent.
func (c *core) expireDue(l *lane) {
	for _, it := range l.expired {
		if it.state == waiting && l.known[parkedKey{it.kind, it.offset}] == it {
			c.expire(l, it)
		}
	}
	l.expired = nil
}

// dueOfRead takes in what one lane asked for.
func (c *core) dueOfRead(l *lane, due []hook.Parked, full bool, err error) {
	l.dueReading = false
	if err != nil {
		l.dueMore = true
		c.timers.in(c.now, time.Second, func() { c.touch(l) })
		return
	}
	l.dueMore = l.dueMore || full // a wish of meanwhile is not in this answer
	slices.SortFunc(due, func(a, b hook.Parked) int { return cmp.Compare(a.Offset, b.Offset) })
	for i := range due {
		c.addDue(l, &due[i])
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

// number is the highest attempt number that its delivery has, on whose wish ever.
func (l *lane) number(it *item) int {
	n := max(it.attempts, it.number)
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
		key := parkedKey{kind, it.offset}
		if x := l.known[key]; x != nil {
			n = max(n, x.attempts)
		}
		n = max(n, l.past[key].attempts)
	}
	return n
}
