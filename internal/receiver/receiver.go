// Package receiver is a destination to try deliveries on: it verifies and shows what arrives, and it
// misbehaves on request.
//
// Tests aim it at the sender, users run it as a command. What it does to each request is a script
// of [Behaviour] values: the first whose count is not used up applies, and when none is left the
// answer is 200. "fail 503:3" is a receiver that fails three times and then recovers.
//
// Most behaviours are answers, and net/http gives them. Some are no HTTP at all (garbage, resets,
// two answers to one request): these take the connection over once the request has been read. A few
// misbehave before there is a request (nothing is read, the TLS handshake never ends, an HTTP/2
// connection is flooded): a receiver with one of these in its script does only that.
package receiver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Config is what a receiver is made from. The zero value listens on a free port of the loopback
// interface, verifies nothing and answers 200.
type Config struct {
	Address string // host:port; "" = 127.0.0.1:0
	Script  []Behaviour
	// Secret verifies what arrives; "" = nothing is verified. Scheme is what its signatures are
	// made with ("" = hex).
	Secret string
	Scheme hook.SignatureScheme
	// Journal is told of every request, before it is answered. It is called from many goroutines.
	Journal func(Delivery)
	TLS     *tls.Config // nil = plain http
	Closes  bool        // each connection after one answer
}

// Delivery is one request as it arrived.
type Delivery struct {
	At      time.Time
	Path    string
	Header  http.Header
	Body    []byte
	Invalid error // why the signature does not verify; nil when it does, or when no secret is known
	Answer  string
}

// Receiver listens from New on and answers while Run runs.
type Receiver struct {
	config   Config
	listener *listener
	script   *script
	handlers gate
}

// New starts to listen.
func New(config Config) (*Receiver, error) {
	if config.Address == "" {
		config.Address = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", config.Address)
	if err != nil {
		return nil, err
	}
	return &Receiver{
		config: config, listener: &listener{Listener: l, open: make(map[net.Conn]struct{})},
		script: newScript(config.Script),
	}, nil
}

// URL is the receiver's address as an endpoint, with a path.
func (r *Receiver) URL() string {
	scheme := "http://"
	if r.config.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.listener.Addr().String() + "/"
}

// Connections is how many connections have been accepted so far.
func (r *Receiver) Connections() int {
	r.listener.mu.Lock()
	defer r.listener.mu.Unlock()
	return r.listener.accepted
}

// Run answers until ctx ends; then it closes every connection, waits for its goroutines and
// returns nil.
func (r *Receiver) Run(ctx context.Context) error {
	if f := r.script.connection(); f != nil {
		return r.runRaw(ctx, f)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if r.handlers.enter() {
				defer r.handlers.leave()
				r.ServeHTTP(w, req)
			}
		}),
		ReadHeaderTimeout: time.Minute, ErrorLog: discard, TLSConfig: r.config.TLS,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	server.SetKeepAlivesEnabled(!r.config.Closes)
	stop := context.AfterFunc(ctx, func() {
		server.Close()
		r.listener.closeAll()
	})
	defer stop()
	var err error
	if r.config.TLS != nil {
		err = server.ServeTLS(r.listener, "", "")
	} else {
		err = server.Serve(r.listener)
	}
	r.listener.closeAll()
	r.handlers.close()
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// runRaw serves a behaviour that needs no request.
func (r *Receiver) runRaw(ctx context.Context, behave func(context.Context, net.Conn, *tls.Config)) error {
	stop := context.AfterFunc(ctx, r.listener.closeAll)
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := r.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer nc.Close()
			behave(ctx, nc, r.config.TLS)
		})
	}
}

// ServeHTTP takes one request: read, verify, journal, answer.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 8<<20))
	if err != nil {
		return
	}
	b := r.script.next()
	if r.config.Journal != nil {
		d := Delivery{At: time.Now(), Path: req.URL.RequestURI(), Header: req.Header, Body: body, Answer: b.String()}
		if r.config.Secret != "" {
			d.Invalid = Verify(req.Header, body, r.config.Secret, r.config.Scheme)
		}
		r.config.Journal(d)
	}
	b.answer(w, req)
}

// listener remembers its connections, so that those taken over by a behaviour end with it too.
type listener struct {
	net.Listener
	mu       sync.Mutex
	open     map[net.Conn]struct{}
	accepted int
	closed   bool
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &tracked{Conn: nc, l: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted++
	if l.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	l.open[c] = struct{}{}
	return c, nil
}

func (l *listener) closeAll() {
	l.Listener.Close()
	l.mu.Lock()
	l.closed = true
	open := make([]net.Conn, 0, len(l.open))
	for c := range l.open {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// tracked is an accepted connection.
type tracked struct {
	net.Conn
	l *listener
}

func (t *tracked) Close() error {
	t.l.mu.Lock()
	delete(t.l.open, t)
	t.l.mu.Unlock()
	return t.Conn.Close()
}

// gate counts the handlers under way; net/http does not wait for those that took a connection over.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

// close lets nobody in any more and waits for those inside.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
