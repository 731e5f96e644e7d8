package proof_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	dice "math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// outbox is the real store, engine, sender and door to the network in this process, so that its sender can
// be watched, and made deaf to connections that were lost.
type outbox struct {
	t      *testing.T
	store  *store.Store
	sender *send.Sender
	deaf   bool

	mu        sync.Mutex
	companies int
	fates     map[string]*sentEvent
}

// sentEvent is what became of an event.
type sentEvent struct {
	published time.Time
	took      time.Duration // until it was delivered
	waited    time.Duration // of that, while no attempt was under way: Apache takes a second to answer some in a reload
	spent     time.Duration // by attempts
	lost      int           // attempts that a kept connection took with it
	failed    int           // others that failed
	detail    string        // of the last of those
	delivered chan struct{}
}

func newOutbox(t *testing.T, deaf bool) *outbox {
	t.Helper()
	networks, err := egress.ParseNetworks([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	door, err := egress.New(egress.Config{Policy: egress.Policy{AllowHTTP: true, AllowNetworks: networks}})
	if err != nil {
		t.Fatal(err)
	}
	o := &outbox{t: t, deaf: deaf, sender: send.New(door, "test", nil), fates: map[string]*sentEvent{}}
	o.store, err = store.OpenSQLite(context.WithoutCancel(t.Context()), store.Options{
		Dir: t.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true, // no power is cut here
	})
	if err != nil {
		t.Fatal(err)
	}
	engine := deliver.New(deliver.Config{Store: o.store, Sender: o, Log: slog.New(slog.DiscardHandler)})
	o.store.OnAppend(engine.Committed)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx, context.Background(), 0) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		door.Close()
		if err := o.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// Send makes an attempt and writes down what came of it.
func (o *outbox) Send(ctx context.Context, q send.Request) send.Result {
	r := o.sender.Send(ctx, q)
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.fates[q.Event.ID]
	f.spent += r.Phases.Total
	switch {
	case r.Delivered() && f.took == 0:
		f.took = time.Since(f.published)
		f.waited = f.took - f.spent
		close(f.delivered)
	case r.Lost:
		f.lost++
	case !r.Delivered():
		f.failed++
		f.detail = fmt.Sprintf("%s in phase %s, reused %t: %s", r.Class, r.Phase, r.Reused, r.Detail)
	}
	if o.deaf {
		r.Lost = false
	}
	return r
}

// company makes one with a webhook at an endpoint: connections of its own, of which nothing is known.
func (o *outbox) company(endpoint string) *store.Company {
	o.t.Helper()
	o.mu.Lock()
	o.companies++
	id := fmt.Sprintf("company-%d", o.companies)
	o.mu.Unlock()
	c, err := o.store.EnsureCompany(o.t.Context(), id)
	if err != nil {
		o.t.Fatal(err)
	}
	_, err = o.store.CreateWebhook(o.t.Context(), hook.Webhook{
		Company: c.Key, Endpoint: endpoint + "/" + id, Topics: []string{"*"}, Scheme: hook.SchemeHex, Format: hook.DataString, Ordering: hook.Relaxed,
		MaxConcurrency: hook.DefaultWindow, Timeout: hook.DefaultTimeout, RetrySchedule: hook.DefaultRetrySchedule(), Metadata: []byte("{}"),
	}, nil, store.Audit{Actor: "test"})
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func (o *outbox) publish(c *store.Company) *sentEvent {
	e := &hook.Event{ID: "evt_" + rand.Text(), FreshID: true, Company: c.Key, CompanyID: c.ID, Topic: "conversation", Data: []byte(`{"n":1}`)}
	e.Digest = hook.EventDigest(e.Topic, e.ObjectKey, e.Data)
	f := &sentEvent{published: time.Now(), delivered: make(chan struct{})}
	o.mu.Lock()
	o.fates[e.ID] = f
	o.mu.Unlock()
	if _, err := o.store.Append(o.t.Context(), 0, []*hook.Event{e}); err != nil {
		o.t.Error(err)
	}
	return f
}

// atTheEdge sends two events over one connection, as far apart as the receiver keeps it, give or take
// 60 ms; each round with companies of which nothing is known yet. It calls enough after each round.
func (o *outbox) atTheEdge(endpoint string, keep time.Duration, rounds int, enough func() bool) {
	for range rounds {
		var probes sync.WaitGroup
		for range servers.probes {
			c := o.company(endpoint)
			probes.Go(func() {
				select {
				case <-o.publish(c).delivered:
				case <-o.t.Context().Done():
					return
				}
				pause(o.t.Context(), keep-60*time.Millisecond+dice.N(120*time.Millisecond)) //nolint:gosec // a test's dice
				o.publish(c)
			})
		}
		probes.Wait()
		if enough() {
			return
		}
	}
}

// duringReloads sends 60 events a second while the receiver is told each second to start anew.
func (o *outbox) duringReloads(endpoint string, s *site, p *peer) {
	c := o.company(endpoint)
	tick := time.NewTicker(time.Second / 60)
	defer tick.Stop()
	for i := range 60 * servers.reloads {
		<-tick.C
		if i%60 == 30 {
			if err := s.process.Signal(p.reload); err != nil {
				o.t.Error(err)
			}
		}
		o.publish(c)
	}
}

// verdict waits until everything has arrived, and counts.
type verdict struct{ events, lost, failed, late, twice int }

func (o *outbox) settle(journal func() map[string]int) (v verdict) {
	o.t.Helper()
	o.mu.Lock()
	fates := maps.Clone(o.fates)
	o.mu.Unlock()
	v.events = len(fates)
	over := time.NewTimer(30 * time.Second)
	defer over.Stop()
	var worst, idle time.Duration
	for id, f := range fates {
		select {
		case <-f.delivered:
		case <-over.C:
			over.Reset(0)
			o.mu.Lock()
			o.t.Logf("%s has not arrived: %s", id, f.detail)
			o.mu.Unlock()
			v.late++
			continue
		}
		o.mu.Lock()
		v.lost += f.lost
		v.failed += f.failed
		worst, idle = max(worst, f.took), max(idle, f.waited)
		if f.waited > servers.late {
			v.late++
			o.t.Logf("%s arrived after %s, of which it waited %s: %s", id, f.took, f.waited, f.detail)
		}
		o.mu.Unlock()
	}
	for _, n := range journal() {
		if n > 1 {
			v.twice++
		}
	}
	o.t.Logf("%d events, %d attempts lost with a kept connection, %d failed otherwise; the slowest took %s, the longest wait between attempts was %s, %d came late, %d came twice",
		v.events, v.lost, v.failed, worst.Round(time.Millisecond), idle.Round(time.Millisecond), v.late, v.twice)
	return v
}

// TestRealServers is R1 of the test plan: behind a network of 40 ms there and back, events come just
// when a real server ends its kept connections, because they were idle or because it starts anew. Each
// arrives at once, and none twice.
func TestRealServers(t *testing.T) {
	t.Parallel() // it waits, mostly
	for i := range peers {
		p := &peers[i]
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := p.run(t)
			endpoint := "http://" + newRelay(t, s.address, 20*time.Millisecond)
			o := newOutbox(t, false)
			o.atTheEdge(endpoint, p.keep, servers.rounds, func() bool { return false })
			if p.reload != 0 {
				o.duringReloads(endpoint, s, p)
			}
			if v := o.settle(s.journal); v.late > 0 || v.twice > 0 {
				t.Errorf("%+v", v)
			}
		})
	}
}

// The control: an engine that is not told that a kept connection took an attempt with it.
func TestControlRealServers(t *testing.T) {
	t.Parallel() // it waits, mostly
	p := &peers[0]
	s := p.run(t)
	endpoint := "http://" + newRelay(t, s.address, 20*time.Millisecond)
	o := newOutbox(t, true)
	o.atTheEdge(endpoint, p.keep, 20, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, f := range o.fates {
			if f.lost > 0 {
				return true
			}
		}
		return false
	})
	if v := o.settle(s.journal); v.lost == 0 || v.late == 0 {
		t.Errorf("%+v: this harness cannot show what it is for", v)
	}
}
