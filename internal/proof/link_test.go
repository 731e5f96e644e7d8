package proof_test

import (
	"net"
	"sync"
	"testing"
)

// link is the network between servers and their database: a port on loopback that leads to a socket.
type link struct {
	t        *testing.T
	listener net.Listener
	socket   string
	serving  sync.WaitGroup

	mu    sync.Mutex
	dark  bool
	pairs map[*pair]bool
}

// pair is a connection through the link. One that met the dark stays silent for ever, without a word
// of its end: so it is after a failover behind one address.
type pair struct {
	client, server net.Conn // the latter is nil in the dark
	silent         bool
}

func newLink(t *testing.T, socket string) *link {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{t: t, listener: listener, socket: socket, pairs: map[*pair]bool{}}
	l.serving.Go(l.serve)
	t.Cleanup(func() {
		listener.Close()
		l.mu.Lock()
		for p := range l.pairs {
			p.close()
		}
		l.mu.Unlock()
		l.serving.Wait()
	})
	return l
}

// url is where a database is, through the link.
func (l *link) url(database string) string {
	return "postgres://postgres@" + l.listener.Addr().String() + "/" + database + "?sslmode=disable"
}

// turn makes the link swallow everything, or carry new connections again.
func (l *link) turn(dark bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dark = dark
	for p := range l.pairs {
		p.silent = p.silent || dark
	}
}

func (l *link) serve() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		p := &pair{client: client}
		l.mu.Lock()
		p.silent = l.dark
		if !p.silent {
			if p.server, err = (&net.Dialer{}).DialContext(l.t.Context(), "unix", l.socket); err != nil {
				p.close() // the database is not there
				l.mu.Unlock()
				continue
			}
		}
		l.pairs[p] = true
		l.mu.Unlock()
		l.serving.Go(func() { l.carry(p, client, p.server) })
		if p.server != nil {
			l.serving.Go(func() { l.carry(p, p.server, client) })
		}
	}
}

// carry takes bytes one way until either side ends.
func (l *link) carry(p *pair, from, to net.Conn) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.pairs, p)
		p.close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		l.mu.Lock()
		silent := p.silent
		l.mu.Unlock()
		if silent {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *pair) close() {
	p.client.Close()
	if p.server != nil {
		p.server.Close()
	}
}
