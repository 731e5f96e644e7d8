package egress

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// On a kept HTTP/2 connection a request is repeated, once and on a new connection, exactly when the
// receiver says that it has not acted on it. Any other end is an honest failure: it may have acted.
// One that just ended the connection has most likely not: that is the caller's to decide.
func TestRepeatedOverHTTP2OnlyWhenUnprocessed(t *testing.T) {
	tests := map[string]struct {
		end      func(f *http2.Framer, stream uint32, nc net.Conn)
		repeated bool
		class    hook.ErrorClass // when not repeated
		lost     bool            // with a kept connection: up to the caller
	}{
		"REFUSED_STREAM":   {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, true, "", false},
		"GOAWAY before it": {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteGoAway(s-2, http2.ErrCodeNo, nil) }, true, "", false},
		"GOAWAY after it, then closed": {func(f *http2.Framer, s uint32, nc net.Conn) {
			f.WriteGoAway(s, http2.ErrCodeNo, nil)
			nc.Close()
		}, false, hook.ErrProtocol, false},
		"INTERNAL_ERROR": {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteRSTStream(s, http2.ErrCodeInternal) }, false, hook.ErrProtocol, false},
		"CANCEL":         {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteRSTStream(s, http2.ErrCodeCancel) }, false, hook.ErrProtocol, false},
		"closed":         {func(_ *http2.Framer, _ uint32, nc net.Conn) { nc.Close() }, false, hook.ErrReset, true},
		"closed after an interim answer": {func(f *http2.Framer, s uint32, nc net.Conn) {
			headersHTTP2(f, s, "103", false)
			nc.Close()
		}, false, hook.ErrReset, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			config := a.server("127.0.0.1")
			config.NextProtos = []string{"h2"}
			var conns, requests atomic.Int64
			address := rawServer(t, func(nc net.Conn) {
				conns.Add(1)
				serveHTTP2(tls.Server(nc, config), func(f *http2.Framer, stream uint32) {
					if requests.Add(1) == 2 {
						tt.end(f, stream, nc)
						return
					}
					answerHTTP2(f, stream)
				})
			})
			c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
			url := "https://" + address + "/"
			if answer, err := c.Do(t.Context(), request(url, 5*time.Second)); err != nil || answer.Status != 200 {
				t.Fatalf("first: %d, %v", answer.Status, err)
			}
			answer, err := c.Do(t.Context(), request(url, 5*time.Second))
			if tt.repeated {
				if err != nil || answer.Status != 200 || conns.Load() != 2 || requests.Load() != 3 {
					t.Errorf("status %d, %v; %d requests on %d connections, want 3 on 2", answer.Status, err, requests.Load(), conns.Load())
				}
				return
			}
			if e := wantClass(t, err, tt.class); e.Lost != tt.lost {
				t.Errorf("lost with its connection: %v, want %v", e.Lost, tt.lost)
			}
			if requests.Load() != 2 {
				t.Errorf("%d requests for 2 attempts", requests.Load())
			}
		})
	}
}

// serveHTTP2 calls request for each request on a connection.
func serveHTTP2(nc net.Conn, request func(f *http2.Framer, stream uint32)) {
	if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(nc, nc)
	f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				request(f, frame.StreamID)
			}
		}
	}
}

func answerHTTP2(f *http2.Framer, stream uint32) { headersHTTP2(f, stream, "200", true) }

func headersHTTP2(f *http2.Framer, stream uint32, status string, end bool) {
	var block bytes.Buffer
	hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// A receiver that chooses HTTP/2 and does not serve it gets HTTP/1.1, from then on at once: in the same
// attempt where it is certain that it has not looked at the request, else in the next.
func TestReceiverThatWantsHTTP1(t *testing.T) {
	for name, test := range map[string]struct {
		speak  func(nc net.Conn)
		atOnce bool
	}{
		"HTTP_1_1_REQUIRED": {func(nc net.Conn) {
			serveHTTP2(nc, func(f *http2.Framer, s uint32) { f.WriteRSTStream(s, http2.ErrCodeHTTP11Required) })
		}, false},
		"INADEQUATE_SECURITY": {func(nc net.Conn) {
			serveHTTP2(nc, func(f *http2.Framer, _ uint32) { f.WriteGoAway(0, http2.ErrCodeInadequateSecurity, nil) })
		}, true},
		"HTTP/1.1 after ALPN h2": {func(nc net.Conn) {
			io.ReadFull(nc, make([]byte, len(http2.ClientPreface)))
			io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, nc)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			config := a.server("127.0.0.1")
			config.NextProtos = []string{"h2", "http/1.1"}
			var second, first atomic.Int64
			address := rawServer(t, func(nc net.Conn) {
				secure := tls.Server(nc, config)
				if secure.Handshake() != nil {
					return
				}
				if secure.ConnectionState().NegotiatedProtocol == "h2" {
					second.Add(1)
					test.speak(secure)
					return
				}
				first.Add(1)
				serveRaw(secure, okAnswer)
			})
			c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
			url := "https://" + address + "/"
			answer, err := c.Do(t.Context(), request(url, 5*time.Second))
			if test.atOnce && (err != nil || answer.Status != 200) {
				t.Fatalf("first attempt: %d, %v", answer.Status, err)
			}
			if !test.atOnce {
				wantClass(t, err, hook.ErrProtocol)
			}
			for range 3 {
				if answer, err = c.Do(t.Context(), request(url, 5*time.Second)); err != nil || answer.Status != 200 {
					t.Fatalf("%d, %v", answer.Status, err)
				}
			}
			if second.Load() != 1 || first.Load() != 1 {
				t.Errorf("%d connections chose HTTP/2, %d HTTP/1.1; want one each", second.Load(), first.Load())
			}
		})
	}
}

// http_version 1.1 offers nothing else.
func TestHTTP1ByRequest(t *testing.T) {
	a := newAuthority(t)
	config := a.server("127.0.0.1")
	config.NextProtos = []string{"h2", "http/1.1"}
	r := newReceiver(t, receiver.Config{TLS: config})
	c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
	for _, only := range []bool{false, true, false, true} {
		q := request(r.URL(), 5*time.Second)
		q.HTTP1 = only
		answer, err := c.Do(t.Context(), q)
		if err != nil || answer.Status != 200 {
			t.Fatalf("%d, %v", answer.Status, err)
		}
	}
	c.pools.mu.Lock()
	defer c.pools.mu.Unlock()
	spoken := map[bool]bool{}
	for key, p := range c.pools.byKey {
		for _, conn := range p.conns {
			spoken[key.http1] = conn.h2 != nil
		}
	}
	if len(spoken) != 2 || spoken[true] || !spoken[false] {
		t.Errorf("HTTP/2 by whether HTTP/1.1 was asked for: %v", spoken)
	}
}

// Frames are found in whatever pieces they come.
func TestFrameScan(t *testing.T) {
	var wire bytes.Buffer
	f := http2.NewFramer(&wire, nil)
	f.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 15})
	f.WriteSettingsAck()
	f.WriteData(5, true, make([]byte, 100))
	f.WriteRSTStream(7, http2.ErrCodeRefusedStream)
	f.WriteGoAway(9, http2.ErrCodeNo, []byte("bye"))
	for piece := 1; piece <= wire.Len(); piece++ {
		var s frameScan
		var seen []string
		for b := range slices.Chunk(wire.Bytes(), piece) {
			s.eat(b, func(kind byte, stream uint32, payload []byte) {
				seen = append(seen, fmt.Sprint(kind, stream, len(payload)))
			})
		}
		if got := strings.Join(seen, " "); got != "4 0 6 4 0 0 0 5 8 3 7 4 7 0 8" {
			t.Fatalf("in pieces of %d: %s", piece, got)
		}
	}
}
