package egress

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// On a kept HTTP/2 connection a request is repeated, once and on a new connection, exactly when the
// receiver says that it has not acted on it. Any other end is an honest failure: it may have acted.
// These cases also hold the error texts by which the standard library tells the two apart.
func TestRepeatedOverHTTP2OnlyWhenUnprocessed(t *testing.T) {
	tests := map[string]struct {
		end      func(f *http2.Framer, stream uint32, nc net.Conn)
		repeated bool
		class    hook.ErrorClass // when not repeated
	}{
		"REFUSED_STREAM":   {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, true, ""},
		"GOAWAY before it": {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteGoAway(s-2, http2.ErrCodeNo, nil) }, true, ""},
		"GOAWAY after it, then closed": {func(f *http2.Framer, s uint32, nc net.Conn) {
			f.WriteGoAway(s, http2.ErrCodeNo, nil)
			nc.Close()
		}, false, hook.ErrProtocol},
		"INTERNAL_ERROR": {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteRSTStream(s, http2.ErrCodeInternal) }, false, hook.ErrProtocol},
		"CANCEL":         {func(f *http2.Framer, s uint32, _ net.Conn) { f.WriteRSTStream(s, http2.ErrCodeCancel) }, false, hook.ErrProtocol},
		"closed":         {func(_ *http2.Framer, _ uint32, nc net.Conn) { nc.Close() }, false, hook.ErrReset},
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
			wantClass(t, err, tt.class)
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

func answerHTTP2(f *http2.Framer, stream uint32) {
	var block bytes.Buffer
	hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}
