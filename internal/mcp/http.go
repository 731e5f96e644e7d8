package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/ingress"
)

// Limits of those who ask over HTTP. What a tool asks the API for counts to the limits of the key as well.
const (
	requestBytes = 512 << 10
	toolBytes    = 4 << 20 // of one answer of the API
)

// Handler serves the tools by streamable HTTP, without sessions: a request holds everything, any node
// answers it, and nothing waits for a client that went away. Tools call the API as it is served to everybody,
// with the key of the request, so that an agent may do what its key may and no more.
func Handler(api http.Handler, version string) http.Handler {
	answers := &ingress.Budget{Total: 64 << 20, OfOne: 4 * toolBytes, Wait: 5 * time.Second}
	protocol := mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		s, _ := r.Context().Value(serverKey{}).(*mcp.Server)
		return s
	}, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true, MaxRequestBodyBytes: requestBytes, PropagateRequestCancellation: true,
		// Every request needs a key, which no page has; and a proxy on this machine hands on our public name.
		DisableLocalhostProtection: true,
	})
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		server, company, err := serverFor(r, api, strings.TrimSpace(key), version)
		if err != nil {
			refuse(w, err)
			return
		}
		if err := single(r); err != nil {
			refuse(w, err)
			return
		}
		lease, err := answers.Take(r.Context(), company, toolBytes)
		if err != nil {
			refuse(w, &client.Problem{Status: http.StatusServiceUnavailable, Code: "too_many_answers", Detail: err.Error(), RetryAfter: time.Second})
			return
		}
		defer lease.Release()
		protocol.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), serverKey{}, server)))
	}))
}

type serverKey struct{}

// single refuses a batch: each of its calls would hold an answer. The protocol has none since 2025-06-18.
func single(r *http.Request) error {
	body := bufio.NewReader(r.Body)
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	for n := 1; n <= 256; n++ {
		begin, err := body.Peek(n)
		if err != nil {
			return nil //nolint:nilerr // whoever reads it says what is wrong
		}
		switch begin[n-1] {
		case ' ', '\t', '\r', '\n':
		case '[':
			return &client.Problem{Status: http.StatusBadRequest, Code: "no_batches", Detail: "send one message in a request"}
		default:
			return nil
		}
	}
	return &client.Problem{Status: http.StatusBadRequest, Code: "malformed_json", Detail: "the body begins with hundreds of blanks"}
}

// serverFor makes a server for one request, with what its key may do.
func serverFor(r *http.Request, api http.Handler, key, version string) (*mcp.Server, string, error) {
	if key == "" {
		key = "none" // the API says what is wrong with it
	}
	c, err := client.New(client.Config{
		URL: "http://" + inside, Key: key, Retries: -1, UserAgent: r.UserAgent(), Transport: &within{api, r},
	})
	if err != nil {
		return nil, "", &client.Problem{Status: http.StatusUnauthorized, Code: "unauthorized", Detail: err.Error()}
	}
	who, err := c.Caller(r.Context())
	if err != nil {
		return nil, "", err
	}
	s, err := New(c, who, []byte(key), version)
	if err != nil {
		return nil, "", &client.Problem{Status: http.StatusForbidden, Code: "company_key_required", Detail: err.Error()}
	}
	return s, *who.CompanyID, nil
}

// refuse answers a request that gets no server.
func refuse(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		p = &client.Problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: err.Error(), RetryAfter: time.Second}
	}
	h := w.Header()
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds()+0.999)))
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// inside is the host of requests that leave no process.
const inside = "api.invalid"

// within carries requests to a handler in this process, as if they came from whom another request came from.
type within struct {
	api  http.Handler
	from *http.Request
}

// RoundTrip makes a request.
func (x *within) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := r.Clone(r.Context())
	asked.RequestURI, asked.RemoteAddr, asked.Host = asked.URL.RequestURI(), x.from.RemoteAddr, x.from.Host
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	x.api.ServeHTTP(answer, asked)
	if answer.over {
		return nil, fmt.Errorf("the answer has more than %d bytes: ask for fewer, or for one", toolBytes)
	}
	return &http.Response{
		Status: http.StatusText(answer.status), StatusCode: answer.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.header, Body: io.NopCloser(&answer.body), ContentLength: int64(answer.body.Len()), Request: r,
	}, nil
}

// recorder keeps an answer, up to toolBytes.
type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
	over   bool
}

// Header is that of the answer.
func (x *recorder) Header() http.Header { return x.header }

// WriteHeader begins the answer.
func (x *recorder) WriteHeader(status int) {
	if !x.wrote && status >= http.StatusOK {
		x.status, x.wrote = status, true
	}
}

var errAnswerTooLong = errors.New("the answer is longer than a tool's may be")

func (x *recorder) Write(b []byte) (int, error) {
	x.wrote = true
	if x.over = x.over || x.body.Len()+len(b) > toolBytes; x.over {
		return 0, errAnswerTooLong
	}
	return x.body.Write(b)
}
