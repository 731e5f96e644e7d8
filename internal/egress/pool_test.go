package egress

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// S12: a receiver that closes kept connections at random gets exactly as many requests as attempts
// were made: nothing is sent twice behind the caller's back.
func TestRequestsReceivedAreAttemptsMade(t *testing.T) {
	const deliveries, workers = 10_000, 8
	var received atomic.Int64
	address := rawServer(t, func(nc net.Conn) { closeAtRandom(nc, &received) })
	c := newClient(t)
	var delivered, failures atomic.Int64
	var sending sync.WaitGroup
	for range workers {
		sending.Go(func() {
			for range deliveries / workers {
				a, err := c.Do(t.Context(), request("http://"+address+"/", 10*time.Second))
				if err == nil && a.Status == 200 {
					delivered.Add(1)
				} else {
					failures.Add(1)
				}
			}
		})
	}
	sending.Wait()
	t.Logf("received %d, delivered %d, failed %d", received.Load(), delivered.Load(), failures.Load())
	if received.Load() > deliveries {
		t.Errorf("%d requests received for %d attempts", received.Load(), deliveries)
	}
	if delivered.Load() > received.Load() {
		t.Errorf("%d delivered, but %d received", delivered.Load(), received.Load())
	}
	if missing := deliveries - received.Load(); missing > failures.Load() {
		t.Errorf("%d attempts never arrived, but only %d failed", missing, failures.Load())
	}
	// Every connection that was closed before it was used again must have been noticed: only closing
	// while the request is on its way may cost an attempt.
	if failures.Load() > deliveries/4 {
		t.Errorf("%d of %d attempts failed", failures.Load(), deliveries)
	}
}

// The control: with a header that calls the request idempotent, net/http's transport repeats it.
func TestControlTransportRepeatsRequests(t *testing.T) {
	const attempts = 2_000
	var received atomic.Int64
	address := rawServer(t, func(nc net.Conn) { closeAtRandom(nc, &received) })
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for range attempts {
		q, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/", strings.NewReader("{}"))
		q.Header.Set("Idempotency-Key", "x")
		if resp, err := transport.RoundTrip(q); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	if received.Load() <= attempts {
		t.Errorf("%d requests for %d attempts: this harness cannot show a repeated request", received.Load(), attempts)
	}
}

// closeAtRandom counts requests and now and then closes: after an answer, or instead of one.
func closeAtRandom(nc net.Conn, received *atomic.Int64) {
	br := bufio.NewReader(nc)
	for {
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return
		}
		received.Add(1)
		dice := rand.IntN(20)
		if dice == 0 {
			return // no answer
		}
		if _, err := io.WriteString(nc, okAnswer); err != nil || dice < 4 {
			return // an answer that does not say that it is the last
		}
	}
}

// S10: two companies with endpoints on one host and port. The one's receiver sends two answers to
// each request, a failure and then a success. The other's deliveries, all answered 500, must not
// be taken for successes.
func TestAnswerQueuePoisoning(t *testing.T) {
	const deliveries = 20_000
	c := newClient(t)
	forged, total := poison(t, deliveries, deliveries, func(webhook int, url string) int {
		q := request(url, 10*time.Second)
		q.Webhook = hook.WebhookKey(webhook)
		a, err := c.Do(t.Context(), q)
		if err != nil {
			return -1
		}
		return a.Status
	})
	if forged != 0 {
		t.Errorf("%d of %d failed deliveries were taken for delivered", forged, total)
	}
}

// The control: one pool for everybody, as an http.Client has it.
func TestControlSharedPoolIsPoisoned(t *testing.T) {
	log.SetOutput(io.Discard) // the transport reports the answers that it did notice
	defer log.SetOutput(os.Stderr)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	send := func(_ int, url string) int {
		q, _ := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader("{}"))
		resp, err := transport.RoundTrip(q)
		if err != nil {
			return -1
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	const rounds = 10 // how the two answers are scheduled is chance
	for range rounds {
		if forged, _ := poison(t, 20_000, 1, send); forged > 0 {
			return
		}
	}
	t.Errorf("none of %d rounds saw a forged delivery: this harness cannot show a poisoned connection", rounds)
}

// poison sends deliveries for an honest webhook, beside those of an attacker, until all are sent or
// enough of the honest ones are forged.
func poison(t *testing.T, deliveries, enough int64, send func(webhook int, url string) int) (forged, total int64) {
	address := rawServer(t, poisonousServer)
	var success, sent atomic.Int64
	var honest, attackers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		attackers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					send(1, "http://"+address+"/attacker")
				}
			}
		})
	}
	for range 6 {
		honest.Go(func() {
			for sent.Add(1) <= deliveries && success.Load() < enough {
				if send(2, "http://"+address+"/honest") == 200 {
					success.Add(1)
				}
			}
		})
	}
	honest.Wait()
	close(done)
	attackers.Wait()
	return success.Load(), min(sent.Load(), deliveries)
}

func poisonousServer(nc net.Conn) {
	const failure = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
	br := bufio.NewReader(nc)
	for {
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.Copy(io.Discard, q.Body)
		answer := failure
		if q.URL.Path == "/attacker" {
			answer += okAnswer
		}
		if _, err := io.WriteString(nc, answer); err != nil {
			return
		}
	}
}

// An answer that comes before the request was made, on a kept connection, is nobody's answer: the
// connection is given up before anything is sent on it.
func TestUnaskedAnswerCostsTheConnection(t *testing.T) {
	for _, late := range []bool{false, true} {
		var conns atomic.Int64
		unasked := make(chan net.Conn, 10)
		address := rawServer(t, func(nc net.Conn) {
			conns.Add(1)
			br := bufio.NewReader(nc)
			for {
				q, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				io.Copy(io.Discard, q.Body)
				io.WriteString(nc, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
				unasked <- nc
			}
		})
		c := newClient(t)
		for range 3 {
			a, err := c.Do(t.Context(), request("http://"+address+"/", 5*time.Second))
			if err != nil || a.Status != 500 {
				t.Fatalf("status %d, %v", a.Status, err)
			}
			nc := <-unasked
			if late {
				nc.Close()
			} else {
				io.WriteString(nc, okAnswer)
			}
			waitUntilNotQuiet(t, c)
		}
		if conns.Load() != 3 {
			t.Errorf("late = %v: %d connections for 3 requests", late, conns.Load())
		}
	}
}

// waitUntilNotQuiet waits for what the receiver did to arrive on the one idle connection.
func waitUntilNotQuiet(t *testing.T, c *Client) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		c.pools.mu.Lock()
		quiet := c.pools.oldest != nil && c.pools.oldest.meter.quiet()
		c.pools.mu.Unlock()
		if !quiet {
			return
		}
	}
	t.Fatal("nothing arrived")
}

// A request is repeated when the connection fails before its first byte; once, on a new one.
func TestRepeatedOnlyWhenNothingWasSent(t *testing.T) {
	r := newReceiver(t, receiver.Config{})
	c := newClient(t)
	if _, err := c.Do(t.Context(), request(r.URL(), 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	c.pools.mu.Lock()
	c.pools.oldest.meter.Conn = brokenWrites{c.pools.oldest.meter.Conn}
	c.pools.oldest.nc = c.pools.oldest.meter
	c.pools.mu.Unlock()
	a, err := c.Do(t.Context(), request(r.URL(), 5*time.Second))
	if err != nil || a.Status != 200 || r.Connections() != 2 {
		t.Errorf("status %d on %d connections, %v", a.Status, r.Connections(), err)
	}
}

type brokenWrites struct{ net.Conn }

func (b brokenWrites) Write([]byte) (int, error) {
	b.Conn.Close()
	return 0, fmt.Errorf("write: %w", net.ErrClosed)
}

func (c *Client) idle() (connections, pools int) {
	c.pools.mu.Lock()
	defer c.pools.mu.Unlock()
	return c.pools.idle, len(c.pools.byKey)
}

// Each webhook, and each version of its endpoint, has its own connections.
func TestConnectionsAreNotShared(t *testing.T) {
	r := newReceiver(t, receiver.Config{})
	c := newClient(t)
	for _, who := range []struct {
		webhook hook.WebhookKey
		version int64
	}{{1, 1}, {2, 1}, {1, 2}, {1, 1}, {2, 1}} {
		q := request(r.URL(), 5*time.Second)
		q.Webhook, q.EndpointVersion = who.webhook, who.version
		if _, err := c.Do(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if r.Connections() != 3 {
		t.Errorf("%d connections, want 3", r.Connections())
	}
}

// A version that names two endpoints (it should not) does not use the one's connections for the
// other; an endpoint that is not in normal form has kept connections, too.
func TestConnectionsBelongToTheEndpoint(t *testing.T) {
	one, two := newReceiver(t, receiver.Config{}), newReceiver(t, receiver.Config{})
	c := newClient(t)
	for _, url := range []string{one.URL(), two.URL(), strings.TrimSuffix(two.URL(), "/"), strings.TrimSuffix(two.URL(), "/")} {
		if a, err := c.Do(t.Context(), request(url, 5*time.Second)); err != nil || a.Status != 200 {
			t.Fatal(a.Status, err)
		}
	}
	if one.Connections() != 1 || two.Connections() != 2 {
		t.Errorf("%d and %d connections, want 1 and 2", one.Connections(), two.Connections())
	}
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	r := newReceiver(t, receiver.Config{})
	c := newClient(t, func(config *Config) { config.MaxIdle = 3 })
	for webhook := range 10 {
		q := request(r.URL(), 5*time.Second)
		q.Webhook = hook.WebhookKey(webhook)
		if _, err := c.Do(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if idle, pools := c.idle(); idle > 3 || pools > 3 {
			t.Fatalf("%d connections of %d webhooks are idle", idle, pools)
		}
	}
	// The longest idle went first.
	q := request(r.URL(), 5*time.Second)
	q.Webhook = 9
	if _, err := c.Do(t.Context(), q); err != nil || r.Connections() != 10 {
		t.Errorf("%d connections, want 10 (%v)", r.Connections(), err)
	}
	c.Close()
	if idle, pools := c.idle(); idle != 0 || pools != 0 {
		t.Errorf("after Close %d connections of %d webhooks", idle, pools)
	}
}

func TestIdleConnectionsPerWebhookAreBounded(t *testing.T) {
	r := newReceiver(t, receiver.Config{}, "slow 50ms")
	c := newClient(t, func(config *Config) { config.MaxIdlePerWebhook = 2 })
	var sending sync.WaitGroup
	for range 6 {
		sending.Go(func() {
			if _, err := c.Do(t.Context(), request(r.URL(), 5*time.Second)); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	if idle, _ := c.idle(); idle != 2 {
		t.Errorf("%d are idle, want 2", idle)
	}
}

// A connection is not used when it has been idle for longer than the receiver keeps it.
func TestKeepAliveIsHonoured(t *testing.T) {
	for answer, reused := range map[string]bool{
		"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n": false,
		"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=9\r\nContent-Length: 0\r\n\r\n": true,
	} {
		var conns atomic.Int64
		address := rawServer(t, func(nc net.Conn) {
			conns.Add(1)
			serveRaw(nc, answer)
		})
		c := newClient(t)
		for range 2 {
			if _, err := c.Do(t.Context(), request("http://"+address+"/", 5*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if (conns.Load() == 1) != reused {
			t.Errorf("%q: %d connections", answer, conns.Load())
		}
	}
}

// A request's deadline says nothing about its connection, which may serve long after it.
func TestConnectionOutlivesTheDeadlineOfItsRequest(t *testing.T) {
	r := newReceiver(t, receiver.Config{})
	c := newClient(t)
	deadline := time.Now().Add(150 * time.Millisecond)
	for range 2 {
		q := request(r.URL(), 5*time.Second)
		if time.Now().Before(deadline) {
			q.Deadline = deadline
		}
		if _, err := c.Do(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Until(deadline) + 10*time.Millisecond)
	}
	c.pools.reap()
	if idle, _ := c.idle(); idle != 1 || r.Connections() != 1 {
		t.Errorf("%d connections, %d idle", r.Connections(), idle)
	}
}

// Expired connections, and those that the receiver has closed, do not linger.
func TestReap(t *testing.T) {
	r := newReceiver(t, receiver.Config{})
	c := newClient(t)
	do := func() {
		if _, err := c.Do(t.Context(), request(r.URL(), 5*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	do()
	c.pools.reap()
	if idle, _ := c.idle(); idle != 1 {
		t.Fatalf("a fresh connection was reaped")
	}
	c.pools.mu.Lock()
	c.pools.oldest.idleUntil = time.Now().Add(-time.Second)
	c.pools.mu.Unlock()
	c.pools.reap()
	if idle, pools := c.idle(); idle != 0 || pools != 0 {
		t.Errorf("%d connections, %d pools after the expiry", idle, pools)
	}
}

// A company's list that got shorter closes what it had opened, kept connections included.
func TestKeptConnectionsAreJudgedAgain(t *testing.T) {
	r := newReceiver(t, receiver.Config{})
	c := newClient(t, func(config *Config) { config.Policy = Policy{AllowHTTP: true} })
	q := request(r.URL(), 5*time.Second)
	q.AllowNetworks = prefixes(t, "127.0.0.0/8")
	if _, err := c.Do(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	q.AllowNetworks = prefixes(t, "10.0.0.0/8")
	_, err := c.Do(t.Context(), q)
	wantClass(t, err, hook.ErrAddress)
}
