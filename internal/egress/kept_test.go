package egress

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// When a kept connection ends under a request the error says so, exactly if not one byte of an answer
// had come: by a FIN or an RST, plain or inside TLS, also for a request too large for the buffers. Never
// on a new connection, and never because of time.
func TestLostWithAKeptConnection(t *testing.T) {
	reset := func(nc net.Conn) {
		nc.(*net.TCPConn).SetLinger(0)
		nc.Close()
	}
	for _, test := range []struct {
		name   string
		end    func(raw, nc net.Conn)
		body   int
		fresh  bool
		secure bool
		lost   bool
		class  hook.ErrorClass
	}{
		{"closed", func(raw, _ net.Conn) { raw.Close() }, 10, false, false, true, hook.ErrReset},
		{"reset", func(raw, _ net.Conn) { reset(raw) }, 10, false, false, true, hook.ErrReset},
		{"closed, large", func(raw, _ net.Conn) { raw.Close() }, 8 << 20, false, false, true, hook.ErrReset},
		{"closed, TLS", func(raw, _ net.Conn) { raw.Close() }, 10, false, true, true, hook.ErrReset},
		{"goodbye, TLS", func(_, nc net.Conn) { nc.Close() }, 10, false, true, true, hook.ErrReset},
		{"reset, TLS", func(raw, _ net.Conn) { reset(raw) }, 10, false, true, true, hook.ErrReset},
		{"closed in the head", func(raw, nc net.Conn) { io.WriteString(nc, "HTTP/1.1 2"); raw.Close() }, 10, false, false, false, hook.ErrReset},
		{"closed after an interim answer", func(raw, nc net.Conn) { io.WriteString(nc, "HTTP/1.1 103 Early\r\n\r\n"); raw.Close() }, 10, false, false, false, hook.ErrReset},
		{"time-out", func(_, nc net.Conn) { io.Copy(io.Discard, nc) }, 10, false, false, false, hook.ErrTimeout},
		{"closed, on a new connection", func(raw, _ net.Conn) { raw.Close() }, 10, true, false, false, hook.ErrReset},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t)
			config := a.server("127.0.0.1")
			config.NextProtos = []string{"http/1.1"}
			var requests atomic.Int64
			address := rawServer(t, func(raw net.Conn) {
				nc := raw
				if test.secure {
					nc = tls.Server(raw, config)
				}
				br := bufio.NewReader(nc)
				for {
					q, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					if requests.Add(1) == 2 {
						test.end(raw, nc)
						return
					}
					io.Copy(io.Discard, q.Body)
					io.WriteString(nc, okAnswer)
				}
			})
			c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
			url := "http://" + address + "/"
			if test.secure {
				url = "https://" + address + "/"
			}
			if _, err := c.Do(t.Context(), request(url, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
			q := request(url, 5*time.Second)
			if test.class == hook.ErrTimeout {
				q = request(url, 200*time.Millisecond)
			}
			q.Body, q.Fresh = make([]byte, test.body), test.fresh
			answer, err := c.Do(t.Context(), q)
			e := wantClass(t, err, test.class)
			if e.Lost != test.lost || answer.Reused == test.fresh {
				t.Errorf("lost %v, want %v; on a kept connection: %v (%v)", e.Lost, test.lost, answer.Reused, e.Err)
			}
			if requests.Load() != 2 {
				t.Errorf("%d requests for 2 attempts", requests.Load())
			}
		})
	}
}

// Apache and Tomcat tell how long they keep a connection only to those who ask to keep it.
func TestConnectionIsAskedToBeKept(t *testing.T) {
	got := make(chan string, 1)
	address := rawServer(t, func(nc net.Conn) {
		buf := make([]byte, 4096)
		n, _ := nc.Read(buf)
		got <- string(buf[:n])
		io.WriteString(nc, okAnswer)
	})
	if _, err := newClient(t).Do(t.Context(), request("http://"+address+"/", 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if text := <-got; strings.Count(text, "Connection: keep-alive\r\n") != 1 {
		t.Errorf("sent %q", text)
	}
}

// How long a receiver keeps idle connections is learnt from those that it closed, and believed for an
// hour; what is closed earlier than others served is not its idle time.
func TestIdleTimeIsLearnt(t *testing.T) {
	now := time.Now()
	key := poolKey{webhook: 1}
	m := make(traits)
	most := 15 * time.Second
	expect := func(what string, want time.Duration, at time.Time) {
		t.Helper()
		if got := m.keep(key, most, at); got != want {
			t.Errorf("%s: kept for %s, want %s", what, got, want)
		}
	}
	expect("nothing known", most, now)
	m.closed(key, 100*time.Millisecond, now)
	expect("closed at once", most, now)
	m.closed(key, 5*time.Second, now)
	expect("closed after 5 s", 4*time.Second, now)
	expect("an hour later", most, now.Add(learntFor+time.Second))
	m.closed(key, time.Second, now)
	expect("closed after 1 s", 500*time.Millisecond, now)
	m = make(traits)
	m.served(key, 8*time.Second)
	m.closed(key, 2*time.Second, now)
	expect("a reload: others served after 8 s", most, now)
	m.closed(key, 10*time.Second, now)
	expect("closed after 10 s", 9*time.Second, now)
	for i := range mostTraits + 1 {
		m.closed(poolKey{webhook: hook.WebhookKey(i + 2)}, 5*time.Second, now)
	}
	if len(m) > mostTraits {
		t.Errorf("%d are remembered", len(m))
	}
}

// It is learnt where a connection is looked at, and where a request was lost with one.
func TestIdleTimeIsSeen(t *testing.T) {
	for name, look := range map[string]func(t *testing.T, c *Client, url string){
		"by the reaper": func(_ *testing.T, c *Client, _ string) { c.pools.reap() },
		"by the next request": func(t *testing.T, c *Client, url string) {
			if _, err := c.Do(t.Context(), request(url, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			closeNow := make(chan struct{})
			address := rawServer(t, func(nc net.Conn) {
				nc.Read(make([]byte, 4096))
				io.WriteString(nc, okAnswer)
				<-closeNow
			})
			c := newClient(t)
			url := "http://" + address + "/"
			if _, err := c.Do(t.Context(), request(url, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
			c.pools.mu.Lock()
			kept := c.pools.oldest
			kept.idleSince, kept.seenOpen = kept.idleSince.Add(-5*time.Second), kept.idleSince
			c.pools.mu.Unlock()
			close(closeNow)
			waitUntilNotQuiet(t, c)
			look(t, c, url)
			c.pools.mu.Lock()
			defer c.pools.mu.Unlock()
			if keep := c.pools.traits.keep(poolKey{webhook: 1}, time.Minute, time.Now()); keep < 3*time.Second || keep > 5*time.Second {
				t.Errorf("kept for %s, want about 4 s", keep)
			}
		})
	}
}

// However busy, a connection ends some day: then a name is looked up and a certificate judged anew.
func TestConnectionsHaveAnAge(t *testing.T) {
	a := newAuthority(t)
	second := a.server("127.0.0.1")
	second.NextProtos = []string{"h2"}
	for name, r := range map[string]*receiver.Receiver{
		"HTTP/1.1": newReceiver(t, receiver.Config{}), "HTTP/2": newReceiver(t, receiver.Config{TLS: second}),
	} {
		for age, want := range map[time.Duration]int64{4: 4, time.Hour: 1} {
			before := r.Connections()
			c := newClient(t, func(config *Config) { config.RootCAs, config.MaxAge = a.pool, age })
			for range 4 {
				if answer, err := c.Do(t.Context(), request(r.URL(), 5*time.Second)); err != nil || answer.Status != 200 {
					t.Fatal(answer.Status, err)
				}
			}
			if made := int64(r.Connections() - before); made != want {
				t.Errorf("%s: %d connections for 4 requests at an age of %s, want %d", name, made, age, want)
			}
			if idle, _ := c.idle(); want > 1 && idle > 0 {
				t.Errorf("%s: %d that are too old wait", name, idle)
			}
		}
	}
}
