package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// dialer makes connections: name → addresses → verdict → TCP (or the egress proxy) → TLS.
type dialer struct {
	policy   *Policy
	resolver *net.Resolver
	names    *nameServers
	proxy    *proxy // nil: none
	tls      *tls.Config
	rootless bool // there is no authority that could verify a certificate
	unsafe   bool // tests only: no verdicts, to show what they are for
}

// dialed is a connection ready for a request.
type dialed struct {
	nc     net.Conn // what HTTP speaks on: TCP or TLS
	meter  *meter   // below it
	tls    *tls.Conn
	asked  bool           // for a client certificate
	addrs  []netip.Addr   // that the name leads to; none behind a proxy
	remote netip.AddrPort // zero behind a proxy
	phases hook.Phases    // DNS, Connect and TLS
}

// http2 reports whether the other side chose HTTP/2.
func (d *dialed) http2() bool {
	return d.tls != nil && d.tls.ConnectionState().NegotiatedProtocol == "h2"
}

// dial connects to the target within ctx's deadline. Its error is an *Error; what is known by then of
// the connection is returned with it. With compat, TLS offers what old middleboxes let through.
func (d *dialer) dial(ctx context.Context, t *target, allow []netip.Prefix, compat bool) (*dialed, error) {
	c := &dialed{}
	policy := d.policy.With(allow)
	if err := d.connect(ctx, c, t, policy); err != nil {
		return c, err
	}
	if !t.tls {
		c.nc = c.meter
		return c, nil
	}
	return c, d.secure(ctx, c, t, compat)
}

// connect fills in c.meter.
func (d *dialer) connect(ctx context.Context, c *dialed, t *target, policy *Policy) error {
	if refusal := policy.judgeTarget(t); refusal != nil && !d.unsafe {
		return fail(hook.ErrAddress, PhaseConnect, refusal, "%s", refusal.Rule) // about what stands in the endpoint itself
	}
	if d.proxy != nil && !d.proxy.bypass.has(t) {
		start := time.Now()
		tunnel, err := d.proxy.connect(ctx, t)
		c.phases.Connect = time.Since(start)
		c.meter = tunnel
		return err
	}
	start := time.Now()
	q := d.ask(ctx, t)
	defer q.end()
	addrs, err := q.addresses(ctx)
	if !t.ip.IsValid() {
		c.phases.DNS = time.Since(start)
	}
	if err != nil {
		return err
	}
	start = time.Now()
	r := &race{d: d, q: q, policy: policy}
	nc, err := r.run(ctx, addrs)
	c.addrs = r.addrs
	c.phases.Connect = time.Since(start)
	if err != nil {
		return err
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

// dialAddr makes one TCP connection. The verdict is spoken in Control, on the address that the
// kernel is about to connect to: nothing can change between check and use.
func (d *dialer) dialAddr(ctx context.Context, to netip.AddrPort, policy *Policy) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: 30 * time.Second, Control: func(network, address string, _ syscall.RawConn) error {
		if d.unsafe {
			return nil
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return &Refusal{Code: CodeAddress, Rule: "not a TCP address"}
		}
		return policy.Judge(at)
	}}
	nc, err := nd.DialContext(ctx, "tcp", to.String())
	if to.Addr().Is6() && errors.Is(err, syscall.EADDRNOTAVAIL) && sourceless(ctx, to) {
		return nil, fail(hook.ErrConnect, PhaseConnect, nil, "this server has no IPv6")
	}
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

// sourceless reports that no address of this machine can speak to the other, which is so without IPv6;
// when the ports run short a datagram socket still finds one.
func sourceless(ctx context.Context, to netip.AddrPort) bool {
	nc, err := (&net.Dialer{}).DialContext(ctx, "udp", netip.AddrPortFrom(to.Addr(), max(to.Port(), 1)).String())
	if err != nil {
		return errors.Is(err, syscall.EADDRNOTAVAIL) || noRoute(err)
	}
	nc.Close()
	return false
}

// routed reports that this machine has a route to an address.
func routed(addr netip.Addr) bool {
	return !unroutable(context.Background(), netip.AddrPortFrom(addr, 0))
}
