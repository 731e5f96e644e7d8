// Package intake accepts events: from the bytes that a producer sent to a committed place in the
// log.
//
// A publish is an envelope {"company_id", "event", "data", "id"?, "object_id"?, "occurred_at"?}
// around a document. The envelope is read strictly: a name that stands there twice or is unknown is
// refused, because a typo would otherwise lose what its author meant. The document inside is not
// ours: its text is kept (see package wire), and only what a receiver could not be sent is refused.
//
// [Intake.Publish], [Intake.PublishBatch] and [Intake.PublishChange] return after the commit: an answer means that the
// event is on disk. Every refusal is an [*hook.Error]; those of one field name it as the producer
// wrote it, in a batch as "[3].event". Nothing is half done: a batch is accepted whole or not at
// all.
//
// What is read and not yet committed is bounded in bytes ([Intake.ReadEvent]), and what waits for a
// commit in events, to what the next two commits take: whoever would wait longer than a moment is
// asked to come again at once, which costs little.
package intake

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Limits of a batch.
const (
	MaxBatchEvents = 1000
	MaxBatchBytes  = 8 << 20
)

// envelopeBytes is what an envelope may take beside its document.
const envelopeBytes = 16 << 10

// Log is what intake needs of the store.
type Log interface {
	// EnsureCompany returns the company of an id, which exists from its first mention.
	EnsureCompany(ctx context.Context, id string) (*store.Company, error)
	// Append commits events of one partition and returns after the fsync.
	Append(ctx context.Context, p hook.Partition, events []*hook.Event) (store.Batch, error)
	// AppendAcross commits events of several, all or none.
	AppendAcross(ctx context.Context, events []*hook.Event) (store.Batch, error)
	// Schedule does the same where some of them are to be appended later.
	Schedule(ctx context.Context, events []*hook.Event) (store.Batch, error)
}

// Meter counts what was accepted.
type Meter interface {
	EventAccepted(topic string)
	EventDuplicate()
}

// Options of an Intake. The zero value of each works.
type Options struct {
	// MaxEventBytes bounds the finished body of one event in its larger format; 0 means 1 MiB.
	MaxEventBytes int
	// MaxBytes bounds the bytes of all requests that are being read or committed; 0 means 64 MiB.
	MaxBytes int64
	// MaxWaiting bounds what waits for the commits of one partition, in events, a request counting as
	// three more; 0 means 4,096, some hundred milliseconds of work, negative no bound.
	MaxWaiting int64
	// Now is the clock that fresh ids are made by; nil means time.Now.
	Now   func() time.Time
	Meter Meter
	// Catalogue returns the topics that there are; nil means the built-in ones.
	Catalogue func() *hook.Catalogue
	// Validation returns what a company wants of its events; nil means that none wants anything.
	Validation func(companyID string) hook.Validation
	// Checks keeps what is found where schemas only warn; nil means that nobody looks.
	Checks CheckLog
}

// Intake is safe for concurrent use.
type Intake struct {
	log    Log
	opt    Options
	bytes  atomic.Int64     // of requests that are being read or committed
	turns  *turns           // of changes that are compared
	lines  [64]atomic.Int64 // what waits for a commit, by partition
	checks *checks

	mu   sync.Mutex
	held map[string]int64 // of that, what companies published with keys of their own; nothing else is in it
}

// New returns an Intake that appends to log.
func New(log Log, opt Options) *Intake {
	if opt.MaxEventBytes == 0 {
		opt.MaxEventBytes = 1 << 20
	}
	if opt.MaxBytes == 0 {
		opt.MaxBytes = 64 << 20
	}
	if opt.MaxWaiting == 0 {
		opt.MaxWaiting = 4096
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Catalogue == nil {
		opt.Catalogue = func() *hook.Catalogue { return nil }
	}
	if opt.Validation == nil {
		opt.Validation = func(string) hook.Validation { return "" }
	}
	return &Intake{log: log, opt: opt, checks: newChecks(), turns: newTurns(runtime.GOMAXPROCS(0)), held: map[string]int64{}}
}

// Publishing is how a request wants its events to be read.
type Publishing struct {
	// Key is the request's Idempotency-Key: the id of a single event that has none of its own. In a batch
	// the ids of such events are made of it and of their places, so that a repeat names the same.
	Key string
	// AllowStringData accepts data that is a string holding JSON, which otherwise counts as a
	// producer's mistake.
	AllowStringData bool
	// Company is the only one whose events may be published, and that of an envelope that names none.
	// Empty: an envelope names any.
	Company string
	// Topics is the prefix of the only topics that may be published, see [hook.TopicWithin].
	Topics string
	// Lines says that a batch is NDJSON and not an array.
	Lines bool
	// Lint asks for [Accepted.Findings].
	Lint bool
}

// Accepted is one event as the producer is told of it. For a duplicate it is the original.
type Accepted struct {
	Event     *hook.Event
	CompanyID string
	Duplicate bool
	Findings  []hook.Finding // what some receivers cannot read; nil where [Publishing.Lint] did not ask
}

// Publish accepts one event. The event keeps body, unless that is much larger than its data.
func (in *Intake) Publish(ctx context.Context, body []byte, p Publishing) (Accepted, error) {
	r := readers.Get().(*reader)
	defer r.release()
	env, err := r.single(body, eventMembers)
	if err != nil {
		return Accepted{}, err
	}
	if env.id == "" {
		env.id = p.Key
	}
	event, refused := in.event(&env, p)
	if refused != nil {
		return Accepted{}, refused
	}
	var findings []hook.Finding
	if p.Lint {
		findings = in.lint(event)
	}
	event.Data = alone(event.Data, body)
	batch, err := in.commit(ctx, []*hook.Event{event}, p)
	if err != nil {
		return Accepted{}, err
	}
	if batch.Appended[0].Conflict {
		return Accepted{}, conflict(event.ID)
	}
	in.count(batch.Appended)
	return Accepted{batch.Appended[0].Event, event.CompanyID, batch.Appended[0].Duplicate, findings}, nil
}

// PublishBatch accepts all events of a batch, or none. The events do not keep body.
func (in *Intake) PublishBatch(ctx context.Context, body []byte, p Publishing) ([]Accepted, error) {
	events, err := in.readBatch(ctx, body, p)
	if err != nil {
		return nil, err
	}
	return in.append(ctx, events, p)
}

// append commits events, all or none.
func (in *Intake) append(ctx context.Context, events []*hook.Event, p Publishing) ([]Accepted, error) {
	batch, err := in.commit(ctx, events, p)
	if err != nil {
		return nil, err
	}
	if err := conflicts(batch.Appended, events); err != nil {
		return nil, err
	}
	in.count(batch.Appended)
	accepted := make([]Accepted, len(events))
	for i, a := range batch.Appended {
		accepted[i] = Accepted{a.Event, events[i].CompanyID, a.Duplicate, nil}
		if p.Lint {
			accepted[i].Findings = in.lint(events[i])
		}
	}
	return accepted, nil
}

// commit appends events once they may wait for it. Where one is in conflict, none is committed.
func (in *Intake) commit(ctx context.Context, events []*hook.Event, p Publishing) (store.Batch, error) {
	leave, err := in.share(p.Company, len(events))
	if err != nil {
		return store.Batch{}, err
	}
	defer leave()
	byPartition, err := in.place(ctx, events)
	if err != nil {
		return store.Batch{}, err
	}
	for partition, n := range byPartition { // all of them before anything is committed
		if !in.enter(partition, n) {
			return store.Batch{}, full()
		}
		defer in.leave(partition, n)
	}
	batch, err := in.put(ctx, events, len(byPartition))
	if err != nil {
		return batch, withIDs(err, events)
	}
	return batch, nil
}

// put appends events of so many partitions, or schedules those that have a time of their own.
func (in *Intake) put(ctx context.Context, events []*hook.Event, partitions int) (store.Batch, error) {
	switch {
	case slices.ContainsFunc(events, func(e *hook.Event) bool { return e.DeliverAt != nil }):
		return in.log.Schedule(ctx, events)
	case partitions == 1:
		return in.log.Append(ctx, events[0].Partition, events)
	default:
		return in.log.AppendAcross(ctx, events)
	}
}

// alone returns data in memory of its own where a body would be kept alive that is much larger: events
// are held for as long as somebody waits for them, and the room that was made for a body of unknown
// length is many times what a small one takes.
func alone(data, body []byte) []byte {
	if cap(body) > 2*len(data)+1<<10 {
		return bytes.Clone(data)
	}
	return data
}

// requestWeight is what a request costs beside its events, in events.
const requestWeight = 3

// enter lets events wait for a commit, unless too much waits for one already. Whoever is let in leaves.
func (in *Intake) enter(p hook.Partition, events int) bool {
	weight := int64(events + requestWeight)
	before := in.line(p).Add(weight) - weight
	if in.opt.MaxWaiting > 0 && before > in.opt.MaxWaiting {
		in.leave(p, events)
		return false
	}
	return true
}

// share lets a company that publishes with a key of its own have half of what may wait, so that its haste is
// not at the cost of others. Operators see to that themselves.
func (in *Intake) share(company string, events int) (leave func(), err error) {
	if company == "" || in.opt.MaxWaiting <= 0 {
		return func() {}, nil
	}
	weight := int64(events + requestWeight)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.held[company] > in.opt.MaxWaiting/2 {
		return nil, full()
	}
	in.held[company] += weight
	return func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.held[company] -= weight; in.held[company] == 0 {
			delete(in.held, company)
		}
	}, nil
}

// room refuses an event whose line is full; it takes no place there. Where no line is full, nobody is
// asked which one that is: a batch that is refused for another reason leaves no company behind.
func (in *Intake) room(ctx context.Context, e *hook.Event) error {
	crowded := func(line *atomic.Int64) bool { return in.opt.MaxWaiting > 0 && line.Load() > in.opt.MaxWaiting }
	for i := range in.lines {
		if !crowded(&in.lines[i]) {
			continue
		}
		company, err := in.log.EnsureCompany(ctx, e.CompanyID)
		if err == nil && crowded(in.line(company.Partition)) {
			err = full()
		}
		return err
	}
	return nil
}

func (in *Intake) leave(p hook.Partition, events int) { in.line(p).Add(-int64(events + requestWeight)) }

func (in *Intake) line(p hook.Partition) *atomic.Int64 { return &in.lines[int(p)%len(in.lines)] }

func full() error {
	return &hook.Error{
		Kind: hook.KindUnavailable, Code: "intake_full", RetryAfter: time.Second,
		Detail: "too much is waiting to be committed; try again",
	}
}

// place resolves the companies of a batch and counts its events by partition. On the embedded store
// there is one.
func (in *Intake) place(ctx context.Context, events []*hook.Event) (map[hook.Partition]int, error) {
	byPartition := make(map[hook.Partition]int, 1)
	var company *store.Company
	for _, e := range events {
		if company == nil || company.ID != e.CompanyID {
			var err error
			if company, err = in.log.EnsureCompany(ctx, e.CompanyID); err != nil {
				return nil, err
			}
		}
		e.Company, e.Partition = company.Key, company.Partition
		byPartition[e.Partition]++
	}
	return byPartition, nil
}

func (in *Intake) count(appended []hook.Appended) {
	for _, a := range appended {
		switch {
		case a.Duplicate && in.opt.Meter != nil:
			in.opt.Meter.EventDuplicate()
		case a.Duplicate:
		default:
			if in.opt.Meter != nil {
				in.opt.Meter.EventAccepted(a.Event.Topic)
			}
			in.watch(a.Event)
		}
	}
}

// withIDs names the ids of events that may or may not be committed: published again under them,
// they are accepted once in either case.
func withIDs(err error, events []*hook.Event) error {
	e, ok := errors.AsType[*hook.Error](err)
	if !ok || e.Code != "outcome_unknown" {
		return err
	}
	ids := make([]string, len(events))
	for i, event := range events {
		ids[i] = event.ID
	}
	named := *e
	named.Extra = map[string]any{"ids": ids}
	return &named
}

func conflict(id string) *hook.Error {
	return hook.Refuse(hook.KindConflict, "event_conflict", "an event %s with another topic, object or data was published before", id)
}

// conflicts names every event of a batch whose id is taken by other content.
func conflicts(appended []hook.Appended, events []*hook.Event) error {
	var err *hook.Error
	for i, a := range appended {
		if !a.Conflict {
			continue
		}
		if err == nil {
			err = conflict(events[i].ID)
		}
		err.Fields = append(err.Fields, hook.FieldError{
			Field: at(i, "id"), Code: err.Code, Detail: "this id was published before with another topic, object or data",
		})
	}
	if err == nil {
		return nil
	}
	return err
}
