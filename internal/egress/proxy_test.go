package egress

import (
	"bufio"
	"crypto/tls"
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
		"407": hook.ErrConnect, "403": hook.ErrConnect, "500": hook.ErrConnect, "": hook.ErrOwnFault,
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

// A proxy that refuses one destination and serves others is right to; one that refuses all is ours to
// mend, until it opens a tunnel again.
func TestProxyThatRefusesAll(t *testing.T) {
	r := newReceiver(t, receiver.Config{})
	to := strings.TrimSuffix(strings.TrimPrefix(r.URL(), "http://"), "/")
	var forbid atomic.Value
	forbid.Store("forbidden")
	address := rawServer(t, func(nc net.Conn) {
		br := bufio.NewReader(nc)
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if strings.Contains(q.Host, forbid.Load().(string)) {
			io.WriteString(nc, "HTTP/1.1 403 No\r\n\r\n")
			return
		}
		tunnelTo(nc, br, to)
	})
	c := newClient(t, func(config *Config) { config.Policy, config.Proxy = Policy{AllowHTTP: true}, "http://"+address })
	ask := func(host string) error {
		_, err := c.Do(t.Context(), request("http://"+host+"/", 5*time.Second))
		return err
	}
	for i := range 10 { // one that is refused for ever, beside one that is served
		if e := wantClass(t, ask(fmt.Sprintf("forbidden%d.example", i)), hook.ErrConnect); !strings.Contains(e.Detail, "egress proxy refused") {
			t.Errorf("it does not name the proxy: %s", e.Detail)
		}
		q := request("http://served.example/", 5*time.Second)
		q.Fresh = true
		if _, err := c.Do(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 { // one destination alone never makes it ours
		wantClass(t, ask("forbidden.example"), hook.ErrConnect)
	}
	forbid.Store("example")
	for i := range refusesAll - 2 {
		wantClass(t, ask(fmt.Sprintf("a%d.example", i)), hook.ErrConnect)
	}
	wantClass(t, ask("b.example"), hook.ErrOwnFault)
	wantClass(t, ask("a0.example"), hook.ErrOwnFault)
	forbid.Store("forbidden")
	if err := ask("c.example"); err != nil {
		t.Fatal(err)
	}
	wantClass(t, ask("forbidden.example"), hook.ErrConnect)
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
