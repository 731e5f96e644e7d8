package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// call is one operation: what is sent, and whether it may be sent again.
type call struct {
	method string
	path   string // with {id} for each id, in order
	ids    []string
	query  url.Values
	header http.Header
	body   any // nil: none; []byte: as it is; anything else: as JSON
	// creates: an Idempotency-Key keeps the server from doing it twice.
	creates bool
	// repeatable: doing it twice is as good as once.
	repeatable bool
	// long: nothing but the context bounds it.
	long bool
}

func get(path string, ids ...string) call {
	return call{method: http.MethodGet, path: path, ids: ids, repeatable: true}
}

func post(path string, body any, ids ...string) call {
	return call{method: http.MethodPost, path: path, body: body, ids: ids}
}

func put(path string, body any, ids ...string) call {
	return call{method: http.MethodPut, path: path, body: body, ids: ids, repeatable: true}
}

func remove(path string, ids ...string) call {
	return call{method: http.MethodDelete, path: path, ids: ids, repeatable: true}
}

func (k call) with(query url.Values) call {
	k.query = query
	return k
}

// once makes a call that creates something.
func (k call) once() call {
	k.creates = true
	return k
}

// again makes a call that may be carried out twice.
func (k call) again() call {
	k.repeatable = true
	return k
}

// Pauses between two tries: random between half of it and all of it, doubled each time. A server
// that asks for a longer pause than longestPause gets no further try.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 30 * time.Second
)

// fetch makes a call and decodes its answer as a T.
func fetch[T any](ctx context.Context, c *Client, k call) (*T, error) {
	out := new(T)
	if err := c.do(ctx, k, out); err != nil {
		return nil, err
	}
	return out, nil
}

// do makes a call and decodes its answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, k call, out any) error {
	return c.try(ctx, k, func(answer *http.Response) error {
		defer answer.Body.Close()
		if out == nil {
			_, err := io.Copy(io.Discard, answer.Body)
			return err
		}
		return json.NewDecoder(answer.Body).Decode(out)
	})
}

// open makes a call and returns its answer, whose body the caller reads and closes.
func (c *Client) open(ctx context.Context, k call) (answer *http.Response, err error) {
	k.long = true
	err = c.try(ctx, k, func(r *http.Response) error {
		answer = r
		return nil
	})
	return answer, err
}

// try makes tries of a call until one succeeds or another one cannot help.
func (c *Client) try(ctx context.Context, k call, use func(*http.Response) error) error {
	build, err := c.request(k)
	if err != nil {
		return err
	}
	unsure := false // an earlier try may have been carried out
	for n := 0; ; n++ {
		err := c.once(ctx, k, build, use)
		if p, ok := errors.AsType[*Problem](err); ok && unsure && k.method == http.MethodDelete && p.Status == http.StatusNotFound {
			return nil // the earlier try did it
		}
		if err == nil || ctx.Err() != nil {
			return explain(k, err)
		}
		v := judge(err)
		repeatable := k.repeatable || k.creates
		if !v.passing || v.unsure && !repeatable || n >= c.cfg.Retries || v.after > longestPause {
			return explain(k, err)
		}
		unsure = unsure || v.unsure
		if c.pause(ctx, max(v.after, backoff(n))) != nil {
			return explain(k, err)
		}
	}
}

// once makes one try. An answer that is an error is a [*Problem].
func (c *Client) once(ctx context.Context, k call, build builder, use func(*http.Response) error) error {
	if !k.long {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
	}
	r, err := build(ctx)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close()
		return problemOf(answer)
	}
	return use(answer)
}

// explain says which call failed. A problem says enough by itself.
func explain(k call, err error) error {
	if _, ok := errors.AsType[*Problem](err); ok || err == nil {
		return err
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // its text repeats method and address
	}
	return fmt.Errorf("%s %s: %w", k.method, k.path, err)
}

// backoff is the pause after the n-th try, counted from 0.
func backoff(n int) time.Duration {
	d := min(firstPause<<min(n, 10), longestPause)
	return d/2 + rand.N(d/2)
}

// verdict is what a failure says about another try.
type verdict struct {
	passing bool          // another try may succeed
	unsure  bool          // the server may have carried this one out
	after   time.Duration // not before
}

// judge decides about a failed try.
func judge(err error) verdict {
	p, answered := errors.AsType[*Problem](err)
	if !answered {
		var dial *net.OpError
		unreached := errors.As(err, &dial) && dial.Op == "dial"
		_, malformed := errors.AsType[*json.SyntaxError](err)
		_, mistyped := errors.AsType[*json.UnmarshalTypeError](err)
		return verdict{passing: !malformed && !mistyped && !errors.Is(err, errBuild), unsure: !unreached}
	}
	switch {
	case p.Status == http.StatusTooManyRequests, p.Code == "idempotency_in_progress":
		return verdict{passing: true, after: p.RetryAfter}
	case p.Status == http.StatusServiceUnavailable:
		return verdict{passing: true, unsure: p.Code == "" || p.Code == "outcome_unknown", after: p.RetryAfter}
	case p.Status == http.StatusBadGateway || p.Status == http.StatusGatewayTimeout:
		return verdict{passing: true, unsure: true, after: p.RetryAfter}
	}
	return verdict{}
}

// builder makes the request of one try.
type builder func(context.Context) (*http.Request, error)

// errBuild marks a call that cannot be made at all.
var errBuild = errors.New("client")

// request checks a call and returns a function that makes the request of each try: all of them are
// the same.
func (c *Client) request(k call) (builder, error) {
	path, err := fill(k.path, k.ids)
	if err != nil {
		return nil, err
	}
	address := c.cfg.URL + path
	if len(k.query) > 0 {
		address += "?" + k.query.Encode()
	}
	body, err := encode(k.body)
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", errBuild, k.method, k.path, err)
	}
	header := http.Header{}
	maps.Copy(header, k.header)
	header.Set("Authorization", "Bearer "+c.cfg.Key)
	header.Set("User-Agent", c.cfg.UserAgent)
	if c.cfg.Company != "" {
		header.Set("X-Atlas-Company-Id", c.cfg.Company)
	}
	if body != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	if k.creates && header.Get("Idempotency-Key") == "" {
		header.Set("Idempotency-Key", hook.NewID("idk", time.Now()))
	}
	return func(ctx context.Context) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, k.method, address, bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBuild, err)
		}
		r.Header = header.Clone()
		return r, nil
	}, nil
}

// fill puts ids into a path. An empty one would name another resource.
func fill(path string, ids []string) (string, error) {
	parts := strings.Split(path, "{id}")
	for i, id := range ids {
		if id == "" || id == "." || id == ".." {
			return "", fmt.Errorf("%w: %s: %q is no id", errBuild, path, id)
		}
		parts[i] += url.PathEscape(id)
	}
	return strings.Join(parts, ""), nil
}

// encode makes a body's bytes. Nothing is escaped that JSON does not ask for.
func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(body)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
