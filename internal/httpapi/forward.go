package httpapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// forwardedHeader marks a request that another node passed on: it is answered here, whoever runs the
// webhooks by now.
const forwardedHeader = "X-Atlas-Forwarded"

// Limits of passing a request on.
const (
	forwardDial   = time.Second
	forwardAnswer = 3 * time.Second // until the answer begins
)

var errOwnerFailed = errors.New("it answered with an error of its own")

// forwarder passes requests on to the node that runs a company's webhooks, for what only its memory
// knows.
type forwarder struct {
	transport *http.Transport
	life      context.Context //nolint:containedctx // of what is passed on; ended by EndStreams
	end       context.CancelFunc
}

func newForwarder() *forwarder {
	f := &forwarder{transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: forwardDial}).DialContext, ResponseHeaderTimeout: forwardAnswer,
		IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 16, DisableCompression: true,
	}}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// forward lets the owner of the company's partition answer, and reports whether it did. Where that
// is this node, or it cannot be reached, the request is answered here.
func (x *exchange) forward() (answered bool) {
	if x.r.Header.Get(forwardedHeader) != "" {
		return false
	}
	owner, err := url.Parse(x.owner())
	if err != nil || owner.Host == "" {
		return false
	}
	f := x.api.forwarder
	ctx, leave := x.guard(x.r.Context(), func(context.Context) bool { return true })
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.life, cancel)()
	answered = true
	proxy := &httputil.ReverseProxy{
		Transport: f.transport, FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(owner)
			p.Out.Header.Set(forwardedHeader, "1")
			p.Out.Header.Set("X-Request-Id", x.id)
		},
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode >= 500 {
				return errOwnerFailed // our own answer is better than none
			}
			for name := range x.Header() {
				r.Header.Del(name) // it stands there already
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			answered = false
			x.api.opt.Log.Warn("the node that runs the webhook did not answer; what the store knows is shown", "url", owner.String(), "error", err)
		},
	}
	proxy.ServeHTTP(x, x.r.WithContext(ctx))
	return answered
}
