package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted is a server of which each try gets the next answer: a status, with a code and a pause,
// or an error.
type scripted struct {
	answers []any
	tries   []*http.Request
	bodies  []string
	pauses  []time.Duration
}

type answer struct {
	status int
	code   string
	after  string // Retry-After
	body   string
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		text, _ := io.ReadAll(r.Body)
		body = string(text)
	}
	s.tries, s.bodies = append(s.tries, r), append(s.bodies, body)
	next := s.answers[min(len(s.tries), len(s.answers))-1]
	if err, ok := next.(error); ok {
		return nil, err
	}
	a := next.(answer)
	if a.code != "" {
		a.body = fmt.Sprintf(`{"status":%d,"code":%q,"request_id":"req_1"}`, a.status, a.code)
	}
	h := http.Header{}
	if a.after != "" {
		h.Set("Retry-After", a.after)
	}
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

func (s *scripted) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(Config{URL: "http://test", Key: "k", Transport: s})
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(_ context.Context, d time.Duration) error {
		s.pauses = append(s.pauses, d)
		return nil
	}
	return c
}

// TestRepeats: which failures are worth another try depends on what the server may have done.
func TestRepeats(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	reset := &net.OpError{Op: "read", Err: errors.New("connection reset")}
	read := func(c *Client) error { return second(c.Event(t.Context(), "evt_1")) }
	publish := func(c *Client) error { return second(c.PublishEvent(t.Context(), Publish{CompanyID: "c1"})) }
	create := func(c *Client) error { return second(c.CreateWebhook(t.Context(), WebhookCreate{})) }
	test := func(c *Client) error { return second(c.TestWebhook(t.Context(), "wh_1", TestRequest{})) }
	change := func(c *Client) error {
		return second(c.UpdateWebhook(t.Context(), "wh_1", WebhookUpdate{Status: Paused}))
	}
	guarded := func(c *Client) error {
		return second(c.UpdateWebhook(t.Context(), "wh_1", WebhookUpdate{IfMatch: `"1"`}))
	}
	remove := func(c *Client) error { return c.DeleteWebhook(t.Context(), "wh_1", "") }
	fine := answer{status: 200, body: "{}"}
	busy := answer{status: 503, code: "intake_full", after: "2"}
	unknown := answer{status: 503, code: "outcome_unknown", after: "1"}
	for name, test := range map[string]struct {
		call    func(*Client) error
		answers []any
		tries   int
		fails   bool
	}{
		"nothing happened":               {read, []any{fine}, 1, false},
		"refused connection":             {test, []any{refused, refused, fine}, 3, false},
		"busy":                           {test, []any{busy, fine}, 2, false},
		"limited":                        {test, []any{answer{status: 429, code: "rate_limited", after: "1"}, fine}, 2, false},
		"still in progress":              {create, []any{answer{status: 409, code: "idempotency_in_progress"}, fine}, 2, false},
		"lost, read":                     {read, []any{reset, fine}, 2, false},
		"lost, publish":                  {publish, []any{reset, unknown, fine}, 3, false},
		"lost, create":                   {create, []any{reset, fine}, 2, false},
		"lost, change":                   {change, []any{reset, fine}, 2, false},
		"lost, change of a version":      {guarded, []any{reset, fine}, 1, true},
		"lost, test":                     {test, []any{reset, fine}, 1, true},
		"gateway, test":                  {test, []any{answer{status: 502}, fine}, 1, true},
		"gateway, read":                  {read, []any{answer{status: 504, body: "<html>"}, fine}, 2, false},
		"not by the server, test":        {test, []any{answer{status: 503}, fine}, 1, true},
		"lost, deleted":                  {remove, []any{reset, answer{status: 404, code: "not_found"}}, 2, false},
		"was never there":                {remove, []any{answer{status: 404, code: "not_found"}}, 1, true},
		"busy, was never there":          {remove, []any{busy, answer{status: 404, code: "not_found"}}, 2, true},
		"a mistake":                      {read, []any{answer{status: 422, code: "invalid"}}, 1, true},
		"conflict":                       {create, []any{answer{status: 409, code: "duplicate_webhook"}}, 1, true},
		"our fault":                      {read, []any{answer{status: 500, code: "internal_error"}}, 1, true},
		"redirect":                       {read, []any{answer{status: 301}}, 1, true},
		"what is no JSON":                {read, []any{answer{status: 200, body: "<html>"}}, 1, true},
		"in the end it gives up":         {read, []any{busy}, 5, true},
		"a pause longer than it waits":   {read, []any{answer{status: 503, code: "x", after: "31"}}, 1, true},
		"an answer that breaks off":      {read, []any{answer{status: 200, body: `{"id":`}, fine}, 2, false},
		"an answer that breaks off late": {test, []any{answer{status: 200, body: `{"id":`}, fine}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scripted{answers: test.answers}
			err := test.call(s.client(t))
			if len(s.tries) != test.tries || (err != nil) != test.fails {
				t.Errorf("%d tries and %v", len(s.tries), err)
			}
			for i := range s.tries {
				if s.bodies[i] != s.bodies[0] || s.tries[i].Header.Get("Idempotency-Key") != s.tries[0].Header.Get("Idempotency-Key") {
					t.Errorf("try %d is another request: %s", i+1, s.bodies[i])
				}
			}
			for i, pause := range s.pauses {
				if pause < 100*time.Millisecond<<i || pause > longestPause {
					t.Errorf("pause %d is %s", i+1, pause)
				}
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	s := &scripted{answers: []any{answer{status: 429, code: "x", after: "7"}, answer{status: 200, body: "{}"}}}
	if _, err := s.client(t).Event(t.Context(), "e"); err != nil || !slices.Equal(s.pauses, []time.Duration{7 * time.Second}) {
		t.Error(err, s.pauses)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "-1": 0, "soon": 0, "12": 12 * time.Second, "99999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestNoRetries(t *testing.T) {
	s := &scripted{answers: []any{answer{status: 429}}}
	c := s.client(t)
	c.cfg.Retries = -1
	if _, err := c.Event(t.Context(), "e"); err == nil || len(s.tries) != 1 {
		t.Error(err, len(s.tries))
	}
}

// TestContextEnds: neither a pause nor a try outlives its context.
func TestContextEnds(t *testing.T) {
	s := &scripted{answers: []any{answer{status: 503, code: "busy"}}}
	c := s.client(t)
	c.pause = pause
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Event(ctx, "e"); err == nil || len(s.tries) != 1 {
		t.Error(err, len(s.tries))
	}
	hangs := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer slow.Close()
	defer close(hangs)
	c, err := New(Config{URL: slow.URL, Key: "k", Timeout: 20 * time.Millisecond, Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Event(t.Context(), "e"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestNoID(t *testing.T) {
	s := &scripted{answers: []any{answer{status: 200, body: "{}"}}}
	for _, id := range []string{"", ".", ".."} {
		if _, err := s.client(t).Webhook(t.Context(), id); err == nil || len(s.tries) > 0 {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestStreamGoesOn: a stream that breaks off is asked for again from the last event on.
func TestStreamGoesOn(t *testing.T) {
	s := &scripted{answers: []any{
		answer{status: 200, body: "retry: 1\n\n: hello\n\nid: x-1\nevent: attempt\ndata: {\"number\":1}\n\nid: x-2\nevent: att"},
		answer{status: 503},
		answer{status: 503},
		answer{status: 503},
		answer{status: 503},
		answer{status: 503},
		answer{status: 502}, // more often than Retries
		answer{status: 200, body: "event: gap\ndata: {}\n\nevent: other\ndata: 1\n\nid: x-3\nevent: attempt\ndata: {\"number\":3}\n\n"},
		answer{status: 403, code: "scope_not_allowed"},
	}}
	var got []string
	for a, err := range s.client(t).StreamAttempts(t.Context(), "") {
		switch {
		case errors.Is(err, ErrGap):
			got = append(got, "gap")
		case err != nil:
			got = append(got, err.Error())
		default:
			got = append(got, fmt.Sprint(a.Number))
		}
	}
	if want := []string{"1", "gap", "3", "scope_not_allowed (403) [request req_1]"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	var ids []string
	for _, r := range s.tries {
		ids = append(ids, r.Header.Get("Last-Event-ID"))
	}
	if want := []string{"", "x-1", "x-3"}; !slices.Equal(slices.Compact(ids), want) {
		t.Errorf("%q", ids)
	}
}
