package deliver

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/match"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

var (
	seeds    = flag.Int("seeds", shareOf(simulatedSeeds), "how many seeds the simulation runs")
	seedFrom = flag.Int("from", 1, "the first of them")
	oneSeed  = flag.Uint64("seed", 0, "run only this seed, and tell its steps")
	simDays  = flag.Float64("days", simulatedDays, "days of chaos for each seed, in its own time")
)

// shareOf is how many of so many seeds are run here, at least one.
func shareOf(seeds int) int { return max(int(float64(seeds)*simulatedShare), 1) }

// simulation runs the core under one seeded scheduler: every read, attempt, commit, change, crash and
// jump of the clock happens when the dice say so. The store is checked after each commit, the core
// after each step; at the end the faults stop and everything must come to its end.
type simulation struct {
	dice   *rand.Rand
	knobs  knobs
	now    time.Time     // what has passed
	ahead  time.Duration // of the wall clock
	memory *memory
	core   *core

	reads    []read        // asked, not looked up
	asks     []ask         // of filters, not answered
	answers  []func(*core) // looked up, not told
	running  []*flight
	record   *store.Record // under way
	commits  []commit      // committed, the engine not told
	recorded []func(*core)
	stopping bool // the engine was asked to end
	moved    chan moved

	endpoints map[hook.WebhookKey]*endpoint
	watch     map[hook.WebhookKey]*watch
	cancelled map[int64]int64      // replays, by the version of the configuration that tells
	restless  int                  // steps that the load still lasts
	quiet     time.Time            // until when there is none
	upkeep    time.Time            // when retention is looked after next
	healthy   bool                 // the faults have stopped
	stubborn  map[hook.Offset]bool // events that no receiver takes without asking for patience
	yielding  bool                 // not even those are left
	sabotage  func(*simulation, *store.Record)
	lives     *rand.Rand // decides which events expire; nil for none
	tell      func(format string, args ...any)
	steps     int
	sent      int
	handovers int
}

type flight struct {
	start attempt
	began time.Time
}

// knobs are how a seed differs from another.
type knobs struct {
	crash, stop, move, change, cancel, lose, jump, read float64       // how likely, at each step
	stubborn                                            float64       // how many events are
	stale                                               float64       // how often a kept connection ends under an attempt
	hurry                                               int           // how readily attempts end
	tick                                                time.Duration // that pass between two steps, at most
	companies, webhooks, objects, slots, places         int
	parked                                              int
	bytes, judging                                      int64
	retention                                           time.Duration // 0 for none
}

func newSimulation(seed uint64, tell func(string, ...any)) *simulation {
	s := &simulation{
		dice: rand.New(rand.NewPCG(seed, 0xa71a5)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), memory: newMemory(compileParity),
		endpoints: map[hook.WebhookKey]*endpoint{}, stubborn: map[hook.Offset]bool{}, cancelled: map[int64]int64{}, moved: make(chan moved, 1), tell: tell,
	}
	if seed > tracesOf && seed%2 == 0 { // the seeds before are those whose traces are kept
		s.lives = rand.New(rand.NewPCG(seed, 0xe791e5))
	}
	rarely := func(most float64) float64 { // never in some seeds, often in some
		if s.chance(0.2) {
			return 0
		}
		return most * math.Pow(s.dice.Float64(), 3)
	}
	s.knobs = knobs{
		crash: rarely(0.02), stop: rarely(0.01), move: rarely(0.02), change: rarely(0.05), cancel: rarely(0.05), lose: rarely(0.5), jump: rarely(0.01) * float64(s.dice.IntN(2)), read: rarely(0.1),
		hurry: 1 + s.dice.IntN(8), tick: time.Duration(math.Pow(10, 1+3*s.dice.Float64())) * time.Millisecond,
		companies: 1 + s.dice.IntN(3), webhooks: 1 + s.dice.IntN(5), objects: 1 + s.dice.IntN(6), slots: 1 + s.dice.IntN(24), places: 1 + s.dice.IntN(5),
		parked: []int{1, 2, 5, 20, 10_000}[s.dice.IntN(5)], bytes: []int64{1, 100, 1 << 20}[s.dice.IntN(3)], judging: []int64{1, 20, 200, 1 << 20}[s.dice.IntN(4)],
		retention: []time.Duration{0, 0, 6 * time.Hour, 48 * time.Hour}[s.dice.IntN(4)],
	}
	if s.knobs.stubborn = rarely(0.1); s.knobs.stubborn > 0 {
		s.knobs.parked = 10_000 // a full house of them would hold up the others
	}
	if s.chance(0.5) {
		s.knobs.stale = rarely(0.5)
	}
	for range s.knobs.webhooks {
		s.create()
	}
	s.boot(false)
	return s
}

// boot starts an engine; what another one had in memory and under way is lost, unless it ended well.
func (s *simulation) boot(well bool) {
	s.core = newCore(Config{
		Dice: s.dice, MaxInFlight: s.knobs.slots, MaxBytesInFlight: s.knobs.bytes, MaxParked: s.knobs.parked,
		Judge: judgeParity,
	})
	s.core.mostSubscriptions, s.core.mostJudging, s.core.longestWait = s.knobs.places, 4*s.knobs.judging, s.knobs.judging
	s.asks, s.reads, s.answers, s.running, s.record, s.commits, s.recorded, s.stopping = nil, nil, nil, nil, nil, nil, nil, false
	s.moved = make(chan moved, 1)
	s.watchAnew(well)
	s.core.tick(s.now, s.wall())
	s.core.own(0)
}

func (s *simulation) chance(p float64) bool { return s.dice.Float64() < p }

func (s *simulation) wall() time.Time { return s.now.Add(s.ahead) }

func (s *simulation) log(format string, args ...any) {
	s.tell(s.now.Format("02 15:04:05.000 ")+format, args...)
}

// run is one seed: chaos, then calm in which everything must end, and soon.
func (s *simulation) run(days float64) error {
	began := s.now
	for end := s.now.Add(time.Duration(days * 24 * float64(time.Hour))); s.now.Before(end); {
		if err := s.step(); err != nil {
			return fmt.Errorf("step %d, %s after the start: %w", s.steps, s.now.Sub(began), err)
		}
	}
	s.healthy, s.restless, s.quiet = true, 0, s.now.Add(1000*time.Hour)
	for _, key := range s.memory.keys {
		if !s.memory.webhooks[key].deleted {
			s.activate(key)
		}
	}
	if s.knobs.jump > 0 && s.chance(0.5) {
		s.ahead -= 48 * time.Hour // longer than anything may wait
		s.log("the clock is set, %s ahead", s.ahead)
	}
	s.commits = append(s.commits, commit{0, nil, s.memory.version})
	if err := s.patience(); err != nil {
		return err
	}
	s.yielding = true
	calm := s.now
	for i := 0; ; i++ {
		if err := s.step(); err != nil {
			return fmt.Errorf("step %d, %s into the calm: %w", s.steps, s.now.Sub(calm), err)
		}
		if s.memory.open() == 0 && s.record == nil && len(s.running) == 0 {
			return s.memory.check(true)
		}
		if took := s.now.Sub(calm); took > mostCalm || i > 1_000_000 {
			return fmt.Errorf("%d deliveries have not ended %s after the faults: %s", s.memory.open(), took, s.stuck())
		}
	}
}

// patience lets everything end that is not stubborn, while what is goes on to ask for patience: one
// event does not stop its webhook.
func (s *simulation) patience() error {
	calm, most := s.now, mostCalm+time.Duration(len(s.stubborn))*mostPatience
	for i := 0; len(s.stubborn) > 0; i++ {
		if err := s.step(); err != nil {
			return fmt.Errorf("step %d, %s into the calm: %w", s.steps, s.now.Sub(calm), err)
		}
		if i%64 != 0 {
			continue
		}
		held := s.heldUp()
		if held == 0 {
			return nil
		}
		if took := s.now.Sub(calm); took > most || i > 1_000_000 {
			return fmt.Errorf("%d deliveries are held up by others that are asked to wait, %s after the faults: %s", held, took, s.stuck())
		}
	}
	return nil
}

// mostPatience is how long one stubborn event holds up its webhook, at most: each of its first answers
// makes that wait, at the slowest pace, and what other answers asked for before.
const mostPatience = 4 * 6 * time.Minute

// heldUp counts the deliveries that have not ended although they are neither stubborn nor ordered with
// one that is and has not.
func (s *simulation) heldUp() (n int) {
	for _, key := range s.memory.keys {
		w := s.memory.webhooks[key]
		if w.deleted || w.hook.Status != hook.Active {
			continue
		}
		var open []*memoryDelivery
		waits := map[string]bool{} // objects, under webhook order any
		for _, d := range w.deliveries {
			switch {
			case d.fate != pending && d.fate != parked:
			case s.stubborn[d.event.Offset]:
				waits[d.event.ObjectKey] = true
			default:
				open = append(open, d)
			}
		}
		for _, d := range open {
			object := d.event.ObjectKey
			if len(waits) > 0 && w.hook.Ordering == hook.WebhookOrder || object != "" && waits[object] && w.hook.Ordering == hook.ObjectOrder {
				continue
			}
			n++
		}
	}
	return n
}

// mostCalm is how long anything may last once the faults have stopped: the longest wait that was
// asked for, counted anew when the clock was set, and a little.
const mostCalm = longestAsk + time.Hour*12/10 + 2*time.Hour

// step lets one thing happen.
func (s *simulation) step() error {
	s.steps++
	s.core.tick(s.now, s.wall())
	if !s.healthy && s.restless == 0 && !s.now.Before(s.quiet) {
		s.restless = 5 + s.dice.IntN(100)
	}
	if s.restless > 0 {
		s.restless--
		if s.restless == 0 {
			s.quiet = s.now.Add(time.Duration(math.Pow(10, 5*s.dice.Float64())) * time.Second) // up to a day
		}
	}
	switch {
	case s.healthy:
	case s.chance(s.knobs.crash):
		s.log("crash with %d in flight", len(s.running))
		s.boot(false)
	case s.chance(s.knobs.stop):
		s.log("stop with %d in flight", len(s.running))
		s.core.stopping, s.stopping = true, true
	case s.chance(s.knobs.move) && !s.stopping:
		s.move()
	case s.chance(s.knobs.jump):
		s.setClock()
	case s.restless > 0 && s.chance(s.knobs.change):
		s.mutate()
	case s.chance(s.knobs.cancel) && slices.ContainsFunc(s.running, func(f *flight) bool { return f.start.Kind == hook.Replay }):
		s.cancel()
	case s.knobs.retention > 0 && !s.now.Before(s.upkeep):
		s.retain()
	}
	if s.stopping && s.core.quiet() && len(s.running) == 0 && s.record == nil && len(s.recorded) == 0 {
		s.boot(true)
	}
	if err := s.act(); err != nil {
		return err
	}
	if s.memory.commits%512 == 0 {
		if err := s.memory.check(true); err != nil {
			return err
		}
	}
	return s.pump()
}

// act does one of the things that may happen next.
func (s *simulation) act() error {
	weigh := func(weight int, can bool) int {
		if can {
			return weight
		}
		return 0
	}
	weights := [...]int{
		weigh(4, len(s.reads) > 0), weigh(4, len(s.answers) > 0), weigh(s.knobs.hurry, len(s.running) > 0), weigh(3, s.record != nil),
		weigh(3, len(s.recorded) > 0), weigh(2, len(s.commits) > 0), weigh(2, s.restless > 0), weigh(3, len(s.asks) > 0), 2,
	}
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := s.dice.IntN(sum)
	what := 0
	for n >= weights[what] {
		n -= weights[what]
		what++
	}
	switch what {
	case 0:
		r := s.pick(&s.reads)
		if s.chance(s.knobs.read) && !s.healthy {
			s.answers = append(s.answers, r.do(context.Background(), brokenStore{}))
		} else {
			s.answers = append(s.answers, r.do(context.Background(), s.memory))
		}
	case 1:
		i := s.dice.IntN(len(s.answers))
		tell := s.answers[i]
		s.answers = slices.Delete(s.answers, i, i+1)
		tell(s.core)
	case 2:
		s.end(s.dice.IntN(len(s.running)))
	case 3:
		return s.commit()
	case 4:
		tell := s.recorded[0]
		s.recorded = s.recorded[1:]
		tell(s.core)
	case 5:
		x := s.commits[0]
		s.commits = s.commits[1:]
		if newer := slices.ContainsFunc(s.commits, func(c commit) bool { return len(c.events) > 0 }); newer && s.chance(s.knobs.lose) {
			break // the inbox was full; the store still has them, and what comes next shows the gap
		}
		s.core.committed(x.partition, x.events, x.version)
	case 6:
		s.publish()
	case 7:
		i := s.dice.IntN(len(s.asks))
		a := s.asks[i]
		s.asks = slices.Delete(s.asks, i, i+1)
		answers, _ := match.All(context.Background(), judgeParity, a.company, a.questions)
		s.answers = append(s.answers, func(c *core) { a.then(c, answers) })
	default:
		return s.pass()
	}
	return nil
}

func (s *simulation) pick(list *[]read) read {
	i := s.dice.IntN(len(*list))
	r := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return r
}

func (s *simulation) commit() error {
	r := s.record
	s.record = nil
	if s.sabotage != nil {
		s.sabotage(s, r)
	}
	version := s.memory.version
	out, _ := s.memory.Record(context.Background(), r)
	s.log("commit of %d items, %d cursors, swept %v", len(r.Items), len(r.Cursors), r.Swept)
	for _, it := range r.Items {
		if a := it.Attempt; a != nil {
			if err := s.watch[a.Webhook].recorded(a); err != nil {
				return fmt.Errorf("webhook %d, %w", a.Webhook, err)
			}
			s.log("    webhook %d offset %d attempt %d %s %s", a.Webhook, a.Offset, a.Number, a.Kind, a.Outcome)
			if err := s.memory.webhooks[a.Webhook].countsRightly(a); err != nil {
				return err
			}
		}
		if p := it.Park; p != nil {
			s.log("    park webhook %d %s %d, %s due %v", p.Webhook, p.Kind, p.Offset, p.Reason, p.DueAt)
		}
		if k := it.Unpark; k != nil {
			s.log("    unpark webhook %d %s %d", k.Webhook, k.Kind, k.Offset)
		}
		if k := it.Release; k != nil {
			s.log("    release webhook %d %q", k.Webhook, k.Object)
		}
		if k := it.Free; k != nil {
			s.log("    free webhook %d %d", k.Webhook, k.Offset)
		}
	}
	for _, m := range r.Replays {
		s.log("    replay %+v", m)
	}
	s.recorded = append(s.recorded, func(c *core) { c.recorded(out) })
	if s.memory.version != version {
		s.commits = append(s.commits, commit{0, nil, s.memory.version})
	}
	return s.memory.check(false)
}

// pass lets time go by: a little while something is under way, else up to what happens next.
func (s *simulation) pass() error {
	if busy := len(s.asks) + len(s.reads) + len(s.answers) + len(s.running) + len(s.recorded) + len(s.commits); busy > 0 || s.record != nil || s.restless > 0 {
		s.now = s.now.Add(time.Duration(s.dice.Int64N(int64(s.knobs.tick))))
		return nil
	}
	for range 1000 {
		s.core.tick(s.now, s.wall())
		wake := s.core.pump()
		if err := s.pump(); err != nil {
			return err
		}
		if len(s.asks)+len(s.reads)+len(s.running) > 0 || s.record != nil || !s.now.Before(s.quiet) {
			return nil
		}
		if wake.IsZero() || wake.After(s.quiet) {
			wake = s.quiet
		}
		s.now = later(s.now, wake)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// setClock sets the wall clock ahead or back, or right again.
func (s *simulation) setClock() {
	before := s.ahead
	jumps := []time.Duration{7 * time.Second, time.Minute, time.Hour, 24 * time.Hour}
	by := jumps[s.dice.IntN(len(jumps))]
	switch s.dice.IntN(3) {
	case 0:
		s.ahead += by
	case 1:
		s.ahead -= by
	default:
		s.ahead = 0
	}
	for key, b := range s.watch {
		b.clockSet(s.ahead-before, s.core.lanes[key])
	}
	s.log("the clock is set, %s ahead", s.ahead)
}

// pump takes what the core wants done.
func (s *simulation) pump() error {
	c := s.core
	c.tick(s.now, s.wall())
	c.pump()
	for i := range c.starts {
		if err := s.begin(c.starts[i]); err != nil {
			return err
		}
	}
	c.starts = c.starts[:0]
	for i := range c.reads {
		r := &c.reads[i]
		s.log("    read %d webhook %d after %d up to %d: %v", r.kind, r.webhook, r.after, r.upTo, r.offsets)
	}
	s.reads = append(s.reads, c.reads...)
	s.asks = append(s.asks, c.asks...)
	c.asks = nil
	c.reads = c.reads[:0]
	c.events, c.attempts = c.events[:0], c.attempts[:0]
	if err := s.moves(); err != nil {
		return err
	}
	c = s.core
	if s.record == nil && len(s.recorded) == 0 {
		s.record = c.record()
	}
	return s.bounded()
}

// bounded checks what the core holds.
func (s *simulation) bounded() error {
	c := s.core
	for key, l := range c.lanes {
		if len(l.Items)-l.Ahead-l.InFlight > lane.MaxQueued+backlogChunk || len(l.Due) > lane.MaxDue {
			return fmt.Errorf("webhook %d holds %d items, %d due", key, len(l.Items), len(l.Due))
		}
		if l.InFlight < 0 || l.Sending < 0 || l.recording < 0 || l.Ahead < 0 || l.Parked < 0 {
			return fmt.Errorf("webhook %d: %d in flight, %d sending, %d recording, %d ahead, %d parked", key, l.InFlight, l.Sending, l.recording, l.Ahead, l.Parked)
		}
	}
	inboxes := int64(0)
	for _, p := range c.partitions {
		inboxes += size(p.inbox)
	}
	if c.inboxes != inboxes {
		return fmt.Errorf("the inboxes hold %d bytes, and %d are counted", inboxes, c.inboxes)
	}
	held := len(s.running)
	for _, o := range c.ledger.done {
		if o.item != nil {
			held++
		}
	}
	if w := c.ledger.writing; w != nil {
		for _, o := range w.done {
			if o.item != nil {
				held++
			}
		}
	}
	for _, p := range c.partitions {
		if len(c.lanes) == 0 && held == 0 && len(p.payloads.ByOffset) > 0 { // an attempt holds its event until it is recorded
			return fmt.Errorf("%d events are in memory although no lane holds any", len(p.payloads.ByOffset))
		}
	}
	if c.slots.taken != held || held > s.knobs.slots {
		return fmt.Errorf("%d slots are held by %d attempts, of %d", c.slots.taken, held, s.knobs.slots)
	}
	return nil
}

func (s *simulation) publish() {
	var fresh []*hook.Event
	for range 1 + s.dice.IntN(4) {
		n := len(s.memory.events)
		at := s.wall()
		if n > 0 {
			at = later(at, s.memory.events[n-1].AcceptedAt)
		}
		e := &hook.Event{
			ID: fmt.Sprint("e", n), Company: hook.CompanyKey(1 + s.dice.IntN(s.knobs.companies)), AcceptedAt: at,
			Topic: hook.Topics()[s.dice.IntN(4)].Name, Data: fmt.Appendf(nil, `{"n":%d}`, n),
		}
		if s.lives != nil && s.lives.Float64() < 0.4 {
			expires := hook.Now(at.Add(time.Duration(math.Pow(10, 5*s.lives.Float64()) * float64(100*time.Millisecond)))) // up to three hours
			e.ExpiresAt = &expires
		}
		if s.chance(0.8) {
			e.ObjectKey = hook.ObjectKey("conversation", fmt.Sprint(s.dice.IntN(s.knobs.objects)))
		}
		s.memory.append(e)
		fresh = append(fresh, e)
		if s.chance(s.knobs.stubborn) {
			s.stubborn[e.Offset] = true
		}
	}
	s.commits = append(s.commits, commit{0, fresh, s.memory.version})
}

// compileParity compiles the filters of the simulation: odd and even.
func compileParity(filter string) func(string, []byte) bool {
	return func(_ string, data []byte) bool {
		last := bytes.TrimSuffix(data, []byte("}"))
		return (last[len(last)-1]%2 == 1) == (filter == "odd")
	}
}

// judgeParity asks them.
func judgeParity(_ context.Context, _ hook.CompanyKey, e *hook.Event, filters []string) ([]hook.Judged, error) {
	judged := make([]hook.Judged, len(filters))
	for i, f := range filters {
		judged[i].Matched = compileParity(f)(e.Topic, e.Data)
	}
	return judged, nil
}

// end lets an attempt come to something.
func (s *simulation) end(i int) {
	f := s.running[i]
	s.running = slices.Delete(s.running, i, i+1)
	key := f.start.Webhook.Key
	r := send.Result{StatusCode: 200}
	if !s.healthy {
		r = s.answer(key)
	}
	if s.stubborn[f.start.item.Offset] && !s.yielding && r.StatusCode/100 == 2 {
		r = s.patient()
	}
	if r.StatusCode/100 != 2 && r.Class == hook.ErrNone {
		r.Class = hook.ErrServerStatus
	}
	r.StartedAt, r.Phases.Total = f.began, min(s.now.Sub(f.began), hook.DefaultTimeout)
	s.log("webhook %d offset %d attempt %d %s: %d %s %s", key, f.start.item.Offset, f.start.Attempt, f.start.Kind, r.StatusCode, r.Class, r.RetryAfter)
	f.start.result = r
	x := &f.start
	if !s.healthy && !f.start.Fresh && s.chance(s.knobs.stale) {
		x.lost = &send.Result{StartedAt: f.began, Class: hook.ErrReset, Lost: true, Reused: true}
		s.watch[key].repeated(s, f)
		s.log("    after one that was lost with its connection")
	}
	s.core.finished(x)
	s.watch[key].ended(s, f, &r)
}

// stuck tells of the lanes that should have something to do.
func (s *simulation) stuck() (text string) {
	for _, key := range s.memory.keys {
		w := s.memory.webhooks[key]
		var open []string
		for _, d := range w.deliveries {
			if d.fate == pending || d.fate == parked {
				open = append(open, fmt.Sprint(d.event.Offset, " ", d.fate))
			}
		}
		replay := s.replayOf(key)
		if w.deleted || len(open) == 0 && len(w.parked) == 0 && replay == nil {
			continue
		}
		if replay != nil {
			text += fmt.Sprintf("\nwebhook %d is replayed: %+v", key, *replay)
		}
		text += fmt.Sprintf("\nwebhook %d %s %s, cursor %+v, open %v, parked %v", key, w.hook.Status, w.hook.Ordering, w.cursor, open, w.parked)
		l := s.core.lanes[key]
		if l == nil {
			continue
		}
		text += fmt.Sprintf("\n  place %s; lane %+v; health %+v; fed %v read %d low %d items %d ahead %d run %d due %d chains %d more %v loading %v reading %v fetching %v dueReading %v known %v, in line %v, replay %d at %d done %v replaying %v ours %d next %s",
			l.subscription.status, l.may(s.now), l.Health, l.Fed, l.Read, l.Low, len(l.Items), l.Ahead, len(l.Run), len(l.Due), len(l.Chains), l.dueMore, l.loading, l.reading, l.fetching, l.dueReading, l.Known, l.inLine, l.subscription.replay, l.replayAt, l.replayDone, l.replaying, len(l.Replays), l.ReplayNext)
	}
	for _, p := range s.core.partitions {
		text += fmt.Sprintf("\npartition tail %d swept %d version %d wanted %d dueAt %s dueFrom %+v; now %s; slots %d", p.tail, p.swept, p.version, p.wanted, p.dueAt, p.dueFrom, s.now, s.core.slots.taken)
	}
	return text
}

// brokenStore answers nothing.
type brokenStore struct{ Store }

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

func (brokenStore) Due(context.Context, hook.Partition, store.DuePlace, time.Time, int) ([]hook.Parked, *time.Time, error) {
	return nil, nil, errMemory
}

func (brokenStore) DueOf(context.Context, hook.WebhookKey, time.Time, bool, int) ([]hook.Parked, error) {
	return nil, errMemory
}

func (brokenStore) ReplayByKey(context.Context, int64) (*store.Replay, error) { return nil, errMemory }

func TestSimulation(t *testing.T) {
	if *oneSeed != 0 {
		s := newSimulation(*oneSeed, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
		if err := s.run(*simDays); err != nil {
			t.Fatalf("seed %d: %v", *oneSeed, err)
		}
		return
	}
	var next, steps, events, requests, commits, faults atomic.Int64
	next.Store(int64(*seedFrom))
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed := next.Add(1) - 1; seed < int64(*seedFrom+*seeds) && faults.Load() < 10; seed = next.Add(1) - 1 {
				s := newSimulation(uint64(seed), func(string, ...any) {})
				if err := s.run(*simDays); err != nil {
					faults.Add(1)
					t.Errorf("seed %d: %.2000v (run with -seed=%d -days=%v to see its steps)", seed, err, seed, *simDays)
				}
				steps.Add(int64(s.steps))
				events.Add(int64(len(s.memory.events)))
				requests.Add(int64(s.sent))
				commits.Add(int64(s.memory.commits))
			}
		})
	}
	all.Wait()
	t.Logf("%d seeds from %d of %v days each: %d steps, %d events, %d requests, %d commits",
		*seeds, *seedFrom, *simDays, steps.Load(), events.Load(), requests.Load(), commits.Load())
}
