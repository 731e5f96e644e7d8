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

	mu      sync.Mutex
	refused map[string]bool // destinations refused since it last opened a tunnel, at most refusesAll
}

// refusesAll is how many destinations in a row a proxy must refuse, and open a tunnel to no other, for
// that to be a fault of ours and not of theirs.
const refusesAll = 3

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

// connect opens a tunnel to the target. That the proxy cannot be reached, does not answer or refuses
// everybody is a fault of ours; that it refuses this destination, or cannot reach it, is a failure of
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
	case status >= 502 && status <= 504:
		nc.Close()
		return nil, fail(hook.ErrConnect, PhaseProxy, nil, "the egress proxy could not reach the endpoint (status %d)", status)
	case status < 200 || status > 299:
		nc.Close()
		return nil, p.refuses(t, status)
	}
	nc.SetDeadline(time.Time{})
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.refused)
	return tunnel, nil
}

// refuses says whose fault a refusal is: the destination's, unless several are refused and none is
// served.
func (p *proxy) refuses(t *target, status int) *Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.refused) < refusesAll {
		if p.refused == nil {
			p.refused = make(map[string]bool)
		}
		p.refused[t.address()] = true
	}
	if len(p.refused) >= refusesAll {
		return fail(hook.ErrOwnFault, PhaseProxy, nil, "the egress proxy refuses every destination (status %d)", status)
	}
	return fail(hook.ErrConnect, PhaseProxy, nil, "the egress proxy refused the connection to this endpoint (status %d)", status)
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
