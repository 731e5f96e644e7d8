package deliver

import (
	"slices"
	"sort"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// partition is the slice of the log that the engine owns a tail of.
type partition struct {
	id        hook.Partition
	tail      hook.Offset // everything up to here was offered to the lanes
	swept     hook.Offset // low-water mark of the attached webhooks, as committed
	low       hook.Offset // and as the last sweep found it
	version   int64       // configuration version that the subscriptions are at
	read      int64       // and the one up to which it has been read; more, while there are more to come
	wanted    int64       // version that the next events were committed under
	inbox     []*hook.Event
	behind    bool // events are in the store that were not seen in memory
	reading   bool // a read of the tail is under way
	missed    bool // there was no room for events that it may have come too early for
	loading   bool // a read of the configuration is under way
	leaving   bool // it is being handed over: no attempt starts
	taken     int  // slots, for attempts under way or unrecorded, also of webhooks deleted meanwhile
	payloads  lane.Payloads
	halted    map[hook.Offset]int  // events that are being cancelled: no attempt starts
	calledOff map[hook.Offset]bool // events that were called off, at most maxCalledOff

	dueFrom    store.DuePlace // parked deliveries up to here were given to their lanes
	dueAt      time.Time      // when to look again
	dueLater   bool           // something is parked that is not due yet
	dueStale   bool           // the read under way began before dueFrom was set back
	dueReading bool
	dueAsked   uint64 // count of commits when it was asked
}

// company groups the webhooks that the same events are offered to, and its share of the slots.
type company struct {
	key           hook.CompanyKey
	subscriptions []*subscription
	byTopic       [][]*subscription // by topic bit; built when there are many
	running       int               // slots held
	bytes         int64             // of the events in them
	waiting       [2]queue          // lanes that may start an attempt, round robin, in the fast and the slow line
	served        uint64            // when it was served last, to break ties
	texts         map[string]*text  // of the filters in its subscriptions' rules
	judging       judging
	backlog       []*read // of lanes with filters, that wait or are made: the first
}

// subscription is a webhook as the engine always knows it, with or without work.
type subscription struct {
	webhook  hook.WebhookKey
	company  *company
	part     *partition
	status   hook.Status
	deleted  bool
	version  int64
	detached bool        // as committed: its own row counts
	offset   hook.Offset // low-water mark when no lane is there (detached, or before the tail)
	sequence int64       // count of matches up to it
	rules    []rule
	skips    []store.SkipRange
	replay   int64
	ended    uint64 // the engine's count of replays that ended, at the last of this webhook's
	lane     *consumer
}

type rule struct {
	from   hook.Offset
	leap   int64 // what a match's number is higher by than its count
	topics hook.TopicSet
	filter *text // nil for none
}

// ruleAt is the rule in force at an offset, nil before the first.
func (p *subscription) ruleAt(o hook.Offset) *rule {
	i := sort.Search(len(p.rules), func(i int) bool { return p.rules[i].from > o })
	if i == 0 {
		return nil
	}
	return &p.rules[i-1]
}

// leapAt is what a match's number is higher by than its count.
func (p *subscription) leapAt(o hook.Offset) int64 {
	if r := p.ruleAt(o); r != nil {
		return r.leap
	}
	return 0
}

// wants says whether the topic matches at that offset; filters remain to be asked.
func (p *subscription) wants(o hook.Offset, topic string) (*rule, bool) {
	r := p.ruleAt(o)
	return r, r != nil && r.topics.Has(topic)
}

// skipped says whether an unsettled match at the offset is to be skipped, and why.
func (p *subscription) skipped(o hook.Offset) (reason string, ok bool) {
	for _, k := range p.skips {
		if k.From <= o && o <= k.To {
			return k.Reason, true
		}
	}
	return "", false
}

// manyPlaces is the number of webhooks from which a company gets an index by topic.
const manyPlaces = 16

// interested are the subscriptions that may want a topic (a superset).
func (c *company) interested(topic string) []*subscription {
	if len(c.subscriptions) < manyPlaces {
		return c.subscriptions
	}
	topics := hook.Topics()
	if c.byTopic == nil {
		c.byTopic = make([][]*subscription, len(topics)+1)
		for _, p := range c.subscriptions {
			if slices.ContainsFunc(p.rules, func(r rule) bool { return r.topics.Others() }) {
				c.byTopic[len(topics)] = append(c.byTopic[len(topics)], p)
			}
			for i, t := range topics {
				if slices.ContainsFunc(p.rules, func(r rule) bool { return r.topics.Has(t.Name) }) {
					c.byTopic[i] = append(c.byTopic[i], p)
				}
			}
		}
	}
	for i, t := range topics {
		if t.Name == topic {
			return c.byTopic[i]
		}
	}
	return c.byTopic[len(topics)]
}

// subscriptionsRead takes in configuration changes, and after the last of them lets the events go on that
// waited.
func (c *core) subscriptionsRead(id hook.Partition, places []store.Place, swept hook.Offset, version int64, more bool, err error) {
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
		c.subscribe(p, &places[i])
	}
	p.read = version
	if more {
		p.loading = true
		c.readSubscriptions(p)
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
		if l.subscription.part == p {
			c.touch(l)
		}
	}
}

// subscribe brings one webhook's entry in line with the store.
func (c *core) subscribe(p *partition, from *store.Place) {
	pl, known := c.subscriptions[from.Webhook], true
	switch {
	case from.Deleted && pl == nil:
		return
	case from.Deleted:
		c.remove(pl)
		return
	case pl == nil:
		pl = c.newSubscription(p, from)
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

func (c *core) newSubscription(p *partition, from *store.Place) *subscription {
	co := c.companies[from.Company]
	if co == nil {
		co = &company{key: from.Company}
		for i := range co.waiting {
			co.waiting[i] = queue{company: co, index: -1}
		}
		c.companies[from.Company] = co
	}
	pl := &subscription{
		webhook: from.Webhook, company: co, part: p, detached: from.Cursor.Detached,
		offset: from.Cursor.Offset, sequence: from.Cursor.Sequence,
	}
	co.subscriptions = append(co.subscriptions, pl)
	c.subscriptions[from.Webhook] = pl
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
	if l.Hook != nil && l.Hook.Version < l.subscription.version {
		c.loadLane(l)
	}
	if l.subscription.status != hook.Active && was == hook.Active && l.Fed {
		c.detach(l)
	}
	l.dueMore = true // a wish may have been written
	c.skipAll(l)
	c.touch(l)
}

// skipAll skips what waits in a lane and is to be.
func (c *core) skipAll(l *consumer) {
	for _, it := range slices.Clone(l.Items) {
		if it.State == lane.Waiting && l.Hook != nil {
			if _, skip := l.subscription.skipped(it.Offset); skip {
				c.skip(l, it)
			}
		}
	}
}

// remove forgets a deleted webhook; attempts in flight end and are recorded.
func (c *core) remove(pl *subscription) {
	pl.deleted = true
	pl.company.subscriptions = slices.DeleteFunc(pl.company.subscriptions, func(x *subscription) bool { return x == pl })
	pl.company.byTopic = nil
	pl.company.release(pl.rules)
	delete(c.subscriptions, pl.webhook)
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
	pl := c.subscriptions[w]
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

// probe makes a webhook's next attempt now, as somebody wishes: a down endpoint is probed, one that asked to
// wait is tried. What merely waits is read again, for the store knows best what is to go first.
func (c *core) probe(w hook.WebhookKey) {
	pl := c.subscriptions[w]
	if pl == nil || pl.lane == nil || pl.lane.Hook == nil || pl.status != hook.Active {
		return
	}
	l := pl.lane
	if l.TryNow(c.now); l.Health.State == lane.Down {
		c.letWait(l, func(it *lane.Item) bool { return it.Parked })
		l.wished = true
	}
	l.dueMore = true
	c.mark(l)
	c.touch(l)
}

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
		n += e.Size() + eventBytes
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
		return // the subscriptions first: a rule may begin with the next event
	}
	for len(p.inbox) > 0 && !p.reading {
		e := p.inbox[0]
		if e.Offset > p.tail+1 {
			p.behind = true
			break
		}
		p.inbox[0] = nil
		p.inbox = p.inbox[1:]
		c.inboxes -= e.Size() + eventBytes
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
		it := l.Offer(&lane.Item{Offset: e.Offset, Object: e.ObjectKey, Payload: shared, Since: c.now}, l.subscription.leapAt(e.Offset))
		c.items++
		l.expects(e)
		if l.Hook != nil {
			c.admit(l, it)
		}
		if l.Crowded(c.items > maxItems, c.payloads > maxPayloads) {
			c.detach(l)
		}
		c.touch(l)
	}
	if shared != nil {
		shared.Drop() // the lanes hold it now
	}
}
