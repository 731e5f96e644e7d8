package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress/http1"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// h2Credit is how many bytes an HTTP/2 receiver may send for each request in flight, frames of all
// kinds included: more than an answer that we read can need (32 KiB of headers, a window of 64 KiB),
// far less than a flood of pings or settings, each of which costs us an answer.
const h2Credit = 128 << 10

// newHTTP2 makes the factory of HTTP/2 connections. It keeps none itself and dials none: the dialed
// connection comes with the context. That it speaks inside TLS is our affair, not the factory's.
func newHTTP2() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Proxy: nil, DisableCompression: true, MaxResponseHeaderBytes: http1.MaxHead, Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ctx.Value(dialedKey{}).(*frames), nil
		},
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 1 << 20,
			WriteByteTimeout: 10 * time.Second, // a receiver that stops reading must not hold the others' streams
		},
	}
}

type dialedKey struct{}

var errAbandoned = errors.New("the answer came before the request was sent in full")

// startHTTP2 begins HTTP/2 on a connection that has chosen it, with one reservation.
func (c *conn) startHTTP2(ctx context.Context, factory *http.Transport) (err error) {
	c.meter.limited.Store(true)
	c.meter.credit.Store(h2Credit)
	c.frames = watchFrames(c.tls)
	ctx = context.WithValue(ctx, dialedKey{}, c.frames)
	if c.h2, err = factory.NewClientConn(ctx, "http", c.pool.target.address()); err != nil {
		return err
	}
	if err := c.h2.Reserve(); err != nil { // its GOAWAY was faster than our first request
		if c.frames.of(&stream{}).wantsHTTP1 {
			return refusesHTTP2(err)
		}
		return fail(hook.ErrReset, PhaseSend, err, "the receiver takes no request on this connection: %s", err)
	}
	return nil
}

// exchange2 is one exchange on a connection shared with other requests of the same webhook.
func (c *conn) exchange2(ctx context.Context, r *Request, a *Answer) (keep bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, r.Deadline)
	defer cancel()
	t := c.pool.target
	header, err := r.header()
	if err != nil {
		c.h2.Release()
		return true, err
	}
	body := &lentBody{b: r.Body}
	defer body.takeBack()
	s := &stream{}
	defer c.frames.end(s)
	trace := &httptrace.ClientTrace{
		WroteHeaders:   func() { c.frames.begin(s) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error { s.interim = true; return nil },
	}
	request := (&http.Request{
		Method: http.MethodPost, Host: t.hostPort, Header: parseFields(header), Body: body, ContentLength: int64(len(r.Body)),
		URL: t.url,
	}).WithContext(httptrace.WithClientTrace(ctx, trace))
	c.meter.credit.Store(int64(c.h2.InFlight()+1) * h2Credit)
	if err := expired(r); err != nil {
		c.h2.Release()
		return true, err
	}
	began := time.Now()
	resp, err := c.h2.RoundTrip(request)
	if err != nil {
		// The connection may serve its other requests to their end, but no new ones.
		return false, explain2(ended(ctx, err), c.frames.of(s))
	}
	defer resp.Body.Close()
	a.Phases.FirstByte = max(time.Since(began), 1)
	a.Status = resp.StatusCode
	a.RetryAfter = resp.Header.Get("Retry-After")
	a.Header = flatten(resp.Header)
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, http1.MaxBody+1))
	a.Truncated = err != nil || len(a.Body) > http1.MaxBody
	a.Body = a.Body[:min(len(a.Body), http1.MaxBody)]
	return err == nil, nil
}

// explain2 classifies an error of HTTP/2, by what the receiver has said of the request.
func explain2(err error, f fate) error {
	var e net.Error
	switch {
	case errors.Is(err, errFlood):
		return fail(hook.ErrProtocol, PhaseHead, err, "%s", errFlood)
	case timedOut(err) || errors.Is(err, context.Canceled):
		return networkError(PhaseFirstByte, err)
	case f.wantsHTTP1 && f.unprocessed:
		return &unsentError{refusesHTTP2(err)}
	case f.wantsHTTP1:
		return refusesHTTP2(err)
	case f.unprocessed:
		return &unsentError{fail(hook.ErrReset, PhaseSend, err, "the receiver ended the HTTP/2 connection before the request")}
	case errors.As(err, &e) || hungUp(err):
		broken := networkError(PhaseFirstByte, err)
		broken.ended = hungUp(err) && !f.leaving && !f.interim
		return broken
	}
	return fail(hook.ErrProtocol, PhaseHead, err, "HTTP/2: %s", err)
}

// refusesHTTP2 is the error of a receiver that has chosen HTTP/2 and does not serve it.
func refusesHTTP2(err error) *Error {
	e := fail(hook.ErrProtocol, PhaseHead, err, "the receiver chose HTTP/2 and wants HTTP/1.1, which is used from now on")
	e.wantsHTTP1 = true
	return e
}

// parseFields reads header lines.
func parseFields(lines []byte) http.Header {
	header := make(http.Header, 16)
	for line := range strings.SplitSeq(strings.TrimSuffix(string(lines), "\r\n"), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			header[name] = append(header[name], value)
		}
	}
	return header
}

// flatten writes headers as lines, in order of name.
func flatten(header http.Header) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\r\n"))
}

// lentBody reads the caller's bytes as long as the caller waits. HTTP/2 may go on sending a body
// after the answer has come.
type lentBody struct {
	mu   sync.Mutex
	b    []byte
	gone bool
}

func (l *lentBody) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return 0, errAbandoned
	}
	if len(l.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.b)
	l.b = l.b[n:]
	return n, nil
}

func (l *lentBody) Close() error { return nil }

func (l *lentBody) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b, l.gone = nil, true
}
