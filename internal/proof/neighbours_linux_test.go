package proof_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
		if slowed(took, alone) {
			t.Errorf("p99 %s beside %s, %s alone", percentile(took, 99), what, percentile(alone, 99))
		}
	}
	r.blameless(fast, "beside others that fail")
	r.faulty(dead[len(dead)-1], "dead-0")
	r.accounted("c1", "c2")
	r.kill()
	if held := heldUp(t); !slowed(held, alone) {
		t.Errorf("control: with one request at a time p99 is %s beside a slow one, %s alone", percentile(held, 99), percentile(alone, 99))
	}
}

// heldUp is how long deliveries take where there is room for one request, which a slow receiver has.
func heldUp(t *testing.T) []time.Duration {
	t.Helper()
	r := newRig(t, "--max-in-flight", "1")
	r.start()
	w := &stopwatch{}
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, each: w.arrived})
	var asked atomic.Bool
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"customer"}}, script: []string{"slow 4s"}, each: func(receiver.Delivery) { asked.Store(true) }})
	r.publishSome("c1", "customer", "slow", 1)
	eventually(t, 10*time.Second, "the slow receiver is asked", asked.Load)
	took := w.steady(r, "fast", "conversation", 10, 200)
	r.settled([]string{"c1"}, 30*time.Second)
	r.stop()
	return took
}

// slowed says that something took longer beside something else than alone, by more than a machine
// explains that does other things as well.
func slowed(beside, alone []time.Duration) bool {
	return percentile(beside, 99) > 2*percentile(alone, 99)+200*time.Millisecond
}

// faulty: a dead endpoint's attempts at an event are counted as its own failures.
func (r *rig) faulty(e *endpoint, event string) {
	r.t.Helper()
	var d struct {
		Attempts []struct {
			Counted    bool
			ErrorClass string `json:"error_class"`
		}
	}
	eventually(r.t, 30*time.Second, "a dead endpoint's attempts are counted", func() bool {
		r.ask(http.MethodGet, "/v1/webhooks/"+e.webhook.ID+"/deliveries/"+event, e.webhook.Company, "", &d)
		return len(d.Attempts) > 0
	})
	if last := d.Attempts[len(d.Attempts)-1]; last.ErrorClass != string(hook.ErrConnect) || !last.Counted {
		r.t.Errorf("%+v", last)
	}
}

// TestRetentionUnderLoad is D15 of the test plan: what a paused webhook never got is past the retention
// and goes, in steps, while events are published as quickly as ever. It is counted and told.
func TestRetentionUnderLoad(t *testing.T) {
	r := newRig(t)
	r.start()
	r.stop()
	const unresolved = 1000
	var old *hook.Webhook
	write(t, r.options.Dir, 40*24*time.Hour, func(f *writing) {
		c := f.company("c3")
		old = f.webhooks(1, func(_ int, h *hook.Webhook) {
			h.Company, h.Status, h.Endpoint = c.Key, hook.Paused, "http://127.0.0.1:8089/"
		})[0]
		f.events(c, unresolved, "conversation")
		f.events(f.company("c4"), retention.events, "conversation") // nobody waits for these: they go at once
	})
	beside := r.outsider()
	left := func() int {
		return beside.count(`SELECT count(*) FROM events WHERE company = (SELECT key FROM companies WHERE id = 'c4')`)
	}
	// The control: within the retention nothing goes.
	args := r.options.Args
	r.options.Args = append(slices.Clone(args), "--retention-days", "60")
	r.start()
	alone := r.latencies("c1", retention.published, 5*time.Millisecond)
	if b := r.conservation("c3", false)[0]; b.Skipped > 0 || left() != retention.events {
		t.Errorf("control: of %d events within the retention %d are kept: %+v", retention.events, left(), b)
	}
	r.stop()
	r.options.Args = args
	r.start()
	eventually(t, 2*time.Minute, "the purge begins", func() bool { return left() < retention.events })
	var during []time.Duration
	for left() > 0 && len(during) < retention.published {
		during = append(during, r.latencies("c1", 25, 5*time.Millisecond)...)
	}
	slices.Sort(during)
	gone := retention.events - left()
	eventually(t, 2*time.Minute, "what is past the retention is skipped, and purged", func() bool {
		list := r.conservation("c3", false)
		return len(list) == 1 && list[0].WebhookID == old.ID && list[0].Skipped == unresolved && list[0].Pending == 0 && list[0].Balanced && left() == 0
	})
	t.Logf("%d events published while %d of %d go: p50 %s p99 %s, before p50 %s p99 %s", len(during), gone, retention.events,
		percentile(during, 50), percentile(during, 99), percentile(alone, 50), percentile(alone, 99))
	if gone < retention.events/10 || len(during) < 25 {
		t.Errorf("%d events were published while %d of %d went: the test tested little", len(during), gone, retention.events)
	}
	if slowed(during, alone) {
		t.Errorf("publishing takes %s at p99 while old events go, %s without", percentile(during, 99), percentile(alone, 99))
	}
	var notices struct{ Data []struct{ Kind string } }
	r.ask(http.MethodGet, "/v1/notices", "c3", "", &notices)
	if !strings.Contains(fmt.Sprint(notices), "expired") {
		t.Errorf("nobody was told: %v", notices)
	}
	// What comes now stays.
	r.ask(http.MethodPost, "/v1/events", "", `{"company_id": "c3", "event": "conversation", "data": {}}`, nil)
	for _, b := range r.conservation("c3", false) {
		if b.Pending != 1 {
			t.Errorf("control: %+v", b)
		}
	}
	r.accounted("c1", "c3")
	// The control of the measurement: a purge that keeps the store to itself.
	var held []time.Duration
	beside.holding(func() { held = r.latencies("c1", 20, 5*time.Millisecond) })
	if !slowed(held, alone) {
		t.Errorf("control: publishing takes %s at p99 while somebody else writes, %s without", percentile(held, 99), percentile(alone, 99))
	}
	r.stop()
}

// TestHostileClients is K13 of the test plan: thousands of wrong keys, and connections that send
// their headers byte by byte, beside a producer who notices nothing. The keys are soon refused unseen,
// and the connections closed.
func TestHostileClients(t *testing.T) {
	r := newRig(t)
	r.start()
	alone := r.latencies("c1", hostile.published, 5*time.Millisecond)
	d := r.drip(hostile.slow)
	defer d.close()
	var beside []time.Duration
	answers := r.wrongKeys(hostile.keys, func() { beside = r.latencies("c1", hostile.published, 5*time.Millisecond) })
	t.Logf("beside wrong keys (%v) and %d slow connections p50 %s p99 %s, alone p50 %s p99 %s", answers, hostile.slow,
		percentile(beside, 50), percentile(beside, 99), percentile(alone, 50), percentile(alone, 99))
	if answers[http.StatusUnauthorized] == 0 || answers[http.StatusUnauthorized]+answers[http.StatusTooManyRequests] != hostile.keys ||
		answers[http.StatusTooManyRequests] < hostile.keys/2 {
		t.Errorf("wrong keys were answered %v", answers)
	}
	if slowed(beside, alone) {
		t.Errorf("p99 %s beside hostile clients, %s alone", percentile(beside, 99), percentile(alone, 99))
	}
	eventually(t, 20*time.Second, "the slow connections are closed", func() bool { return d.open() == 0 })
	r.stop()

	// The control: where they take all the room that there is, nobody else gets any.
	r.options.Wrap = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, hostile.slow), "sh"}
	r.start()
	server, err := r.current(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range hostile.slow {
		if nc, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://")); err == nil {
			defer nc.Close()
		}
	}
	stranger := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := stranger.Get(server.URL + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("control: one more is answered where others have taken all the room")
	}
	r.stop()
}

// dripping are connections that send their headers byte by byte, until they are closed.
type dripping struct {
	all    []*producer
	ended  atomic.Int64
	closed sync.Once
	stop   context.CancelFunc
	wait   sync.WaitGroup
}

func (r *rig) drip(n int) *dripping {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.ctx)
	d := &dripping{stop: stop}
	for range n {
		p := r.producer()
		d.all = append(d.all, p)
		d.wait.Go(func() {
			for sent := "POST /v1/events HTTP/1.1\r\nHost: "; ; sent = "x" {
				if _, err := p.nc.Write([]byte(sent)); err != nil || !pause(ctx, 100*time.Millisecond) {
					break
				}
			}
			d.ended.Add(1)
		})
	}
	return d
}

// open is how many of them the server has not closed.
func (d *dripping) open() int { return len(d.all) - int(d.ended.Load()) }

func (d *dripping) close() {
	d.closed.Do(func() {
		d.stop()
		for _, p := range d.all {
			p.close()
		}
		d.wait.Wait()
	})
}

// wrongKeys asks with n keys that do not exist, over some connections, while fn runs, and counts the
// answers.
func (r *rig) wrongKeys(n int, fn func()) map[int]int {
	r.t.Helper()
	var mu sync.Mutex
	answers := map[int]int{}
	var next atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		p, key := r.producer(), r.only().Key
		all.Go(func() {
			defer p.close()
			for i := next.Add(1); i <= int64(n) && r.ctx.Err() == nil; i = next.Add(1) {
				wrong := fmt.Sprintf("awo_%032d", i)
				p.head = strings.Replace(p.head, key, wrong, 1)
				key = wrong
				status, _, err := p.post("/v1/events", []byte(`{"company_id": "c1", "event": "conversation", "data": {}}`))
				if err != nil {
					r.t.Errorf("a wrong key: %v", err)
					return
				}
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	fn()
	all.Wait()
	return answers
}
