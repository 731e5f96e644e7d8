package proof_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// stopwatch measures from a publish to its arrival.
type stopwatch struct {
	mu   sync.Mutex
	sent map[string]time.Time
	took []time.Duration
}

func (w *stopwatch) arrived(d receiver.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.sent[d.Header.Get(wire.HeaderEventID)]; ok {
		w.took = append(w.took, d.At.Sub(at))
	}
}

// steady publishes n events at a rate and waits for their arrival at a receiver that the stopwatch
// watches. It returns how long they took, in order.
func (w *stopwatch) steady(r *rig, name, topic string, n int, perSecond float64) []time.Duration {
	r.t.Helper()
	w.mu.Lock()
	w.sent, w.took = map[string]time.Time{}, nil
	w.mu.Unlock()
	limit := rate.NewLimiter(rate.Limit(perSecond), 1)
	var all sync.WaitGroup
	const connections = 4
	for c := range connections {
		all.Go(func() {
			for i := c; i < n && limit.Wait(r.ctx) == nil; i += connections {
				e := &oracle.Event{ID: fmt.Sprintf("%s-%d", name, i), Company: "c1", Topic: topic, Data: fmt.Sprintf(`{"id": %d}`, i)}
				w.mu.Lock()
				w.sent[e.ID] = time.Now()
				w.mu.Unlock()
				r.persist(r.ctx, e)
			}
		})
	}
	all.Wait()
	var took []time.Duration
	eventually(r.t, 30*time.Second, name+": all arrive", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		took = slices.Clone(w.took)
		return len(took) >= n
	})
	slices.Sort(took)
	return took
}

// TestNeighbours: a receiver that takes 5 s beside a fast one that gets 200 events a second, and then
// another company whose hosts are all dead (a part of O16 of the test plan). The fast one is as fast
// as alone. The dead ones' faults are counted, and are their own.
func TestNeighbours(t *testing.T) {
	r := newRig(t)
	r.start()
	w := &stopwatch{}
	fast := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, each: w.arrived}
	r.subscribe(fast)
	n := int(200 * neighbours.length.Seconds())
	w.steady(r, "warm", "conversation", 100, 200)
	alone := w.steady(r, "alone", "conversation", n, 200)
	slow := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}, Hopeless: true}, script: []string{"slow 5s"}}
	r.subscribe(slow)
	beside := w.steady(r, "slow", "conversation", n, 200)

	dead := make([]*endpoint, neighbours.dead)
	for i := range dead {
		dead[i] = &endpoint{
			webhook: oracle.Webhook{Company: "c2", Topics: []string{"conversation"}, Hopeless: true},
			url:     fmt.Sprintf("http://127.1.%d.%d:8089/", i/250, 1+i%250),
		}
		r.create(dead[i])
	}
	r.publishSome("c2", "conversation", "dead", 20)
	crowded := w.steady(r, "dead", "conversation", n, 200)
	t.Logf("200 a second: alone p50 %s p99 %s, beside a slow one p50 %s p99 %s, beside %d dead hosts p50 %s p99 %s",
		percentile(alone, 50), percentile(alone, 99), percentile(beside, 50), percentile(beside, 99), len(dead), percentile(crowded, 50), percentile(crowded, 99))
	for what, took := range map[string][]time.Duration{"a slow one": beside, "dead hosts": crowded} {
		if p99 := percentile(took, 99); p99 > 2*percentile(alone, 99)+200*time.Millisecond {
			t.Errorf("p99 %s beside %s, %s alone", p99, what, percentile(alone, 99))
		}
	}
	r.blameless(fast, "beside others that fail")
	r.faulty(dead[len(dead)-1])
	for _, company := range []string{"c1", "c2"} {
		for _, b := range r.conservation(company, false) {
			if !b.Balanced {
				t.Errorf("%+v", b)
			}
		}
	}
	// The control: who waits for the slow one is noticed. Its own events take 5 s.
	slow.each = w.arrived
	if p99 := percentile(alone, 99); p99 > 2*time.Second {
		t.Errorf("control: alone it took %s already, so that a delay of 5 s would hardly show", p99)
	}
	r.kill()
}

// faulty: a dead endpoint's attempts are counted as its own failures.
func (r *rig) faulty(e *endpoint) {
	r.t.Helper()
	var d struct {
		Attempts []struct {
			Counted    bool
			ErrorClass string `json:"error_class"`
		}
	}
	eventually(r.t, 30*time.Second, "a dead endpoint's attempts are counted", func() bool {
		r.ask(http.MethodGet, "/v1/webhooks/"+e.webhook.ID+"/deliveries/dead-0", e.webhook.Company, "", &d)
		return len(d.Attempts) > 0
	})
	if last := d.Attempts[len(d.Attempts)-1]; last.ErrorClass != string(hook.ErrConnect) || !last.Counted {
		r.t.Errorf("%+v", last)
	}
}

// TestRetentionUnderLoad is D15 of the test plan: what a paused webhook never got is past the retention
// and goes, in steps, while events are published as quickly as ever. It is counted and told.
func TestRetentionUnderLoad(t *testing.T) {
	empty := newRig(t)
	empty.start()
	alone := empty.latencies("c1", retention.published, 5*time.Millisecond)
	empty.stop()
	r := newRig(t)
	r.start()
	r.stop()
	var old *hook.Webhook
	write(t, r.options.Dir, 40*24*time.Hour, func(f *writing) {
		c := f.company("c3")
		old = f.webhooks(1, func(_ int, h *hook.Webhook) {
			h.Company, h.Status, h.Endpoint = c.Key, hook.Paused, "http://127.0.0.1:8089/"
		})[0]
		f.events(c, retention.events, "conversation")
	})
	r.start()
	beside := r.latencies("c1", retention.published, 5*time.Millisecond)
	eventually(t, time.Minute, "what is past the retention is skipped, and purged", func() bool {
		list := r.conservation("c3", false)
		var events struct{ Data []struct{ ID string } }
		r.ask(http.MethodGet, "/v1/events?limit=10", "c3", "", &events)
		return len(list) == 1 && list[0].WebhookID == old.ID && list[0].Skipped == int64(retention.events) && list[0].Pending == 0 && list[0].Balanced && len(events.Data) <= 1
	})
	t.Logf("publishing while %d events go: p50 %s p99 %s, before p50 %s p99 %s", retention.events,
		percentile(beside, 50), percentile(beside, 99), percentile(alone, 50), percentile(alone, 99))
	if p99 := percentile(beside, 99); p99 > 2*percentile(alone, 99)+100*time.Millisecond {
		t.Errorf("publishing takes %s at p99 while old events go, %s without", p99, percentile(alone, 99))
	}
	var notices struct{ Data []struct{ Kind string } }
	r.ask(http.MethodGet, "/v1/notices", "c3", "", &notices)
	if !strings.Contains(fmt.Sprint(notices), "expired") {
		t.Errorf("nobody was told: %v", notices)
	}
	for _, b := range r.conservation("c3", true) {
		if !b.Balanced {
			t.Errorf("%+v", b)
		}
	}
	// The control: what is not past the retention stays.
	r.ask(http.MethodPost, "/v1/events", "", `{"company_id": "c3", "event": "conversation", "data": {}}`, nil)
	for _, b := range r.conservation("c3", false) {
		if b.Pending != 1 {
			t.Errorf("control: %+v", b)
		}
	}
	r.stop()
}

// TestHostileClients is K13 of the test plan: thousands of wrong keys, and connections that send
// their headers byte by byte, beside a producer who notices nothing.
func TestHostileClients(t *testing.T) {
	r := newRig(t)
	s := r.start()
	alone := r.latencies("c1", hostile.published, 5*time.Millisecond)
	var dripping []*producer
	for range hostile.slow {
		p := r.producer()
		dripping = append(dripping, p)
		if _, err := p.nc.Write([]byte("POST /v1/events HTTP/1.1\r\nHost: ")); err != nil {
			t.Fatal(err)
		}
	}
	ctx := r.ctx
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			for _, p := range dripping {
				_, _ = p.nc.Write([]byte("x")) // the server has given it up, perhaps
			}
		}
	})
	var mu sync.Mutex
	answers := map[int]int{}
	var next int
	for range 8 {
		p := r.producer()
		all.Go(func() {
			defer p.close()
			for ctx.Err() == nil {
				mu.Lock()
				next++
				n := next
				mu.Unlock()
				if n > hostile.keys {
					return
				}
				p.head = strings.Replace(p.head, s.Key, fmt.Sprintf("awo_%032d", n), 1)
				status, _, err := p.post("/v1/events", []byte(`{"company_id": "c1", "event": "conversation", "data": {}}`))
				p.head = strings.Replace(p.head, fmt.Sprintf("awo_%032d", n), s.Key, 1)
				if err != nil {
					t.Errorf("a wrong key: %v", err)
					return
				}
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	beside := r.latencies("c1", hostile.published, 5*time.Millisecond)
	close(stop)
	all.Wait()
	for _, p := range dripping {
		p.close()
	}
	t.Logf("beside wrong keys (%v) and %d slow connections p50 %s p99 %s, alone p50 %s p99 %s", answers, hostile.slow,
		percentile(beside, 50), percentile(beside, 99), percentile(alone, 50), percentile(alone, 99))
	if answers[http.StatusUnauthorized] == 0 || answers[http.StatusUnauthorized]+answers[http.StatusTooManyRequests] != hostile.keys {
		t.Errorf("wrong keys were answered %v", answers)
	}
	if p99 := percentile(beside, 99); p99 > 2*percentile(alone, 99)+200*time.Millisecond {
		t.Errorf("p99 %s beside hostile clients, %s alone", p99, percentile(alone, 99))
	}
	r.stop()
}
