package deliver

import (
	"cmp"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// lateEvery is how often, at most, a lane looks at all that it holds for what has expired. What comes to its
// turn is looked at in any case.
const lateEvery = 100 * time.Millisecond

// expiry is when the event of a delivery that its rule asked for expires: nil for never, or when that is not
// in memory.
func expiry(it *lane.Item) *time.Time {
	if it.Kind != hook.Live || it.Payload == nil {
		return nil
	}
	return it.Payload.Event.ExpiresAt
}

// late says that a delivery is not made any more, because its event has expired. What somebody asked for is
// made all the same.
func (c *core) late(it *lane.Item) bool {
	at := expiry(it)
	return at != nil && !c.wall().Before(*at)
}

// expects notes when an event that the lane holds expires.
func (l *consumer) expects(e *hook.Event) {
	if e.ExpiresAt != nil && (l.lateAt.IsZero() || e.ExpiresAt.Before(l.lateAt)) {
		l.lateAt = *e.ExpiresAt
	}
}

// expireLate settles what a lane holds of events that have expired, also while it may not start anything.
func (c *core) expireLate(l *consumer) {
	if l.lateAt.IsZero() {
		return
	}
	if !c.wall().Before(l.lateAt) {
		l.lateAt = time.Time{}
		for _, it := range l.expiring() {
			if c.late(it) {
				c.expire(l, it)
			} else {
				l.expects(it.Payload.Event)
			}
		}
		if l.lateAt.IsZero() {
			return
		}
		if next := c.wall().Add(lateEvery); l.lateAt.Before(next) {
			l.lateAt = next
		}
	}
	c.timers.set(l, c.local(l.lateAt))
}

// expiring are the deliveries of a lane that wait and whose events expire, in the order of the log.
func (l *consumer) expiring() (list []*lane.Item) {
	take := func(it *lane.Item) {
		if it.State == lane.Waiting && expiry(it) != nil {
			list = append(list, it)
		}
	}
	for _, it := range l.Items {
		take(it)
	}
	for _, it := range l.Known {
		if it.Parked {
			take(it)
		}
	}
	slices.SortFunc(list, func(a, b *lane.Item) int { return cmp.Compare(a.Offset, b.Offset) })
	return list
}

func expired(l *consumer, it *lane.Item) *store.Skip {
	return &store.Skip{Webhook: l.subscription.webhook, Offset: it.Offset, Reason: store.ReasonExpired}
}
