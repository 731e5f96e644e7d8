package egress

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
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

// nameServers remembers what was seen at the sockets that name servers are asked through: the local
// evidence by which a silent resolver is told from a name that is dead, and a name without addresses
// from one that does not exist. The errors of the standard resolver do not say which of them it was.
type nameServers struct {
	mu    sync.Mutex
	asked bool      // a name server was asked, ever
	heard time.Time // when one said anything last
	short error     // the last failure to open such a socket for want of resources
	at    time.Time // when that was
	codes map[string]dnsmessage.RCode
}

// rememberedCodes bounds the memory of codes. When it is full, they are learnt anew: they are looked
// at right after they came.
const rememberedCodes = 1 << 12

// watch returns a resolver that does as the given one does, and is seen doing it.
func (s *nameServers) watch(resolver *net.Resolver) *net.Resolver {
	dial := resolver.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	watch := func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := dial(ctx, network, address)
		s.opened(err)
		if udp, ok := nc.(*net.UDPConn); ok {
			return watchedPackets{udp, s}, err // the resolver tells packets from streams by their type
		}
		if err != nil {
			return nil, err
		}
		return watchedStream{nc, s}, nil
	}
	return &net.Resolver{PreferGo: resolver.PreferGo, StrictErrors: resolver.StrictErrors, Dial: watch}
}

type watchedPackets struct {
	*net.UDPConn
	s *nameServers
}

func (w watchedPackets) Read(b []byte) (int, error) {
	n, err := w.UDPConn.Read(b)
	w.s.received(b[:max(n, 0)])
	return n, err
}

type watchedStream struct {
	net.Conn
	s *nameServers
}

func (w watchedStream) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.s.received(b[:max(n, 0)])
	return n, err
}

func (s *nameServers) opened(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	if err != nil && outOfResources(err) {
		s.short, s.at = err, time.Now()
	}
}

// received takes note of an answer. What cannot be read (a part of a stream, say) was heard all the
// same.
func (s *nameServers) received(b []byte) {
	if len(b) == 0 {
		return
	}
	var p dnsmessage.Parser
	h, err := p.Start(b)
	q, err2 := p.Question()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	if err != nil || err2 != nil {
		return
	}
	if s.codes == nil || len(s.codes) >= rememberedCodes {
		s.codes = make(map[string]dnsmessage.RCode)
	}
	s.codes[strings.ToLower(q.Name.String())] = h.RCode
}

// code is what was answered last to a question about a rooted name.
func (s *nameServers) code(rooted string) (code dnsmessage.RCode, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	code, ok = s.codes[rooted]
	return code, ok
}

// since tells what came of the questions since a time; look-ups of one name share them. A system's own
// resolver, which is never seen asking, counts as silent where its error is a time-out.
func (s *nameServers) since(began time.Time, err *net.DNSError) (silent bool, short error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.Before(began) {
		short = s.short
	}
	if !s.asked {
		return err != nil && err.IsTimeout, short
	}
	return s.heard.Before(began), short
}
