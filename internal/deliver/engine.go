// Package deliver is the engine: it makes every attempt that is due, and no other.
//
// An event that was committed is offered by its partition's tail to the lanes of the webhooks that
// match it ([core.offer]). A lane ([lane.Lane]) decides by a pure function what it may do next
// ([lane.Lane.Next]); attempts that may start get a slot ([slots]) and are made by workers; what comes
// of them ([core.finished]) goes through the ledger into the store as one group, and only then is
// the slot free again ([core.recorded]). Everything in memory is a cache: a start reads it back.
//
// One goroutine owns all of that state, the loop in [Engine.Run]. Workers make attempts, readers read the
// store, the recorder writes it, the matcher asks filters and the ownership keeps the lease: they do the
// I/O, and talk to the loop over the channels of [Engine].
package deliver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/match"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Store is what the engine reads and writes.
type Store interface {
	Log
	Subscriptions
	Record(ctx context.Context, r *store.Record) (store.Recorded, error)
}

// Log is the part of the store that events are read from.
type Log interface {
	Tail(ctx context.Context, p hook.Partition, after hook.Offset, limit, maxBytes int) ([]*hook.Event, int64, error)
	Backlog(ctx context.Context, c hook.CompanyKey, after, upTo hook.Offset, limit int) ([]store.Ref, error)
	Events(ctx context.Context, p hook.Partition, offsets []hook.Offset) ([]*hook.Event, error)
}

// Subscriptions is the part of the store that webhooks and what they wait for are read from.
type Subscriptions interface {
	Places(ctx context.Context, p hook.Partition, since int64, limit int) ([]store.Place, hook.Offset, int64, error)
	LoadLane(ctx context.Context, w hook.WebhookKey, place hook.Offset) (store.Lane, error)
	Due(ctx context.Context, p hook.Partition, after store.DuePlace, now time.Time, limit int) ([]hook.Parked, *time.Time, error)
	DueOf(ctx context.Context, w hook.WebhookKey, now time.Time, probe bool, limit int) ([]hook.Parked, error)
	ReplayByKey(ctx context.Context, replay int64) (*store.Replay, error)
	ReplayWork(ctx context.Context, replay int64, after hook.Offset, limit int) (items []store.ReplayItem, upTo hook.Offset, done bool, err error)
}

// Sender makes one attempt.
type Sender interface {
	Send(ctx context.Context, r send.Request) send.Result
}

// Observer hears of what the engine does, for metrics and for who watches. It is told in the engine's loop:
// it neither waits nor keeps the webhook or the event.
type Observer interface {
	Attempt(a *hook.Attempt, w *hook.Webhook, event *hook.Event)
	Engine(Gauges)
	Disabled(reason string)
	OwnFault(phase string) // a fault of ours, which no record tells of
}

// Gauges are the engine's sizes, told once a second.
type Gauges struct {
	InFlight           int
	Attached, Detached int // lanes
	Parked             int // deliveries, of those lanes
	Partitions         int
	Lag                int64 // events between the swept marks and the tails
}

// Config is what an engine needs. Store, Sender and Log are required.
type Config struct {
	Store  Store
	Sender Sender
	Log    *slog.Logger
	// Judge asks rules' filters; with nil each event matches them.
	Judge hook.Judge
	// MaxInFlight is the number of slots; 0 means 1,024.
	MaxInFlight int
	// MaxPerWebhook bounds the requests under way to one webhook, whatever its owner allows; 0 for no bound.
	MaxPerWebhook int
	// MaxBytesInFlight bounds the events being sent, in bytes; 0 means 64 MiB.
	MaxBytesInFlight int64
	// MaxParked is how many deliveries of a webhook may wait to be retried before its cursor waits
	// too; 0 means 10,000.
	MaxParked int
	Readers   int // goroutines that read the store; 0 means 4
	// Held makes no attempts until Release, but does everything else.
	Held bool
	// Members lets the engine share the store with other nodes, as Node, under a lease of length
	// Lease; nil where this process has the store for itself. Seen, if set, hears who else is there
	// at each renewal.
	Members Membership
	Node    store.Node
	Lease   time.Duration
	Seen    func(store.Members)
	Observe Observer
	Now     func() time.Time // the wall clock; nil means time.Now
	Dice    *rand.Rand       // nil means a random one
}

// Engine runs the partitions that this process owns. Make it with New, then Run it.
type Engine struct {
	Config
	began    time.Time
	core     *core
	attempts context.Context //nolint:containedctx // of all attempts while the lease holds; the loop's
	suspend  context.CancelFunc
	// The channels. Only the loop writes the first three, and closes them when it ends; only the loop reads
	// the others.
	jobs     chan attempt       // to workers, which read one each; unbuffered: who does not wait for one is busy
	reads    chan read          // to readers; the loop keeps what finds no room until the next round
	records  chan *store.Record // to the recorder; one at a time is under way, so that the loop never waits
	finished chan attempt       // from workers; as many as there are slots, so that no worker waits
	back     chan func(*core)   // from readers, the recorder, the matcher, the ownership and who asks: what the loop is to do; given up when done is closed
	kicked   chan struct{}      // from who commits, when there is something in the inbox
	done     chan struct{}      // nobody writes; closed when the loop has ended
	matcher  *match.Matcher

	inbox struct {
		sync.Mutex
		commits []commit
		events  int
		bytes   int64
	}
	workers  sync.WaitGroup
	crew     crew
	lease    lease
	inFlight atomic.Int64 // for others than the loop, which keeps it
}

type commit struct {
	partition hook.Partition
	events    []*hook.Event
	version   int64
}

// New returns an engine that does nothing until Run.
func New(c Config) *Engine {
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 1024
	}
	if c.MaxBytesInFlight == 0 {
		c.MaxBytesInFlight = 64 << 20
	}
	if c.MaxParked == 0 {
		c.MaxParked = 10_000
	}
	if c.Readers == 0 {
		c.Readers = 4
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Dice == nil {
		c.Dice = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return &Engine{
		Config: c, began: time.Now(), core: newCore(c),
		matcher: match.New(c.Judge), jobs: make(chan attempt), finished: make(chan attempt, c.MaxInFlight), reads: make(chan read, 256),
		back: make(chan func(*core), 256), records: make(chan *store.Record, 1), kicked: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// Committed tells the engine what a commit appended, and the configuration version after it. It
// never blocks; what does not fit is read from the store.
func (e *Engine) Committed(p hook.Partition, events []*hook.Event, version int64) {
	e.inbox.Lock()
	n := size(events)
	if e.inbox.events+len(events) > maxInbox || e.inbox.bytes+n > maxInboxes {
		e.inbox.commits, e.inbox.events, e.inbox.bytes = nil, 0, 0 // the gap shows that they are missing
	}
	e.inbox.commits = append(e.inbox.commits, commit{p, events, version})
	e.inbox.events += len(events)
	e.inbox.bytes += n
	e.inbox.Unlock()
	select {
	case e.kicked <- struct{}{}:
	default:
	}
}

// Run makes attempts until ctx ends; then it starts no more, lets those in flight end, records them
// and returns. It returns early with an error when hard ends, and with [store.ErrFenced] when this
// node was declared dead: nothing of it is written any more. The partitions are those that it runs
// for good; with Members it runs those that it owns, and hands them over at the end.
func (e *Engine) Run(ctx, hard context.Context, partitions ...hook.Partition) error {
	work, cancel := context.WithCancel(hard)
	var helpers sync.WaitGroup
	defer func() {
		close(e.done)
		cancel()
		close(e.jobs)
		close(e.reads)
		close(e.records)
		helpers.Wait()
		e.workers.Wait()
		e.matcher.Wait()
	}()
	for range e.Readers {
		helpers.Go(func() { e.read(work) })
	}
	fenced := make(chan error, 2)
	helpers.Go(func() { e.record(work, fenced) })
	if e.Members != nil {
		helpers.Go(func() {
			if err := e.newOwnership(ctx.Done()).run(work); err != nil {
				fenced <- err
			}
		})
	}

	c := e.core
	e.tick()
	for _, p := range partitions {
		c.own(p)
	}
	alarm := newAlarm()
	defer alarm.timer.Stop()
	stop := ctx.Done()
	e.resume(work)
	defer func() { e.suspend() }()
	// A round, in this order:
	//
	//  1. Attempts start while there are slots, and workers get them first: receivers wait for nothing else.
	//  2. Questions go to the readers and to the filters; what they answer is news for a later round.
	//  3. Partitions that are to move are let go of as far as they can be: that may be a reason to record.
	//  4. What has come of attempts is recorded, if no record is under way. This is late in the round so that
	//     as much as is known goes with it.
	//  5. Operators and metrics hear what has changed.
	//  6. The loop waits for news of any kind, takes in all that has come, and begins anew.
	for {
		wake := c.pump()
		e.dispatch()
		e.dispatchReads()
		e.askFilters(work)
		c.handOver()
		if r := c.record(); r != nil {
			e.records <- r // there is one at a time: never blocks
		}
		e.report()
		e.inFlight.Store(int64(c.slots.taken))
		if c.stopping && c.quiet() && (e.Members == nil || c.left) {
			return nil
		}
		alarm.set(wake, c.now)
		alarm.set(e.dismiss(), c.now)
		select {
		case <-e.kicked:
			e.tick()
			e.drainInbox()
		case a := <-e.finished:
			e.tick()
			e.take(&a)
		case tell := <-e.back:
			e.tick()
			tell(c)
		case <-alarm.timer.C:
			alarm.at = time.Time{}
			e.tick()
		case <-stop:
			stop, c.stopping = nil, true
			e.tick()
		case err := <-fenced:
			return err
		case <-hard.Done():
			return errors.New("stopped before every attempt had ended")
		}
		e.drain()
	}
}

// drain takes in whatever else has come: a round costs as much for one answer as for many.
func (e *Engine) drain() {
	for range len(e.finished) {
		a := <-e.finished
		e.take(&a)
	}
	for range len(e.back) {
		(<-e.back)(e.core)
	}
	if len(e.kicked) > 0 {
		<-e.kicked
		e.drainInbox()
	}
}

// alarm is the timer of the loop. It may go off too early, but never too late: to set it anew in each
// round would cost more than a round now and then for nothing.
type alarm struct {
	timer *time.Timer
	at    time.Time // when it goes off; zero: it has
}

func newAlarm() alarm { return alarm{timer: time.NewTimer(0), at: time.Time{}.Add(1)} }

// set makes it go off at a time; zero is never.
func (a *alarm) set(at, now time.Time) {
	if !at.IsZero() && (a.at.IsZero() || at.Before(a.at)) {
		a.at = at
		a.timer.Reset(max(at.Sub(now), 0))
	}
}

// tick tells the core the time: what has passed since the engine was made, which nobody can set, and
// the wall clock.
func (e *Engine) tick() {
	e.core.tick(e.began.Round(0).Add(time.Since(e.began)), e.Now().Round(0))
}

// resume lets attempts be made again; suspend breaks off those under way.
func (e *Engine) resume(work context.Context) {
	e.attempts, e.suspend = context.WithCancel(work)
	e.core.suspended = false
}

// quiet says that nothing is in flight and nothing is left to record.
func (c *core) quiet() bool {
	return c.slots.taken == 0 && c.ledger.writing == nil && len(c.ledger.items) == 0 && len(c.ledger.lanes) == 0
}

func (e *Engine) take(a *attempt) {
	e.crew.busy--
	e.core.finished(a)
}

func (e *Engine) drainInbox() {
	e.inbox.Lock()
	commits := e.inbox.commits
	e.inbox.commits, e.inbox.events, e.inbox.bytes = nil, 0, 0
	e.inbox.Unlock()
	for _, x := range commits {
		e.core.committed(x.partition, x.events, x.version)
	}
}

// report logs what changed since the last round.
func (e *Engine) report() {
	for _, n := range e.core.events {
		e.Log.Warn("webhook "+n.kind, "webhook_id", n.webhook, "detail", n.detail)
	}
	e.core.events = e.core.events[:0]
	if e.Observe != nil {
		for _, reason := range e.core.disabled {
			e.Observe.Disabled(reason)
		}
	}
	e.core.disabled = e.core.disabled[:0]
	if e.Observe != nil {
		for _, a := range e.core.attempts {
			e.Observe.Attempt(a.attempt, a.webhook, a.event)
		}
	}
	clear(e.core.attempts)
	e.core.attempts = e.core.attempts[:0]
	if e.Observe != nil {
		for _, phase := range e.core.faulty {
			e.Observe.OwnFault(phase)
		}
	}
	e.core.faulty = e.core.faulty[:0]
	if e.Observe != nil && e.core.swept {
		e.core.swept = false
		g := Gauges{InFlight: e.core.slots.taken, Partitions: len(e.core.partitions)}
		for _, p := range e.core.partitions {
			g.Lag += store.Behind(p.tail, p.swept)
		}
		for _, l := range e.core.lanes {
			g.Parked += l.Parked
			if l.subscription.detached {
				g.Detached++
			} else {
				g.Attached++
			}
		}
		e.Observe.Engine(g)
	}
}
