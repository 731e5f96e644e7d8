package source

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Intake accepts events. *intake.Intake does.
type Intake interface {
	PublishMessages(ctx context.Context, list []intake.Message, p intake.Publishing) ([]intake.Outcome, error)
}

// Store keeps what cannot be accepted. *store.Store does.
type Store interface {
	AddDeadLetters(ctx context.Context, list []store.DeadLetter) error
	CountDeadLetters(ctx context.Context) (map[string]int64, error)
}

// Meter counts what sources bring.
type Meter interface {
	SourceMessages(source, outcome string, n int)
	SourceLag(source string, age time.Duration, messages int64)
	SourceState(source, state string, all []string)
	DeadLetters(source string, n int64)
}

// Runner is made by filling it; Intake, Store and Log are required.
type Runner struct {
	Sources []Definition
	Intake  Intake
	Store   Store
	Log     *slog.Logger
	Meter   Meter
	Turn    func() bool      // whether this node reads what one may read alone; nil means it does
	Now     func() time.Time // nil means time.Now
	Backoff time.Duration    // after the first failure; it doubles up to sixty times that; 0 means half a second

	once   sync.Once
	boards []*board
}

func (r *Runner) begin() {
	r.once.Do(func() {
		if r.Now == nil {
			r.Now = time.Now
		}
		if r.Backoff == 0 {
			r.Backoff = 500 * time.Millisecond
		}
		for _, d := range r.Sources {
			r.boards = append(r.boards, &board{s: Status{Definition: d, State: Starting, Since: r.Now()}})
		}
	})
}

// Status is what every source does now.
func (r *Runner) Status() []Status {
	r.begin()
	list := make([]Status, len(r.boards))
	for i, b := range r.boards {
		list[i] = b.read()
	}
	return list
}

// Run takes messages in until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	r.begin()
	var running sync.WaitGroup
	for i := range r.Sources {
		running.Go(func() {
			x := &reading{r: r, d: &r.Sources[i], board: r.boards[i]}
			x.run(ctx)
			x.enter(Stopped, "")
		})
	}
	running.Go(func() { r.count(ctx) })
	running.Wait()
}

// Intervals of what is asked now and then.
const (
	lagEvery   = 5 * time.Second
	lagWait    = 10 * time.Second
	countEvery = 15 * time.Second
	turnEvery  = time.Second
)

// count keeps the number of dead letters up to date.
func (r *Runner) count(ctx context.Context) {
	for {
		if counts, err := r.Store.CountDeadLetters(ctx); err == nil {
			for i, b := range r.boards {
				n := counts[r.Sources[i].Name]
				b.change(func(s *Status) { s.DeadLetters = n })
				if r.Meter != nil {
					r.Meter.DeadLetters(r.Sources[i].Name, n)
				}
			}
		}
		if !pause(ctx, countEvery) {
			return
		}
	}
}

// pause waits; false when ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// reading is the reading of one source.
type reading struct {
	r     *Runner
	d     *Definition
	board *board
}

func (x *reading) enter(state State, reason string) {
	changed := x.board.enter(state, reason, x.r.Now())
	if !changed {
		return
	}
	if x.r.Meter != nil {
		x.r.Meter.SourceState(x.d.Name, string(state), states)
	}
	level := slog.LevelInfo
	if state == Failing || state == Holding {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("source", x.d.Name), slog.String("state", string(state))}
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	x.r.Log.LogAttrs(context.Background(), level, "source", attrs...)
}

// run connects, again and again.
func (x *reading) run(ctx context.Context) {
	wait := x.r.Backoff
	for ctx.Err() == nil {
		if !x.myTurn() {
			x.enter(Standby, "another node reads it")
			pause(ctx, turnEvery)
			continue
		}
		began := x.r.Now()
		taken, err := x.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause(ctx, x.r.Backoff) // another node has it, or its turn
			continue
		}
		x.enter(Failing, x.masked(err))
		if taken || x.r.Now().Sub(began) > time.Minute {
			wait = x.r.Backoff
		}
		pause(ctx, wait)
		wait = min(2*wait, 60*x.r.Backoff)
	}
}

func (x *reading) myTurn() bool { return !x.d.Alone || x.r.Turn == nil || x.r.Turn() }

// masked is what people may read of an error.
func (x *reading) masked(err error) string {
	text := err.Error()
	for _, secret := range x.d.Secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "••••")
		}
	}
	const most = 500
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// session is one connection. It ends with an error, or without one when another node is to go on, or has
// what was received.
func (x *reading) session(ctx context.Context) (taken bool, err error) {
	src, err := x.d.Open(ctx)
	if err != nil {
		return false, err
	}
	defer src.Close()
	watched, stop := context.WithCancel(ctx)
	watching := make(chan struct{})
	defer func() {
		stop()
		<-watching
	}()
	go func() {
		defer close(watching)
		x.watch(watched, src)
	}()
	x.enter(Running, "")
	for x.myTurn() {
		batch, err := src.Receive(ctx)
		if err != nil {
			return taken, err
		}
		x.expired(batch.Expired)
		if len(batch.Messages) == 0 {
			continue
		}
		x.board.change(func(s *Status) { s.Received += int64(len(batch.Messages)) })
		done, err := x.take(ctx, batch)
		if err != nil {
			return taken, err
		}
		x.enter(Running, "")
		if !done {
			return taken, nil // it comes again, to whoever opens the source anew from what is committed
		}
		failpoint.Hit(failpoint.Taken)
		if err := src.Commit(ctx); err != nil {
			return taken, err
		}
		taken = true
	}
	return taken, nil
}

// expired notes that messages are lost.
func (x *reading) expired(n int64) {
	if n == 0 {
		return
	}
	x.board.change(func(s *Status) { s.Expired += n })
	if x.r.Meter != nil {
		x.r.Meter.SourceMessages(x.d.Name, "expired", int(n))
	}
	x.r.Log.Error("a source let go of messages before they were received: their events are lost", "source", x.d.Name, "messages", n)
}

// watch asks how far behind the source is.
func (x *reading) watch(ctx context.Context, src Source) {
	for {
		asked, cancel := context.WithTimeout(ctx, lagWait)
		lag, err := src.Lag(asked)
		cancel()
		x.board.change(func(s *Status) { s.Lag, s.LagKnown = lag, err == nil })
		if err == nil && x.r.Meter != nil {
			x.r.Meter.SourceLag(x.d.Name, Age(lag, x.r.Now()), lag.Messages)
		}
		if !pause(ctx, lagEvery) {
			return
		}
	}
}

// Age is for how long the oldest message waits.
func Age(l Lag, now time.Time) time.Duration {
	if l.Oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(l.Oldest))
}

// take has a batch committed: its events to the log, the others among the dead letters. It holds the batch
// until that succeeds; false says that the batch was lost meanwhile. The error is that ctx ended.
func (x *reading) take(ctx context.Context, batch Batch) (done bool, err error) {
	for list := batch.Messages; len(list) > 0; {
		n := chunk(list)
		if done, err := x.persist(ctx, list[:n], batch.Lost); !done {
			return false, err
		}
		list = list[n:]
	}
	return true, nil
}

// chunk is how many messages go into one transaction.
func chunk(list []Message) int {
	size := 0
	for i := range list {
		if size += len(list[i].Body); i > 0 && (size > MaxBytes || i == intake.MaxBatchEvents/2) {
			return i
		}
	}
	return len(list)
}

// persist tries until it succeeds, ctx ends, or the messages are lost.
func (x *reading) persist(ctx context.Context, list []Message, lost <-chan struct{}) (done bool, err error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := x.once(ctx, list)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		x.enter(Holding, x.masked(err))
		if refused, ok := errors.AsType[*hook.Error](err); ok {
			wait = max(wait, min(refused.RetryAfter, 5*time.Second))
		}
		select {
		case <-time.After(wait):
		case <-lost:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func (x *reading) once(ctx context.Context, list []Message) error {
	messages := make([]intake.Message, len(list))
	for i := range list {
		messages[i] = list[i].Message
	}
	outcomes, err := x.r.Intake.PublishMessages(ctx, messages, intake.Publishing{Company: x.d.Company})
	if err != nil {
		return err
	}
	var dead []store.DeadLetter
	accepted, duplicates, unnamed := 0, 0, 0
	for i := range outcomes {
		if outcomes[i].Refused != nil {
			dead = append(dead, x.deadLetter(&list[i], outcomes[i].Refused))
			continue
		}
		if list[i].Unnamed {
			unnamed++
		}
		for _, e := range outcomes[i].Events {
			if e.Duplicate {
				duplicates++
			} else {
				accepted++
			}
		}
	}
	if len(dead) > 0 {
		if err := x.r.Store.AddDeadLetters(ctx, dead); err != nil {
			return err // the events are duplicates the next time
		}
	}
	x.counted(accepted, duplicates, len(dead), unnamed)
	return nil
}

func (x *reading) counted(accepted, duplicates, dead, unnamed int) {
	now := x.r.Now()
	x.board.change(func(s *Status) {
		s.Accepted, s.Duplicates, s.SetAside = s.Accepted+int64(accepted), s.Duplicates+int64(duplicates), s.SetAside+int64(dead)
		s.Unnamed, s.DeadLetters, s.LastEventAt = s.Unnamed+int64(unnamed), s.DeadLetters+int64(dead), now
	})
	if x.r.Meter == nil {
		return
	}
	x.r.Meter.SourceMessages(x.d.Name, "accepted", accepted)
	x.r.Meter.SourceMessages(x.d.Name, "duplicate", duplicates)
	x.r.Meter.SourceMessages(x.d.Name, "dead_letter", dead)
}

// deadLetter is a message with why it was refused.
func (x *reading) deadLetter(m *Message, refused error) store.DeadLetter {
	d := store.DeadLetter{
		Source: x.d.Name, MessageKey: m.Key, EventID: m.ID, ContentType: m.ContentType, Attributes: m.Attributes, Company: x.d.Company, Body: m.Body,
		Code: "refused", Reason: refused.Error(),
	}
	if e, ok := errors.AsType[*hook.Error](refused); ok {
		d.Code, d.Reason = e.Code, e.Detail
	}
	if !m.WrittenAt.IsZero() {
		at := hook.Now(m.WrittenAt)
		d.WrittenAt = &at
	}
	return d
}
