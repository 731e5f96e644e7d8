package deliver

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type readKind uint8

const (
	readPlaces  readKind = iota // configuration changes of a partition
	readTail                    // the log after what was offered
	readLane                    // a lane's settings and history
	readBacklog                 // a lane's next matches
	readEvents                  // payloads
	readDue                     // what is due in a partition
	readDueOf                   // what is due at one lane
	readReplay                  // what a replay covers next
)

// read is a question to the store; its answer comes back to the core.
type read struct {
	kind      readKind
	partition hook.Partition
	part      *partition // as it was when asked; nil in a question about a lane
	lane      *lane
	webhook   hook.WebhookKey
	company   hook.CompanyKey
	since     int64
	limit     int
	after     hook.Offset
	upTo      hook.Offset
	rules     []rule
	offsets   []hook.Offset
	due       store.DuePlace
	now       time.Time
	probe     bool
	replay    int64
	ended     uint64 // how many replays had ended when it was asked
}

// hit is a matched event of a backlog; event is there when a filter had to look at it.
type hit struct {
	offset hook.Offset
	topic  string
	object string
	event  *hook.Event
}

// do asks the store and returns what the core is to be told: nothing about what it has let go of.
func (r *read) do(ctx context.Context, s Store) func(*core) {
	tell := r.ask(ctx, s)
	return func(c *core) {
		if r.lane != nil && r.lane.place.deleted || r.lane == nil && c.partitions[r.partition] != r.part {
			return
		}
		tell(c)
	}
}

func (r *read) ask(ctx context.Context, s Store) func(*core) {
	switch r.kind {
	case readPlaces:
		places, swept, version, err := s.Places(ctx, r.partition, r.since, r.limit)
		return func(c *core) { c.placesRead(r.partition, places, swept, version, len(places) >= r.limit, err) }
	case readTail:
		events, version, err := s.Tail(ctx, r.partition, r.after, tailChunk, tailBytes)
		more := len(events) > 0 // the next read finds the end
		return func(c *core) { c.tailRead(r.partition, events, version, more, err) }
	case readLane:
		l, err := s.LoadLane(ctx, r.webhook, r.after)
		return func(c *core) { c.laneLoaded(r.lane, l, err) }
	case readBacklog:
		hits, readTo, err := r.backlog(ctx, s)
		return func(c *core) { c.backlogRead(r.lane, r.after, hits, readTo, err) }
	case readEvents:
		events, err := s.Events(ctx, r.partition, r.offsets)
		return func(c *core) { c.eventsRead(r.lane, r.offsets, events, err) }
	case readDue:
		due, next, err := s.Due(ctx, r.partition, r.due, r.now, dueChunk)
		return func(c *core) { c.dueRead(r, due, next, len(due) == dueChunk, err) }
	case readDueOf:
		limit := 2 * maxDue
		if r.probe {
			limit = 1
		}
		due, err := s.DueOf(ctx, r.webhook, r.now, r.probe, limit)
		return func(c *core) { c.dueOfRead(r, due, len(due) == limit, err) }
	case readReplay:
		work, err := r.replayWork(ctx, s)
		return func(c *core) { c.replayRead(r.lane, work, err) }
	}
	panic("unknown read")
}

// replayWork is what a replay does next.
type replayWork struct {
	replay *store.Replay
	items  []store.ReplayItem
	upTo   hook.Offset
	done   bool
}

func (r *read) replayWork(ctx context.Context, s Store) (w replayWork, err error) {
	if w.replay, err = s.ReplayByKey(ctx, r.replay); err != nil {
		return w, err
	}
	w.items, w.upTo, w.done, err = s.ReplayWork(ctx, r.replay, max(r.after, w.replay.Place), fetchAhead)
	return w, err
}

// backlog reads a stretch of a company's events and keeps what the webhook's rules match.
func (r *read) backlog(ctx context.Context, s Store) (hits []hit, readTo hook.Offset, err error) {
	refs, err := s.Backlog(ctx, r.company, r.after, r.upTo, backlogChunk)
	if err != nil {
		return nil, 0, err
	}
	readTo = r.upTo
	if len(refs) == backlogChunk {
		readTo = refs[len(refs)-1].Offset
	}
	rules := place{rules: r.rules}
	var ask []hook.Offset
	for _, ref := range refs {
		if rule, ok := rules.wants(ref.Offset, ref.Topic); ok {
			hits = append(hits, hit{offset: ref.Offset, topic: ref.Topic, object: ref.ObjectKey})
			if rule.match != nil {
				ask = append(ask, ref.Offset)
			}
		}
	}
	if len(ask) == 0 {
		return hits, readTo, nil
	}
	events, err := s.Events(ctx, r.partition, ask)
	if err != nil {
		return nil, 0, err
	}
	byOffset := make(map[hook.Offset]*hook.Event, len(events))
	for _, e := range events {
		byOffset[e.Offset] = e
	}
	kept := hits[:0]
	for _, h := range hits {
		h.event = byOffset[h.offset]
		if rule := rules.ruleAt(h.offset); rule.match == nil || h.event != nil && rule.match(h.topic, h.event.Data) {
			kept = append(kept, h)
		}
	}
	return kept, readTo, nil
}
