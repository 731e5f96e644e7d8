package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress/http1"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// proxy is the operator's egress proxy. Every connection is a CONNECT tunnel through it, for http
// endpoints too, so that what we send and read is the same with and without it. The proxy resolves
// names, hence judges their addresses; we judge literal addresses and ports.
type proxy struct {
	address string
	tls     *tls.Config // nil: plain
	auth    string      // of Proxy-Authorization, "" for none
	bypass  Bypass

	mu     sync.Mutex
	served []string        // destinations that it last opened tunnels to, at most enough; the last one last
	failed map[string]bool // those it has opened none to since it last opened one; true: it refused
}

// enough is how many destinations tell about the proxy and not about themselves.
const enough = 3

// Bypass are the destinations that are reached without the egress proxy.
type Bypass struct {
	names    []string // in lower case; one that begins with a dot stands for all below it
	networks []netip.Prefix
}

// ParseBypass reads names (hooks.example.com), domains (.corp.example: all names below it), networks in
// CIDR notation and addresses. Networks are about addresses that stand in the endpoint: what a name
// leads to is for the proxy to find out.
func ParseBypass(texts []string) (b Bypass, err error) {
	for _, text := range texts {
		name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "*"), "."))
		if n, err := parseNetwork(name); err == nil {
			b.networks = append(b.networks, n)
			continue
		}
		if host := strings.TrimPrefix(name, "."); host == "" || strings.ContainsAny(host, "/:*@ ") {
			return b, fmt.Errorf("%q is no name, domain or network, as hooks.example.com, .corp.example or 10.0.0.0/8", text)
		}
		b.names = append(b.names, name)
	}
	return b, nil
}

// has says whether an endpoint is reached directly.
func (b *Bypass) has(t *target) bool {
	if t.ip.IsValid() {
		return contains(b.networks, t.ip.Unmap())
	}
	return slices.ContainsFunc(b.names, func(name string) bool {
		return t.host == name || strings.HasPrefix(name, ".") && strings.HasSuffix(t.host, name)
	})
}

// parseProxy reads http://[user:password@]host:port, or https, whose certificate the roots verify.
func parseProxy(text string, roots *x509.CertPool) (*proxy, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("egress_proxy must be http://host:port or https://host:port")
	}
	p := &proxy{address: u.Host}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if u.Port() == "" {
		p.address = net.JoinHostPort(u.Hostname(), port)
	}
	if u.Scheme == "https" {
		p.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		p.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	return p, nil
}

// connect opens a tunnel to the target. That the proxy cannot be reached, does not answer or serves
// nobody is a fault of ours; that it refuses this destination, or cannot reach it, is a failure of
// the delivery, which names the proxy.
func (p *proxy) connect(ctx context.Context, t *target) (*meter, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, fail(hook.ErrOwnFault, PhaseProxy, err, "the egress proxy cannot be reached: %s", reason(err))
	}
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	tunnel := newMeter(nc)
	if p.tls != nil {
		tunnel.outer = tls.Client(nc, p.tls)
		tunnel.Conn = tunnel.outer
	}
	status, err := p.ask(tunnel.Conn, t)
	switch {
	case err != nil && timedOut(err): // it took the request; more likely the endpoint is what it waits for
		nc.Close()
		return nil, networkError(PhaseProxy, err)
	case err != nil:
		nc.Close()
		return nil, fail(hook.ErrOwnFault, PhaseProxy, err, "the egress proxy does not answer: %s", reason(err))
	case status < 200 || status > 299:
		nc.Close()
		return nil, p.fails(t, status)
	}
	nc.SetDeadline(time.Time{})
	p.serves(t)
	return tunnel, nil
}

// serves notes that the proxy opened a tunnel.
func (p *proxy) serves(t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.failed)
	to := t.address()
	p.served = append(slices.DeleteFunc(p.served, func(x string) bool { return x == to }), to)
	p.served = p.served[max(0, len(p.served)-enough):]
}

// fails says whose fault a status is: the destination's, as long as the proxy serves others. A status of
// 500 and more is how proxies speak of endpoints that they cannot reach; any other is a refusal.
func (p *proxy) fails(t *target, status int) *Error {
	refused := status < 500
	switch everybody := p.failsEverybody(t.address(), refused); {
	case everybody && refused:
		return fail(hook.ErrOwnFault, PhaseProxy, nil, "the egress proxy refuses every destination (status %d)", status)
	case everybody:
		return fail(hook.ErrOwnFault, PhaseProxy, nil, "the egress proxy reaches no destination any more (status %d)", status)
	case refused:
		return fail(hook.ErrConnect, PhaseProxy, nil, "the egress proxy refused the connection to this endpoint (status %d)", status)
	}
	return fail(hook.ErrConnect, PhaseProxy, nil, "the egress proxy could not reach the endpoint (status %d)", status)
}

// failsEverybody notes a failure, and judges whether it is about the proxy. A refusal is, once all that it
// is known to serve fail, or several are refused in a row: a server with a single endpoint cannot tell a
// rule about it from a password that is wrong, and what is not counted is not lost. That endpoints
// cannot be reached is, once several that could be are not.
func (p *proxy) failsEverybody(to string, refused bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failed) < enough || slices.Contains(p.served, to) {
		if p.failed == nil {
			p.failed = make(map[string]bool)
		}
		p.failed[to] = refused
	}
	none := !slices.ContainsFunc(p.served, func(to string) bool { _, fails := p.failed[to]; return !fails })
	if !refused {
		return none && len(p.served) == enough
	}
	refusals := 0
	for _, refused := range p.failed {
		if refused {
			refusals++
		}
	}
	return none || refusals >= enough
}

// ask sends CONNECT and reads no more than the head of the answer: what follows it already belongs to
// the endpoint.
func (p *proxy) ask(nc net.Conn, t *target) (status int, err error) {
	request := "CONNECT " + t.address() + " HTTP/1.1\r\nHost: " + t.address() + "\r\n"
	if p.auth != "" {
		request += "Proxy-Authorization: " + p.auth + "\r\n"
	}
	if _, err := nc.Write([]byte(request + "\r\n")); err != nil {
		return 0, err
	}
	return http1.ReadStatus(nc)
}
