package deliver

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Limits of the engine's memory.
const (
	maxInbox     = 10_000   // events that wait for the loop; beyond, they are read from the store
	maxPayloads  = 64 << 20 // bytes of events that lanes hold; beyond, lanes detach
	maxItems     = 200_000  // deliveries that lanes hold, some 200 bytes each; beyond, crowded ones detach
	tailChunk    = 1000
	tailBytes    = 8 << 20
	backlogChunk = 500
	dueChunk     = 500
	sweepEvery   = time.Second
	statsEvery   = 5 * time.Second
	idleAfter    = 30 * time.Second
	lagging      = 2 * time.Second // an attached webhook with older unsettled work detaches
)

// core is the engine without its goroutines: what came in goes to its methods, what is to be done
// comes out in starts, reads and the ledger. It does no I/O and looks at no clock, so that a
// simulation can run it step by step.
type core struct {
	now        time.Time
	dice       *rand.Rand
	compile    func(filter string) (func(topic string, data []byte) bool, error)
	mostParked int // of one lane
	partitions map[hook.Partition]*partition
	companies  map[hook.CompanyKey]*company
	places     map[hook.WebhookKey]*place
	lanes      map[hook.WebhookKey]*lane
	slots      slots
	timers     timers
	ledger     ledger
	payloads   int64  // bytes of events that lanes hold
	items      int    // deliveries that lanes have yet to pass, counted at each sweep and as they come
	commits    uint64 // records that came back
	sweepAt    time.Time
	stopping   bool
	swept      bool // a sweep was made since somebody looked
	restless   bool // the next sweep has something to do

	starts   []start
	reads    []read
	events   []notice    // what operators hear of: states that changed
	attempts []attempted // since somebody looked
}

// start is an attempt to make.
type start struct {
	lane     *lane
	item     *item
	webhook  *hook.Webhook
	payload  *payload
	kind     hook.Kind
	attempt  int
	sequence int64
	replayID string
	at       time.Time
}

// attempted is an attempt that ended, for metrics.
type attempted struct {
	attempt    *hook.Attempt
	acceptedAt time.Time
}

// notice is a change that operators and owners should hear of.
type notice struct {
	webhook string // its id
	kind    string
	detail  string
}

func newCore(c Config) *core {
	return &core{
		dice: c.Dice, compile: c.Filter, mostParked: c.MaxParked,
		partitions: map[hook.Partition]*partition{}, companies: map[hook.CompanyKey]*company{},
		places: map[hook.WebhookKey]*place{}, lanes: map[hook.WebhookKey]*lane{},
		slots: slots{most: c.MaxInFlight, mostSlow: max(c.MaxInFlight/4, 1), reserve: c.MaxInFlight / 4, mostByte: c.MaxBytesInFlight},
	}
}

// own begins to run a partition: its configuration is read, then its log from the swept mark on.
func (c *core) own(id hook.Partition) {
	p := &partition{id: id, version: -1, wanted: 0, behind: true, payload: map[hook.Offset]*payload{}}
	c.partitions[id] = p
	c.configure(p)
}

// configure asks for the configuration changes that the places lack.
func (c *core) configure(p *partition) {
	if p.version < p.wanted && !p.loading {
		p.loading = true
		c.read(read{kind: readPlaces, partition: p.id, since: p.version})
	}
}

func (c *core) read(r read) { c.reads = append(c.reads, r) }

// committed takes in what the store says right after a commit.
func (c *core) committed(id hook.Partition, events []*hook.Event, version int64) {
	p := c.partitions[id]
	if p == nil {
		return
	}
	p.wanted = max(p.wanted, version)
	if len(p.inbox)+len(events) > maxInbox {
		p.inbox, p.behind = nil, true
	}
	p.inbox = append(p.inbox, events...)
	c.configure(p)
	c.feed(p)
}

// feed offers the events that come next to the lanes: from memory if they are exactly the next,
// else from the store.
func (c *core) feed(p *partition) {
	if p.version < p.wanted || p.version < 0 {
		return // the places first: a rule may begin with the next event
	}
	for len(p.inbox) > 0 && !p.reading {
		e := p.inbox[0]
		if e.Offset > p.tail+1 {
			p.behind = true
			break
		}
		p.inbox = p.inbox[1:]
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
	p.behind = more
	for _, e := range events {
		if e.Offset > p.tail {
			c.offer(p, e)
		}
	}
	c.feed(p)
}

// offer gives one event of the log to the lanes that want it.
func (c *core) offer(p *partition, e *hook.Event) {
	p.tail = e.Offset
	co := c.companies[e.Company]
	if co == nil {
		return
	}
	var shared *payload
	for _, pl := range co.interested(e.Topic) {
		l := pl.lane
		if pl.status != hook.Active || pl.deleted || l == nil && pl.detached || l != nil && !l.fed {
			continue
		}
		if l != nil && e.Offset <= l.read || l == nil && e.Offset <= pl.offset {
			continue
		}
		r, ok := pl.wants(e.Offset, e.Topic)
		if !ok || r.match != nil && !r.match(e.Topic, e.Data) {
			continue
		}
		if l == nil {
			l = c.wakeLane(pl, e.Offset-1)
			l.fed = true
		}
		if shared == nil {
			shared = c.hold(p, e)
		}
		it := l.offer(e.Offset, e.Topic, e.ObjectKey, shared, c.now)
		c.items++
		if l.hook != nil {
			c.admit(l, it)
		}
		if c.crowded(l) {
			c.detach(l)
		}
		c.touch(l)
	}
	if shared != nil {
		c.drop(shared) // the lanes hold it now
	}
}

// crowded says that a lane keeps more waiting in memory than it may. Settled deliveries ahead of
// the low-water mark are counted with the others: they are dropped last.
func (c *core) crowded(l *lane) bool {
	waits := len(l.items) - l.ahead
	switch {
	case waits > maxQueued, waits > fewQueued && c.items > maxItems:
		return true
	}
	return c.payloads > maxPayloads && waits > l.sending+windowStart
}

// hold counts an event's bytes once, whoever holds it; the caller owns one reference.
func (c *core) hold(p *partition, e *hook.Event) *payload {
	if x, ok := p.payload[e.Offset]; ok {
		x.refs++
		return x
	}
	x := &payload{event: e, refs: 1}
	p.payload[e.Offset] = x
	c.payloads += int64(len(e.Data))
	return x
}

func (c *core) drop(x *payload) {
	if x == nil {
		return
	}
	if x.refs--; x.refs == 0 {
		c.payloads -= int64(len(x.event.Data))
		delete(c.partitions[x.event.Partition].payload, x.event.Offset)
	}
}

// wakeLane gives a webhook its lane: low-water mark at an offset, history to be loaded.
func (c *core) wakeLane(pl *place, at hook.Offset) *lane {
	l := newLane(pl, at)
	l.mostParked = c.mostParked
	pl.lane = l
	c.lanes[pl.webhook] = l
	c.restless = true
	c.loadLane(l)
	return l
}

func (c *core) loadLane(l *lane) {
	if !l.loading {
		l.loading = true
		c.read(read{kind: readLane, lane: l, webhook: l.place.webhook, after: l.low})
	}
}

// laneLoaded takes in a lane's history and settings; later it only renews the settings.
func (c *core) laneLoaded(l *lane, from store.Lane, err error) {
	l.loading = false
	if err != nil {
		c.timers.in(c.now, time.Second, func() { c.loadLane(l) })
		return
	}
	before := l.hook
	l.hook = from.Webhook
	l.limit()
	for _, o := range from.Stranded {
		c.ledger.add(l, store.Item{Free: &store.ParkedKey{Webhook: l.place.webhook, Kind: hook.Live, Offset: o}}, nil)
	}
	if before != nil {
		if before.Ordering != l.hook.Ordering {
			c.reorder(l, from.Blocked)
		}
		if before.EndpointVersion != l.hook.EndpointVersion {
			l.health = health{state: Healthy, lastSuccess: l.health.lastSuccess, lastFailure: l.health.lastFailure}
			l.notBefore, l.throttles, l.ownFaults, l.slow, l.window = time.Time{}, 0, 0, false, newWindow()
		}
		c.touch(l)
		return
	}
	l.health = restoreHealth(&from.Cursor)
	l.proven = from.Cursor.LastSuccessAt != nil && from.Cursor.ConsecutiveFailures == 0
	l.parked, l.blocked = from.Parked, from.Blocked
	l.answered = int(from.Cursor.Delivered)
	if len(from.Above) > 0 {
		l.above = make(map[hook.Offset]store.Above, len(from.Above))
		for _, a := range from.Above {
			l.above[a.Offset] = a
		}
	}
	for _, it := range l.items {
		c.admit(l, it)
	}
	c.touch(l)
}

// reorder makes a lane follow a new ordering: what merely waits is read again under the new keys.
func (c *core) reorder(l *lane, blocked map[string]int) {
	l.blocked = blocked
	c.detach(l)
}

// admit gives an offered delivery its place: settled long ago, skipped, or in line.
func (c *core) admit(l *lane, it *item) {
	if l.admit(it); it.state == settled {
		c.drop(it.payload)
		it.payload = nil
		return
	}
	if _, skip := l.place.skipped(it.offset); skip {
		c.skip(l, it)
	}
}

// limit brings the token bucket in line with the settings.
func (l *lane) limit() {
	switch want := rate.Limit(l.hook.RateLimit); {
	case want == 0:
		l.limiter = nil
	case l.limiter == nil:
		l.limiter = rate.NewLimiter(want, max(1, int(want)))
	case l.limiter.Limit() != want:
		l.limiter.SetLimit(want)
		l.limiter.SetBurst(max(1, int(want)))
	}
}

// detach makes a lane that cannot keep up read its backlog from the store.
func (c *core) detach(l *lane) {
	l.cut(c.drop)
	c.mark(l)
}

// touch looks what a lane needs and may do, after anything about it changed.
func (c *core) touch(l *lane) {
	c.restless = true
	if l.hook == nil || c.stopping {
		return
	}
	if len(l.expired) > 0 {
		c.expireDue(l)
	}
	if !l.place.deleted {
		c.supply(l)
	}
	l.health.pass(c.now)
	c.lookAfter(l)
	switch v := l.next(c.now); {
	case v.start:
		c.slots.ready(l)
	case !v.at.IsZero():
		c.timers.set(l, v.at)
	}
}

// lookAfter calls a lane slow as soon as one of its attempts takes over a second, and not only when
// that ends: an endpoint that begins to hang must not fill everybody's slots meanwhile.
func (c *core) lookAfter(l *lane) {
	for _, it := range l.unanswered {
		if at := it.started.Add(slowAttempt); c.now.Before(at) {
			c.timers.set(l, at)
			return
		}
		l.slow = true
		c.slots.slowed(it)
	}
}

// supply asks the store for what the lane will need next. One that stands still reads only what it
// is to skip.
func (c *core) supply(l *lane) {
	p := l.place.part
	upTo := p.tail
	if l.place.status != hook.Active {
		for _, k := range l.place.skips {
			if k.To > l.read && k.From <= l.read+1 && !l.reading && p.version >= 0 {
				l.reading = true
				c.readBacklog(l, min(k.To, upTo))
			}
		}
		return
	}
	if !l.fed && !l.reading && p.version >= 0 {
		switch {
		case l.read >= p.tail:
			l.fed = true
		case len(l.items)-l.ahead < lowQueue && len(l.items) < maxAhead:
			l.reading = true
			c.readBacklog(l, upTo)
		}
	}
	if !l.fetching && (c.payloads <= maxPayloads || l.inFlight == 0) {
		if want := l.missing(); len(want) > 0 {
			l.fetching = true
			c.read(read{kind: readEvents, lane: l, partition: p.id, offsets: want})
		}
	}
	if l.dueMore && len(l.due) == 0 && len(l.known) <= maxDue/2 && !l.dueReading && !c.now.Before(l.notBefore) &&
		(l.health.state != Down || !c.now.Before(l.health.probeAt) && l.inFlight == 0) {
		l.dueMore, l.dueReading, l.dueAsked = false, true, c.commits
		c.read(read{kind: readDueOf, lane: l, webhook: l.place.webhook, now: c.now, probe: l.health.state == Down})
	}
	if l.place.replay != 0 && !l.replayDone && len(l.replays) == 0 && !l.replaying && l.health.state == Healthy && len(l.known) <= maxDue/2 {
		l.replaying, l.replayAsked = true, c.commits
		c.read(read{kind: readReplay, lane: l, webhook: l.place.webhook, replay: l.place.replay, after: l.replayAt})
	}
}

func (c *core) readBacklog(l *lane, upTo hook.Offset) {
	c.read(read{
		kind: readBacklog, lane: l, webhook: l.place.webhook, company: l.place.company.key, partition: l.place.part.id,
		after: l.read, upTo: upTo, rules: l.place.rules,
	})
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

// missing are the next deliveries whose events are not in memory.
func (l *lane) missing() (want []hook.Offset) {
	if len(l.run) > 0 && l.run[0].payload == nil || len(l.due) > 0 && l.due[0].payload == nil || len(l.replays) > 0 && l.replays[0].payload == nil {
		for _, line := range [][]*item{l.due, l.run, l.replays} {
			for _, it := range line {
				if it.payload == nil && len(want) < fetchAhead {
					want = append(want, it.offset)
				}
			}
		}
	}
	return want
}

// backlogRead takes in the next matched events of a lane that reads its own backlog.
func (c *core) backlogRead(l *lane, after hook.Offset, hits []hit, readTo hook.Offset, err error) {
	l.reading = false
	if after != l.read { // it was cut meanwhile
		c.touch(l)
		return
	}
	if err != nil {
		c.timers.in(c.now, time.Second, func() { c.touch(l) })
		return
	}
	for _, h := range hits {
		if h.offset <= l.read {
			continue
		}
		var held *payload
		if h.event != nil {
			held = c.hold(l.place.part, h.event)
		}
		c.admit(l, l.offer(h.offset, h.topic, h.object, held, c.now))
		c.drop(held)
	}
	l.read = max(l.read, readTo)
	l.advance()
	if l.touched || len(hits) == 0 {
		c.mark(l)
	}
	c.touch(l)
}

// eventsRead takes in payloads. A delivery whose event is gone was purged: it expired.
func (c *core) eventsRead(l *lane, asked []hook.Offset, events []*hook.Event, err error) {
	l.fetching = false
	if err != nil {
		c.timers.in(c.now, time.Second, func() { c.touch(l) })
		return
	}
	found := make(map[hook.Offset]*hook.Event, len(events))
	for _, e := range events {
		found[e.Offset] = e
	}
	for _, line := range [][]*item{l.due, l.run, l.replays} {
		for _, it := range slices.Clone(line) {
			if it.payload != nil {
				continue
			}
			if e, ok := found[it.offset]; ok {
				it.payload = c.hold(l.place.part, e)
				it.topic = e.Topic
			} else if slices.Contains(asked, it.offset) {
				c.expire(l, it)
			}
		}
	}
	c.touch(l)
}

// dueRead routes parked deliveries that are due to their lanes.
func (c *core) dueRead(p *partition, due []hook.Parked, next *time.Time, full bool, err error) {
	p.dueReading = false
	if err != nil {
		p.dueSoon(c.now.Add(time.Second))
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
	switch {
	case full:
		p.dueAt = c.now
	case next != nil:
		p.dueSoon(*next) // what was parked since it was asked may be due before
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

// dueSoon makes the partition look at its parked deliveries no later than at a time.
func (p *partition) dueSoon(at time.Time) {
	if at.Before(p.dueAt) {
		p.dueAt = at
	}
}

// pump starts attempts while there are slots, and says when to be called again.
func (c *core) pump() (wake time.Time) {
	for {
		c.timers.run(c.now, c.touch)
		l := c.slots.next()
		if l == nil {
			break
		}
		c.startOne(l)
		c.touch(l)
	}
	wake = c.timers.next()
	for _, p := range c.partitions {
		if p.version < 0 || c.stopping {
			continue
		}
		if !p.dueReading && !c.now.Before(p.dueAt) {
			p.dueReading, p.dueAsked, p.dueAt = true, c.commits, c.now.Add(time.Hour)
			c.read(read{kind: readDue, partition: p.id, due: p.dueFrom, now: c.now})
		}
		if !p.dueReading && (wake.IsZero() || p.dueAt.Before(wake)) {
			wake = p.dueAt
		}
	}
	if !c.now.Before(c.sweepAt) {
		c.swept, c.restless = true, false
		c.sweepAt = c.now.Add(sweepEvery)
		c.sweep()
	}
	if (wake.IsZero() || c.sweepAt.Before(wake)) && c.unswept() {
		wake = c.sweepAt
	}
	return wake
}

// unswept says that a sweep has something to do; an idle engine sleeps.
func (c *core) unswept() bool {
	if c.restless {
		return true
	}
	for _, p := range c.partitions {
		if p.tail > p.swept && p.version >= 0 {
			return true
		}
	}
	return false
}

// startOne makes the candidate's attempt, or settles without one what needs none.
func (c *core) startOne(l *lane) {
	if c.stopping || !l.next(c.now).start {
		return
	}
	it, _ := l.candidate()
	l.take(it)
	if it.kind == hook.Live && !it.parked && l.blocked[it.object] > 0 && it.object != "" {
		c.holdBack(l, it)
		return
	}
	if l.limiter != nil {
		l.limiter.AllowN(c.now, 1)
	}
	if it.kind == hook.Replay && !it.parked {
		l.replayNext = c.now.Add(l.replayGap)
	}
	it.state, it.probe = running, l.health.state == Down
	it.attempts = l.number(it) + 1
	l.inFlight++
	l.sending++
	l.lastStart, it.started = c.now, c.now
	l.unanswered = append(l.unanswered, it)
	c.slots.take(l, it)
	it.payload.refs++ // the attempt's own
	c.starts = append(c.starts, start{
		lane: l, item: it, webhook: l.hook, payload: it.payload, kind: it.kind,
		attempt: it.attempts, sequence: it.sequence, replayID: l.replayID, at: c.now,
	})
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
