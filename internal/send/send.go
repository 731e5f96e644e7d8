// Package send makes one attempt: it signs the request afresh, sends it once through [egress], and
// says what came of it.
//
// A [Result] is evidence, not a decision. Whether the delivery is retried, throttled or given up
// is for package retry, which reads the result's class; the attempt was a success if and only if a
// final status of 200–299 was received in full ([Result.Delivered]).
//
// The class [hook.ErrOwnFault] means that the fault is this server's, by evidence found on this
// machine alone; such an attempt does not count against the receiver.
package send

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Request is one attempt to be made.
type Request struct {
	Webhook *hook.Webhook // the settings in force; neither they nor the event are changed by anybody meanwhile
	Event   *hook.Event
	hook.Delivery
	Body  []byte // as wire.Body made it; not changed by anybody until Send returns
	Trace string // the attempt's traceparent; "" for none
	// Fresh asks for a connection made for this attempt.
	Fresh bool
	// May is asked right before the first byte is sent; false when another node may send by then.
	// Nil for always.
	May func() bool
}

// Result is what came of an attempt.
type Result struct {
	StartedAt     time.Time // as the store keeps times
	TimestampText string    // as signed
	Phases        hook.Phases
	StatusCode    int             // 0 when no status was received
	Class         hook.ErrorClass // hook.ErrNone exactly when Delivered
	Detail        string          // why it failed: one line, at most 500 bytes, no secrets; "" when Delivered
	Phase         egress.Phase    // where it failed, when no answer came
	Reused        bool            // it went over a connection that had been used before
	// Lost says that this connection ended before one byte of an answer: the receiver gave it up, most
	// likely without having seen the request. That says nothing about the endpoint.
	Lost bool
	// RetryAfter is the wait that the receiver asked for, at most 24 hours; HasRetryAfter says that
	// it asked for one that can be understood.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// AnswerHeader is the answer's header lines, AnswerBody the first 16 KiB of its body.
	AnswerHeader, AnswerBody []byte
}

// Delivered reports that the receiver has taken the event: a final status of 200–299 came in full.
func (r *Result) Delivered() bool { return r.StatusCode >= 200 && r.StatusCode <= 299 }

// Door is what a sender needs of [egress.Client]. Its error is an [*egress.Error].
type Door interface {
	Do(ctx context.Context, r *egress.Request) (egress.Answer, error)
}

// Sender makes attempts. It is safe for concurrent use.
type Sender struct {
	door      Door
	userAgent string
	panicked  func(value any, stack []byte)
	turns     chan struct{} // of those that sign large bodies
}

// large is from how many bytes signing a body takes a turn. It takes some milliseconds a mebibyte, in which
// nobody else has the core: of a thousand such attempts, due at once, all cores would be busy with a queue
// of one webhook's company, and everybody else's events stood behind it. Half the cores are left to them.
const large = 64 << 10

// New makes a sender. The version goes into the User-Agent. The panicked function is told of panics
// that were contained, for the log; nil is allowed.
func New(door Door, version string, panicked func(value any, stack []byte)) *Sender {
	return &Sender{
		door: door, userAgent: wire.UserAgent(version), panicked: panicked, turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
}

// Send makes the attempt. It returns within the webhook's timeout (and a moment), or earlier when
// ctx ends, which counts as a fault of ours.
func (s *Sender) Send(ctx context.Context, r Request) (result Result) {
	defer func() {
		if v := recover(); v != nil {
			result = s.contain(v, result)
		}
	}()
	timeout := r.Webhook.Timeout
	if timeout <= 0 {
		timeout = hook.DefaultTimeout
	}
	start := time.Now()
	deadline := start.Add(timeout)
	result.StartedAt, result.TimestampText = hook.Now(start), wire.Timestamp(start)
	header := headers.Get().(*[]byte)
	defer headers.Put(header)
	var unsigned error
	sign := func() ([]byte, error) {
		unsigned = s.sign(ctx, header, &r, &result, timeout/turnShare)
		return *header, unsigned
	}
	answer, err := s.door.Do(ctx, &egress.Request{
		Webhook: r.Webhook.Key, EndpointVersion: r.Webhook.EndpointVersion, Endpoint: r.Webhook.Endpoint,
		Header: sign, Body: r.Body, AllowNetworks: r.Webhook.AllowNetworks,
		Deadline: deadline, May: r.May, Fresh: r.Fresh, HTTP1: r.Webhook.HTTPVersion == hook.HTTP11, TLSCompat: r.Webhook.TLSCompat,
	})
	result.Phases, result.Reused = answer.Phases, answer.Reused
	switch {
	case errors.Is(unsigned, errBrokenOff), errors.Is(unsigned, errLate):
		return refuse(result, hook.ErrOwnFault, unsigned.Error())
	case unsigned != nil:
		return refuse(result, hook.ErrInternal, "the request could not be signed: "+unsigned.Error())
	case err != nil:
		return failed(result, err)
	}
	return answered(result, &answer, start)
}

// headers are the memory that requests' headers are written into, used again.
var headers = sync.Pool{New: func() any { return new([]byte) }}

var (
	errBrokenOff = errors.New("the attempt was broken off by this server")
	errLate      = errors.New("this server had no time to sign the request")
	// turnShare is the part of an attempt's time in which it waits for its turn to sign: the endpoint has the rest.
	turnShare time.Duration = 4
)

// sign writes the request's headers, as of the time that it notes. It comes when there is a connection: an
// endpoint that is dead costs no signature, which takes some milliseconds a mebibyte. A large body waits for
// its turn, unless ctx or its part of the attempt's time ends before.
func (s *Sender) sign(ctx context.Context, to *[]byte, r *Request, result *Result, patience time.Duration) (err error) {
	if len(r.Body) >= large {
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case s.turns <- struct{}{}:
			defer func() { <-s.turns }()
		case <-ctx.Done():
			return errBrokenOff
		case <-late.C:
			return errLate
		}
	}
	now := time.Now()
	result.TimestampText = wire.Timestamp(now)
	secret, other := r.Webhook.Secrets.At(now)
	request := wire.Request{
		Body: r.Body, Timestamp: result.TimestampText, Topic: r.Event.Topic, EventID: r.Event.ID, Object: r.Event.ObjectID(), WebhookID: r.Webhook.ID,
		Attempt: r.Attempt, Sequence: r.Sequence, Test: r.Kind == hook.Test, Replay: r.ReplayID, Trace: r.Trace,
		Scheme: r.Webhook.Scheme, Secret: secret, Other: other, UserAgent: s.userAgent, Custom: r.Webhook.Headers,
	}
	if r.Webhook.SignsWithKey() {
		if err := sealing(&request, r.Webhook, now); err != nil {
			return err
		}
	}
	*to, err = request.AppendHeader((*to)[:0])
	return err
}

// sealing adds what signs by the company's key.
func sealing(to *wire.Request, w *hook.Webhook, now time.Time) (err error) {
	if to.Key, to.Ed25519 = w.SigningKeyAt(now), w.Ed25519; to.Key == nil {
		return errors.New("the company has no signing key")
	}
	if w.HTTPSignature {
		to.URL, err = url.Parse(w.Endpoint)
	}
	return err
}

// failed describes an attempt without an answer.
func failed(result Result, err error) Result {
	var e *egress.Error
	if !errors.As(err, &e) {
		return refuse(result, hook.ErrInternal, err.Error())
	}
	result.Phase, result.Lost = e.Phase, e.Lost
	return refuse(result, e.Class, e.Detail)
}

// answered describes an attempt with a final answer.
func answered(result Result, a *egress.Answer, now time.Time) Result {
	result.StatusCode = a.Status
	result.AnswerHeader, result.AnswerBody = a.Header, a.Body
	if a.RetryAfter != "" {
		result.RetryAfter, result.HasRetryAfter = hook.RetryAfter(a.RetryAfter, now)
	}
	class, detail := classify(a.Status, result.HasRetryAfter)
	if class == hook.ErrNone {
		return result
	}
	// That is how servers that have asked for a client certificate speak of its absence.
	if a.ClientCertificate && (a.Status == http.StatusBadRequest || a.Status == http.StatusForbidden) && class == hook.ErrClientStatus {
		class, detail = hook.ErrTLS, detail+"; it asked for a client certificate in the TLS handshake, and there is none"
	}
	return refuse(result, class, detail)
}

func refuse(result Result, class hook.ErrorClass, detail string) Result {
	result.Class, result.Detail = class, oneLine(detail)
	return result
}

// contain turns a panic into a failed attempt. The panic's text stays in the log: it may quote
// anything.
func (s *Sender) contain(v any, result Result) Result {
	if s.panicked != nil {
		s.panicked(v, debug.Stack())
	}
	return refuse(Result{StartedAt: result.StartedAt, TimestampText: result.TimestampText}, hook.ErrInternal,
		"an internal error of this server while the attempt was made")
}

// maxDetail bounds Result.Detail in bytes.
const maxDetail = 500

// oneLine makes a text fit to be shown: printable ASCII, one line, bounded.
func oneLine(text string) string {
	var b strings.Builder
	for _, r := range text {
		if b.Len() >= maxDetail {
			break
		}
		if r < ' ' || r > '~' {
			r = ' '
		}
		b.WriteByte(byte(r))
	}
	return b.String()
}
