package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
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

// connect opens a tunnel to the target. That the proxy cannot be reached, or refuses to serve us, is
// a fault of ours; 502, 503 and 504 are its words for an endpoint that cannot be reached.
func (p *proxy) connect(ctx context.Context, t *target) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, fail(hook.ErrOwnFault, PhaseProxy, err, "the egress proxy cannot be reached: %s", reason(err))
	}
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	tunnel := nc
	if p.tls != nil {
		tunnel = tls.Client(nc, p.tls)
	}
	status, err := p.ask(tunnel, t)
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
		return nil, fail(hook.ErrOwnFault, PhaseProxy, nil, "the egress proxy refuses (status %d)", status)
	}
	nc.SetDeadline(time.Time{})
	return tunnel, nil
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
