package deliver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

const testLease = 10 * time.Second

// registry is the nodes of a world: what Postgres does, in memory, with one partition.
type registry struct {
	sync.Mutex
	world  *world
	nodes  map[string]*store.Node
	owner  string
	cutOff map[string]bool // nodes that do not reach it
}

var errCutOff = errors.New("no answer")

func (r *registry) reach(id string) error {
	switch {
	case r.cutOff[id]:
		return errCutOff
	case r.nodes[id] == nil:
		return store.ErrFenced
	}
	return nil
}

func (r *registry) Renew(_ context.Context, x store.Node, lease time.Duration) (m store.Members, err error) {
	r.Lock()
	defer r.Unlock()
	if err := r.reach(x.ID); err != nil {
		return m, err
	}
	x.LeaseUntil = time.Now().Add(lease)
	r.nodes[x.ID] = &x
	for _, n := range r.nodes {
		seen := *n
		seen.Expired = seen.LeaseUntil.Before(time.Now())
		m.Nodes = append(m.Nodes, seen)
	}
	m.Owners = map[hook.Partition]string{0: r.owner}
	return m, nil
}

func (r *registry) Bury(_ context.Context, id string) error {
	r.Lock()
	defer r.Unlock()
	if n := r.nodes[id]; n != nil && n.LeaseUntil.Before(time.Now()) {
		delete(r.nodes, id)
	}
	return nil
}

func (r *registry) Take(_ context.Context, me string, partitions []hook.Partition) ([]hook.Partition, error) {
	r.Lock()
	defer r.Unlock()
	if err := r.reach(me); err != nil {
		return nil, err
	}
	if r.nodes[r.owner] != nil {
		return nil, nil
	}
	r.owner = me
	return partitions, nil
}

func (r *registry) Give(_ context.Context, me, to string, _ hook.Partition) error {
	r.Lock()
	defer r.Unlock()
	if err := r.reach(me); err != nil {
		return err
	}
	if r.owner == me {
		r.owner = to
	}
	return nil
}

func (r *registry) Owned(ctx context.Context, me string) ([]store.Owned, error) {
	r.Lock()
	err, owner := r.reach(me), r.owner
	r.Unlock()
	if err != nil || owner != me {
		return nil, err
	}
	progress, err := r.world.store.Progress(ctx)
	if err != nil {
		return nil, err
	}
	_, version, err := r.world.store.Tail(ctx, 0, progress[0].Head, 1, 1)
	return []store.Owned{{Partition: 0, ConfigVersion: version, Head: progress[0].Head}}, err
}

// fencedStore lets only the living record.
type fencedStore struct {
	*store.Store
	registry *registry
}

func (f fencedStore) Record(ctx context.Context, x *store.Record) (store.Recorded, error) {
	f.registry.Lock()
	err := f.registry.reach(x.Node)
	f.registry.Unlock()
	if errors.Is(err, errCutOff) {
		return store.Recorded{}, &hook.Error{Kind: hook.KindUnavailable, Code: "store_busy", Err: err}
	}
	if err != nil {
		return store.Recorded{}, err
	}
	return f.Store.Record(ctx, x)
}

// member is a running node.
type member struct {
	id    string
	sent  *fakeSender
	stop  context.CancelFunc
	ended chan error
}

// join starts a node.
func (r *registry) join(id string, answer func(context.Context, send.Request) send.Result) *member {
	m := &member{id: id, sent: &fakeSender{}, ended: make(chan error, 1)}
	r.Lock()
	r.nodes[id] = &store.Node{ID: id, LeaseUntil: time.Now().Add(testLease)}
	r.Unlock()
	e := New(Config{
		Store: fencedStore{r.world.store, r}, Sender: cancellable{m.sent, answer}, Log: slog.New(slog.NewTextHandler(r.world.t.Output(), nil)),
		Dice: rand.New(rand.NewPCG(1, 2)), Members: r, Node: store.Node{ID: id}, Lease: testLease,
	})
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() { m.ended <- e.Run(ctx, context.Background()) }()
	return m
}

// cancellable asks for permission, answers, and heeds its context, as the real sender does.
type cancellable struct {
	*fakeSender
	answer func(context.Context, send.Request) send.Result
}

func (c cancellable) Send(ctx context.Context, r send.Request) send.Result {
	if !r.May() || ctx.Err() != nil {
		return send.Result{Class: hook.ErrOwnFault, StartedAt: hook.Now(time.Now())}
	}
	start := time.Now()
	result := c.answer(ctx, r)
	c.Lock()
	c.journal = append(c.journal, received{r.Webhook.ID, r.Event.ID, r.Event.Topic, r.Attempt, r.Sequence, r.Kind, start, result.Class == hook.ErrNone})
	c.Unlock()
	result.StartedAt, result.TimestampText, result.Phases.Total = hook.Now(start), "1.5", time.Since(start)
	return result
}

func answerAfter(d time.Duration) func(context.Context, send.Request) send.Result {
	return func(ctx context.Context, _ send.Request) send.Result {
		select {
		case <-time.After(d):
			return status(200)
		case <-ctx.Done():
			return send.Result{Class: hook.ErrOwnFault}
		}
	}
}

// members runs a test with a registry, one webhook and events that come all the time.
func members(t *testing.T, fn func(r *registry)) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		r := &registry{world: w, nodes: map[string]*store.Node{}, cutOff: map[string]bool{}}
		w.webhook(nil)
		fn(r)
	})
}

// flow publishes events at a steady pace for some time.
func (r *registry) flow(length time.Duration) (ids []string) {
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ids = append(ids, r.world.publish(1, nil)...)
	}
	synctest.Wait()
	return ids
}

// deliveredBy counts, by event, how often the nodes delivered it.
func deliveredBy(nodes ...*member) map[string]int {
	count := map[string]int{}
	for _, n := range nodes {
		for _, x := range n.sent.received() {
			if x.ok {
				count[x.event]++
			}
		}
	}
	return count
}

func TestNodeLeaves(t *testing.T) {
	members(t, func(r *registry) {
		a := r.join("a", answerAfter(30*time.Millisecond))
		ids := r.flow(5 * time.Second)
		b := r.join("b", answerAfter(30*time.Millisecond))
		ids = append(ids, r.flow(5*time.Second)...)
		if len(b.sent.received()) != 0 {
			t.Error("the only partition moved although its owner stays")
		}
		a.stop()
		ids = append(ids, r.flow(5*time.Second)...)
		if err := <-a.ended; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		count := deliveredBy(a, b)
		for _, id := range ids {
			if count[id] != 1 {
				t.Errorf("%s was delivered %d times", id, count[id])
			}
		}
		if len(b.sent.received()) == 0 {
			t.Error("the other node took nothing over")
		}
		b.stop()
		if err := <-b.ended; err != nil {
			t.Error(err)
		}
	})
}

// TestNodeIsCutOff: a node that does not reach the store stops to send before its lease ends; another
// takes over when it has ended, and what the first had under way is all that can be sent twice.
func TestNodeIsCutOff(t *testing.T) {
	members(t, func(r *registry) {
		a := r.join("a", answerAfter(30*time.Millisecond))
		b := r.join("b", answerAfter(30*time.Millisecond))
		ids := r.flow(5 * time.Second)
		r.Lock()
		first, second := a, b
		if r.owner == "b" {
			first, second = b, a
		}
		r.cutOff[first.id] = true
		cut := time.Now()
		r.Unlock()
		ids = append(ids, r.flow(20*time.Second)...)
		r.Lock()
		delete(r.cutOff, first.id)
		r.Unlock()
		if err := <-first.ended; !errors.Is(err, store.ErrFenced) {
			t.Errorf("the node that was declared dead ended with %v", err)
		}
		time.Sleep(5 * time.Second)

		var last, next time.Time
		for _, x := range first.sent.received() {
			last = x.at
		}
		if all := second.sent.received(); len(all) > 0 {
			next = all[0].at
		}
		if last.IsZero() || next.IsZero() || next.Sub(last) < margin {
			t.Errorf("the one sent last at %s, the other first at %s", last.Sub(cut), next.Sub(cut))
		}
		if late := next.Sub(cut); late > testLease+5*time.Second {
			t.Errorf("nobody took over for %s", late)
		}
		count := deliveredBy(a, b)
		twice := 0
		for _, id := range ids {
			if count[id] == 0 {
				t.Errorf("%s was lost", id)
			}
			twice += max(count[id]-1, 0)
		}
		// What was sent while the store did not answer could not be recorded: by the slots of one webhook.
		if twice > hook.DefaultWindow {
			t.Errorf("%d were delivered twice", twice)
		}
		second.stop()
		if err := <-second.ended; err != nil {
			t.Error(err)
		}
	})
}

// TestLeaseLapses: alone and cut off, a node waits, and goes on where it was; attempts that were
// broken off count for nothing.
func TestLeaseLapses(t *testing.T) {
	members(t, func(r *registry) {
		var slow shared[time.Duration]
		slow.set(30 * time.Millisecond)
		a := r.join("a", func(ctx context.Context, x send.Request) send.Result { return answerAfter(slow.get())(ctx, x) })
		ids := r.flow(3 * time.Second)
		slow.set(20 * time.Second) // under way when the lease ends
		ids = append(ids, r.flow(time.Second)...)
		r.Lock()
		r.cutOff["a"] = true
		r.Unlock()
		cut := time.Now()
		ids = append(ids, r.flow(30*time.Second)...)
		for _, x := range a.sent.received() {
			if x.at.Sub(cut) > testLease {
				t.Errorf("sent %s after it was cut off", x.at.Sub(cut))
			}
		}
		slow.set(30 * time.Millisecond)
		r.Lock()
		delete(r.cutOff, "a")
		r.Unlock()
		ids = append(ids, r.flow(3*time.Second)...)
		time.Sleep(10 * time.Second)
		count := deliveredBy(a)
		for _, id := range ids {
			if count[id] != 1 {
				t.Errorf("%s was delivered %d times", id, count[id])
			}
		}
		for _, x := range a.sent.received() {
			if x.ok && x.attempt != 1 {
				t.Errorf("%s needed attempt %d: one that was broken off counted", x.event, x.attempt)
			}
		}
		a.stop()
		if err := <-a.ended; err != nil {
			t.Error(err)
		}
		if !slices.ContainsFunc(a.sent.received(), func(x received) bool { return !x.ok }) {
			t.Error("nothing was under way when the lease ended")
		}
	})
}
