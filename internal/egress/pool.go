package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// conn is a connection of one webhook. While it serves a request over HTTP/1.1 it belongs to that
// request's goroutine; otherwise its fields are guarded by the pools' mutex.
type conn struct {
	pool       *pool
	nc         net.Conn // TCP or TLS
	meter      *meter
	tls        *tls.Conn        // nil for plain http
	asked      bool             // for a client certificate
	h2         *http.ClientConn // nil for HTTP/1.1
	frames     *frames          // what passes on h2
	remote     netip.AddrPort   // zero behind a proxy
	allow      []netip.Prefix   // the company's ranges when it was made
	sentBefore int64            // bytes written before the current request
	keepFor    time.Duration    // as the receiver announced; 0 = not at all
	watch      watch            // breaks an exchange off when its context ends
	expires    time.Time        // when it has lived long enough
	idled      time.Duration    // how long it was idle before the current request

	inFlight   int  // requests, or reservations of HTTP/2
	dead       bool // no further request; closed when inFlight is 0
	idleSince  time.Time
	idleUntil  time.Time
	seenOpen   time.Time // when it was last looked at while idle, and found open
	prev, next *conn     // in the list of idle connections
}

type poolKey struct {
	webhook hook.WebhookKey
	version int64
	http1   bool // asked for, or what the receiver wants
}

// pool holds the connections of one version of one webhook's endpoint.
type pool struct {
	key      poolKey
	endpoint string // as its requests name it
	target   *target
	conns    []*conn // idle ones of HTTP/1.1, the longest idle first; all of HTTP/2
	users    int     // requests between acquire and release
}

// pools keeps connections for their next request: all under one mutex, which is held for a few
// hundred nanoseconds. No connection is closed under it: that can take the kernel milliseconds.
type pools struct {
	maxIdle    int
	maxPerPool int
	timeout    time.Duration
	age        time.Duration

	mu     sync.Mutex
	byKey  map[poolKey]*pool
	traits traits
	oldest *conn // idle connections, by idleSince
	newest *conn
	idle   int
	reaper *time.Timer // nil while nothing is idle
	doomed []*conn     // to be closed once the mutex is free
	closed bool
}

// unlock frees the mutex and closes what was given up under it.
func (ps *pools) unlock() {
	doomed := ps.doomed
	ps.doomed = nil
	ps.mu.Unlock()
	for _, c := range doomed {
		c.close()
	}
}

// acquire returns a connection that can take the request: a kept one that is quiet, or a new one.
func (c *Client) acquire(ctx context.Context, r *Request, a *Answer, fresh bool) (got *conn, reused bool, err error) {
	p, err := c.pools.enter(r)
	if err != nil {
		return nil, false, err
	}
	for !fresh {
		kept := c.pools.take(p)
		if kept == nil {
			break
		}
		if c.usable(kept, r) {
			return kept, true, nil
		}
		c.pools.drop(kept) // whether it was closed, or is not allowed any more
	}
	made, err := c.connect(ctx, p, r, a)
	if err != nil {
		c.pools.leave(p)
		return nil, false, err
	}
	return made, false, nil
}

// usable asks whether a kept connection may still be used: by the rules, which may have changed for
// the company since it was made, and by the network.
func (c *Client) usable(kept *conn, r *Request) bool {
	if kept.remote.IsValid() && !slices.Equal(kept.allow, r.AllowNetworks) && !c.dialer.unsafe &&
		c.dialer.policy.With(r.AllowNetworks).Judge(kept.remote) != nil {
		return false
	}
	return kept.h2 != nil || kept.quiet()
}

// quiet reports that nothing has arrived on an idle connection, neither in the kernel nor in what
// TLS has read ahead.
func (c *conn) quiet() bool {
	return c.meter.idle() && (c.tls == nil || nothingRead(c.tls))
}

func (c *Client) connect(ctx context.Context, p *pool, r *Request, a *Answer) (*conn, error) {
	ctx, cancel := context.WithDeadline(ctx, r.Deadline)
	defer cancel()
	d, err := c.dialer.dial(ctx, p.target, r.AllowNetworks, r.TLSCompat)
	if err != nil && outOfResources(err) && c.pools.shed() {
		d, err = c.dialer.dial(ctx, p.target, r.AllowNetworks, r.TLSCompat)
	}
	a.Phases.DNS += d.phases.DNS
	a.Phases.Connect += d.phases.Connect
	a.Phases.TLS += d.phases.TLS
	if err != nil {
		return nil, err
	}
	made := &conn{
		pool: p, nc: d.nc, meter: d.meter, tls: d.tls, asked: d.asked, remote: d.remote, allow: r.AllowNetworks, inFlight: 1, expires: c.pools.expiry(),
	}
	if d.http2() {
		if err := made.startHTTP2(ctx, c.http2); err != nil {
			d.nc.Close()
			e := networkError(PhaseTLS, err)
			if e.wantsHTTP1 {
				return nil, &unsentError{e}
			}
			return nil, demand(e, d.asked)
		}
		c.pools.add(made)
	}
	return made, nil
}

// enter finds or makes the pool of a request's webhook.
func (ps *pools) enter(r *Request) (*pool, error) {
	if p := ps.find(r, nil); p != nil {
		return p, nil
	}
	t, refusal := parseEndpoint(r.Endpoint)
	if refusal != nil {
		return nil, fail(hook.ErrAddress, PhaseNone, refusal, "%s", refusal.Rule)
	}
	return ps.find(r, t), nil
}

// find returns the request's pool, entered. If there is none it makes one for the target, or
// returns nil where that is nil.
func (ps *pools) find(r *Request, t *target) *pool {
	key := poolKey{r.Webhook, r.EndpointVersion, false}
	ps.mu.Lock()
	defer ps.unlock()
	key.http1 = r.HTTP1 || ps.traits[key].http1
	p := ps.byKey[key]
	if p == nil || p.endpoint != r.Endpoint {
		if t == nil {
			return nil
		}
		t.http1 = key.http1
		p = &pool{key: key, endpoint: r.Endpoint, target: t}
		ps.byKey[key] = p
	}
	p.users++
	return p
}

// leave ends a request's use of its pool; a pool without use and connections is forgotten.
func (ps *pools) leave(p *pool) {
	ps.mu.Lock()
	defer ps.unlock()
	p.users--
	ps.forget(p)
}

func (ps *pools) forget(p *pool) {
	if p.users == 0 && len(p.conns) == 0 && ps.byKey[p.key] == p {
		delete(ps.byKey, p.key)
	}
}

// take reserves a connection for one request: the most recently used, so that a shrinking load
// lets the others age.
func (ps *pools) take(p *pool) *conn {
	ps.mu.Lock()
	defer ps.unlock()
	now := time.Now()
	for i, c := range slices.Backward(p.conns) {
		if now.After(c.expires) {
			c.dead = true // those under way on it end; then it is closed
		}
		if c.inFlight == 0 && (c.dead || now.After(c.idleUntil)) {
			ps.evict(c)
			continue
		}
		if c.h2 != nil && (c.dead || c.h2.Reserve() != nil) {
			continue
		}
		c.idled = 0
		if c.inFlight == 0 {
			c.idled = now.Sub(c.idleSince)
			ps.unlink(c)
		}
		if c.h2 == nil {
			p.conns = slices.Delete(p.conns, i, i+1)
		}
		c.inFlight++
		return c
	}
	return nil
}

// add puts a new connection of HTTP/2 where further requests find it.
func (ps *pools) add(c *conn) {
	ps.mu.Lock()
	defer ps.unlock()
	c.pool.conns = append(c.pool.conns, c)
}

// expiry is until when a connection made now may serve: jittered, so that those made together do not
// end together. A receiver that moves, or whose certificate ends, is noticed by then.
func (ps *pools) expiry() time.Time {
	return time.Now().Add(ps.age*3/4 + rand.N(ps.age/2))
}

// drop gives a taken connection up, without ending the request's use of the pool.
func (ps *pools) drop(c *conn) {
	ps.mu.Lock()
	defer ps.unlock()
	ps.foundClosed(c)
	if c.h2 != nil {
		c.h2.Release()
	}
	c.dead = true
	ps.settle(c)
}

// release ends a request on a connection. With keep the connection waits for the next one.
func (ps *pools) release(c *conn, keep bool) {
	ps.mu.Lock()
	defer ps.unlock()
	c.pool.users--
	c.dead = c.dead || !keep || ps.closed
	ps.settle(c)
	ps.forget(c.pool)
}

// settle is what follows the end of one use: the connection is still in use by others, or waits
// idle, or is closed.
func (ps *pools) settle(c *conn) {
	if c.inFlight--; c.inFlight > 0 {
		return
	}
	c.idleSince = time.Now()
	c.seenOpen = c.idleSince
	keep := ps.traits.keep(c.pool.key, ps.timeout, c.idleSince)
	if c.keepFor > 0 {
		keep = min(keep, c.keepFor-time.Second) // so that we close first
	}
	if c.dead || keep <= 0 || c.idleSince.After(c.expires) || c.h2 != nil && c.h2.Err() != nil {
		ps.discard(c)
		return
	}
	c.idleUntil = c.idleSince.Add(keep)
	if c.h2 == nil {
		c.pool.conns = append(c.pool.conns, c)
	}
	ps.link(c)
	if len(c.pool.conns) > ps.maxPerPool {
		ps.evictFrom(c.pool)
	}
	if ps.idle > ps.maxIdle {
		ps.evict(ps.oldest)
	}
	if ps.reaper == nil {
		ps.reaper = time.AfterFunc(reapEvery, ps.reap)
	}
}

func (ps *pools) evictFrom(p *pool) {
	for _, c := range p.conns {
		if c.inFlight == 0 {
			ps.evict(c)
			return
		}
	}
}

// shed closes the connections that have been idle longest, where descriptors or ports run short: one
// that somebody needs is worth more than one that somebody may need. It reports whether there were any.
func (ps *pools) shed() bool {
	const some = 16
	ps.mu.Lock()
	defer ps.unlock()
	found := ps.oldest != nil
	for range some {
		if ps.oldest == nil {
			break
		}
		ps.evict(ps.oldest)
	}
	return found
}

// evict dooms an idle connection.
func (ps *pools) evict(c *conn) {
	ps.unlink(c)
	ps.discard(c)
	ps.forget(c.pool)
}

// discard dooms a connection that is in no list of idle ones.
func (ps *pools) discard(c *conn) {
	c.dead = true
	if i := slices.Index(c.pool.conns, c); i >= 0 {
		c.pool.conns = slices.Delete(c.pool.conns, i, i+1)
	}
	ps.doomed = append(ps.doomed, c)
}

// foundClosed learns from a connection that the receiver has closed while it was idle: it was open
// when it was last looked at.
func (ps *pools) foundClosed(c *conn) {
	if c.h2 == nil && !c.meter.quiet() {
		ps.traits.closed(c.pool.key, c.seenOpen.Sub(c.idleSince), time.Now())
	}
}

// outcome learns from what a request on a kept connection came to.
func (ps *pools) outcome(c *conn, err error) {
	ps.mu.Lock()
	defer ps.unlock()
	var e *Error
	switch {
	case err == nil:
		ps.traits.served(c.pool.key, c.idled)
	case errors.As(err, &e) && e.ended && c.h2 == nil:
		ps.traits.closed(c.pool.key, c.idled, time.Now())
	}
}

// keepToHTTP1 remembers that a receiver does not serve the HTTP/2 that it chooses.
func (ps *pools) keepToHTTP1(r *Request) {
	ps.mu.Lock()
	defer ps.unlock()
	key := poolKey{webhook: r.Webhook, version: r.EndpointVersion}
	x := ps.traits[key]
	x.http1 = true
	ps.traits.put(key, x)
}

// reapEvery is how often idle connections are looked through for those that have expired or that
// the receiver has closed.
const reapEvery = time.Second

func (ps *pools) reap() {
	ps.mu.Lock()
	defer ps.unlock()
	now := time.Now()
	for c := ps.oldest; c != nil; {
		next := c.next
		switch {
		case ps.closed || now.After(c.idleUntil) || now.After(c.expires) || c.h2 != nil && c.h2.Err() != nil:
			ps.evict(c)
		case c.h2 == nil && !c.meter.quiet():
			ps.foundClosed(c)
			ps.evict(c)
		default:
			c.seenOpen = now
		}
		c = next
	}
	ps.reaper = nil
	if ps.idle > 0 && !ps.closed {
		ps.reaper = time.AfterFunc(reapEvery, ps.reap)
	}
}

func (ps *pools) close() {
	ps.mu.Lock()
	defer ps.unlock()
	ps.closed = true
	if ps.reaper != nil {
		ps.reaper.Stop()
	}
	for ps.oldest != nil {
		ps.evict(ps.oldest)
	}
}

func (ps *pools) link(c *conn) {
	c.prev, c.next = ps.newest, nil
	if ps.newest != nil {
		ps.newest.next = c
	} else {
		ps.oldest = c
	}
	ps.newest = c
	ps.idle++
}

func (ps *pools) unlink(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		ps.oldest = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		ps.newest = c.prev
	}
	c.prev, c.next = nil, nil
	ps.idle--
}

// watch lets the end of a context break off what happens on a connection. It stays with the
// connection from one exchange to the next: nearly all have the same context.
type watch struct {
	mu   sync.Mutex
	ctx  context.Context
	stop func() bool
}

// follow makes the connection follow another context than before.
func (w *watch) follow(ctx context.Context, nc net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == ctx {
		return
	}
	if w.stop != nil {
		w.stop()
	}
	w.ctx, w.stop = ctx, nil
	if ctx.Done() != nil {
		w.stop = context.AfterFunc(ctx, func() { w.end(ctx, nc) })
	}
}

// end lets everything on the connection time out, if it still follows the context that has ended.
func (w *watch) end(ctx context.Context, nc net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == ctx {
		nc.SetDeadline(time.Unix(1, 0))
	}
}

// close closes the socket first: what TLS would say goodbye with must not be able to block.
func (c *conn) close() {
	c.watch.follow(context.Background(), c.nc)
	c.meter.Close()
	if c.h2 != nil {
		c.h2.Close()
	}
}
