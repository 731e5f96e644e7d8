package egress

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// connectProxy is an egress proxy that answers CONNECT with a status and, if that is 200, connects
// to the given receiver whatever the name.
func connectProxy(t *testing.T, status string, to string, seen func(*http.Request)) (address string) {
	return rawServer(t, func(nc net.Conn) {
		br := bufio.NewReader(nc)
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		seen(q)
		if status == "" {
			return
		}
		if status != "200" {
			io.WriteString(nc, "HTTP/1.1 "+status+" X\r\nContent-Length: 0\r\n\r\n")
			return
		}
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		io.WriteString(nc, "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
		var copying sync.WaitGroup
		copying.Go(func() { io.Copy(up, br); up.Close() })
		io.Copy(nc, up)
		nc.Close()
		copying.Wait()
	})
}

func TestProxy(t *testing.T) {
	a := newAuthority(t)
	secure := newReceiver(t, receiver.Config{TLS: a.server("hooks.example")})
	plain := newReceiver(t, receiver.Config{})
	for _, tt := range []struct{ endpoint, to string }{
		{"https://hooks.example/x", secure.URL()[len("https://"):]}, {"http://hooks.example/x", plain.URL()[len("http://"):]},
	} {
		var asked atomic.Pointer[http.Request]
		to := tt.to[:len(tt.to)-1]
		proxy := connectProxy(t, "200", to, func(q *http.Request) { asked.Store(q) })
		c := newClient(t, func(config *Config) {
			config.Policy = Policy{AllowHTTP: true}
			config.Proxy, config.RootCAs = "http://user:pass@"+proxy, a.pool
		})
		answer, err := c.Do(t.Context(), request(tt.endpoint, 5*time.Second))
		if err != nil || answer.Status != 200 {
			t.Fatalf("%s: %d, %v", tt.endpoint, answer.Status, err)
		}
		q := asked.Load()
		if q.Method != "CONNECT" || q.Header.Get("Proxy-Authorization") != "Basic dXNlcjpwYXNz" {
			t.Errorf("%s: the proxy was asked %s %s %v", tt.endpoint, q.Method, q.Host, q.Header)
		}
	}
}

// Whose fault it is when nothing comes through the proxy.
func TestProxyFaults(t *testing.T) {
	asked := atomic.Int64{}
	count := func(*http.Request) { asked.Add(1) }
	for status, class := range map[string]hook.ErrorClass{
		"407": hook.ErrOwnFault, "403": hook.ErrOwnFault, "302": hook.ErrOwnFault, "": hook.ErrOwnFault, // nobody is served
		"500": hook.ErrConnect, // as tinyproxy says that the endpoint cannot be reached
		"502": hook.ErrConnect, "503": hook.ErrConnect, "504": hook.ErrConnect,
	} {
		c := newClient(t, func(config *Config) { config.Proxy = "http://" + connectProxy(t, status, "", count) })
		_, err := c.Do(t.Context(), request("http://hooks.example/", 5*time.Second))
		if e := wantClass(t, err, class); e.Phase != PhaseProxy {
			t.Errorf("%s: phase %s", status, e.Phase)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := newClient(t, func(config *Config) { config.Proxy = "http://" + l.Addr().String() })
	_, err = c.Do(t.Context(), request("http://hooks.example/", 5*time.Second))
	wantClass(t, err, hook.ErrOwnFault)
}

// What can be judged without the proxy's resolver is judged here.
func TestProxyIsNotAskedForRefusedAddresses(t *testing.T) {
	asked := atomic.Int64{}
	proxy := connectProxy(t, "200", "127.0.0.1:1", func(*http.Request) { asked.Add(1) })
	c := newClient(t, func(config *Config) { config.Policy, config.Proxy = Policy{AllowHTTP: true}, "http://"+proxy })
	for _, endpoint := range []string{"http://10.0.0.1/", "http://[::1]/", "http://localhost/", "http://example.com:25/"} {
		_, err := c.Do(t.Context(), request(endpoint, time.Second))
		wantClass(t, err, hook.ErrAddress)
	}
	if asked.Load() != 0 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestProxySetting(t *testing.T) {
	for _, bad := range []string{"proxy:3128", "socks5://x:1", "http://", "http://x:1/path"} {
		if _, err := New(Config{Proxy: bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// choosyProxy is a proxy that answers with a status for each name that contains a word, and connects to
// one receiver for all others.
type choosyProxy struct {
	t       *testing.T
	client  *Client
	address string
	mu      sync.Mutex
	word    string
	status  int
}

func newChoosyProxy(t *testing.T) *choosyProxy {
	x := &choosyProxy{t: t}
	to := strings.TrimSuffix(strings.TrimPrefix(newReceiver(t, receiver.Config{}).URL(), "http://"), "/")
	x.address = rawServer(t, func(nc net.Conn) {
		br := bufio.NewReader(nc)
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		x.mu.Lock()
		word, status := x.word, x.status
		x.mu.Unlock()
		if strings.Contains(q.Host, word) {
			fmt.Fprintf(nc, "HTTP/1.1 %d No\r\n\r\n", status)
			return
		}
		tunnelTo(nc, br, to)
	})
	x.client = newClient(t, func(config *Config) { config.Policy, config.Proxy = Policy{AllowHTTP: true}, "http://"+x.address })
	return x
}

func (x *choosyProxy) answers(status int, word string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status, x.word = status, word
}

// ask makes a request over a tunnel of its own; "" is an answer.
func (x *choosyProxy) ask(host string) hook.ErrorClass {
	x.t.Helper()
	q := request("http://"+host+"/", 5*time.Second)
	q.Fresh = true
	_, err := x.client.Do(x.t.Context(), q)
	if err == nil {
		return ""
	}
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Detail, "egress proxy") {
		x.t.Errorf("it does not name the proxy: %v", err)
	}
	return e.Class
}

func (x *choosyProxy) expect(host string, want hook.ErrorClass) {
	x.t.Helper()
	if got := x.ask(host); got != want {
		x.t.Errorf("%s: %q, want %q", host, got, want)
	}
}

// A proxy that refuses one destination and serves others is right to; one that refuses all is ours to
// mend, until it opens a tunnel again.
func TestProxyThatRefusesAll(t *testing.T) {
	x := newChoosyProxy(t)
	x.answers(403, "forbidden")
	x.expect("served.example", "")
	for i := range 10 { // one that is refused for ever, beside one that is served
		x.expect(fmt.Sprintf("forbidden%d.example", i), hook.ErrConnect)
		x.expect("served.example", "")
	}
	for range 10 { // one destination alone never makes it ours
		x.expect("forbidden.example", hook.ErrConnect)
	}
	x.answers(407, "example")
	for i := range enough - 2 {
		x.expect(fmt.Sprintf("a%d.example", i), hook.ErrConnect)
	}
	x.expect("b.example", hook.ErrOwnFault)
	x.expect("a0.example", hook.ErrOwnFault)
	x.answers(403, "forbidden")
	x.expect("c.example", "")
	x.expect("forbidden.example", hook.ErrConnect)
}

// The control: a proxy whose refusals are forgotten never refuses all.
func TestControlProxyThatRefusesAll(t *testing.T) {
	x := newChoosyProxy(t)
	x.answers(407, "none")
	x.expect("served.example", "")
	x.answers(407, "example")
	for i := range 2 * enough {
		x.client.dialer.proxy.failed = nil
		x.expect(fmt.Sprintf("a%d.example", i), hook.ErrConnect)
	}
}

// Where few destinations are known, all of them are enough: with one or two endpoints, too, a wrong
// password uses up nobody's attempts.
func TestProxyThatRefusesTheFewThereAre(t *testing.T) {
	x := newChoosyProxy(t)
	x.answers(407, "example")
	for range 3 { // the only one, since the start
		x.expect("one.example", hook.ErrOwnFault)
	}
	x.answers(407, "none")
	x.expect("one.example", "")
	x.answers(403, "two")
	x.expect("two.example", hook.ErrConnect) // the other one is served
	x.answers(407, "example")
	x.expect("two.example", hook.ErrConnect) // as far as is known
	x.expect("one.example", hook.ErrOwnFault)
	x.expect("two.example", hook.ErrOwnFault)
}

// Endpoints that the proxy cannot reach count, however many there are; if those that it reached a
// moment ago cannot be reached either, it has lost its own connection.
func TestProxyThatReachesNothing(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504} { // tinyproxy says 500, Squid 503
		x := newChoosyProxy(t)
		x.answers(status, "dead")
		for i := range 2 * enough {
			x.expect(fmt.Sprintf("dead%d.example", i), hook.ErrConnect)
		}
		for i := range enough {
			x.expect(fmt.Sprintf("served%d.example", i), "")
		}
		for i := range 2 * enough {
			x.expect(fmt.Sprintf("dead%d.example", i), hook.ErrConnect)
		}
		x.answers(status, "example")
		x.expect("served0.example", hook.ErrConnect)
		x.expect("served1.example", hook.ErrConnect)
		x.expect("served2.example", hook.ErrOwnFault)
		x.expect("dead0.example", hook.ErrOwnFault)
		x.answers(status, "dead")
		x.expect("served0.example", "")
		x.expect("dead0.example", hook.ErrConnect)
	}
}

func tunnelTo(nc net.Conn, br *bufio.Reader, to string) {
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	io.WriteString(nc, "HTTP/1.1 200 Connection established\r\n\r\n")
	var copying sync.WaitGroup
	copying.Go(func() { io.Copy(up, br); up.Close() })
	io.Copy(nc, up)
	nc.Close()
	copying.Wait()
}

// An https proxy is verified by the same authorities as endpoints: TestConnectionsThroughAProxyAreKept knows
// its proxy's, and here nobody does.
func TestProxyOfAnUnknownAuthority(t *testing.T) {
	a := newAuthority(t)
	address := rawServer(t, func(nc net.Conn) {
		tls.Server(nc, a.server("127.0.0.1")).Handshake()
	})
	c := newClient(t, func(config *Config) {
		config.Policy, config.Proxy, config.RootCAs = Policy{AllowHTTP: true}, "https://"+address, x509.NewCertPool()
	})
	_, err := c.Do(t.Context(), request("http://hooks.example/", 5*time.Second))
	var e *Error
	if !errors.As(err, &e) || e.Class != hook.ErrOwnFault || !strings.Contains(e.Detail, "egress proxy") {
		t.Errorf("%v", err)
	}
}

// Connections are kept through a proxy, plain or inside TLS.
func TestConnectionsThroughAProxyAreKept(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, receiver.Config{})
	to := strings.TrimSuffix(strings.TrimPrefix(r.URL(), "http://"), "/")
	for _, scheme := range []string{"http", "https"} {
		var tunnels atomic.Int64
		address := rawServer(t, func(nc net.Conn) {
			if scheme == "https" {
				nc = tls.Server(nc, a.server("127.0.0.1"))
			}
			br := bufio.NewReader(nc)
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			tunnels.Add(1)
			tunnelTo(nc, br, to)
		})
		c := newClient(t, func(config *Config) {
			config.Policy, config.Proxy, config.RootCAs = Policy{AllowHTTP: true}, scheme+"://"+address, a.pool
		})
		for range 5 {
			if answer, err := c.Do(t.Context(), request("http://hooks.example/", 5*time.Second)); err != nil || answer.Status != 200 {
				t.Fatal(scheme, answer.Status, err)
			}
		}
		if tunnels.Load() != 1 {
			t.Errorf("%s: %d tunnels for 5 requests", scheme, tunnels.Load())
		}
		c.pools.reap()
		if idle, _ := c.idle(); idle != 1 {
			t.Errorf("%s: %d are kept after a look", scheme, idle)
		}
	}
}

func TestProxyBypass(t *testing.T) {
	b, err := ParseBypass([]string{"Hooks.example.com", ".corp.example", "*.lan.example", "10.0.0.0/8", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for endpoint, want := range map[string]bool{
		"https://hooks.example.com/x": true, "https://a.hooks.example.com/": false, "https://a.b.corp.example/": true, "https://corp.example/": false,
		"https://x.lan.example/": true, "https://10.1.2.3/": true, "https://11.1.2.3/": false, "https://127.0.0.1:8443/": true, "https://xcorp.example/": false,
	} {
		target, refusal := parseEndpoint(endpoint)
		if refusal != nil {
			t.Fatal(refusal)
		}
		if got := b.has(target); got != want {
			t.Errorf("%s is reached directly: %v, want %v", endpoint, got, want)
		}
	}
	for _, bad := range []string{"", ".", "a b", "http://x", "10.1.2.3/8"} {
		if _, err := ParseBypass([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	r := newReceiver(t, receiver.Config{})
	c := newClient(t, func(config *Config) { config.Proxy, config.Bypass = "http://127.0.0.1:1", b })
	if answer, err := c.Do(t.Context(), request(r.URL(), 5*time.Second)); err != nil || answer.Status != 200 {
		t.Errorf("past the proxy: %d, %v", answer.Status, err)
	}
}
