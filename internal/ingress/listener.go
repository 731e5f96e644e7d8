// Package ingress bounds what those who connect to us can hold: connections, time and memory.
//
// A [Listener] counts its connections in all and by address. When there are too many, the address that
// has most of them gives up the one that has been quiet for longest, so that a stranger with thousands
// leaves room for everybody else. A [Conn] gives each piece of an answer a deadline of its own: who
// reads slowly is served to the end, who does not read is not waited for. A [Budget] is the memory that
// answers may hold until they are written, in all and for each owner.
package ingress

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits are what a listener allows. Zero fields mean no limit.
type Limits struct {
	Connections int           // open at once, in all
	OfOne       int           // open at once, of one address
	Stall       time.Duration // how long an answer may get no further
	// Shared reports an address that many stand behind, as that of a proxy: OfOne is not for it.
	Shared func(netip.Addr) bool
}

// quiet is how long nothing has moved on a connection that gives way to another of its own address.
const quiet = 5 * time.Second

// Listener hands out connections within limits.
type Listener struct {
	*net.TCPListener
	limits Limits

	mu     sync.Mutex
	open   int
	byPeer map[netip.Prefix]map[*Conn]struct{}
}

// Listen takes an address, as host:port.
func Listen(ctx context.Context, address string, limits Limits) (*Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Listener{TCPListener: l.(*net.TCPListener), limits: limits, byPeer: map[netip.Prefix]map[*Conn]struct{}{}}, nil
}

// Accept returns the next connection that there is room for; those that there is none for are closed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		address := addressOf(raw.RemoteAddr())
		c := &Conn{Conn: raw, tcp: raw, listener: l, peer: subscriber(address), stall: l.limits.Stall}
		c.shared = l.limits.Shared != nil && l.limits.Shared(address)
		c.moved()
		victim, admitted := l.admit(c)
		if victim != nil {
			victim.drop()
		}
		if !admitted {
			drop(raw)
			continue
		}
		_ = raw.SetWriteBuffer(sendBuffer) // where it cannot be, the kernel's own size serves
		return c, nil
	}
}

func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// subscriber is whom an address counts for: itself, or the network of IPv6 that one subscriber has.
func subscriber(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	p, _ := address.Prefix(bits) // it fails for no number of bits that an address has
	return p
}

// admit counts a connection, and says which other one has to go for it.
func (l *Listener) admit(c *Conn) (victim *Conn, admitted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.byPeer[c.peer]
	switch {
	case l.limits.OfOne > 0 && len(own) >= l.limits.OfOne && !c.shared:
		victim = quietest(own)
		if time.Since(victim.lastMoved()) < quiet {
			return nil, false
		}
	case l.limits.Connections > 0 && l.open >= l.limits.Connections:
		most := l.most()
		victim = quietest(most)
		if len(own) >= len(most) && time.Since(victim.lastMoved()) < quiet {
			return nil, false // nobody has more than who asks
		}
	}
	if victim != nil {
		l.forget(victim)
	}
	if l.byPeer[c.peer] == nil {
		l.byPeer[c.peer] = map[*Conn]struct{}{}
	}
	l.byPeer[c.peer][c] = struct{}{}
	l.open++
	return victim, true
}

// most are the connections of the address that has most of them.
func (l *Listener) most() (most map[*Conn]struct{}) {
	for _, list := range l.byPeer {
		if len(list) > len(most) {
			most = list
		}
	}
	return most
}

// quietest is the connection on which nothing has moved for longest.
func quietest(list map[*Conn]struct{}) (found *Conn) {
	for c := range list {
		if found == nil || c.last.Load() < found.last.Load() {
			found = c
		}
	}
	return found
}

func (l *Listener) forget(c *Conn) {
	list := l.byPeer[c.peer]
	if _, counted := list[c]; !counted {
		return
	}
	delete(list, c)
	l.open--
	if len(list) == 0 {
		delete(l.byPeer, c.peer)
	}
}

func (l *Listener) closed(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(c)
}
