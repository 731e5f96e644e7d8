package egress

import (
	"context"
	"net"
	"sync"
	"time"
)

// newResolver asks the system's name servers, or only the given one. A look-up that is given up
// closes its socket at once; the standard resolver would keep it, and a goroutine, for seconds.
func newResolver(server string) *net.Resolver {
	return &net.Resolver{PreferGo: server != "", Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if server != "" {
			address = server
		}
		nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { nc.Close() })
		}
		return nc, err
	}}
}

// resolved remembers which names have resolved, and what was seen at the sockets that name servers are
// asked through: the local evidence by which a silent resolver is told from a name that is dead. The
// errors of the standard resolver do not say which of the two it was.
type resolved struct {
	mu    sync.Mutex
	names map[string]struct{}
	asked bool      // a name server was asked, ever
	heard time.Time // when one said anything last
	short error     // the last failure to open such a socket for want of resources
	at    time.Time // when that was
}

// rememberedNames bounds the memory. When it is full, names are learnt anew.
const rememberedNames = 1 << 16

// watch returns a resolver that does as the given one does, and is seen doing it.
func (r *resolved) watch(resolver *net.Resolver) *net.Resolver {
	dial := resolver.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	watch := func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := dial(ctx, network, address)
		r.opened(err)
		if udp, ok := nc.(*net.UDPConn); ok {
			return watchedPackets{udp, r}, err // the resolver tells packets from streams by their type
		}
		if err != nil {
			return nil, err
		}
		return watchedStream{nc, r}, nil
	}
	return &net.Resolver{PreferGo: resolver.PreferGo, StrictErrors: resolver.StrictErrors, Dial: watch}
}

type watchedPackets struct {
	*net.UDPConn
	r *resolved
}

func (w watchedPackets) Read(b []byte) (int, error) {
	n, err := w.UDPConn.Read(b)
	w.r.received(n)
	return n, err
}

type watchedStream struct {
	net.Conn
	r *resolved
}

func (w watchedStream) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.r.received(n)
	return n, err
}

func (r *resolved) opened(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = true
	if err != nil && outOfResources(err) {
		r.short, r.at = err, time.Now()
	}
}

func (r *resolved) received(n int) {
	if n > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.heard = time.Now()
	}
}

func (r *resolved) found(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names == nil || len(r.names) >= rememberedNames {
		r.names = make(map[string]struct{})
	}
	r.names[name] = struct{}{}
}

// since tells what came of the questions since a time; look-ups of one name share them. A system's own
// resolver, which is never seen asking, counts as silent where its error is a time-out.
func (r *resolved) since(began time.Time, err *net.DNSError) (silent bool, short error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.Before(began) {
		short = r.short
	}
	if !r.asked {
		return err != nil && err.IsTimeout, short
	}
	return r.heard.Before(began), short
}

// known reports that the name resolved before.
func (r *resolved) known(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.names[name]
	return ok
}
