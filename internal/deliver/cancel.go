package deliver

import (
	"context"
	"errors"
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
	var node string
	var refused error
	halt := func(c *core) { node, refused = c.node, c.halt(p, o) }
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelPatience)
	defer cancel()
	if err := e.within(bounded, halt); err != nil {
		// The loop may come to it later; then it lets go at once.
		go func() {
			_ = e.within(context.Background(), func(c *core) {
				if refused == nil {
					c.resumeHalted(company, p, o, false)
				}
			})
		}()
		return store.NotOwner()
	}
	if refused != nil {
		return refused
	}
	err := settled(bounded, func() error { return do(bounded, node) })
	_ = e.within(context.Background(), func(c *core) { c.resumeHalted(company, p, o, err == nil) }) // it ends only with the engine
	return err
}

// cancelPatience is how long it may take to call an event off, whether or not somebody waits for it: while it is
// not known whether that was committed, no attempt may begin. A node that cannot reach its database for as long
// has lost its term, and its partitions are loaded anew.
const cancelPatience = 30 * time.Second

// settled calls do, which may be called twice, until its outcome is known.
func settled(ctx context.Context, do func() error) error {
	for {
		err := do()
		refused, definite := errors.AsType[*hook.Error](err)
		if err == nil || definite && (refused.Kind != hook.KindUnavailable || refused.Code == "not_owner") || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// AlreadyDelivered refuses to call off an event of which an attempt was begun.
func AlreadyDelivered() error {
	return hook.Refuse(hook.KindConflict, "already_delivered", "an attempt to deliver the event has been made or is under way")
}

// halt lets no attempt of an event begin, unless one has.
func (c *core) halt(id hook.Partition, o hook.Offset) error {
	p := c.partitions[id]
	switch {
	case p == nil || p.version < 0 || p.leaving || c.stopping:
		return store.NotOwner()
	case c.slots.flights[eventAt{id, o}] > 0:
		return AlreadyDelivered()
	case c.ledger.parks(id, o):
		return &hook.Error{
			Kind: hook.KindUnavailable, Code: "store_busy", RetryAfter: time.Second, Detail: "what became of the event is being recorded; try again",
		}
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
	if cancelled {
		p.callOff(o)
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

// maxCalledOff bounds what a partition remembers of events that were called off. It matters for what was read
// before; what is read later says so itself.
const maxCalledOff = 10_000

func (p *partition) callOff(o hook.Offset) {
	if p.calledOff == nil || len(p.calledOff) >= maxCalledOff {
		p.calledOff = map[hook.Offset]bool{}
	}
	p.calledOff[o] = true
}

// cancelling says that the lane's next delivery is of an event that is being called off.
func (l *consumer) cancelling() bool {
	if len(l.subscription.part.halted) == 0 {
		return false
	}
	it, _ := l.Candidate()
	return it != nil && l.subscription.part.halted[it.Offset] > 0
}
