package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// committed takes in what the store says right after a commit.
func (c *core) committed(id hook.Partition, events []*hook.Event, version int64) {
	p := c.partitions[id]
	if p == nil {
		return
	}
	p.wanted = max(p.wanted, version)
	if n := size(events); len(p.inbox)+len(events) > maxInbox || c.inboxes+n > maxInboxes {
		c.empty(p)
		p.behind, p.missed = true, p.reading
	} else {
		p.inbox = append(p.inbox, events...)
		c.inboxes += n
	}
	c.configure(p)
	c.feed(p)
}

// size is what events hold of memory, in bytes: their data, and what they take beside it.
func size(events []*hook.Event) (n int64) {
	for _, e := range events {
		n += int64(len(e.Data)) + eventBytes
	}
	return n
}

// empty lets go of what a partition has in memory of its log.
func (c *core) empty(p *partition) {
	c.inboxes -= size(p.inbox)
	p.inbox = nil
}

// feed offers the events that come next to the lanes: from memory if they are exactly the next,
// else from the store.
func (c *core) feed(p *partition) {
	if c.partitions[p.id] != p {
		return // it was handed over
	}
	if p.version < p.wanted || p.version < 0 {
		return // the places first: a rule may begin with the next event
	}
	for len(p.inbox) > 0 && !p.reading {
		e := p.inbox[0]
		if e.Offset > p.tail+1 {
			p.behind = true
			break
		}
		p.inbox[0] = nil
		p.inbox = p.inbox[1:]
		c.inboxes -= int64(len(e.Data)) + eventBytes
		if e.Offset == p.tail+1 {
			c.offer(p, e)
		}
	}
	if len(p.inbox) == 0 {
		p.inbox = nil
	}
	if p.behind && !p.reading {
		p.reading = true
		c.read(read{kind: readTail, partition: p.id, after: p.tail})
	}
}

// tailRead takes in what a read of the tail found.
func (c *core) tailRead(id hook.Partition, events []*hook.Event, version int64, more bool, err error) {
	p := c.partitions[id]
	if p == nil {
		return
	}
	p.reading = false
	if err != nil {
		c.timers.in(c.now, time.Second, func() { c.feed(p) })
		return
	}
	if version > p.version { // some of these events may lie behind a rule that is not known yet
		p.wanted = max(p.wanted, version)
		c.configure(p)
		return
	}
	p.behind, p.missed = more || p.missed, false
	for _, e := range events {
		if e.Offset > p.tail {
			c.offer(p, e)
		}
	}
	c.feed(p)
}

// offer gives one event of the log to the lanes that want it, at once where no filter has to be asked.
func (c *core) offer(p *partition, e *hook.Event) {
	failpoint.Hit(failpoint.Offered)
	p.tail = e.Offset
	co := c.companies[e.Company]
	switch {
	case co == nil:
	case co.judging.waits() || c.mustAsk(co, e):
		c.wait(p, co, e)
	default:
		c.offerTo(p, co, e)
	}
}

// offerTo gives an event to the lanes of its company that want it; its filters have said what they say.
func (c *core) offerTo(p *partition, co *company, e *hook.Event) {
	var shared *lane.Payload
	for _, pl := range co.interested(e.Topic) {
		l := pl.lane
		if pl.status != hook.Active || pl.deleted || l == nil && pl.detached || l != nil && !l.Fed {
			continue
		}
		if l != nil && e.Offset <= l.Read || l == nil && e.Offset <= pl.offset {
			continue
		}
		r, ok := pl.wants(e.Offset, e.Topic)
		if !ok || r.filter != nil && !r.filter.matched {
			continue
		}
		if l == nil {
			l = c.wakeLane(pl, e.Offset-1)
			l.Fed = true
		}
		if shared == nil {
			shared = p.payloads.Hold(e)
		}
		it := l.Offer(&lane.Item{Offset: e.Offset, Topic: e.Topic, Object: e.ObjectKey, Payload: shared, Since: c.now}, l.place.leapAt(e.Offset))
		c.items++
		if l.Hook != nil {
			c.admit(l, it)
		}
		if c.crowded(l) {
			c.detach(l)
		}
		c.touch(l)
	}
	if shared != nil {
		shared.Drop() // the lanes hold it now
	}
}

// crowded says that a lane keeps more waiting in memory than it may. Settled deliveries ahead of
// the low-water mark are counted with the others: they are dropped last.
func (c *core) crowded(l *consumer) bool {
	waits := len(l.Items) - l.Ahead
	switch {
	case waits > lane.MaxQueued, waits > lane.FewQueued && c.items > maxItems:
		return true
	}
	return c.payloads > maxPayloads && waits > l.Sending+lane.WindowStart
}
