package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// stagger is how long one address may keep the next one waiting (RFC 8305 section 5).
const stagger = 250 * time.Millisecond

// dialer makes connections: name → addresses → verdict → TCP (or the egress proxy) → TLS.
type dialer struct {
	policy   *Policy
	resolver *net.Resolver
	names    *resolved
	proxy    *proxy // nil: none
	tls      *tls.Config
	unsafe   bool // tests only: no verdicts, to show what they are for
}

// dialed is a connection ready for a request.
type dialed struct {
	nc     net.Conn // what HTTP speaks on: TCP or TLS
	meter  *meter   // below it
	tls    *tls.Conn
	remote netip.AddrPort // zero behind a proxy
	phases hook.Phases    // DNS, Connect and TLS
}

// http2 reports whether the other side chose HTTP/2.
func (d *dialed) http2() bool {
	return d.tls != nil && d.tls.ConnectionState().NegotiatedProtocol == "h2"
}

// dial connects to the target within ctx's deadline. Its error is an *Error.
func (d *dialer) dial(ctx context.Context, t *target, allow []netip.Prefix) (*dialed, error) {
	c := &dialed{}
	policy := d.policy.With(allow)
	if err := d.connect(ctx, c, t, policy); err != nil {
		return c, err
	}
	if !t.tls {
		c.nc = c.meter
		return c, nil
	}
	start := time.Now()
	config := d.tls.Clone()
	config.ServerName = t.host
	c.tls = tls.Client(c.meter, config)
	err := c.tls.HandshakeContext(ctx)
	c.phases.TLS = time.Since(start)
	if err != nil {
		c.meter.Close()
		return c, networkError(PhaseTLS, ended(ctx, err))
	}
	c.nc = c.tls
	return c, nil
}

// connect fills in c.meter.
func (d *dialer) connect(ctx context.Context, c *dialed, t *target, policy *Policy) error {
	if refusal := policy.judgeTarget(t); refusal != nil && !d.unsafe {
		return fail(hook.ErrAddress, PhaseConnect, refusal, "%s", refusal.Rule) // about what stands in the endpoint itself
	}
	if d.proxy != nil {
		start := time.Now()
		nc, err := d.proxy.connect(ctx, t)
		c.phases.Connect = time.Since(start)
		if err != nil {
			return err
		}
		c.meter = newMeter(nc)
		return nil
	}
	start := time.Now()
	addrs, err := d.lookup(ctx, t)
	if !t.ip.IsValid() {
		c.phases.DNS = time.Since(start)
	}
	if err != nil {
		return err
	}
	start = time.Now()
	nc, err := d.race(ctx, addrs, t.port, policy)
	c.phases.Connect = time.Since(start)
	if err != nil {
		return networkError(PhaseConnect, ended(ctx, err))
	}
	c.meter = newMeter(nc)
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = tcp.AddrPort()
	}
	return nil
}

// ended prefers the reason why ctx ended over the error that this caused.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// lookup resolves the target's name. The addresses are not judged yet.
func (d *dialer) lookup(ctx context.Context, t *target) ([]netip.Addr, error) {
	if t.ip.IsValid() {
		return []netip.Addr{t.ip}, nil
	}
	began := time.Now()
	addrs, err := d.resolver.LookupNetIP(ctx, "ip", t.host)
	if err == nil {
		d.names.found(t.host)
		return interleave(addrs), nil
	}
	var dns *net.DNSError
	errors.As(err, &dns)
	silent, short := d.names.since(began, dns)
	switch {
	case dns != nil && dns.IsNotFound:
		return nil, fail(hook.ErrDNS, PhaseDNS, err, "the name %s does not resolve: no such host", t.host)
	case outOfResources(err):
		return nil, networkError(PhaseDNS, err)
	case silent && short != nil:
		return nil, networkError(PhaseDNS, short)
	case dns != nil && !silent && !dns.IsTimeout:
		return nil, fail(hook.ErrDNS, PhaseDNS, err, "the name %s does not resolve: its name servers fail", t.host)
	case silent && d.names.known(t.host):
		return nil, fail(hook.ErrOwnFault, PhaseDNS, err, "this server's resolver does not answer")
	case timedOut(err) && ctx.Err() != nil:
		return nil, networkError(PhaseDNS, ended(ctx, err))
	}
	return nil, fail(hook.ErrDNS, PhaseDNS, err, "the name %s does not resolve: no answer", t.host)
}

// interleave alternates the address families, beginning with the resolver's first choice.
func interleave(addrs []netip.Addr) []netip.Addr {
	var first, second, mixed []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if a.Is4() == addrs[0].Unmap().Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			mixed = append(mixed, first[i])
		}
		if i < len(second) {
			mixed = append(mixed, second[i])
		}
	}
	return mixed
}

// race connects to the addresses one after the other, not waiting longer than stagger for each,
// and keeps the first connection made. Refused addresses are passed over: only when none is left
// is the refusal the error.
func (d *dialer) race(ctx context.Context, addrs []netip.Addr, port uint16, policy *Policy) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		nc  net.Conn
		err error
	}
	const most = 8 // addresses of one name that are worth trying
	addrs = addrs[:min(len(addrs), most)]
	results := make(chan result, len(addrs))
	var dials sync.WaitGroup
	defer func() { // whoever comes second is closed
		cancel()
		dials.Wait()
		close(results)
		for r := range results {
			if r.nc != nil {
				r.nc.Close()
			}
		}
	}()
	next := time.NewTimer(0)
	defer next.Stop()
	var first error
	for started, finished := 0, 0; finished < len(addrs); {
		select {
		case <-next.C:
			if started == len(addrs) {
				continue
			}
			to := netip.AddrPortFrom(addrs[started], port)
			started++
			dials.Go(func() {
				nc, err := d.dialAddr(ctx, to, policy)
				results <- result{nc, err}
			})
			next.Reset(stagger)
		case r := <-results:
			finished++
			if r.err == nil {
				return r.nc, nil
			}
			first = worse(first, r.err)
			next.Reset(0)
		}
	}
	return nil, first
}

// worse picks the error that says more: a connection that was tried over an address passed over.
func worse(a, b error) error {
	var refusal *Refusal
	var own *Error
	if a == nil || errors.As(a, &refusal) || errors.As(a, &own) {
		return b
	}
	return a
}

// dialAddr makes one TCP connection. The verdict is spoken in Control, on the address that the
// kernel is about to connect to: nothing can change between check and use.
func (d *dialer) dialAddr(ctx context.Context, to netip.AddrPort, policy *Policy) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: 30 * time.Second, Control: func(network, address string, _ syscall.RawConn) error {
		if d.unsafe {
			return nil
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return &Refusal{CodeAddress, "not a TCP address"}
		}
		return policy.Judge(at)
	}}
	nc, err := nd.DialContext(ctx, "tcp", to.String())
	if err != nil && noRoute(err) && unroutable(ctx, to) {
		return nil, fail(hook.ErrOwnFault, PhaseConnect, err, "this server has no route to %s", to.Addr())
	}
	return nc, err
}

// unroutable asks the kernel alone whether there is a route: connecting a datagram socket sends
// nothing. So an "unreachable" that a router far away sent is told from our own lack of a network.
func unroutable(ctx context.Context, to netip.AddrPort) bool {
	nc, err := (&net.Dialer{}).DialContext(ctx, "udp", netip.AddrPortFrom(to.Addr(), max(to.Port(), 1)).String())
	if err != nil {
		return noRoute(err)
	}
	nc.Close()
	return false
}
