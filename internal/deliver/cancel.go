package deliver

import (
	"context"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Cancel lets do write into the store that an event of the log is called off. Whether an attempt has begun is
// decided here, where attempts begin: of an event that one is under way of, or not yet recorded, it says so.
// Otherwise none begins until do has returned, and none afterwards where it succeeded. do finds out what was
// recorded before, and that this node is still the one that runs the partition.
func (e *Engine) Cancel(ctx context.Context, company hook.CompanyKey, p hook.Partition, o hook.Offset, do func(ctx context.Context, node string) error) error {
	// What is halted is let go of in any case: neither the caller's patience nor its connection counts.
	loop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var node string
	var refused error
	if err := e.within(loop, func(c *core) { node, refused = c.node, c.halt(p, o) }); err != nil {
		return notHere()
	}
	if refused != nil {
		return refused
	}
	err := do(ctx, node)
	_ = e.within(loop, func(c *core) { c.resumeHalted(company, p, o, err == nil) }) // it ends only with the engine
	return err
}

// AlreadyDelivered refuses to call off an event of which an attempt was begun.
func AlreadyDelivered() error {
	return hook.Refuse(hook.KindConflict, "already_delivered", "an attempt to deliver the event has been made or is under way")
}

func notHere() error {
	return &hook.Error{
		Kind: hook.KindUnavailable, Code: "not_owner", RetryAfter: time.Second,
		Detail: "the node that delivers the company's events is changing; try again",
	}
}

// halt lets no attempt of an event begin, unless one has.
func (c *core) halt(id hook.Partition, o hook.Offset) error {
	p := c.partitions[id]
	switch {
	case p == nil || p.version < 0 || p.leaving || c.stopping:
		return notHere()
	case c.slots.flights[eventAt{id, o}] > 0:
		return AlreadyDelivered()
	}
	if p.halted == nil {
		p.halted = map[hook.Offset]int{}
	}
	p.halted[o]++
	return nil
}

// resumeHalted lets attempts begin again. Where the event was called off it is skipped at once, and not only
// when the configuration is read next.
func (c *core) resumeHalted(company hook.CompanyKey, id hook.Partition, o hook.Offset, cancelled bool) {
	p := c.partitions[id]
	if p == nil || p.halted[o] == 0 {
		return // it was handed over, and is known there from the store
	}
	if p.halted[o]--; p.halted[o] == 0 {
		delete(p.halted, o)
	}
	co := c.companies[company]
	if co == nil {
		return
	}
	for _, pl := range slices.Clone(co.subscriptions) {
		if cancelled {
			pl.skips = append(slices.Clip(pl.skips), store.SkipRange{From: o, To: o, Reason: store.ReasonCancelled})
		}
		if l := pl.lane; l != nil {
			if cancelled {
				c.skipAll(l)
				c.letWait(l, func(it *lane.Item) bool { return it.Offset == o && it.Kind != hook.Live })
			}
			c.touch(l)
		}
	}
}

// cancelling says that the lane's next delivery is of an event that is being called off.
func (l *consumer) cancelling() bool {
	if len(l.subscription.part.halted) == 0 {
		return false
	}
	it, _ := l.Candidate()
	return it != nil && l.subscription.part.halted[it.Offset] > 0
}
