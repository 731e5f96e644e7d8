package deliver

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Limits of the engine's memory.
const (
	maxInbox           = 10_000   // events that wait for the loop; beyond, they are read from the store
	maxInboxes         = 16 << 20 // bytes of those, of all partitions together, and once more on the way to them
	eventBytes         = 400      // what an event takes of memory beside its data
	maxPayloads        = 64 << 20 // bytes of events that lanes hold; beyond, lanes detach
	maxItems           = 200_000  // deliveries that lanes hold, some 200 bytes each; beyond, crowded ones detach
	subscriptionsChunk = 1000
	tailChunk          = 1000
	tailBytes          = 8 << 20
	backlogChunk       = 500
	backlogBytes       = 1 << 20 // of events that a filter has to look at
	dueChunk           = 500
	sweepEvery         = time.Second
	statsEvery         = 5 * time.Second
	idleAfter          = 30 * time.Second
	lagging            = 2 * time.Second // an attached webhook with older unsettled work detaches
)

// core is the engine without its goroutines: what came in goes to its methods, what is to be done
// comes out in starts, reads and the ledger. It does no I/O and looks at no clock, so that a
// simulation can run it step by step.
type core struct {
	now               time.Time     // on a clock that nobody sets, see [core.tick]
	ahead             time.Duration // what the wall clock shows beyond it
	counted           time.Duration // what it showed when due times were last read anew
	dice              *rand.Rand
	filtering         bool   // rules' filters are asked
	node              string // who records
	mostParked        int    // of one lane
	mostOfOne         int    // requests under way to one webhook; 0 for no bound
	mostSubscriptions int    // that one read brings
	mostJudging       int64  // bytes of events that wait for filters, of all companies
	longestWait       int64  // and of one, besides the first
	partitions        map[hook.Partition]*partition
	companies         map[hook.CompanyKey]*company
	subscriptions     map[hook.WebhookKey]*subscription
	lanes             map[hook.WebhookKey]*consumer
	awake             []*consumer // the same in an order that depends on what happened and on nothing else
	slots             slots
	timers            timers
	ledger            ledger
	payloads          int64  // bytes of events that lanes hold
	inboxes           int64  // bytes of events that no lane was offered yet
	items             int    // deliveries that lanes have yet to pass, counted at each sweep and as they come
	commits           uint64 // records that came back
	ended             uint64 // replays that ended
	sweepAt           time.Time
	stopping          bool
	suspended         bool // the lease has run out: nothing is sent until it is renewed
	held              bool // nothing is sent until an operator says so
	left              bool // nothing is left to hand over
	handovers         map[hook.Partition]*handover
	released          map[hook.Partition]bool // handed over by the loop, not yet in the store
	swept             bool                    // a sweep was made since somebody looked
	restless          bool                    // the next sweep has something to do
	fault             ownFault                // of ours, the last

	waiting  map[*company]*partition // companies with events that wait for filters
	judging  int64                   // bytes of those events
	starved  []*company              // that wait for memory to read theirs
	askCount uint64
	asks     []ask
	starts   []attempt
	reads    []read
	events   []notice    // what operators hear of: states that changed
	disabled []string    // reasons for which webhooks became INACTIVE, since somebody looked
	attempts []attempted // since somebody looked
	faulty   []string    // phases in which attempts met a fault of ours, since somebody looked
}

// attempt is one that the loop starts, a worker makes, and the loop takes in. Workers look at nothing that
// belongs to the loop, and so neither at the lane nor at the item.
type attempt struct {
	ctx     context.Context //nolint:containedctx // workers outlive a lease, attempts do not
	lane    *consumer
	item    *lane.Item
	payload *lane.Payload
	send.Request
	lost   *send.Result // the attempt before, where a kept connection had ended under it; nil for none
	result send.Result
}

type readKind uint8

const (
	readSubscriptions readKind = iota // configuration changes of a partition
	readTail                          // the log after what was offered
	readLane                          // a lane's settings and history
	readBacklog                       // a lane's next matches
	readEvents                        // payloads
	readDue                           // what is due in a partition
	readDueOf                         // what is due at one lane
	readReplay                        // what a replay covers next
	readJudging                       // the next events of a company whose filters fell behind
)

// read is a question to the store; its answer comes back to the core.
type read struct {
	kind      readKind
	partition hook.Partition
	part      *partition // as it was when asked; nil in a question about a lane
	lane      *consumer
	webhook   hook.WebhookKey
	company   hook.CompanyKey
	since     int64
	limit     int
	after     hook.Offset
	upTo      hook.Offset
	rules     []rule
	turn      bool // others of the company wait for the end of this one
	offsets   []hook.Offset
	due       store.DuePlace
	now       time.Time
	probe     bool
	replay    int64
	replays   map[int64]string // by key, the ids of those that caused what is due
	ended     uint64           // how many replays had ended when it was asked
}

// hit is an event of a backlog that matches but for a filter; event is there when one has to look at it.
type hit struct {
	filter *text
	offset hook.Offset
	topic  string
	object string
	event  *hook.Event
}

// replayWork is what a replay does next.
type replayWork struct {
	replay *store.Replay
	items  []store.ReplayItem
	upTo   hook.Offset
	done   bool
}

// attempted is an attempt that ended, for who observes: of which webhook, as it was then, and event.
type attempted struct {
	attempt *hook.Attempt
	webhook *hook.Webhook
	event   *hook.Event
}

// notice is a change that operators and owners should hear of.
type notice struct {
	webhook string // its id
	kind    string
	detail  string
}

func newCore(c Config) *core {
	return &core{
		dice: c.Dice, filtering: c.Judge != nil, node: c.Node.ID, held: c.Held, mostParked: c.MaxParked, mostOfOne: c.MaxPerWebhook, mostSubscriptions: subscriptionsChunk, mostJudging: maxJudging, longestWait: maxWaiting,
		partitions: map[hook.Partition]*partition{}, companies: map[hook.CompanyKey]*company{},
		subscriptions: map[hook.WebhookKey]*subscription{}, lanes: map[hook.WebhookKey]*consumer{},
		waiting: map[*company]*partition{}, handovers: map[hook.Partition]*handover{}, released: map[hook.Partition]bool{},
		slots: slots{most: c.MaxInFlight, mostSlow: max(c.MaxInFlight/4, 1), reserve: c.MaxInFlight / 4, mostByte: c.MaxBytesInFlight, byteRest: c.MaxBytesInFlight / 4, flights: map[eventAt]int{}},
	}
}

// clockSet is how far the two clocks may drift apart before due times are read anew, and lookAtClock
// how often somebody looks while a delivery is parked.
const (
	clockSet    = 5 * time.Second
	lookAtClock = time.Minute
)

// tick says what time it is. Everything in memory goes by now, which runs on whatever happens to the
// wall clock; what is stored, and so what is due, goes by the wall.
func (c *core) tick(now, wall time.Time) {
	first := c.now.IsZero()
	c.now, c.ahead = now, wall.Sub(now)
	if !first && (c.ahead-c.counted).Abs() <= clockSet {
		return
	}
	c.counted = c.ahead
	c.gatesAnew()
	for _, p := range c.partitions {
		c.rewind(p)
		c.dueAgain(p)
	}
}

// wall is the time that others see.
func (c *core) wall() time.Time { return c.onWall(c.now) }

// onWall is a time in memory as it is stored and shown, local the other way round.
func (c *core) onWall(t time.Time) time.Time   { return t.Add(c.ahead) }
func (c *core) local(wall time.Time) time.Time { return wall.Add(-c.ahead) }

// rewind makes the next record look for deliveries that a clock parked which was ahead: this one
// before it was set back, or that of a former start or of another node.
func (c *core) rewind(p *partition) {
	if !slices.Contains(c.ledger.rewind, p.id) {
		c.ledger.rewind = append(c.ledger.rewind, p.id)
	}
}

// own begins to run a partition: its configuration is read, then its log from the swept mark on.
func (c *core) own(id hook.Partition) {
	p := &partition{id: id, version: -1, read: -1, wanted: 0, behind: true, payloads: lane.NewPayloads(&c.payloads)}
	c.partitions[id] = p
	c.rewind(p)
	c.configure(p)
}

// configure asks for the configuration changes that the subscriptions lack.
func (c *core) configure(p *partition) {
	if p.version < p.wanted && !p.loading && c.partitions[p.id] == p {
		p.loading = true
		c.readSubscriptions(p)
	}
}

func (c *core) readSubscriptions(p *partition) {
	c.read(read{kind: readSubscriptions, partition: p.id, since: p.read, limit: c.mostSubscriptions})
}

func (c *core) read(r read) {
	if r.ended = c.ended; r.lane == nil {
		r.part = c.partitions[r.partition]
	}
	c.reads = append(c.reads, r)
}

// touch looks what a lane needs and may do, after anything about it changed.
func (c *core) touch(l *consumer) {
	c.restless = true
	if l.Hook == nil || l.subscription.deleted || c.stopping {
		return
	}
	if len(l.expired) > 0 {
		c.expireDue(l)
	}
	c.expireLate(l)
	c.supply(l)
	c.age(l)
	c.lookAfter(l)
	switch v := l.may(c.now); {
	case v.Start:
		c.slots.ready(l)
	case !v.At.IsZero():
		c.timers.set(l, v.At)
	}
}

// age lets time pass for an endpoint that fails: it goes down without another answer.
func (c *core) age(l *consumer) {
	if before := l.Health.State; l.Health.Pass(c.now) {
		c.changed(l, before)
		c.mark(l)
	}
}

// lookAfter calls a lane slow as soon as one of its attempts takes over a second, and not only when
// that ends: an endpoint that begins to hang must not fill everybody's slots meanwhile.
func (c *core) lookAfter(l *consumer) {
	slow, next := l.Linger(c.now)
	for _, it := range slow {
		c.slots.slowed(it)
	}
	if !next.IsZero() {
		c.timers.set(l, next)
	}
}

// pump starts attempts while there are slots, and says when to be called again.
func (c *core) pump() (wake time.Time) {
	for {
		c.timers.run(c.now, c.touch)
		if c.suspended || c.held {
			break
		}
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
			c.read(read{kind: readDue, partition: p.id, due: p.dueFrom, now: c.wall()})
		}
		if at := p.lookAt(c.now); !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
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
func (c *core) startOne(l *consumer) {
	if c.stopping || !l.may(c.now).Start {
		return
	}
	it, _ := l.Candidate()
	if c.late(it) || l.subscription.part.calledOff[it.Offset] {
		if !c.expire(l, it) {
			l.Remove(it)
			l.expired = append(l.expired, it)
		}
		return
	}
	l.Take(it)
	if l.MustHold(it) {
		c.holdBack(l, it)
		return
	}
	l.Begin(it, c.now)
	c.slots.take(l, it)
	it.Payload.Refs++ // the attempt's own
	c.starts = append(c.starts, attempt{
		lane: l, item: it, payload: it.Payload,
		Request: send.Request{Webhook: l.Hook, Event: it.Payload.Event, Delivery: it.Delivery, Fresh: it.Fresh},
	})
}

// timers wakes lanes, and runs the few other things that wait for a time.
type timers struct {
	lanes laneHeap
	tasks []task
}

type task struct {
	at time.Time
	do func()
}

// set wakes a lane at a time, if it would not be woken before.
func (t *timers) set(l *consumer, at time.Time) {
	switch {
	case l.wakeIndex < 0:
		l.wake = at
		heap.Push(&t.lanes, l)
	case at.Before(l.wake):
		l.wake = at
		heap.Fix(&t.lanes, l.wakeIndex)
	}
}

// forget takes a lane out.
func (t *timers) forget(l *consumer) {
	if l.wakeIndex >= 0 {
		heap.Remove(&t.lanes, l.wakeIndex)
	}
}

func (t *timers) in(now time.Time, d time.Duration, do func()) {
	t.tasks = append(t.tasks, task{now.Add(d), do})
}

// run wakes everybody whose time has come.
func (t *timers) run(now time.Time, touch func(*consumer)) {
	for len(t.lanes) > 0 && !now.Before(t.lanes[0].wake) {
		touch(heap.Pop(&t.lanes).(*consumer))
	}
	if len(t.tasks) == 0 {
		return
	}
	later := t.tasks[:0:0]
	var due []task
	for _, k := range t.tasks {
		if now.Before(k.at) {
			later = append(later, k)
		} else {
			due = append(due, k)
		}
	}
	t.tasks = later
	for _, k := range due {
		k.do()
	}
}

// next is when run has something to do; zero for never.
func (t *timers) next() (at time.Time) {
	if len(t.lanes) > 0 {
		at = t.lanes[0].wake
	}
	for _, k := range t.tasks {
		if at.IsZero() || k.at.Before(at) {
			at = k.at
		}
	}
	return at
}

type laneHeap []*consumer

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].wake.Before(h[j].wake) }

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].wakeIndex, h[j].wakeIndex = i, j
}

func (h *laneHeap) Push(x any) {
	l := x.(*consumer)
	l.wakeIndex = len(*h)
	*h = append(*h, l)
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.wakeIndex = -1
	return l
}
