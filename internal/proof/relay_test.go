package proof_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay forwards connections to a server, each direction late by as much: what is on its way crosses, as
// it does on the Internet and never on one machine.
type relay struct {
	ctx   context.Context //nolint:containedctx // of all its connections
	to    string
	delay time.Duration
	busy  sync.WaitGroup
}

// newRelay runs one until the test's end.
func newRelay(t *testing.T, to string, delay time.Duration) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &relay{ctx: ctx, to: to, delay: delay}
	r.busy.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			r.busy.Go(func() { r.forward(nc.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		stop()
		r.busy.Wait()
	})
	return l.Addr().String()
}

func (r *relay) forward(nc *net.TCPConn) {
	defer nc.Close()
	pause(r.ctx, r.delay)
	made, err := (&net.Dialer{}).DialContext(r.ctx, "tcp", r.to)
	if err != nil {
		nc.SetLinger(0)
		return
	}
	up := made.(*net.TCPConn)
	defer up.Close()
	defer context.AfterFunc(r.ctx, func() { nc.Close(); up.Close() })()
	var both sync.WaitGroup
	both.Go(func() { r.pass(up, nc) })
	both.Go(func() { r.pass(nc, up) })
	both.Wait()
}

// passing is what was read, and when it may arrive; err is how the stream ended.
type passing struct {
	at   time.Time
	data []byte
	err  error
}

// pass hands on what arrives, and how it ends: a FIN as a FIN, an RST as an RST.
func (r *relay) pass(to, from *net.TCPConn) {
	line := make(chan passing, 1024)
	r.busy.Go(func() {
		defer close(line)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			line <- passing{time.Now().Add(r.delay), b[:n], err}
			if err != nil {
				return
			}
		}
	})
	for p := range line {
		pause(r.ctx, time.Until(p.at))
		_, err := to.Write(p.data) // one that is gone says so on its own stream
		switch {
		case err != nil:
		case errors.Is(p.err, io.EOF):
			to.CloseWrite()
		case p.err != nil:
			to.SetLinger(0)
			to.Close()
		}
	}
}
