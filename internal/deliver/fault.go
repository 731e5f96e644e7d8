package deliver

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
)

// ownFault is a fault of ours that held deliveries up, by the engine's time.
type ownFault struct {
	detail string
	since  time.Time // when it began: no longer than faultLasts passed between one attempt that met it and the next
	last   time.Time // when an attempt met it last
	told   time.Time // when operators were
}

// faultLasts is how long a fault of ours is thought to go on after an attempt met it. A lane that meets
// one tries again within [retry.Decide]'s longest wait, which is shorter.
const faultLasts = time.Minute

// faultOfOurs notes one, and tells operators: at once, and again each minute while it lasts.
func (c *core) faultOfOurs(l *consumer, r *send.Result) {
	f := &c.fault
	if c.now.Sub(f.last) > faultLasts {
		f.since = c.now
	}
	f.last = c.now
	c.faulty = append(c.faulty, string(r.Phase))
	if r.Detail == f.detail && c.now.Sub(f.told) < time.Minute {
		return
	}
	f.detail, f.told = r.Detail, c.now
	c.events = append(c.events, notice{l.Hook.ID, "waits for a fault of ours", r.Detail})
}

// OwnFault is a fault of this server that holds deliveries up: no attempt that meets it counts.
type OwnFault struct {
	Reason string // of the last attempt that met it
	Since  time.Time
	LastAt time.Time
}

// OwnFault returns what attempts met within the last minute; nil when they met none.
func (e *Engine) OwnFault(ctx context.Context) (found *OwnFault, err error) {
	err = e.within(ctx, func(c *core) {
		if f := &c.fault; !f.last.IsZero() && c.now.Sub(f.last) <= faultLasts {
			found = &OwnFault{Reason: f.detail, Since: c.onWall(f.since), LastAt: c.onWall(f.last)}
		}
	})
	return found, err
}
