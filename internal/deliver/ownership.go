package deliver

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Membership is where the nodes that share a store say that they live, and what they own.
type Membership interface {
	Renew(ctx context.Context, x store.Node, lease time.Duration) (store.Members, error)
	Bury(ctx context.Context, id string) error
	Take(ctx context.Context, me string, partitions []hook.Partition) ([]hook.Partition, error)
	Give(ctx context.Context, me, to string, p hook.Partition) error
	Owned(ctx context.Context, me string) ([]store.Owned, error)
}

// Paces of ownership.
const (
	renewals   = 4               // of a lease, while it lasts
	margin     = 2 * time.Second // before the end of the lease, from when on nothing is sent
	pollBusy   = 25 * time.Millisecond
	pollIdle   = 100 * time.Millisecond
	again      = 250 * time.Millisecond // after no answer, and while the node leaves
	busyFor    = 5 * time.Second        // after the last event or change
	moveWithin = 5 * time.Second        // a partition that is not quiet by then stays for now
	leaveIn    = 5 * time.Second        // after the last attempt or handover: what is left then is left to be taken
)

// lease is until when this node may send, as far as it knows: set by the ownership's goroutine,
// asked by everybody.
type lease struct {
	until atomic.Pointer[time.Time]
}

// holds compares on the monotonic clock and on the wall clock: the one stands still while a machine
// sleeps, the other may be set back.
func (l *lease) holds(now time.Time) bool {
	until := l.until.Load()
	return until != nil && now.Before(*until) && now.Round(0).Before(until.Round(0))
}

// ownership keeps this node's lease, takes partitions that nobody owns, hands others over, and
// watches the logs of its own for what other nodes append. Its goroutine does the I/O; the loop
// owns the partitions.
type ownership struct {
	e     *Engine
	me    store.Node
	term  time.Duration // of the lease
	store Membership
	seen  func(store.Members)

	work   context.Context //nolint:containedctx // of all attempts
	stop   <-chan struct{} // closed when the node is to leave
	moved  chan moved      // from the loop: a partition is quiet, or stays after all
	give   []gift          // what others should have, by the last plan
	moving map[hook.Partition]string
	since  time.Time // when the last move began
	lapse  *time.Timer
	busyAt time.Time
	deaf   bool // the store did not answer last
}

// moved is the loop's answer to a request to let go of a partition.
type moved struct {
	partition hook.Partition
	released  bool // its last record is made
}

func (e *Engine) newOwnership(stop <-chan struct{}) *ownership {
	return &ownership{
		e: e, me: e.Node, term: e.Lease, store: e.Members, seen: e.Seen, stop: stop,
		moved: make(chan moved, 1024), moving: map[hook.Partition]string{},
	}
}

// run returns when the node has left, when ctx ends, or with [store.ErrFenced] when it was declared
// dead or the database went back.
func (o *ownership) run(ctx context.Context) error {
	o.work = ctx
	o.lapse = time.AfterFunc(o.term, func() {
		o.tell(func(c *core) {
			if !o.e.lease.holds(time.Now()) && !c.suspended {
				o.e.Log.Warn("the lease has run out; nothing is sent until it is renewed")
				c.suspended = true
				o.e.suspend()
			}
		})
	})
	defer o.lapse.Stop()
	renewAt := time.Now()
	var leaveBy time.Time
	for {
		if now := time.Now(); !now.Before(renewAt) {
			left, err := o.renew(ctx)
			if errors.Is(err, store.ErrFenced) {
				return err
			}
			o.heard("renew the lease", err)
			switch {
			case err != nil || o.me.Leaving:
				renewAt = now.Add(again)
			default:
				renewAt = now.Add(o.term / renewals)
			}
			if o.e.inFlight.Load() > 0 {
				leaveBy = now.Add(leaveIn) // the last attempts are under way
			}
			if left || o.me.Leaving && now.After(leaveBy) {
				o.tell(func(c *core) { c.left = true })
				o.me.Leaving = false // it has been said
				renewAt = now.Add(o.term / renewals)
			}
		}
		wait := o.pace()
		err := o.poll(ctx)
		if errors.Is(err, store.ErrFenced) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			o.heard("read what this node owns", err)
			wait = again
		}
		timer := time.NewTimer(min(wait, time.Until(renewAt)))
		select {
		case m := <-o.moved:
			o.move(ctx, m)
			leaveBy = time.Now().Add(leaveIn)
		case <-o.stop:
			o.stop, o.me.Leaving = nil, true
			renewAt, leaveBy = time.Now(), time.Now().Add(leaveIn)
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

func (o *ownership) tell(fn func(*core)) {
	select {
	case o.e.back <- fn:
	case <-o.e.done:
	}
}

// heard logs when the store ceases to answer, and when it answers again.
func (o *ownership) heard(what string, err error) {
	switch {
	case err != nil && !o.deaf:
		o.e.Log.Warn("the store does not answer this node", "asked", what, "error", err)
	case err == nil && o.deaf:
		o.e.Log.Info("the store answers this node again")
	}
	o.deaf = err != nil
}

func (o *ownership) pace() time.Duration {
	if time.Since(o.busyAt) < busyFor {
		return pollBusy
	}
	return pollIdle
}

// renew extends the lease and acts on who else is there. The lease counts from before it was asked
// for.
func (o *ownership) renew(ctx context.Context) (left bool, err error) {
	sent := time.Now()
	ask, cancel := context.WithTimeout(ctx, o.term/2)
	defer cancel()
	o.me.InFlight = int(o.e.inFlight.Load())
	members, err := o.store.Renew(ask, o.me, o.term)
	if err != nil {
		return false, err
	}
	until := sent.Add(o.term - margin)
	o.e.lease.until.Store(&until)
	o.lapse.Reset(time.Until(until))
	o.tell(func(c *core) {
		if c.suspended {
			o.e.resume(o.work)
		}
	})
	if o.seen != nil {
		o.seen(members)
	}
	return o.rebalance(ask, members)
}

// rebalance takes what nobody owns and hands over what others should have. One partition moves at a
// time, but for a node that leaves: its partitions have stopped already.
func (o *ownership) rebalance(ctx context.Context, members store.Members) (left bool, err error) {
	for _, x := range members.Nodes {
		if x.Expired && x.ID != o.me.ID {
			o.e.Log.Warn("a node's lease has run out; it is declared dead", "node", x.ID, "url", x.URL)
			if err := o.store.Bury(ctx, x.ID); err != nil {
				return false, err
			}
		}
	}
	s := share(o.me.ID, members)
	if len(s.take) > 0 {
		taken, err := o.store.Take(ctx, o.me.ID, s.take)
		if err != nil {
			return false, err
		}
		o.e.Log.Info("took partitions", "count", len(taken))
	}
	if len(o.moving) > 0 && !o.me.Leaving && time.Since(o.since) > moveWithin {
		for p := range o.moving {
			o.tell(func(c *core) { c.keep(p) })
		}
	}
	o.give = s.give
	o.begin()
	return o.me.Leaving && len(s.give) == 0, nil
}

// begin lets the loop let go of the next partition; of all, if the node leaves.
func (o *ownership) begin() {
	for len(o.give) > 0 && (len(o.moving) == 0 || o.me.Leaving) {
		g := o.give[0]
		o.give = o.give[1:]
		if _, already := o.moving[g.partition]; already {
			continue
		}
		o.moving[g.partition], o.since = g.to, time.Now()
		o.tell(func(c *core) { c.release(g.partition, o.moved) })
	}
}

// move gives a partition away after its last record, and only then lets the loop forget it: what
// the loop hears of it before cannot make it ours again.
func (o *ownership) move(ctx context.Context, m moved) {
	to := o.moving[m.partition]
	delete(o.moving, m.partition)
	if m.released {
		if err := o.store.Give(ctx, o.me.ID, to, m.partition); err != nil {
			o.e.Log.Warn("a partition could not be handed over; it is run on", "partition", m.partition, "error", err)
		}
		o.tell(func(c *core) { delete(c.released, m.partition) })
	}
	o.begin()
}

// poll asks what this node owns and how far the logs are, and lets the loop know.
func (o *ownership) poll(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, o.term/2)
	defer cancel()
	owned, err := o.store.Owned(ask, o.me.ID)
	if err != nil {
		return err
	}
	news := make(chan bool, 1)
	o.tell(func(c *core) {
		o.e.drainInbox() // what this process appended itself need not be read
		news <- c.polled(owned)
	})
	select {
	case busy := <-news:
		if busy {
			o.busyAt = time.Now()
		}
	case <-o.e.done:
	case <-ctx.Done():
	}
	return nil
}

// shares is what a node is to do about the partitions.
type shares struct {
	take []hook.Partition
	give []gift
}

type gift struct {
	partition hook.Partition
	to        string
}

// share spreads the partitions evenly over the nodes that stay, moving as few as possible. All nodes
// that see the same members come to the same plan.
func share(me string, m store.Members) (s shares) {
	owns := map[string][]hook.Partition{} // by nodes that stay
	going := map[string]bool{}            // alive, but leaving
	for _, x := range m.Nodes {
		switch {
		case x.Expired && x.ID != me:
		case x.Leaving:
			going[x.ID] = true
		default:
			owns[x.ID] = nil
		}
	}
	var free []hook.Partition // owned by nobody, or by one who leaves
	for _, p := range slices.Sorted(maps.Keys(m.Owners)) {
		owner := m.Owners[p]
		if _, stays := owns[owner]; stays {
			owns[owner] = append(owns[owner], p)
		} else {
			free = append(free, p)
		}
	}
	if len(owns) == 0 {
		return s
	}
	nodes := slices.Sorted(maps.Keys(owns))
	fewest := func(a, b string) int { return cmp.Or(cmp.Compare(len(owns[a]), len(owns[b])), cmp.Compare(a, b)) }
	for _, p := range free {
		to := slices.MinFunc(nodes, fewest)
		owns[to] = append(owns[to], p)
		switch owner := m.Owners[p]; {
		case owner == me:
			s.give = append(s.give, gift{p, to})
		case to == me && !going[owner]:
			s.take = append(s.take, p)
		}
	}
	for {
		from, to := slices.MaxFunc(nodes, fewest), slices.MinFunc(nodes, fewest)
		n := len(owns[from])
		if n-len(owns[to]) <= 1 {
			return s
		}
		p := owns[from][n-1]
		owns[from], owns[to] = owns[from][:n-1], append(owns[to], p)
		if from == me && m.Owners[p] == me {
			s.give = append(s.give, gift{p, to})
		}
	}
}

// handover is a partition on its way to another node. It starts no attempt; when the last one has
// been recorded it is cut, and when what the cut wrote is committed it is released.
type handover struct {
	part  *partition
	tell  chan<- moved
	cut   bool
	after uint64 // count of commits at which nothing of it is left to record
}

// polled brings the partitions in line with what the store says that this node owns, and reports
// whether anything was new.
func (c *core) polled(owned []store.Owned) (news bool) {
	if c.stopping {
		return false
	}
	for _, o := range owned {
		p := c.partitions[o.Partition]
		switch {
		case c.released[o.Partition]:
			continue
		case p == nil:
			c.own(o.Partition)
			news = true
			continue
		}
		if o.ConfigVersion > p.wanted {
			p.wanted, news = o.ConfigVersion, true
			c.configure(p)
		}
		if o.Head > p.tail && len(p.inbox) == 0 && !p.reading && !p.behind {
			p.behind, news = true, true
			c.feed(p)
		}
	}
	return news
}

// release begins to hand a partition over. The answer comes once.
func (c *core) release(id hook.Partition, tell chan<- moved) {
	p := c.partitions[id]
	if p == nil {
		tell <- moved{id, false}
		return
	}
	p.leaving = true
	c.handovers[id] = &handover{part: p, tell: tell}
}

// keep takes a release back, unless the partition is cut already.
func (c *core) keep(id hook.Partition) {
	h := c.handovers[id]
	if h == nil || h.cut || c.stopping {
		return
	}
	h.part.leaving = false
	delete(c.handovers, id)
	h.tell <- moved{id, false}
	for _, l := range c.awake {
		if l.subscription.part == h.part {
			c.touch(l)
		}
	}
}

// handOver moves every release on as far as it can go.
func (c *core) handOver() {
	if len(c.handovers) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(c.handovers)) {
		h := c.handovers[id]
		if !h.cut && h.part.taken == 0 {
			c.disown(h.part)
			h.cut, h.after = true, c.commits
			if c.ledger.writing != nil {
				h.after++
			}
			if !c.ledger.empty() {
				h.after++
			}
		}
		if h.cut && c.commits >= h.after {
			delete(c.handovers, id)
			h.tell <- moved{id, true}
		}
	}
}

// disown forgets a partition. Its lanes' places go into the next record, so that the next owner
// goes on from there.
func (c *core) disown(p *partition) {
	for _, l := range c.awake {
		if l.subscription.part != p || l.Hook == nil {
			continue
		}
		if l.stat != nil {
			c.ledger.stats = append(c.ledger.stats, *l.stat)
			l.stat = nil
		}
		c.detach(l)
	}
	for _, key := range slices.Sorted(maps.Keys(c.subscriptions)) {
		if pl := c.subscriptions[key]; pl.part == p {
			c.remove(pl)
		}
	}
	c.empty(p)
	c.forgetJudging(p)
	delete(c.partitions, p.id)
	c.released[p.id] = true
}
