package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

const (
	// grace is how long the addresses of one family wait for those of the other.
	grace = 250 * time.Millisecond
	// lateGrace is how long the other family is waited for when none of the addresses at hand takes
	// a connection.
	lateGrace = 3 * time.Second
	// suspicion is how long name servers may keep a look-up waiting before they are asked for
	// something that each of them knows.
	suspicion = 500 * time.Millisecond
)

// question is one name being looked up. IPv4 and IPv6 addresses are asked for apart from each other:
// some name servers never answer for IPv6, and the standard resolver waits ten seconds for them.
type question struct {
	d       *dialer
	target  *target
	began   time.Time
	cancel  context.CancelFunc
	asking  sync.WaitGroup
	answers chan family // of the families that are still being asked for
	open    int         // answers to come
	root    chan error  // what came of asking for the root; nil while nobody has
}

// family is what a look-up of one family brought.
type family struct {
	addrs []netip.Addr
	err   error
}

// ask begins a look-up. The caller ends it.
//
// The name is looked up with a dot at its end: the search list of this machine's resolv.conf is for
// its own services, and a customer's name must never become one of them. Names of one label that this
// machine's hosts file has, as localhost, stand there without one and are not found with it.
func (d *dialer) ask(ctx context.Context, t *target) *question {
	ctx, cancel := context.WithCancel(ctx)
	q := &question{d: d, target: t, began: time.Now(), cancel: cancel, answers: make(chan family, 2)}
	if t.ip.IsValid() {
		return q
	}
	if !strings.Contains(t.host, ".") {
		if addrs, err := hostsFile.LookupNetIP(ctx, "ip", t.host); err == nil {
			q.open = 1
			q.answers <- family{addrs: addrs}
			return q
		}
	}
	for _, network := range [...]string{"ip4", "ip6"} {
		q.open++
		q.asking.Go(func() {
			addrs, err := d.resolver.LookupNetIP(ctx, network, t.host+".")
			q.answers <- family{addrs, err}
		})
	}
	return q
}

// hostsFile finds what stands in this machine's hosts file, and asks nobody.
var hostsFile = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}}

// end gives up what is still being asked for, and waits for it.
func (q *question) end() {
	q.cancel()
	q.asking.Wait()
}

// addresses waits for the first addresses, and for a moment for those of the other family. They are
// not judged yet. Those that come later are in [question.answers].
func (q *question) addresses(ctx context.Context) ([]netip.Addr, error) {
	if q.target.ip.IsValid() {
		return []netip.Addr{q.target.ip}, nil
	}
	wait := time.NewTimer(suspicionWithin(ctx))
	defer wait.Stop()
	var got [][]netip.Addr
	var errs []error
	for q.open > 0 {
		select {
		case f := <-q.answers:
			q.open--
			if f.err != nil {
				if errs = append(errs, f.err); q.nonexistent() {
					return nil, q.explain(ctx, errs)
				}
				continue
			}
			got = append(got, f.addrs)
			wait.Reset(grace)
		case <-wait.C:
			if len(got) > 0 {
				return interleave(got, routed), nil
			}
			q.suspect(ctx)
		}
	}
	if len(got) == 0 {
		return nil, q.explain(ctx, errs)
	}
	return interleave(got, routed), nil
}

// nonexistent reports that there is no such name, of whatever family.
func (q *question) nonexistent() bool {
	code, ok := q.d.names.code(q.target.host + ".")
	return ok && code == dnsmessage.RCodeNameError
}

// suspicionWithin leaves half of the time there is for the answer.
func suspicionWithin(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(suspicion, time.Until(deadline)/2)
	}
	return suspicion
}

// suspect asks the name servers for those of the root, which every one that works has at hand,
// whatever it makes of the name in question.
func (q *question) suspect(ctx context.Context) {
	if q.root != nil {
		return
	}
	q.root = make(chan error, 1)
	q.asking.Go(func() {
		_, err := q.d.resolver.LookupNS(ctx, ".")
		q.root <- err
	})
}

// explain says why the name has no address, and whose fault it is. That is decided by what the name
// servers do now: a server that has just started knows no more of its customers' names.
func (q *question) explain(ctx context.Context, errs []error) error {
	host := q.target.host
	dns, err := gravest(errs)
	if dns != nil && dns.IsNotFound {
		if code, ok := q.d.names.code(host + "."); ok && code == dnsmessage.RCodeSuccess {
			return fail(hook.ErrDNS, PhaseDNS, err, "the name %s has no address: there are neither A nor AAAA records", host)
		}
		return fail(hook.ErrDNS, PhaseDNS, err, "the name %s does not resolve: no such host", host)
	}
	if outOfResources(err) {
		return networkError(PhaseDNS, err)
	}
	failing := q.failing(ctx)
	switch silent, short := q.d.names.since(q.began, dns); {
	case silent && short != nil:
		return networkError(PhaseDNS, short)
	case silent:
		return fail(hook.ErrOwnFault, PhaseDNS, err, "this server's resolver does not answer")
	case failing:
		return fail(hook.ErrOwnFault, PhaseDNS, err, "this server's resolver cannot resolve anything")
	case dns != nil && !dns.IsTimeout && !timedOut(err):
		return fail(hook.ErrDNS, PhaseDNS, err, "the name %s does not resolve: its name servers fail (%s)", host, q.code())
	case timedOut(err) && ctx.Err() != nil:
		return networkError(PhaseDNS, ended(ctx, err))
	}
	return fail(hook.ErrDNS, PhaseDNS, err, "the name %s does not resolve: its name servers do not answer", host)
}

// failing reports that the name servers fail at the root as well.
func (q *question) failing(ctx context.Context) bool {
	if ctx.Err() == nil {
		q.suspect(ctx)
	}
	if q.root == nil {
		return false
	}
	enough := time.NewTimer(2 * suspicion)
	defer enough.Stop()
	var dns *net.DNSError
	select {
	case err := <-q.root:
		return errors.As(err, &dns) && dns.IsTemporary && !dns.IsTimeout
	case <-enough.C:
	case <-ctx.Done():
	}
	return false
}

// code names what the name servers answered.
func (q *question) code() string {
	switch code, ok := q.d.names.code(q.target.host + "."); {
	case ok && code == dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case ok && code == dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return "no usable answer"
}

// gravest is the error that says most: that there is no such name counts only where nothing else
// went wrong.
func gravest(errs []error) (dns *net.DNSError, err error) {
	for _, e := range errs {
		var d *net.DNSError
		errors.As(e, &d)
		if err == nil || dns != nil && dns.IsNotFound {
			dns, err = d, e
		}
	}
	return dns, err
}

// interleave alternates the address families. IPv6 comes first where this machine has a route to it.
func interleave(families [][]netip.Addr, routed func(netip.Addr) bool) []netip.Addr {
	var v4, v6, mixed []netip.Addr
	for _, addrs := range families {
		for _, a := range addrs {
			if a = a.Unmap(); a.Is4() {
				v4 = append(v4, a)
			} else {
				v6 = append(v6, a)
			}
		}
	}
	first, second := v6, v4
	if len(v6) > 0 && len(v4) > 0 && !routed(v6[0]) {
		first, second = v4, v6
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
