package receiver

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// connections are the behaviours that need no request.
var connections = map[string]func(context.Context, net.Conn, *tls.Config){
	"never-reads": func(ctx context.Context, _ net.Conn, _ *tls.Config) { <-ctx.Done() },
	"hangs-up":    func(context.Context, net.Conn, *tls.Config) {},
	"speaks-first": func(_ context.Context, nc net.Conn, _ *tls.Config) {
		io.WriteString(nc, "220 mail.example ESMTP\r\n")
		io.Copy(io.Discard, nc)
	},
	"slow-tls": func(ctx context.Context, nc net.Conn, _ *tls.Config) {
		// The header of a handshake record of 16 KiB, then a byte a second.
		io.WriteString(nc, "\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
		drip(ctx, nc)
	},
	"h2-pings": func(_ context.Context, nc net.Conn, config *tls.Config) {
		flood(nc, config, func(f *http2.Framer) error { return f.WritePing(false, [8]byte{1}) })
	},
	"h2-settings": func(_ context.Context, nc net.Conn, config *tls.Config) {
		flood(nc, config, func(f *http2.Framer) error {
			return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
		})
	},
	"h2-headers": func(_ context.Context, nc net.Conn, config *tls.Config) {
		first := true
		flood(nc, config, func(f *http2.Framer) error {
			if first {
				first = false
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}})
			}
			return f.WriteContinuation(1, false, make([]byte, 1<<10))
		})
	},
	"h2-body": func(_ context.Context, nc net.Conn, config *tls.Config) {
		first := true
		flood(nc, config, func(f *http2.Framer) error {
			if first {
				first = false
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: status("500"), EndHeaders: true})
			}
			return f.WriteData(1, false, make([]byte, 16<<10))
		})
	},
	"h2-silent": func(_ context.Context, nc net.Conn, config *tls.Config) {
		if c := handshake(nc, config); c != nil {
			http2.NewFramer(c, nil).WriteSettings()
			io.Copy(io.Discard, c)
		}
	},
	"h2-goaway": func(_ context.Context, nc net.Conn, config *tls.Config) {
		if c := handshake(nc, config); c != nil {
			f := http2.NewFramer(c, nil)
			f.WriteSettings()
			f.WriteGoAway(0, http2.ErrCodeNo, nil)
			io.Copy(io.Discard, c)
		}
	},
}

func drip(ctx context.Context, nc net.Conn) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := nc.Write([]byte{0}); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// handshake makes the TLS side of an HTTP/2 connection; nil when it fails.
func handshake(nc net.Conn, config *tls.Config) *tls.Conn {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	c := tls.Server(nc, config)
	if c.Handshake() != nil {
		return nil
	}
	return c
}

// flood speaks HTTP/2 as far as the first request and then writes frames without end.
func flood(nc net.Conn, config *tls.Config, frame func(*http2.Framer) error) {
	c := handshake(nc, config)
	if c == nil {
		return
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	f.AllowIllegalWrites = true
	f.WriteSettings()
	for {
		got, err := f.ReadFrame()
		if err != nil {
			return
		}
		if _, ok := got.(*http2.HeadersFrame); ok {
			break
		}
	}
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(io.Discard, c) })
	for frame(f) == nil {
	}
	nc.Close()
	reading.Wait()
}

// status is a header block with that status alone.
func status(code string) []byte {
	var b sliceWriter
	hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: code})
	return b
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
