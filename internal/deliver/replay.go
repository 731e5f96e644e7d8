package deliver

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
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
		key := lane.Key{Kind: hook.Replay, Offset: x.Offset}
		if _, here := l.Known[key]; here {
			continue
		}
		it := &lane.Item{
			Offset: x.Offset, Sequence: x.Sequence, Topic: x.Topic, Object: l.OrderKey(x.ObjectKey), Kind: hook.Replay,
			Number: x.Attempts, Replay: work.replay.Key, Since: c.now,
		}
		it.Number = l.Number(it)
		l.Known[key] = it
		l.Enqueue(it)
	}
	l.replayAt, l.replayDone, l.replayID = work.upTo, work.done, work.replay.ID
	l.ReplayGap = 0
	if work.replay.Rate > 0 {
		l.ReplayGap = time.Duration(float64(time.Second) / work.replay.Rate)
	}
	c.replayMoved(l)
	c.touch(l)
}

// replayMoved notes how far a replay has come: every delivery up to its place was attempted at
// least once, and is delivered, failed or parked.
func (c *core) replayMoved(l *consumer) {
	place, underWay := l.replayAt, false
	for key, it := range l.Known {
		if key.Kind == hook.Replay && !it.Parked && it.Replay == l.place.replay {
			place, underWay = min(place, key.Offset-1), true
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
func (c *core) countReplay(l *consumer, it *lane.Item, outcome hook.Outcome) {
	m := c.replayNews(l, it.Replay)
	if !it.Parked {
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
		c.letWait(l, func(it *lane.Item) bool { return it.Kind == hook.Replay })
		l.replayDone, l.replayAt, l.dueMore = false, 0, true
	}
}
