package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// replayRead takes in the next deliveries that a replay covers. They are attempted last, at the
// replay's rate; what fails is parked and retried like any other.
func (c *core) replayRead(l *consumer, work replayWork, err error) {
	if err != nil {
		c.retry(&l.replaying, func() { c.touch(l) })
		return
	}
	l.replaying = false
	if l.place.replay != work.replay.Key {
		return // it was cancelled meanwhile
	}
	failpoint.Hit(failpoint.Replay)
	for _, x := range work.items {
		key := parkedKey{hook.Replay, x.Offset}
		if _, here := l.known[key]; here {
			continue
		}
		it := &item{
			offset: x.Offset, sequence: x.Sequence, topic: x.Topic, object: l.orderKey(x.ObjectKey), kind: hook.Replay,
			number: x.Attempts, replay: work.replay.Key, since: c.now,
		}
		it.number = l.number(it)
		l.known[key] = it
		l.enqueue(it)
	}
	l.replayAt, l.replayDone, l.replayID = work.upTo, work.done, work.replay.ID
	l.replayGap = 0
	if work.replay.Rate > 0 {
		l.replayGap = time.Duration(float64(time.Second) / work.replay.Rate)
	}
	c.replayMoved(l)
	c.touch(l)
}

// replayMoved notes how far a replay has come: every delivery up to its place was attempted at
// least once, and is delivered, failed or parked.
func (c *core) replayMoved(l *consumer) {
	place, underWay := l.replayAt, false
	for key, it := range l.known {
		if key.kind == hook.Replay && !it.parked && it.replay == l.place.replay {
			place, underWay = min(place, key.offset-1), true
		}
	}
	m := c.replayNews(l, l.place.replay)
	m.Place = max(m.Place, place)
	m.Done = l.replayDone && !underWay
}

// replayNews is what the next record says of a replay.
func (c *core) replayNews(l *consumer, replay int64) *store.ReplayMove {
	m := c.ledger.replays[replay]
	if m == nil {
		if c.ledger.replays == nil {
			c.ledger.replays, c.ledger.replaying = map[int64]*store.ReplayMove{}, map[int64]*consumer{}
		}
		m = &store.ReplayMove{Key: replay}
		c.ledger.replays[replay], c.ledger.replaying[replay] = m, l
	}
	return m
}

// countReplay adds one outcome to its replay's progress.
func (c *core) countReplay(l *consumer, it *item, outcome hook.Outcome) {
	m := c.replayNews(l, it.replay)
	if !it.parked {
		m.Started++
	}
	switch outcome {
	case hook.OutcomeDelivered:
		m.Delivered++
	case hook.OutcomeFailed, hook.OutcomeGone:
		m.Failed++
	case hook.OutcomeRetry, hook.OutcomeThrottled:
	}
}

// endReplay drops what waits in memory of a finished or cancelled replay, and what a read under way will
// bring of it. What is still parked is read again: of one that was cancelled, nothing is.
func (c *core) endReplay(pl *place) {
	c.ended++
	pl.ended = c.ended
	if l := pl.lane; l != nil {
		c.letWait(l, func(it *item) bool { return it.kind == hook.Replay })
		l.replayDone, l.replayAt, l.dueMore = false, 0, true
	}
}
