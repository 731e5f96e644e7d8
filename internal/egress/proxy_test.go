package egress

import (
	"bufio"
	"io"
	"net"
	"net/http"
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
		"407": hook.ErrOwnFault, "403": hook.ErrOwnFault, "500": hook.ErrOwnFault, "": hook.ErrOwnFault,
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
