package deliver

import (
	"maps"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// handover is a partition on its way to another node. It starts no attempt; when the last one has
// been recorded it is cut, and when what the cut wrote is committed it is released.
type handover struct {
	part  *partition
	tell  chan<- moved
	cut   bool
	after uint64 // count of commits at which nothing of it is left to record
}

// polled brings the partitions in line with what the store says that this node owns, and reports
// whether anything was new.
func (c *core) polled(owned []store.Owned) (news bool) {
	if c.stopping {
		return false
	}
	for _, o := range owned {
		p := c.partitions[o.Partition]
		switch {
		case c.released[o.Partition]:
			continue
		case p == nil:
			c.own(o.Partition)
			news = true
			continue
		}
		if o.ConfigVersion > p.wanted {
			p.wanted, news = o.ConfigVersion, true
			c.configure(p)
		}
		if o.Head > p.tail && len(p.inbox) == 0 && !p.reading && !p.behind {
			p.behind, news = true, true
			c.feed(p)
		}
	}
	return news
}

// release begins to hand a partition over. The answer comes once.
func (c *core) release(id hook.Partition, tell chan<- moved) {
	p := c.partitions[id]
	if p == nil {
		tell <- moved{id, false}
		return
	}
	p.leaving = true
	c.handovers[id] = &handover{part: p, tell: tell}
}

// keep takes a release back, unless the partition is cut already.
func (c *core) keep(id hook.Partition) {
	h := c.handovers[id]
	if h == nil || h.cut || c.stopping {
		return
	}
	h.part.leaving = false
	delete(c.handovers, id)
	h.tell <- moved{id, false}
	for _, l := range c.awake {
		if l.place.part == h.part {
			c.touch(l)
		}
	}
}

// handOver moves every release on as far as it can go.
func (c *core) handOver() {
	if len(c.handovers) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(c.handovers)) {
		h := c.handovers[id]
		if !h.cut && h.part.held == 0 {
			c.disown(h.part)
			h.cut, h.after = true, c.commits
			if c.ledger.writing != nil {
				h.after++
			}
			if !c.ledger.empty() {
				h.after++
			}
		}
		if h.cut && c.commits >= h.after {
			delete(c.handovers, id)
			h.tell <- moved{id, true}
		}
	}
}

// disown forgets a partition. Its lanes' places go into the next record, so that the next owner
// goes on from there.
func (c *core) disown(p *partition) {
	for _, l := range c.awake {
		if l.place.part != p || l.Hook == nil {
			continue
		}
		if l.stat != nil {
			c.ledger.stats = append(c.ledger.stats, *l.stat)
			l.stat = nil
		}
		c.detach(l)
	}
	for _, key := range slices.Sorted(maps.Keys(c.places)) {
		if pl := c.places[key]; pl.part == p {
			c.remove(pl)
		}
	}
	c.empty(p)
	c.forgetJudging(p)
	delete(c.partitions, p.id)
	c.released[p.id] = true
}
