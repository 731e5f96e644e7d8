// Package egress is the only door to the network: every request to an endpoint goes through its
// [Client], and so does every question whether an endpoint may be used at all.
//
// Endpoints are chosen by strangers, and so is what answers there. Hence three rules.
//
// A destination is judged by its address, at the moment of connecting. [CheckEndpoint] refuses
// what is plainly wrong when an endpoint is saved, but a name can resolve to anything later, so
// the verdict that counts is spoken in the dialer, on the address that the kernel is about to
// connect to ([Policy.Judge]).
//
// Webhooks share nothing. Each has connections of its own: on a shared one, a receiver that sends
// two answers to one request would have the second taken for the answer to the next request, which
// is somebody else's. Before a kept connection is used again, the kernel is asked whether anything
// has arrived on it that nobody asked for.
//
// An attempt is one request. What is sent is recorded, so nothing may send it again behind our
// back: a request is repeated only when not one byte of it can have left this machine (or, on
// HTTP/2, when the receiver says that it has not looked at it). Where a kept connection ended before
// one byte of answer the error says so ([Error.Lost]): whoever records attempts may make another.
//
// HTTP/1.1 is spoken by package http1, on our own connections. Go's transport runs two goroutines for each
// connection and hands each request over channels; one goroutine that writes and reads in place is
// cheaper (see the benchmark) and knows what was sent. HTTP/2, which endpoints choose during the TLS
// handshake, is the standard library's, one connection at a time.
//
// Everything that a receiver can draw out has a bound: the deadline covers connecting, TLS, headers
// and body together; heads are at most 32 KiB, 16 KiB of a body are read, redirects are not
// followed, and nothing is decompressed.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Config is what a [Client] is made from. The zero value works: it reaches public addresses over
// https.
type Config struct {
	Policy Policy
	// Proxy is the operator's egress proxy, http://[user:password@]host:port; "" for none. The
	// environment's proxy settings are not looked at.
	Proxy string
	// Bypass are the destinations that are reached without the proxy.
	Bypass Bypass
	// MaxIdle bounds the idle connections of all webhooks together; the longest idle are closed
	// first. 0 = 1024.
	MaxIdle int
	// MaxIdlePerWebhook bounds those of one webhook. 0 = 64.
	MaxIdlePerWebhook int
	// IdleTimeout is how long a connection is kept unused, unless the receiver announces that it
	// keeps it for less, or is seen to. 0 = 15 s.
	IdleTimeout time.Duration
	// MaxAge is how long a connection serves, however busy it is, give or take a quarter: then the
	// name is looked up and the certificate judged anew. 0 = 4 min.
	MaxAge time.Duration
	// Resolver resolves names; nil = the system's.
	Resolver *net.Resolver
	// RootCAs verify certificates, of endpoints and of an https proxy; nil = the system's. With none in
	// it, https is a fault of ours.
	RootCAs *x509.CertPool
}

// Request is one request to be sent.
type Request struct {
	// Webhook and EndpointVersion say whose connections may be used.
	Webhook         hook.WebhookKey
	EndpointVersion int64
	Endpoint        string // as [CheckEndpoint] returned it
	// Header makes what is sent as it is: lines "Name: value" that end in CR LF, with canonical names.
	// Host and Content-Length are added; it must hold neither them nor any other header that frames a
	// message. It is called when there is a connection to send it on; nobody changes what it made until
	// Do returns. With its error the attempt ends, and nothing is sent.
	Header func() ([]byte, error)
	// Body is not changed by anybody until Do returns.
	Body []byte
	// AllowNetworks are the ranges that the webhook's company may reach besides the policy's.
	AllowNetworks []netip.Prefix
	// TLSCompat makes new connections without the key shares that some old middleboxes swallow.
	TLSCompat bool
	// Deadline bounds the whole attempt. It must be set.
	Deadline time.Time
	// Fresh asks for a connection made for this request: after one that ended, the next is not worth
	// the risk.
	Fresh bool
	// HTTP1 keeps to HTTP/1.1, whatever the receiver would choose.
	HTTP1 bool
	// May is asked right before the first byte is sent; false when another node may send by then,
	// which is our own fault. Nil for always.
	May func() bool
}

// Answer is a final answer: its head was received in full.
type Answer struct {
	Status     int    // three digits as received, 000 included
	RetryAfter string // the header's value, "" if there is none
	Header     []byte // header lines as received, separated by line ends (of HTTP/2: made up, sorted)
	Body       []byte // the first 16 KiB, as received (never decompressed)
	Truncated  bool   // there was more of the body, or should have been
	// ClientCertificate says that the receiver asked for one in the handshake.
	ClientCertificate bool
	Phases            hook.Phases
	Reused            bool // the connection had been used before; set with an error, too
}

// Client sends requests. It is safe for concurrent use. Its zero value is not usable; see [New].
type Client struct {
	dialer dialer
	pools  pools
	http2  *http.Transport
}

// New makes a client. It starts nothing; Close ends what requests have started.
func New(config Config) (*Client, error) {
	proxy, err := parseProxy(config.Proxy, config.RootCAs)
	if err != nil {
		return nil, err
	}
	if proxy != nil {
		proxy.bypass = config.Bypass
	}
	c := &Client{
		dialer: dialer{
			policy: &config.Policy, resolver: config.Resolver, names: &nameServers{}, proxy: proxy,
			tls: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, RootCAs: config.RootCAs},
		},
		pools: pools{
			byKey:      make(map[poolKey]*pool),
			maxIdle:    valueOr(config.MaxIdle, 1024),
			maxPerPool: valueOr(config.MaxIdlePerWebhook, 64),
			timeout:    valueOr(config.IdleTimeout, 15*time.Second),
			age:        valueOr(config.MaxAge, 4*time.Minute),
			traits:     make(traits),
		},
		http2: newHTTP2(),
	}
	c.dialer.rootless = config.RootCAs != nil && config.RootCAs.Equal(x509.NewCertPool())
	if c.dialer.resolver == nil {
		c.dialer.resolver = newResolver("")
	}
	c.dialer.resolver = c.dialer.names.watch(c.dialer.resolver)
	return c, nil
}

func valueOr[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Policy is the policy in force, for [CheckEndpoint]. It must not be changed.
func (c *Client) Policy() *Policy { return c.dialer.policy }

// Close closes the idle connections, and those in use as soon as their requests end. The client
// must not be used afterwards.
func (c *Client) Close() { c.pools.close() }

// Do sends the request, once, and returns the answer. Answer.Phases is filled in also with an
// error, which is always an [*Error].
//
// When ctx ends before the deadline the attempt is broken off, as our own fault.
func (c *Client) Do(ctx context.Context, r *Request) (Answer, error) {
	start := time.Now()
	var a Answer
	err := c.do(ctx, r, &a)
	a.Phases.Total = time.Since(start)
	if err != nil {
		return a, c.blame(ctx, r, err)
	}
	return a, nil
}

func (c *Client) do(ctx context.Context, r *Request, a *Answer) error {
	for try := 0; ; try++ {
		if err := expired(r); err != nil {
			return err
		}
		conn, reused, err := c.acquire(ctx, r, a, try > 0 || r.Fresh)
		asked := false
		if a.Reused = reused; err == nil {
			a.ClientCertificate, asked = conn.asked, conn.asked && !reused
			err = c.attempt(ctx, conn, r, a)
		}
		if err == nil {
			return nil
		}
		again := reused
		if e := (*Error)(nil); errors.As(err, &e) {
			e.Lost = e.ended && reused
			if e.wantsHTTP1 {
				c.pools.keepToHTTP1(r)
				again = true
			}
		}
		// Once more, if it is certain that the receiver has not looked at the request, on a connection
		// made for it.
		if unsent := (*unsentError)(nil); try > 0 || !again || !errors.As(err, &unsent) {
			return demand(err, asked)
		}
	}
}

// unsentError is a failure at which the receiver cannot have seen the request.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// attempt makes one exchange on a connection and gives the connection back.
func (c *Client) attempt(ctx context.Context, conn *conn, r *Request, a *Answer) (err error) {
	keep := false
	defer func() {
		if conn.idled > leastIdle || err != nil {
			c.pools.outcome(conn, err)
		}
		c.pools.release(conn, keep)
	}()
	if conn.h2 != nil {
		keep, err = conn.exchange2(ctx, r, a)
		return err
	}
	conn.watch.follow(ctx, conn.nc)
	conn.nc.SetDeadline(r.Deadline)
	header, err := r.header()
	if err != nil {
		return err
	}
	// The last look before the first byte: at the context, whose end may have come before the
	// deadline that it would have brought forward, and at the clock.
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := expired(r); err != nil {
		return err
	}
	conn.sentBefore = conn.meter.written.Load()
	keep, err = conn.exchange1(header, r, a)
	keep = keep && ctx.Err() == nil
	if err != nil && conn.meter.written.Load() == conn.sentBefore && !timedOut(err) {
		err = &unsentError{err}
	}
	return err
}

func (r *Request) header() ([]byte, error) {
	header, err := r.Header()
	if err != nil {
		return nil, fail(hook.ErrInternal, PhaseSend, err, "the request could not be made: %s", err)
	}
	return header, nil
}

// expired reports that nothing may be sent any more.
func expired(r *Request) error {
	if r.May != nil && !r.May() {
		return fail(hook.ErrOwnFault, PhaseSend, nil, "this node's time to send had run out")
	}
	if !time.Now().Before(r.Deadline) {
		return fail(hook.ErrTimeout, PhaseConnect, nil, "the deadline had passed before the request was sent")
	}
	return nil
}

// blame finds the *Error in err and takes the fault upon us where it is ours.
func (c *Client) blame(ctx context.Context, r *Request, err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		e = networkError(PhaseNone, err)
	}
	switch {
	case e.Class == hook.ErrAddress || e.Class == hook.ErrOwnFault:
	case ctx.Err() != nil:
		return fail(hook.ErrOwnFault, e.Phase, err, "the attempt was broken off by this server")
	}
	return e
}
