package deliver

import (
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// placesRead takes in configuration changes, and after the last of them lets the events go on that
// waited.
func (c *core) placesRead(id hook.Partition, places []store.Place, swept hook.Offset, version int64, more bool, err error) {
	p := c.partitions[id]
	if p == nil {
		return
	}
	p.loading = false
	if err != nil {
		c.timers.in(c.now, time.Second, func() { c.configure(p) })
		return
	}
	first := p.version < 0
	if first {
		p.tail, p.swept = max(p.tail, swept), swept
	}
	for i := range places {
		c.place(p, &places[i])
	}
	p.read = version
	if more {
		p.loading = true
		c.readPlaces(p)
		return
	}
	p.version = p.read
	if first {
		c.wakeAll(p)
	}
	c.configure(p)
	c.feed(p)
}

// wakeAll lets the lanes go that came to life while there was more configuration to come.
func (c *core) wakeAll(p *partition) {
	for _, l := range c.awake {
		if l.place.part == p {
			c.touch(l)
		}
	}
}

// place brings one webhook's entry in line with the store.
func (c *core) place(p *partition, from *store.Place) {
	pl, known := c.places[from.Webhook], true
	switch {
	case from.Deleted && pl == nil:
		return
	case from.Deleted:
		c.remove(pl)
		return
	case pl == nil:
		pl = c.newPlace(p, from)
		known = false
	}
	was := pl.status
	if pl.replay != from.Replay {
		c.endReplay(pl)
	}
	pl.status, pl.version, pl.skips, pl.replay = from.Status, from.Version, from.Skips, from.Replay
	before := pl.rules
	pl.rules = c.rules(pl.company, from.Rules)
	pl.company.release(before)
	pl.company.byTopic = nil
	if l := pl.lane; l != nil {
		c.renew(l, was)
		return
	}
	switch {
	case pl.status != hook.Active && !pl.detached:
		// It must not stand in the way of the swept mark: its own place is to be written.
		l := c.wakeLane(pl, max(pl.offset, c.attachedAt(pl)))
		l.Fed = false
	case pl.status != hook.Active && len(pl.skips) > 0:
		l := c.wakeLane(pl, pl.offset) // to pass what is skipped
		l.Fed = false
	case pl.status == hook.Active && (known || pl.detached || pl.replay != 0 || from.Cursor.FailingSince != nil || from.Cursor.Gate.NotBefore != nil):
		// It has work, it waits, or it changed: a wish may have been written for it.
		l := c.wakeLane(pl, max(pl.offset, c.attachedAt(pl)))
		l.Fed = !pl.detached
	}
}

func (c *core) newPlace(p *partition, from *store.Place) *place {
	co := c.companies[from.Company]
	if co == nil {
		co = &company{key: from.Company}
		for i := range co.waiting {
			co.waiting[i] = queue{company: co, index: -1}
		}
		c.companies[from.Company] = co
	}
	pl := &place{
		webhook: from.Webhook, company: co, part: p, detached: from.Cursor.Detached,
		offset: from.Cursor.Offset, sequence: from.Cursor.Sequence,
	}
	co.places = append(co.places, pl)
	c.places[from.Webhook] = pl
	return pl
}

func (c *core) rules(co *company, from []hook.Rule) []rule {
	rules := make([]rule, 0, len(from))
	for _, r := range from {
		x := rule{from: r.From, leap: r.Leap, topics: r.Topics}
		if r.Filter != "" && c.filtering {
			x.filter = co.intern(r.Filter)
		}
		rules = append(rules, x)
	}
	return rules
}

// renew makes a living lane follow a change of its webhook.
func (c *core) renew(l *consumer, was hook.Status) {
	if l.Hook != nil && l.Hook.Version != l.place.version {
		c.loadLane(l)
	}
	if l.place.status != hook.Active && was == hook.Active && l.Fed {
		c.detach(l)
	}
	l.dueMore = true // a wish may have been written
	for _, it := range slices.Clone(l.Items) {
		if it.State == lane.Waiting && l.Hook != nil {
			if _, skip := l.place.skipped(it.Offset); skip {
				c.skip(l, it)
			}
		}
	}
	c.touch(l)
}

// remove forgets a deleted webhook; attempts in flight end and are recorded.
func (c *core) remove(pl *place) {
	pl.deleted = true
	pl.company.places = slices.DeleteFunc(pl.company.places, func(x *place) bool { return x == pl })
	pl.company.byTopic = nil
	pl.company.release(pl.rules)
	delete(c.places, pl.webhook)
	if l := pl.lane; l != nil {
		l.Cut()
		c.abandon(l)
		l.Due, l.Replays = nil, nil
		c.asleep(l)
	}
}

// abandon lets go of the events that a deleted webhook's lane holds, but for those under way.
func (c *core) abandon(l *consumer) {
	drop := func(it *lane.Item) {
		if it.State == lane.Waiting {
			it.Drop()
		}
	}
	for _, it := range l.Items {
		drop(it)
	}
	for _, it := range l.Known { // in line, or behind another of its object
		drop(it)
	}
}

// kick makes a webhook look for wishes: a retry that was asked for, a held delivery released.
func (c *core) kick(w hook.WebhookKey) {
	pl := c.places[w]
	if pl == nil || pl.status != hook.Active {
		return
	}
	l := pl.lane
	if l == nil {
		l = c.wakeLane(pl, max(pl.offset, c.attachedAt(pl)))
		l.Fed = !pl.detached
	}
	l.dueMore = true
	c.touch(l)
}
