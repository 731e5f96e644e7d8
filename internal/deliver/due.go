package deliver

import (
	"cmp"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

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
		pl := c.places[x.Webhook]
		if pl == nil || pl.deleted || pl.status != hook.Active && x.Reason != store.ReasonExpired {
			continue // a lane that comes to life asks for itself
		}
		l := pl.lane
		if l == nil {
			l = c.wakeLane(pl, max(pl.offset, c.attachedAt(pl)))
			l.Fed = !pl.detached
		}
		c.addDue(l, x, r.ended)
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
func (c *core) attachedAt(pl *place) hook.Offset {
	if pl.detached {
		return pl.offset
	}
	return pl.offered()
}

// addDue takes one parked delivery into memory, if there is room and it is not there. It was read when so
// many replays had ended: if its lane's was not among them, it is read again.
func (c *core) addDue(l *consumer, x *hook.Parked, ended uint64) {
	if x.Kind == hook.Replay && ended < l.place.ended {
		l.dueMore = true
		return
	}
	key := lane.Key{Kind: x.Kind, Offset: x.Offset}
	if was, ok := l.Past[key]; ok && x.Attempts < was.Attempts {
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
	it.Number = l.Number(it)
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
	l.dueReading = false
	l.dueMore = l.dueMore || full // a wish of meanwhile is not in this answer
	slices.SortFunc(due, func(a, b hook.Parked) int { return cmp.Compare(a.Offset, b.Offset) })
	for i := range due {
		c.addDue(l, &due[i], r.ended)
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
