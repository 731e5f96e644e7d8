package deliver

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

var (
	seeds    = flag.Int("seeds", 500, "how many seeds the simulation runs")
	oneSeed  = flag.Uint64("seed", 0, "run only this seed, and tell its steps")
	simSteps = flag.Int("steps", 700, "steps of chaos for each seed")
)

// simulation runs the core under one seeded scheduler: every read, attempt, commit, change and crash
// happens when the dice say so. After each commit the store is checked by brute force; at the end
// the faults stop and everything must come to its end.
type simulation struct {
	dice   *rand.Rand
	now    time.Time
	memory *memory
	core   *core

	reads    []read        // asked, not looked up
	answers  []func(*core) // looked up, not told
	running  []*flight
	record   *store.Record // under way
	commits  []commit      // committed, the engine not told
	recorded []func(*core)

	behave    map[hook.WebhookKey]func() send.Result
	healthy   bool
	knobs     knobs
	tell      func(format string, args ...any)
	inFlight  map[hook.WebhookKey]int
	companies int
	moved     chan moved
	handovers int
	unordered map[hook.WebhookKey]bool // its ordering was changed, or a crash left doubles
}

type flight struct {
	start start
	began time.Time
}

// knobs are how a seed differs from another.
type knobs struct {
	crash, change, lose, move float64
	objects, slots            int
	parked                    int
}

func newSimulation(seed uint64, tell func(string, ...any)) *simulation {
	s := &simulation{
		dice: rand.New(rand.NewPCG(seed, 0xa71a5)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), memory: newMemory(),
		behave: map[hook.WebhookKey]func() send.Result{}, tell: tell, moved: make(chan moved, 1), unordered: map[hook.WebhookKey]bool{},
	}
	s.knobs = knobs{
		crash: s.dice.Float64() * 0.02, change: s.dice.Float64() * 0.05, lose: s.dice.Float64() * 0.2,
		objects: 1 + s.dice.IntN(6), slots: 1 + s.dice.IntN(24),
	}
	s.knobs.parked = []int{1, 2, 5, 20, 10_000}[s.dice.IntN(5)]
	s.knobs.move = s.dice.Float64() * 0.02
	s.companies = 1 + s.dice.IntN(3)
	for range 1 + s.dice.IntN(5) {
		s.create()
	}
	s.boot()
	return s
}

func (s *simulation) boot() {
	s.core = newCore(Config{Dice: s.dice, MaxInFlight: s.knobs.slots, MaxBytesInFlight: 1 << 20, MaxParked: s.knobs.parked})
	s.core.mostPlaces = 2
	s.core.now = s.now
	s.reads, s.answers, s.running, s.record, s.commits, s.recorded = nil, nil, nil, nil, nil, nil
	s.inFlight = map[hook.WebhookKey]int{}
	select {
	case <-s.moved: // of the core before
	default:
	}
	s.core.own(0)
}

func (s *simulation) chance(p float64) bool { return s.dice.Float64() < p }

// create subscribes a webhook whose endpoint behaves in a way of its own.
func (s *simulation) create() {
	key := hook.WebhookKey(len(s.memory.webhooks) + 1)
	orders := []hook.Ordering{hook.Relaxed, hook.ObjectOrder, hook.WebhookOrder}
	h := hook.Webhook{
		Key: key, ID: fmt.Sprint("wh_", key), Company: hook.CompanyKey(1 + s.dice.IntN(s.companies)), Status: hook.Active,
		Ordering: orders[s.dice.IntN(3)], MaxConcurrency: 1 + s.dice.IntN(8), Timeout: hook.DefaultTimeout, Version: 1, EndpointVersion: 1, EndpointSince: s.now,
		RetrySchedule: []time.Duration{time.Second, 5 * time.Second, time.Minute, time.Hour}[:s.dice.IntN(5)],
	}
	if s.chance(0.2) {
		h.RateLimit = float64(1 + s.dice.IntN(20))
	}
	s.memory.create(h, s.topics())
	s.behave[key] = s.behaviour()
}

func (s *simulation) topics() hook.TopicSet { return hook.TopicSet(1 + s.dice.IntN(7)) }

// behaviour is one of the endpoints of the world.
func (s *simulation) behaviour() func() send.Result {
	kind := s.dice.IntN(7)
	return func() send.Result {
		switch kind {
		case 0:
			return send.Result{Class: hook.ErrConnect}
		case 1:
			if s.chance(0.3) {
				return status(429)
			}
		case 2:
			if s.chance(0.3) {
				return status(500)
			}
		case 3:
			if s.chance(0.2) {
				return status(400)
			}
		case 4:
			if s.chance(0.1) {
				return send.Result{Class: hook.ErrOwnFault}
			}
		case 5:
			if s.chance(0.02) {
				return status(410)
			}
		}
		return status(200)
	}
}

// step lets one thing happen.
func (s *simulation) step() error {
	s.core.now = s.now
	switch n := s.dice.IntN(20); {
	case n < 4 && len(s.reads) > 0: // a reader looks something up
		i := s.dice.IntN(len(s.reads))
		r := s.reads[i]
		s.reads = slices.Delete(s.reads, i, i+1)
		if s.chance(0.01) {
			s.answers = append(s.answers, s.failedRead(r))
		} else {
			s.answers = append(s.answers, r.do(context.Background(), s.memory))
		}
	case n < 8 && len(s.answers) > 0:
		i := s.dice.IntN(len(s.answers))
		tell := s.answers[i]
		s.answers = slices.Delete(s.answers, i, i+1)
		tell(s.core)
	case n < 12 && len(s.running) > 0:
		s.end(s.dice.IntN(len(s.running)))
	case n < 14 && s.record != nil:
		r := s.record
		s.record = nil
		out, _ := s.memory.Record(context.Background(), r)
		s.tell("%s commit of %d items, %d cursors, swept %v", s.now.Format("15:04:05"), len(r.Items), len(r.Cursors), r.Swept)
		s.recorded = append(s.recorded, func(c *core) { c.recorded(out) })
		if len(r.Status) > 0 || len(r.Replays) > 0 {
			s.commits = append(s.commits, commit{0, nil, s.memory.version})
		}
		if err := s.memory.check(); err != nil {
			return err
		}
	case n < 16 && len(s.recorded) > 0:
		tell := s.recorded[0]
		s.recorded = s.recorded[1:]
		tell(s.core)
	case n < 17 && len(s.commits) > 0:
		x := s.commits[0]
		s.commits = s.commits[1:]
		if newer := slices.ContainsFunc(s.commits, func(c commit) bool { return len(c.events) > 0 }); newer && s.chance(s.knobs.lose) {
			break // the inbox was full; the store still has them, and what comes next shows the gap
		}
		s.core.committed(x.partition, x.events, x.version)
	case n < 18 && !s.healthy:
		s.publish()
	case s.chance(s.knobs.change) && !s.healthy:
		s.mutate()
	case s.chance(s.knobs.move) && !s.healthy:
		s.move()
	case s.chance(s.knobs.crash) && !s.healthy:
		s.tell("%s crash with %d in flight", s.now.Format("15:04:05"), len(s.running))
		s.boot()
	default:
		s.pass()
	}
	return s.pump()
}

func (s *simulation) failedRead(r read) func(*core) {
	broken := brokenStore{s.memory}
	return r.do(context.Background(), broken)
}

// brokenStore answers nothing.
type brokenStore struct{ *memory }

func (brokenStore) Tail(context.Context, hook.Partition, hook.Offset, int, int) ([]*hook.Event, int64, error) {
	return nil, 0, errMemory
}

func (brokenStore) Backlog(context.Context, hook.CompanyKey, hook.Offset, hook.Offset, int) ([]store.Ref, error) {
	return nil, errMemory
}

func (brokenStore) Events(context.Context, hook.Partition, []hook.Offset) ([]*hook.Event, error) {
	return nil, errMemory
}

func (brokenStore) Places(context.Context, hook.Partition, int64, int) ([]store.Place, hook.Offset, int64, error) {
	return nil, 0, 0, errMemory
}

func (brokenStore) LoadLane(context.Context, hook.WebhookKey, hook.Offset) (store.Lane, error) {
	return store.Lane{}, errMemory
}

func (brokenStore) DueOf(context.Context, hook.WebhookKey, time.Time, bool, int) ([]hook.Parked, error) {
	return nil, errMemory
}

func (brokenStore) ReplayByKey(context.Context, int64) (*store.Replay, error) { return nil, errMemory }

// pump takes what the core wants done.
func (s *simulation) pump() error {
	c := s.core
	c.pump()
	for i := range c.starts {
		if err := s.begin(c.starts[i]); err != nil {
			return err
		}
	}
	c.starts = nil
	s.reads = append(s.reads, c.reads...)
	c.reads = nil
	c.events, c.attempts = nil, nil
	if err := s.moves(); err != nil {
		return err
	}
	c = s.core
	if s.record == nil && len(s.recorded) == 0 {
		s.record = c.record()
	}
	return s.bounded()
}

// begin checks what must hold of attempts in flight.
func (s *simulation) begin(x start) error {
	w := s.memory.webhooks[x.webhook.Key]
	s.inFlight[w.hook.Key]++
	if n := s.inFlight[w.hook.Key]; n > max(w.hook.MaxConcurrency, x.webhook.MaxConcurrency) {
		return fmt.Errorf("webhook %d has %d in flight, its limit is %d", w.hook.Key, n, w.hook.MaxConcurrency)
	}
	object := x.payload.event.ObjectKey
	for _, f := range s.running {
		if f.start.webhook.Key == x.webhook.Key && object != "" && f.start.payload.event.ObjectKey == object && !s.unordered[w.hook.Key] {
			return fmt.Errorf("webhook %d has two deliveries of %s in flight: %d and %d", w.hook.Key, object, f.start.item.offset, x.item.offset)
		}
	}
	if s.core.slots.held > s.knobs.slots {
		return fmt.Errorf("%d slots are held of %d", s.core.slots.held, s.knobs.slots)
	}
	if err := s.inOrder(w, &x); err != nil {
		return err
	}
	s.running = append(s.running, &flight{x, s.now})
	return nil
}

// inOrder: under strict order nothing starts while an earlier delivery of its object is not at its end.
func (s *simulation) inOrder(w *memoryWebhook, x *start) error {
	if w.hook.Ordering == hook.Relaxed || x.kind != hook.Live || s.unordered[w.hook.Key] {
		return nil
	}
	if w.hook.Ordering == hook.ObjectOrder && x.payload.event.ObjectKey == "" {
		return nil
	}
	for _, o := range s.memory.matches(w) {
		if o >= x.item.offset {
			break
		}
		if w.hook.Ordering == hook.ObjectOrder && s.memory.events[o-1].ObjectKey != x.payload.event.ObjectKey {
			continue
		}
		if state := s.memory.settled(w, o); state == "" || state == "parked" {
			if _, skip := x.lane.place.skipped(o); skip {
				continue
			}
			return fmt.Errorf("webhook %d (%s order) starts %d while %d is %q", w.hook.Key, w.hook.Ordering, x.item.offset, o, state)
		}
	}
	return nil
}

func (s *simulation) bounded() error {
	for key, l := range s.core.lanes {
		if len(l.items)-l.ahead-l.inFlight > maxQueued+backlogChunk || len(l.due) > maxDue {
			return fmt.Errorf("webhook %d holds %d items, %d due", key, len(l.items), len(l.due))
		}
		if l.inFlight < 0 || l.ahead < 0 || l.parked < 0 {
			return fmt.Errorf("webhook %d: %d in flight, %d ahead, %d parked", key, l.inFlight, l.ahead, l.parked)
		}
	}
	return nil
}

// end lets an attempt come to something.
func (s *simulation) end(i int) {
	f := s.running[i]
	s.running = slices.Delete(s.running, i, i+1)
	key := f.start.webhook.Key
	s.inFlight[key]--
	r := send.Result{StatusCode: 200}
	if !s.healthy {
		r = s.behave[key]()
	}
	if r.StatusCode/100 != 2 && r.Class == hook.ErrNone {
		r.Class = hook.ErrServerStatus
	}
	r.StartedAt, r.Phases.Total = f.began, s.now.Sub(f.began)
	s.tell("%s webhook %d offset %d attempt %d %s: %d %s", s.now.Format("15:04:05"), key, f.start.item.offset, f.start.attempt, f.start.kind, r.StatusCode, r.Class)
	s.core.finished(&f.start, &r)
}

func (s *simulation) publish() {
	var fresh []*hook.Event
	for range 1 + s.dice.IntN(4) {
		e := &hook.Event{
			ID: fmt.Sprint("e", len(s.memory.events)), Company: hook.CompanyKey(1 + s.dice.IntN(s.companies)), AcceptedAt: s.now,
			Topic: hook.Topics()[s.dice.IntN(4)].Name, Data: []byte(`{}`),
		}
		if s.chance(0.8) {
			e.ObjectKey = hook.ObjectKey("conversation", fmt.Sprint(s.dice.IntN(s.knobs.objects)))
		}
		s.memory.append(e)
		fresh = append(fresh, e)
	}
	s.commits = append(s.commits, commit{0, fresh, s.memory.version})
}

// mutate does what owners do.
func (s *simulation) mutate() {
	keys := slices.Sorted(maps.Keys(s.memory.webhooks))
	key := keys[s.dice.IntN(len(keys))]
	w := s.memory.webhooks[key]
	if w.deleted {
		return
	}
	what := s.dice.IntN(9)
	s.tell("%s change %d of webhook %d", s.now.Format("15:04:05"), what, key)
	switch what {
	case 0:
		s.memory.change(key, func(w *memoryWebhook) { w.hook.Status = hook.Paused })
	case 1, 2:
		s.activate(key)
	case 3:
		topics := s.topics()
		s.memory.change(key, func(w *memoryWebhook) {
			w.rules = slices.DeleteFunc(w.rules, func(r hook.Rule) bool { return r.From == s.memory.head()+1 })
			w.rules = append(w.rules, hook.Rule{Webhook: key, From: s.memory.head() + 1, Topics: topics})
		})
	case 4:
		s.memory.change(key, func(w *memoryWebhook) {
			w.hook.EndpointVersion++
			w.hook.EndpointSince = s.now
			w.hook.Ordering = []hook.Ordering{hook.Relaxed, hook.ObjectOrder, hook.WebhookOrder}[s.dice.IntN(3)]
			w.hook.MaxConcurrency = 1 + s.dice.IntN(8)
		})
		s.unordered[key] = true
		s.behave[key] = s.behaviour()
	case 5:
		s.create()
	case 6:
		if s.chance(0.2) {
			s.memory.change(key, func(w *memoryWebhook) { w.deleted = true })
		}
	case 7:
		s.retry(key)
	case 8:
		s.replay(key)
	}
	s.commits = append(s.commits, commit{0, nil, s.memory.version})
}

func (s *simulation) activate(key hook.WebhookKey) {
	now := s.chance(0.5)
	s.memory.change(key, func(w *memoryWebhook) {
		if w.hook.Status == hook.Active {
			return
		}
		w.hook.Status, w.hook.StatusReason = hook.Active, ""
		w.hook.EndpointVersion++
		w.cursor.FailingSince, w.cursor.ProbeAt, w.cursor.ConsecutiveFailures, w.cursor.ProbeStep = nil, nil, 0, 0
		if now && s.memory.head() > w.cursor.Offset {
			w.skips = append(w.skips, store.SkipRange{From: w.cursor.Offset + 1, To: s.memory.head(), Reason: "resumed_now"})
			s.unordered[key] = true
		}
	})
}

// retry asks for one delivery again, as the API would.
func (s *simulation) retry(key hook.WebhookKey) {
	w := s.memory.webhooks[key]
	matches := s.memory.matches(w)
	if len(matches) == 0 || w.hook.Status != hook.Active {
		return
	}
	o := matches[s.dice.IntN(len(matches))]
	due := s.now
	switch state := s.memory.settled(w, o); state {
	case "":
		return
	case "parked":
		p := s.memory.parked[key][parkedKey{hook.Live, o}]
		if p.DueAt == nil {
			return
		}
		p.DueAt, p.ParkedAt = &due, s.now
		s.memory.parked[key][parkedKey{hook.Live, o}] = p
	default:
		number := 0
		for _, a := range s.memory.attempts[key][o] {
			number = max(number, a.Number)
		}
		if _, there := s.memory.parked[key][parkedKey{hook.Manual, o}]; there {
			return
		}
		s.memory.parked[key][parkedKey{hook.Manual, o}] = hook.Parked{
			Webhook: key, Kind: hook.Manual, Offset: o, Attempts: number, DueAt: &due, ParkedAt: s.now, ObjectKey: s.memory.events[o-1].ObjectKey,
			Sequence: int64(slices.Index(matches, o) + 1),
		}
	}
	s.core.kick(key)
}

func (s *simulation) replay(key hook.WebhookKey) {
	w := s.memory.webhooks[key]
	to := s.memory.place(w)
	for _, r := range s.memory.replays {
		if r.Webhook == key && r.Status == store.ReplayRunning {
			return
		}
	}
	if to == 0 || w.hook.Status != hook.Active {
		return
	}
	id := int64(len(s.memory.replays) + 1)
	r := &store.Replay{Key: id, ID: fmt.Sprint("rpl_", id), Webhook: key, Status: store.ReplayRunning, FromOffset: 1 + hook.Offset(s.dice.IntN(int(to))), ToOffset: to}
	s.memory.replays[id] = r
	s.memory.change(key, func(w *memoryWebhook) { w.hook.Version-- })
}

// pass lets time go by: a little, or to the next thing that waits for it.
func (s *simulation) pass() {
	s.core.now = s.now
	wake := s.core.pump()
	switch {
	case s.chance(0.5) || wake.IsZero():
		s.now = s.now.Add(time.Duration(s.dice.IntN(2000)) * time.Millisecond)
	case wake.After(s.now):
		s.now = wake
	}
	s.core.now = s.now
}

// run is one seed: chaos, then calm in which everything must end.
func (s *simulation) run(steps int) error {
	for range steps {
		if err := s.step(); err != nil {
			return err
		}
	}
	s.healthy = true
	for _, key := range slices.Sorted(maps.Keys(s.memory.webhooks)) {
		if !s.memory.webhooks[key].deleted {
			s.activate(key)
		}
	}
	s.commits = append(s.commits, commit{0, nil, s.memory.version})
	for i := range 60_000 {
		if err := s.step(); err != nil {
			return err
		}
		if i%200 == 0 && s.memory.open() == 0 && s.record == nil && len(s.running) == 0 {
			return s.memory.check()
		}
	}
	return fmt.Errorf("%d deliveries never ended: %s", s.memory.open(), s.stuck())
}

// stuck tells of the lanes that should have something to do.
func (s *simulation) stuck() (text string) {
	for _, key := range slices.Sorted(maps.Keys(s.memory.webhooks)) {
		w := s.memory.webhooks[key]
		var open []string
		for _, o := range s.memory.matches(w) {
			if state := s.memory.settled(w, o); state == "" || state == "parked" {
				open = append(open, fmt.Sprint(o, " ", state, " ", s.memory.parked[key][parkedKey{hook.Live, o}]))
			}
		}
		if len(open) == 0 && len(s.memory.parked[key]) == 0 {
			continue
		}
		text += fmt.Sprintf("\nwebhook %d %s %s, cursor %+v, open %v, parked %v", key, w.hook.Status, w.hook.Ordering, w.cursor, open, s.memory.parked[key])
		l := s.core.lanes[key]
		if l == nil {
			continue
		}
		text += fmt.Sprintf("\n  place %s; lane %+v; health %+v; fed %v read %d low %d items %d ahead %d run %d due %d chains %d more %v loading %v reading %v fetching %v dueReading %v known %v, in line %v",
			l.place.status, l.next(s.now), l.health, l.fed, l.read, l.low, len(l.items), l.ahead, len(l.run), len(l.due), len(l.chains), l.dueMore, l.loading, l.reading, l.fetching, l.dueReading, l.known, l.inLine)
	}
	for _, p := range s.core.partitions {
		text += fmt.Sprintf("\npartition tail %d swept %d version %d wanted %d dueAt %s dueFrom %+v; now %s; slots %d", p.tail, p.swept, p.version, p.wanted, p.dueAt, p.dueFrom, s.now, s.core.slots.held)
	}
	return text
}

func TestSimulation(t *testing.T) {
	if *oneSeed != 0 {
		s := newSimulation(*oneSeed, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
		if err := s.run(*simSteps); err != nil {
			t.Fatalf("seed %d: %v", *oneSeed, err)
		}
		return
	}
	var events, deliveries int
	for seed := range *seeds {
		s := newSimulation(uint64(seed+1), func(string, ...any) {})
		if err := s.run(*simSteps); err != nil {
			t.Fatalf("seed %d: %v (run with -seed=%d to see its steps)", seed+1, err, seed+1)
		}
		events += len(s.memory.events)
		for _, byOffset := range s.memory.attempts {
			deliveries += len(byOffset)
		}
	}
	t.Logf("%d seeds, %d events, %d deliveries", *seeds, events, deliveries)
}

// The control: a store that forgets one attempt in 25 must be found out by every seed.
func TestSimulationNoticesALossyStore(t *testing.T) {
	for seed := range 20 {
		s := newSimulation(uint64(seed+1), func(string, ...any) {})
		s.memory.forget = 25
		if err := s.run(*simSteps); err == nil && s.memory.records > 100 {
			t.Errorf("seed %d: nothing was noticed in %d attempts", seed+1, s.memory.records)
		}
	}
}
