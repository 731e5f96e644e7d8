package egress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

const (
	// stagger is how long one address may keep the next one waiting (RFC 8305 section 5).
	stagger = 250 * time.Millisecond
	// mostAddresses bounds what one name may make us connect to at once. Of a name with more, some
	// are tried, others each time.
	mostAddresses = 64
)

// race connects to the addresses of a name one after the other and keeps the first connection made.
// All of them get their turn within the first half of the deadline. Refused addresses are passed over:
// only when none is left is the refusal the error.
type race struct {
	d      *dialer
	q      *question
	policy *Policy

	addrs    []netip.Addr
	started  int
	tried    []tried
	results  chan tried
	dialing  sync.WaitGroup
	interval time.Duration
}

// tried is what came of one address.
type tried struct {
	addr netip.Addr
	nc   net.Conn
	err  error
}

// run returns the connection, or an *Error that tells of all addresses.
func (r *race) run(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	dialing, cancel := context.WithCancel(ctx)
	defer r.stop(cancel)
	r.results = make(chan tried, mostAddresses)
	r.add(ctx, addrs)
	next := time.NewTimer(0)
	defer next.Stop()
	late := time.NewTimer(lateGrace)
	defer late.Stop()
	for len(r.tried) < len(r.addrs) || r.q.open > 0 {
		select {
		case <-next.C:
			if r.start(dialing) {
				next.Reset(r.interval)
			}
		case f := <-r.q.answers:
			r.q.open--
			r.add(ctx, f.addrs)
			next.Reset(0)
		case t := <-r.results:
			if t.err == nil {
				return t.nc, nil
			}
			r.tried = append(r.tried, t)
			late.Reset(lateGrace)
			next.Reset(0)
		case <-late.C:
			if len(r.tried) == len(r.addrs) {
				return nil, r.explain(ctx)
			}
		}
	}
	return nil, r.explain(ctx)
}

// add takes further addresses up, as far as the bound allows.
func (r *race) add(ctx context.Context, addrs []netip.Addr) {
	room := mostAddresses - len(r.addrs)
	if len(addrs) > room {
		addrs = slices.Clone(addrs)
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		addrs = addrs[:room]
	}
	for _, a := range addrs {
		r.addrs = append(r.addrs, a.Unmap())
	}
	r.interval = stagger
	if deadline, ok := ctx.Deadline(); ok && len(r.addrs) > 0 {
		r.interval = min(stagger, time.Until(deadline)/time.Duration(2*len(r.addrs)))
	}
}

// start connects to the next address; false when there is none.
func (r *race) start(ctx context.Context) bool {
	if r.started == len(r.addrs) {
		return false
	}
	addr := r.addrs[r.started]
	r.started++
	r.dialing.Go(func() {
		nc, err := r.d.dialAddr(ctx, netip.AddrPortFrom(addr, r.q.target.port), r.policy)
		r.results <- tried{addr, nc, err}
	})
	return true
}

// stop ends the other dials; whoever comes second is closed.
func (r *race) stop(cancel context.CancelFunc) {
	cancel()
	r.dialing.Wait()
	close(r.results)
	for t := range r.results {
		if t.nc != nil {
			t.nc.Close()
		}
	}
}

// explain says why there is no connection. A connection that was tried says more than an own fault at
// another address, and that more than an address passed over.
func (r *race) explain(ctx context.Context) error {
	var refusal *Refusal
	var own *Error
	var real []tried
	for _, t := range r.tried {
		switch {
		case errors.As(t.err, &refusal):
		case errors.As(t.err, &own):
		default:
			real = append(real, t)
		}
	}
	switch {
	case len(real) == 0 && own != nil:
		return own
	case len(real) == 0 && refusal != nil:
		return networkError(PhaseConnect, refusal)
	case len(real) == 0: // the context ended before the first dial did
		return networkError(PhaseConnect, context.Cause(ctx))
	}
	e := networkError(PhaseConnect, ended(ctx, real[0].err))
	if len(real) > 1 && (e.Class == hook.ErrConnect || e.Class == hook.ErrTimeout) {
		told := *e
		told.Detail = connectWords[e.Class] + summary(real)
		return &told
	}
	return e
}

var connectWords = map[hook.ErrorClass]string{
	hook.ErrConnect: "connect: ", hook.ErrTimeout: "no answer within the deadline (connecting): ",
}

// summary counts what came of the addresses, without naming them: "connection refused (2 IPv4
// addresses), no answer (1 IPv6 address)".
func summary(list []tried) string {
	type kind struct {
		words string
		v4    bool
	}
	var order []kind
	count := make(map[kind]int)
	for _, t := range list {
		k := kind{reason(t.err), t.addr.Is4()}
		if timedOut(t.err) || errors.Is(t.err, context.Canceled) {
			k.words = "no answer"
		}
		if count[k]++; count[k] == 1 {
			order = append(order, k)
		}
	}
	var parts []string
	for _, k := range order {
		family, plural := "IPv6", "es"
		if k.v4 {
			family = "IPv4"
		}
		if count[k] == 1 {
			plural = ""
		}
		parts = append(parts, fmt.Sprintf("%s (%d %s address%s)", k.words, count[k], family, plural))
	}
	return strings.Join(parts, ", ")
}
