package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/ingress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// exchange is one request and its answer, with what was found out about it on the way. It is the
// http.ResponseWriter that everything below gets, so that the hot path needs no context values.
type exchange struct {
	http.ResponseWriter
	api     *API
	r       *http.Request
	id      string         // X-Request-Id
	caller  caller         // who asks; set by the key's check
	company *store.Company // whose resources; key, id and partition only

	status int
	muted  bool           // the mux's own words are replaced by a problem
	kept   *bytes.Buffer  // a copy of the body, for an Idempotency-Key
	err    error          // why the answer is a 5xx
	lease  *ingress.Lease // the memory that the answer holds
}

type exchangeKey struct{}

// exchangeOf returns the exchange that a handler below huma belongs to.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// Headers of every answer. The slices are shared and never written to.
var (
	noSniff = []string{"nosniff"}
	noStore = []string{"no-store"}
)

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{ResponseWriter: w, api: a, r: r, id: requestID(r, start)}
	h := w.Header()
	h["X-Request-Id"] = []string{x.id}
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
	defer func() { x.lease.Release() }()
	defer x.finish(start)
	a.mux.ServeHTTP(x, r)
}

// requestID is the caller's own where it can stand in a log.
func requestID(r *http.Request, now time.Time) string {
	if given := r.Header["X-Request-Id"]; len(given) == 1 && len(given[0]) <= 128 && printable(given[0]) {
		return given[0]
	}
	return hook.NewID("req", now)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// statusLeft is counted where the client went away before it was answered. No one specification has
// it; servers that log it use this number.
const statusLeft = 499

// finish counts and logs the exchange, and turns a panic into a 500.
func (x *exchange) finish(start time.Time) {
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
			panic(p)
		}
		x.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		if x.status == 0 {
			x.fail(errors.New("panic"))
		}
	}
	if x.r.Context().Err() != nil && errors.Is(x.err, context.Canceled) {
		x.status, x.err = statusLeft, nil
	}
	took := time.Since(start)
	if x.api.opt.Meter != nil {
		x.api.opt.Meter.Request(x.r.Pattern, x.r.Method, x.status, took)
	}
	if x.err != nil {
		x.api.opt.Log.Error("request failed", "route", x.r.Pattern, "method", x.r.Method, "status", x.status,
			"request_id", x.id, "took_ms", took.Milliseconds(), "error", x.err)
	}
}

// WriteHeader lets the mux say 404 and 405 only by status: the words are a problem's.
func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	if x.r.Pattern == "" && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) {
		x.muted = true
		x.refuseRoute(status)
		return
	}
	x.status = status
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) refuseRoute(status int) {
	err := hook.Refuse(hook.KindNotFound, "no_such_route", "there is nothing at this path; GET /openapi.json lists what there is")
	p := problemOf(err, x.id)
	if status == http.StatusMethodNotAllowed {
		p.Status, p.Title, p.Code = status, http.StatusText(status), "method_not_allowed"
		p.Detail = "this path answers " + x.Header().Get("Allow")
	}
	x.writeProblem(p)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.muted {
		return len(b), nil
	}
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.kept != nil {
		x.kept.Write(b)
	}
	return x.lease.Write(x.ResponseWriter, b)
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// fail answers with an error.
func (x *exchange) fail(err error) {
	p := problemOf(err, x.id)
	x.note(p, err)
	x.writeProblem(p)
}

// note sets what goes with a problem beside its body: the pause that is asked for, the log's line.
func (x *exchange) note(p *client.Problem, err error) {
	if p.RetryAfter > 0 {
		x.Header().Set("Retry-After", retryAfter(p.RetryAfter))
	}
	if p.Status >= 500 && x.err == nil {
		x.err = err
	}
	if p.Status == http.StatusUnauthorized {
		x.Header().Set("WWW-Authenticate", `Bearer realm="Atlas Webhooks"`)
	}
}

func (x *exchange) writeProblem(p *client.Problem) {
	h := x.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Length")
	body := problemJSON(p)
	x.status = p.Status
	x.ResponseWriter.WriteHeader(p.Status)
	if x.r.Method != http.MethodHead {
		_, _ = x.ResponseWriter.Write(body) // the client may have gone
	}
}

// audit says who asks for a change.
func (x *exchange) audit(action string, detail map[string]any) store.Audit {
	return store.Audit{Actor: x.caller.actor, RequestID: x.id, Address: peerOf(x.r).String(), Action: action, Detail: detail}
}
