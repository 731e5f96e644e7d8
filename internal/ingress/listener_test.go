package ingress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// serve answers on a listener with limits until the test ends.
func serve(t *testing.T, limits Limits, h http.Handler) *Listener {
	t.Helper()
	l, err := Listen(t.Context(), "127.0.0.1:0", limits)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l
}

// dialFrom connects from an address of this machine; nil where it is refused.
func dialFrom(t *testing.T, from string, to net.Addr) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if errors.Is(err, syscall.ECONNRESET) {
		return nil // there was no room, and it heard of it already
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// asks sends a request over a connection and reports whether it is answered.
func asks(c net.Conn) bool {
	if c == nil {
		return false
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func ok() http.Handler { return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}) }

// A stranger who connects two thousand times leaves room for others, who are answered; in the control
// nobody bounds what one address has, and descriptors are what ends it.
func TestStrangerLeavesRoom(t *testing.T) {
	const total, strangers = 256, 2000
	for name, c := range map[string]struct {
		limits Limits
		most   int // that the stranger holds afterwards
	}{
		"share of one": {Limits{Connections: total, OfOne: total / 2}, total / 2},
		"all":          {Limits{Connections: total}, total - 8},
		"control":      {Limits{}, strangers},
	} {
		t.Run(name, func(t *testing.T) {
			l := serve(t, c.limits, ok())
			for range strangers {
				dialFrom(t, "127.0.0.1", l.Addr())
			}
			for range 8 {
				if !asks(dialFrom(t, "127.0.0.2", l.Addr())) {
					t.Fatal("another address is not answered")
				}
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			stranger := len(l.byPeer[netip.MustParsePrefix("127.0.0.1/32")])
			if stranger != c.most || l.open != stranger+8 {
				t.Errorf("the stranger holds %d of %d, want %d", stranger, l.open, c.most)
			}
		})
	}
}

// A connection that closes gives its place back, and one that was quiet for long gives it to another of
// its own address; one that many stand behind has no share.
func TestPlaces(t *testing.T) {
	limits := Limits{Connections: 4, OfOne: 2, Shared: func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.3") }}
	l := serve(t, limits, ok())
	first, second := dialFrom(t, "127.0.0.1", l.Addr()), dialFrom(t, "127.0.0.1", l.Addr())
	if !asks(first) || !asks(second) {
		t.Fatal("the first ones are not answered")
	}
	if asks(dialFrom(t, "127.0.0.1", l.Addr())) {
		t.Error("one more than its share is answered")
	}
	l.mu.Lock()
	for c := range l.byPeer[subscriber(addressOf(first.LocalAddr()))] {
		if c.RemoteAddr().String() == first.LocalAddr().String() {
			c.last.Store(time.Now().Add(-time.Minute).UnixNano())
		}
	}
	l.mu.Unlock()
	if !asks(dialFrom(t, "127.0.0.1", l.Addr())) || asks(first) || !asks(second) {
		t.Error("it is not the quiet one that gave its place")
	}
	for range 2 {
		if !asks(dialFrom(t, "127.0.0.3", l.Addr())) {
			t.Error("of a proxy, one is not answered")
		}
	}
	if !asks(dialFrom(t, "127.0.0.3", l.Addr())) && !asks(dialFrom(t, "127.0.0.2", l.Addr())) {
		t.Error("nobody is answered any more")
	}
}

func TestPeers(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
	} {
		if got := subscriber(addressOf(&net.TCPAddr{IP: net.ParseIP(address), Port: 1})).String(); got != want {
			t.Errorf("%s counts for %s, want %s", address, got, want)
		}
	}
}

// On a real connection, too, a reader who pauses again and again is served to the end. The control's
// deadline is for the whole.
func TestSlowReader(t *testing.T) {
	const size = 6 << 20
	for name, c := range map[string]struct {
		stall, whole time.Duration
	}{"moving": {stall: 2 * time.Second}, "control": {whole: 2 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := serve(t, Limits{Stall: c.stall}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.whole > 0 {
					_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(c.whole))
				}
				_, _ = w.Write(make([]byte, size)) // the reader says what came
			}))
			conn := dialFrom(t, "127.0.0.1", l.Addr()).(*net.TCPConn)
			_ = conn.SetReadBuffer(32 << 10)
			if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			got, b, pace := 0, make([]byte, 128<<10), time.NewTicker(75*time.Millisecond)
			defer pace.Stop()
			for begun := time.Now(); ; {
				n, err := io.ReadFull(conn, b)
				if got += n; err != nil {
					if c.whole == 0 && (got < size || time.Since(begun) < c.stall) {
						t.Errorf("%d bytes after %v: %v", got, time.Since(begun), err)
					}
					break
				}
				<-pace.C
			}
			if c.whole > 0 && got >= size {
				t.Error("the control was served to the end")
			}
		})
	}
}
