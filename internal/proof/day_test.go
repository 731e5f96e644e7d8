package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/brokertest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
	tables "github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// way is one of the ways in which a producer hands changes over. hand returns when they are handed over for
// good, and an error where that is not known: then the same changes are handed over again.
type way struct {
	name string
	hand func(ctx context.Context, changes []*deskChange) error
	hurt func(ctx context.Context) error // what it goes through is killed and comes back; nil: nothing but the server
}

// TestDay is a day of a support desk: what happens to its conversations, customers, accounts and notes
// goes through each way in, while the server, the brokers and the producer's database are killed and the
// receivers fail now and then. What three receivers got is compared with what was done, in the order in
// which it was done to each object.
func TestDay(t *testing.T) {
	t.Parallel() // it waits, mostly
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	desk := newDesk(seed, 3)
	ways := []way{{name: "POST /v1/changes"}}
	var args []string
	add := func(w way, flags []string) {
		ways = append(ways, w)
		args = append(args, flags...)
	}
	add(outboxWay(t))
	var entries []string
	for name, kind := range map[string]struct {
		start func(dir string) (*brokertest.Broker, error)
		bus   func(addr string) bus
	}{
		"nats":  {brokertest.NATS, func(addr string) bus { return &natsBus{addr: addr} }},
		"kafka": {brokertest.Kafka, func(addr string) bus { return &kafkaBus{addr: addr} }},
	} {
		broker, err := kind.start(t.TempDir())
		need(t, !errors.Is(err, brokertest.ErrMissing), name+": make brokers")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(broker.Stop)
		w, entry := busWay(t, name, broker, kind.bus(broker.Addr))
		ways, entries = append(ways, w), append(entries, "- "+entry+"\n")
	}
	file := filepath.Join(t.TempDir(), "sources.yaml")
	if err := os.WriteFile(file, []byte("sources:\n"+strings.Join(entries, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--sources-file", file)
	r := newRig(t, append(args, "--max-in-flight", fmt.Sprint(maxInFlight))...)
	ways[0].hand = r.handChanges
	r.start()
	var topics []string
	for _, topic := range hook.Topics() {
		topics = append(topics, topic.Name)
	}
	arrived := &arrivals{sequence: map[string]map[string]int64{}}
	var companies []string
	for i := range desk.companies {
		company := fmt.Sprint("desk", i)
		companies = append(companies, company)
		e := &endpoint{
			webhook: oracle.Webhook{Company: company, Topics: topics, Object: i == 1}, settings: patient,
			script: slices.Repeat([]string{"ok:40", "fail 500:1"}, 200),
		}
		e.each = func(d receiver.Delivery) { arrived.add(e.webhook.ID, d) }
		r.subscribe(e)
	}

	// Each object's changes go one way, in their order; each way hands over what has gathered.
	var all sync.WaitGroup
	queues := make([]chan *deskChange, len(ways))
	for i := range ways {
		queues[i] = make(chan *deskChange, day.changes)
		all.Go(func() { r.handOver(&ways[i], queues[i]) })
	}
	var done []*deskChange
	hurts := 0
	for n := range day.changes {
		c := desk.next()
		done = append(done, c)
		for _, e := range c.events() {
			r.oracle.Publishing(e)
		}
		queues[wayOf(c, len(ways))] <- c
		pause(r.ctx, day.between)
		if n%(day.changes/day.hurts) == day.changes/day.hurts/2 {
			w := ways[hurts%len(ways)]
			hurts++
			if w.hurt == nil {
				r.kill()
				r.start()
			} else if err := w.hurt(r.ctx); err != nil {
				t.Fatalf("%s: %v", w.name, err)
			}
		}
	}
	for _, q := range queues {
		close(q)
	}
	all.Wait()
	if t.Failed() || r.ctx.Err() != nil {
		return
	}
	r.settled(companies, time.Minute)
	r.judge(seed, hurts)
	for _, fault := range arrived.disorder(done) {
		t.Errorf("seed %d: %s", seed, fault)
	}
	// A control: an order that was not kept is seen.
	if len(arrived.disorder(swapped(done))) == 0 {
		t.Error("two changes of one object in the other order were not noticed")
	}
	r.stop()
}

// wayOf is the way of an object's changes.
func wayOf(c *deskChange, ways int) int {
	n := 0
	for _, b := range []byte(c.object) {
		n += int(b)
	}
	return n % ways
}

// handOver hands changes over in their order, a few at a time, each until it is known to be handed over.
func (r *rig) handOver(w *way, queue <-chan *deskChange) {
	for first := range queue {
		some := []*deskChange{first}
		for len(some) < 20 && len(queue) > 0 {
			some = append(some, <-queue)
		}
		for err := w.hand(r.ctx, some); err != nil; err = w.hand(r.ctx, some) {
			if !pause(r.ctx, 20*time.Millisecond) {
				r.t.Errorf("%s: %v", w.name, err)
				return
			}
		}
		for _, c := range some {
			for _, e := range c.events() {
				r.oracle.Answered(e.ID, oracle.Acked)
			}
		}
	}
}

// handChanges calls the API for each.
func (r *rig) handChanges(ctx context.Context, changes []*deskChange) error {
	for _, c := range changes {
		body, err := json.Marshal(c)
		if err != nil {
			return err
		}
		status, answer, err := r.call(ctx, http.MethodPost, "/v1/changes", "", body)
		if err != nil || status != http.StatusAccepted {
			return fmt.Errorf("%d %s: %w", status, answer, err)
		}
	}
	return nil
}

// outboxWay commits changes into a table of the producer's own database, from which the server takes them.
func outboxWay(t *testing.T) (w way, flags []string) {
	t.Helper()
	cluster := ownCluster(t)
	name, err := cluster.Database(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Exec(t.Context(), name, tables.Schema(tables.Postgres, true)); err != nil {
		t.Fatal(err)
	}
	hand := func(ctx context.Context, changes []*deskChange) error {
		c, err := pgx.Connect(ctx, cluster.URL(name))
		if err != nil {
			return err
		}
		defer c.Close(context.WithoutCancel(ctx))
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		for _, x := range changes {
			m := tables.Change{ID: x.ID, CompanyID: x.Company, ObjectType: x.ObjectType}
			if string(x.Before) != "null" {
				m.Before = x.Before
			}
			if string(x.After) != "null" {
				m.After = x.After
			}
			if err := tables.Publish(ctx, tx, m); err != nil {
				return err
			}
		}
		return tx.Commit(ctx)
	}
	hurt := func(ctx context.Context) error { return cluster.Restart(ctx, true) }
	return way{"outbox", hand, hurt}, []string{"--outbox-url", cluster.URL(name)}
}

// busWay puts changes into a broker, from which the server takes them.
func busWay(t *testing.T, name string, broker *brokertest.Broker, b bus) (w way, entry string) {
	t.Helper()
	t.Cleanup(b.close)
	entry, err := b.prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hand := func(ctx context.Context, changes []*deskChange) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		for _, c := range changes {
			body, err := json.Marshal(c)
			if err != nil {
				return err
			}
			if err := b.put(ctx, c.object, c.ID, body); err != nil {
				return err
			}
		}
		return nil
	}
	hurt := func(context.Context) error {
		broker.Kill()
		return broker.Start()
	}
	return way{name, hand, hurt}, strings.Replace(entry, "name: bus", "name: "+name, 1)
}

// arrivals are the numbers of what receivers accepted, by webhook and event.
type arrivals struct {
	mu       sync.Mutex
	sequence map[string]map[string]int64
}

func (a *arrivals) add(webhook string, d receiver.Delivery) {
	if !accepted(d.Answer) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sequence[webhook] == nil {
		a.sequence[webhook] = map[string]int64{}
	}
	n, _ := strconv.ParseInt(d.Header.Get(wire.HeaderSequence), 10, 64) // 0 is out of order
	a.sequence[webhook][d.Header.Get(wire.HeaderEventID)] = n
}

// disorder finds events of a later change of an object that have a smaller number than those of an earlier
// one; changes are in the order in which they were made.
func (a *arrivals) disorder(changes []*deskChange) (faults []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for webhook, numbers := range a.sequence {
		highest := map[string]int64{} // by object
		for _, c := range changes {
			top := highest[c.object]
			for _, e := range c.events() {
				n, arrived := numbers[e.ID]
				if arrived && n <= highest[c.object] {
					faults = append(faults, fmt.Sprintf("%s has number %d at %s, behind %d of an earlier change of %s", e.ID, n, webhook, highest[c.object], c.object))
				}
				top = max(top, n)
			}
			highest[c.object] = top
		}
	}
	return faults
}

// swapped is the same with two changes of one object the other way round.
func swapped(changes []*deskChange) []*deskChange {
	other := slices.Clone(changes)
	last := map[string]int{}
	for i, c := range changes {
		if j, ok := last[c.object]; ok {
			other[i], other[j] = changes[j], changes[i]
			return other
		}
		last[c.object] = i
	}
	return other
}
