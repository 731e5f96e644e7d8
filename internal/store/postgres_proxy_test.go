package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy stands between a store and Postgres and understands the frames of the protocol
// (https://www.postgresql.org/docs/current/protocol-message-formats.html), so that a test can break
// an exchange at the point that it means.
type proxy struct {
	url    string
	socket string
	lines  sync.WaitGroup

	mu     sync.Mutex
	wake   *sync.Cond
	conns  map[net.Conn]bool
	closed bool
	cut    func(tag string) bool // says of a finished command whether nobody shall hear of it
	cuts   int
	stop   func(frame byte) bool // says of a client's frame whether the client stands still after it
	stands bool                  // it does, until a test says otherwise
	hole   bool                  // nothing passes, in either direction, and nothing ends
}

// newProxy is one in front of the database at u, for this test.
func newProxy(t *testing.T, u string) *proxy {
	t.Helper()
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{socket: parsed.Query().Get("host") + "/.s.PGSQL.5432", conns: map[net.Conn]bool{}}
	p.wake = sync.NewCond(&p.mu)
	parsed.Host, parsed.RawQuery = l.Addr().String(), "sslmode=disable"
	p.url = parsed.String()
	p.lines.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.lines.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			c.Close()
		}
		p.wake.Broadcast()
		p.mu.Unlock()
		p.lines.Wait()
	})
	return p
}

// set changes what the proxy does; what stood still goes on.
func (p *proxy) set(change func(p *proxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
	p.wake.Broadcast()
}

// cutNext makes the next n answers to a command of this tag get lost, after it was committed.
func (p *proxy) cutNext(n int, tag string) {
	p.set(func(p *proxy) {
		p.cut = func(done string) bool {
			if n == 0 || !strings.HasPrefix(done, tag) {
				return false
			}
			n--
			return true
		}
	})
}

func (p *proxy) lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// standing waits until the client stands still.
func (p *proxy) standing(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
		p.mu.Lock()
		stands := p.stands
		p.mu.Unlock()
		if stands {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the client does not stand still")
		}
	}
}

func (p *proxy) adopt(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.closed
}

func (p *proxy) serve(client net.Conn) {
	var d net.Dialer
	server, err := d.DialContext(context.Background(), "unix", p.socket)
	if err != nil {
		client.Close()
		return
	}
	end := func() {
		client.Close()
		server.Close()
	}
	if !p.adopt(client, server) {
		end()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { defer end(); _ = p.upstream(server, client) })
	both.Go(func() { defer end(); _ = p.downstream(client, server) })
	both.Wait()
}

// pass waits while nothing may pass.
func (p *proxy) pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hole && !p.closed {
		p.wake.Wait()
	}
}

// upstream passes a client's frames on. The first has no type.
func (p *proxy) upstream(server io.Writer, client io.Reader) error {
	frame, err := readFrame(client, 0)
	for err == nil {
		p.pass()
		if _, err = server.Write(frame); err != nil {
			return err
		}
		p.mu.Lock()
		if p.stop != nil && p.stop(frame[0]) {
			p.stop, p.stands = nil, true
			p.wake.Broadcast()
			for p.stands && !p.closed {
				p.wake.Wait()
			}
		}
		p.mu.Unlock()
		frame, err = readFrame(client, 1)
	}
	return err
}

// downstream passes answers on, whole: up to the frame that says that the server is ready.
func (p *proxy) downstream(client io.Writer, server io.Reader) error {
	var answer []byte
	lost := false
	for {
		frame, err := readFrame(server, 1)
		if err != nil {
			return errors.Join(err, write(client, answer))
		}
		answer = append(answer, frame...)
		p.mu.Lock()
		if frame[0] == 'C' && p.cut != nil && p.cut(string(frame[5:len(frame)-1])) {
			p.cuts++
			lost = true
		}
		p.mu.Unlock()
		if frame[0] == 'R' || frame[0] == 'Z' || frame[0] == 'E' {
			p.pass()
			if lost && frame[0] == 'Z' {
				return nil // and with it the connection
			}
			if lost {
				continue
			}
			if err := write(client, answer); err != nil {
				return err
			}
			answer = answer[:0]
		}
	}
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// readFrame reads a frame whose length follows after so many bytes of type.
func readFrame(r io.Reader, kind int) ([]byte, error) {
	head := make([]byte, kind+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	frame := make([]byte, kind+int(binary.BigEndian.Uint32(head[kind:])))
	copy(frame, head)
	_, err := io.ReadFull(r, frame[len(head):])
	return frame, err
}
