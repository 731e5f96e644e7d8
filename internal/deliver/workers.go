package deliver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/match"
	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// crew counts the workers. Those that nobody needed for a while are sent home; a timer of their own
// would be asked by each of them at every attempt.
type crew struct {
	size   int
	busy   int
	most   int       // that were busy at once since somebody looked
	lookAt time.Time // zero: there are none
}

// lookEvery is how often somebody looks whether there are too many workers.
const lookEvery = 5 * time.Second

// dispatch gives attempts to workers: to one that waits, else to a new one. Slots bound them.
func (e *Engine) dispatch() {
	for i := range e.core.starts {
		a := e.core.starts[i]
		a.ctx = e.attempts
		select {
		case e.jobs <- a:
		default:
			e.crew.size++
			e.workers.Go(func() { e.work(a) })
		}
	}
	e.crew.busy += len(e.core.starts)
	e.crew.most = max(e.crew.most, e.crew.busy)
	clear(e.core.starts)
	e.core.starts = e.core.starts[:0]
}

// dismiss ends the workers that were not needed lately, and says when to look again.
func (e *Engine) dismiss() time.Time {
	w := &e.crew
	if now := e.core.now; w.size > 0 && !now.Before(w.lookAt) {
		for range w.size - w.most {
			select {
			case e.jobs <- attempt{}: // without a context: to go home
				w.size--
			default: // it is on its way back
			}
		}
		w.most, w.lookAt = w.busy, now.Add(lookEvery)
	}
	if w.size == 0 {
		w.lookAt = time.Time{}
	}
	return w.lookAt
}

// work makes one attempt after another, until there is one without a context.
func (e *Engine) work(a attempt) {
	for ok := true; ok && a.ctx != nil; a, ok = <-e.jobs {
		e.make(&a)
		e.finished <- a
	}
}

// make makes an attempt, and survives what it panics with: that delivery alone has failed. One that
// was lost with a kept connection is followed at once by another, on a connection of its own: the
// receiver had closed the kept one while the request was on its way. That one is the last.
func (e *Engine) make(a *attempt) {
	began := hook.Now(e.Now())
	defer func() {
		if v := recover(); v != nil {
			e.Log.Error("an attempt panicked; it counts as failed", "event", a.Event.ID, "panic", v, "stack", string(debug.Stack()))
			a.result = send.Result{StartedAt: began, Class: hook.ErrInternal, Detail: "an internal error of this server while the attempt was made"}
		}
	}()
	a.Body = a.payload.Body(a.Webhook.Format, a.Webhook.IncludeChanges)
	if e.Members != nil {
		a.May = e.Leased
	}
	failpoint.Hit(failpoint.Dial)
	a.result = e.Sender.Send(a.ctx, a.Request)
	if a.result.Lost {
		lost := a.result
		a.lost = &lost
		again := a.Request
		again.Attempt, again.Fresh = again.Attempt+1, true
		a.result = e.Sender.Send(a.ctx, again)
	}
}

// dispatchReads hands questions to the readers; what they cannot take now is asked in the next round.
func (e *Engine) dispatchReads() {
	n := 0
	for n < len(e.core.reads) {
		select {
		case e.reads <- e.core.reads[n]:
			n++
			continue
		default:
		}
		break
	}
	rest := copy(e.core.reads, e.core.reads[n:])
	clear(e.core.reads[rest:])
	e.core.reads = e.core.reads[:rest]
}

// askFilters hands questions to the matcher, which has as many at a time as companies wait for it.
func (e *Engine) askFilters(ctx context.Context) {
	for _, a := range e.core.asks {
		e.matcher.Ask(ctx, a.company, a.questions, func(answers []match.Answer) {
			select {
			case e.back <- func(c *core) { a.then(c, answers) }:
			case <-e.done:
			}
		})
	}
	clear(e.core.asks)
	e.core.asks = e.core.asks[:0]
}

func (e *Engine) read(ctx context.Context) {
	for r := range e.reads {
		tell := r.do(ctx, e.Store)
		select {
		case e.back <- tell:
		case <-e.done:
		}
	}
}

// record commits one group after another. A store that cannot commit now is asked again: nothing
// else may be written before. Any other refusal ends the engine: this node was fenced off, or memory
// and store disagree, and a new start reads the truth back.
func (e *Engine) record(ctx context.Context, fenced chan<- error) {
	for r := range e.records {
		for {
			out, err := e.Store.Record(ctx, r)
			if err == nil {
				if out.Lost != nil {
					e.Log.Error("statistics and notices of one record were not kept", "error", out.Lost)
				}
				select {
				case e.back <- func(c *core) { c.recorded(out) }:
				case <-e.done:
				}
				break
			}
			if errors.Is(err, store.ErrFenced) || !hook.IsKind(err, hook.KindUnavailable) || ctx.Err() != nil {
				fenced <- fmt.Errorf("record: %w", err)
				return
			}
			e.Log.Error("record", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// do asks the store and returns what the core is to be told: nothing about what it has let go of.
func (r *read) do(ctx context.Context, s Store) func(*core) {
	tell := r.ask(ctx, s)
	return func(c *core) {
		if r.kind == readJudging {
			c.judging -= backlogBytes
			defer c.feedStarved() // whatever becomes of the answer, there is room
		}
		if r.lane != nil && r.lane.subscription.deleted || r.lane == nil && c.partitions[r.partition] != r.part {
			c.endTurn(r)
			return
		}
		tell(c)
	}
}

func (r *read) ask(ctx context.Context, s Store) func(*core) {
	switch r.kind {
	case readSubscriptions:
		places, swept, version, err := s.Places(ctx, r.partition, r.since, r.limit)
		return func(c *core) { c.subscriptionsRead(r.partition, places, swept, version, len(places) >= r.limit, err) }
	case readTail:
		events, version, err := s.Tail(ctx, r.partition, r.after, tailChunk, tailBytes)
		more := len(events) > 0 // the next read finds the end
		return func(c *core) { c.tailRead(r.partition, events, version, more, err) }
	case readLane:
		l, err := s.LoadLane(ctx, r.webhook, r.after)
		return func(c *core) { c.laneLoaded(r.lane, l, err) }
	case readBacklog:
		hits, readTo, err := r.backlog(ctx, s)
		return func(c *core) { c.backlogFound(r, hits, readTo, err) }
	case readJudging:
		events, readTo, err := r.judging(ctx, s)
		return func(c *core) { c.judgingRead(r.part, r.company, r.after, events, readTo, err) }
	case readEvents:
		events, err := s.Events(ctx, r.partition, r.offsets)
		return func(c *core) { c.eventsRead(r.lane, r.offsets, events, err) }
	case readDue:
		due, next, err := s.Due(ctx, r.partition, r.due, r.now, dueChunk)
		if err == nil {
			r.replays, err = replayIDs(ctx, s, due)
		}
		return func(c *core) { c.dueRead(r, due, next, len(due) == dueChunk, err) }
	case readDueOf:
		limit := 2 * lane.MaxDue
		if r.probe {
			limit = 1
		}
		due, err := s.DueOf(ctx, r.webhook, r.now, r.probe, limit)
		if err == nil {
			r.replays, err = replayIDs(ctx, s, due)
		}
		return func(c *core) { c.dueOfRead(r, due, len(due) == limit, err) }
	case readReplay:
		work, err := r.replayWork(ctx, s)
		return func(c *core) { c.replayRead(r.lane, work, err) }
	}
	panic("unknown read")
}

// replayIDs are those of the replays that caused deliveries, by key; of one that is gone there is none.
func replayIDs(ctx context.Context, s Store, due []hook.Parked) (ids map[int64]string, err error) {
	for i := range due {
		key := due[i].Replay
		if _, known := ids[key]; known || key == 0 {
			continue
		}
		if ids == nil {
			ids = map[int64]string{}
		}
		switch replay, err := s.ReplayByKey(ctx, key); {
		case err == nil:
			ids[key] = replay.ID
		case hook.IsKind(err, hook.KindNotFound):
			ids[key] = ""
		default:
			return nil, err
		}
	}
	return ids, nil
}

func (r *read) replayWork(ctx context.Context, s Store) (w replayWork, err error) {
	if w.replay, err = s.ReplayByKey(ctx, r.replay); err != nil {
		return w, err
	}
	w.items, w.upTo, w.done, err = s.ReplayWork(ctx, r.replay, max(r.after, w.replay.Place), lane.FetchAhead)
	return w, err
}

// stretch lists the next events of a company; there are no others up to readTo.
func (r *read) stretch(ctx context.Context, s Store) (refs []store.Ref, readTo hook.Offset, err error) {
	refs, err = s.Backlog(ctx, r.company, r.after, r.upTo, backlogChunk)
	if len(refs) == backlogChunk {
		return refs, refs[len(refs)-1].Offset, err
	}
	return refs, r.upTo, err
}

// backlog reads a stretch of a company's events and keeps what the webhook's rules may match; where a
// filter is to be asked, with the event, and no more of them than a little memory holds.
func (r *read) backlog(ctx context.Context, s Store) (hits []hit, readTo hook.Offset, err error) {
	refs, readTo, err := r.stretch(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	rules := subscription{rules: r.rules}
	var ask []hook.Offset
	for _, ref := range refs {
		if rule, ok := rules.wants(ref.Offset, ref.Topic); ok {
			hits = append(hits, hit{offset: ref.Offset, topic: ref.Topic, object: ref.ObjectKey, filter: rule.filter})
			if rule.filter != nil {
				ask = append(ask, ref.Offset)
			}
		}
	}
	events, upTo, err := r.some(ctx, s, ask)
	if err != nil {
		return nil, 0, err
	}
	kept := hits[:0]
	for _, h := range hits {
		if upTo > 0 && h.offset > upTo {
			return kept, upTo, nil
		}
		if h.filter != nil {
			if h.event = events[h.offset]; h.event == nil {
				continue // it was purged
			}
		}
		kept = append(kept, h)
	}
	return kept, readTo, nil
}

// some reads the events at offsets up to some bytes of them. Where these are not all, upTo is the last
// one that it looked at.
func (r *read) some(ctx context.Context, s Store, offsets []hook.Offset) (events map[hook.Offset]*hook.Event, upTo hook.Offset, err error) {
	events = make(map[hook.Offset]*hook.Event, len(offsets))
	few := 1
	for bytes := 0; len(offsets) > 0; {
		if bytes >= backlogBytes {
			return events, upTo, nil
		}
		some := offsets[:min(few, len(offsets))]
		offsets = offsets[len(some):]
		found, err := s.Events(ctx, r.partition, some)
		if err != nil {
			return nil, 0, err
		}
		size := 0
		for _, e := range found {
			events[e.Offset] = e
			size += int(e.Size())
		}
		bytes += size
		// As many at once as are likely to fit.
		few = min(max((backlogBytes-bytes)*len(some)/max(size, 1), 1), 4*len(some))
		upTo = some[len(some)-1]
	}
	return events, 0, nil
}

// judging reads the next events of a company.
func (r *read) judging(ctx context.Context, s Store) (list []*hook.Event, readTo hook.Offset, err error) {
	refs, readTo, err := r.stretch(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	offsets := make([]hook.Offset, len(refs))
	for i, ref := range refs {
		offsets[i] = ref.Offset
	}
	events, upTo, err := r.some(ctx, s, offsets)
	if err != nil {
		return nil, 0, err
	}
	if upTo > 0 {
		readTo = upTo
	}
	for _, o := range offsets {
		if e := events[o]; e != nil {
			list = append(list, e)
		}
	}
	return list, readTo, nil
}
