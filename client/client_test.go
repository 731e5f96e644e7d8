package client

import (
	"bytes"
	"context"
	"encoding/json"
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

func TestProblem(t *testing.T) {
	c := at(t, "problems")
	_, err := c.CreateWebhook(t.Context(), WebhookCreate{Endpoint: "https://example.com/", Events: []string{"conversation", "custommer"}, TimeoutMS: 1})
	p, ok := errors.AsType[*Problem](err)
	if !ok || p.Status != 422 || p.RequestID == "" || len(p.Errors) == 0 || !strings.Contains(p.Error(), p.RequestID) {
		t.Fatal(err)
	}
	one := WebhookCreate{Endpoint: "https://example.com/", Event: "conversation"}
	w, err := c.CreateWebhook(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateWebhook(t.Context(), one)
	if p, ok := errors.AsType[*Problem](err); !ok || p.Code != "duplicate_webhook" || p.ExistingID != w.ID {
		t.Error(err)
	}
	for text, p := range map[string]*Problem{
		"the server answered 502 Bad Gateway":                  {Status: 502},
		"not_found (404): no such event [request r]":           {Status: 404, Code: "not_found", Detail: "no such event", RequestID: "r"},
		"invalid (422): a: is odd; b: too":                     {Status: 422, Code: "invalid", Detail: "a: is odd", Errors: []FieldError{{Field: "a", Detail: "is odd"}, {Field: "b", Detail: "too"}}},
		"the server answered 503 Service Unavailable: no room": {Status: 503, Detail: "no room"},
	} {
		if p.Error() != text {
			t.Errorf("%q, want %q", p.Error(), text)
		}
	}
}

func TestNew(t *testing.T) {
	for _, url := range []string{"", "localhost:8080", "ftp://host", "https://", "https://host?x=1", "https://host#x", "https://a b"} {
		if _, err := New(Config{URL: url, Key: "k"}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
	if _, err := New(Config{URL: "https://host"}); err == nil {
		t.Error("no key is taken")
	}
}

func TestNoID(t *testing.T) {
	s := &scripted{answers: []any{answer{status: 200, body: "{}"}}}
	for _, id := range []string{"", ".", ".."} {
		if _, err := s.client(t).Webhook(t.Context(), id); err == nil || len(s.tries) > 0 {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestDataIsKept: a document's own text reaches the receiver.
func TestDataIsKept(t *testing.T) {
	c := at(t, "texts")
	got := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	}))
	defer receiver.Close()
	if _, err := c.CreateWebhook(t.Context(), WebhookCreate{Endpoint: receiver.URL, Event: "customer", DataFormat: DataObject}); err != nil {
		t.Fatal(err)
	}
	const text = `{"id": 1.50, "a":"<b>&",  "a":12345678901234567890}`
	sent, err := c.PublishEvent(t.Context(), Publish{CompanyID: c.cfg.Company, Event: "customer", Data: json.RawMessage(text)})
	if err != nil {
		t.Fatal(err)
	}
	if body := <-got; body != `{"event":"customer","data":`+text+`}` {
		t.Error(body)
	}
	for _, data := range []string{`1},"event":"customer`, "", "{", "1 2"} {
		if _, err := c.PublishEvent(t.Context(), Publish{CompanyID: c.cfg.Company, Event: "customer", Data: json.RawMessage(data)}); err == nil {
			t.Errorf("%q was published", data)
		}
	}
	again, err := c.PublishEvent(t.Context(), Publish{CompanyID: c.cfg.Company, Event: "customer", ID: sent.ID, Data: json.RawMessage(text)})
	if err != nil || !again.Duplicate {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := c.PublishEvent(t.Context(), Publish{CompanyID: c.cfg.Company, Event: "customer", Data: `{"a":1}`}); err == nil {
		t.Error("data that was encoded twice is taken")
	}
	if _, err := c.PublishEvent(t.Context(), Publish{CompanyID: c.cfg.Company, Event: "customer", Data: `{"a":1}`, AllowStringData: true}); err != nil {
		t.Error(err)
	}
}

// TestLists: pages follow each other, a list can be left early and read twice.
func TestLists(t *testing.T) {
	c := at(t, "lists")
	var events []Publish
	for n := range 7 {
		events = append(events, Publish{CompanyID: c.cfg.Company, Event: "customer", ID: fmt.Sprintf("e%d", n), Data: map[string]int{"id": n}})
	}
	batch, err := c.PublishBatch(t.Context(), events)
	if err != nil || batch.Accepted != 7 {
		t.Fatal(batch, err)
	}
	list := c.Events(t.Context(), EventFilter{PageSize: 3})
	for range 2 {
		var ids []string
		for e, err := range list {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		if want := []string{"e6", "e5", "e4", "e3", "e2", "e1", "e0"}; !slices.Equal(ids, want) {
			t.Error(ids)
		}
	}
	for e := range list {
		if e.ID == "e4" {
			break
		}
	}
	for n := range 5 {
		if _, err := c.CreateWebhook(t.Context(), WebhookCreate{Endpoint: fmt.Sprintf("https://example.com/%d", n), Events: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for w, err := range c.Webhooks(t.Context(), WebhookFilter{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 2 { // moves the others to the next page
			if _, err := c.CreateWebhook(t.Context(), WebhookCreate{Endpoint: "https://example.com/late", Events: []string{"*"}}); err != nil {
				t.Fatal(err)
			}
		}
		if w.SigningSecret != "" || w.ID == "" {
			t.Errorf("%+v", w)
		}
	}
	if seen != 5 {
		t.Errorf("%d webhooks", seen)
	}
	if err := last(c.For("nobody").Events(t.Context(), EventFilter{})); err != nil {
		t.Error(err)
	}
	for range c.For("nobody").Events(t.Context(), EventFilter{}) {
		t.Error("another company's events are listed")
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := last(at(t, "").Events(t.Context(), EventFilter{})); err == nil {
		t.Error("a list without a company has no error")
	}
}

// TestEveryField: nothing that a real server answers is dropped.
func TestEveryField(t *testing.T) {
	got := make(chan struct{}, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got <- struct{}{} }))
	defer receiver.Close()
	c := at(t, "fields")
	w, err := c.CreateWebhook(t.Context(), WebhookCreate{
		Endpoint: receiver.URL, Events: []string{"customer.*"}, Description: "d", Metadata: map[string]any{"a": 1}, Headers: map[string]string{"X-Own": "v"},
		RetryScheduleSeconds: []float64{}, RateLimitPerSecond: 100, Filter: "data.id > 0",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.RetryScheduleSeconds) != 0 || *w.Filter != "data.id > 0" || w.ETag == "" || w.SigningSecret == "" {
		t.Errorf("%+v", w)
	}
	u, err := c.UpdateWebhook(t.Context(), w.ID, WebhookUpdate{Filter: Clear[string](), RateLimitPerSecond: To(5.0), Description: new(""), Metadata: map[string]any{}, IfMatch: w.ETag})
	if err != nil || u.Filter != nil || *u.RateLimitPerSecond != 5 || u.Description != "" || string(u.Metadata) != "{}" {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := c.UpdateWebhook(t.Context(), w.ID, WebhookUpdate{Status: Paused, IfMatch: w.ETag}); err == nil {
		t.Error("an old version is changed")
	}
	e, err := c.PublishEvent(t.Context(), Publish{CompanyID: c.cfg.Company, Event: "customer.updated", Data: json.RawMessage(`{"id":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	<-got
	for path, shape := range map[string]any{
		"/v1/webhooks/" + w.ID: new(Webhook), "/v1/webhooks": new(webhookList), "/v1/webhooks/" + w.ID + "/secret": new(Secret),
		"/v1/events/" + e.ID: new(Event), "/v1/events": new(page[Event]), "/v1/events/" + e.ID + "/matches": new(page[Match]),
		"/v1/webhooks/" + w.ID + "/deliveries": new(page[Delivery]), "/v1/webhooks/" + w.ID + "/deliveries/" + e.ID: new(DeliveryDetail),
		"/v1/webhooks/" + w.ID + "/events": new(feed), "/v1/conservation": new(conservation), "/v1/audit-log": new(page[AuditEntry]),
		"/v1/stats": new(Stats), "/v1/companies/" + c.cfg.Company: new(Company), "/v1/topics": new(topicList),
	} {
		raw, err := fetch[json.RawMessage](t.Context(), c, get(path))
		if err != nil {
			t.Error(path, err)
			continue
		}
		d := json.NewDecoder(bytes.NewReader(*raw))
		d.DisallowUnknownFields()
		if err := d.Decode(shape); err != nil {
			t.Errorf("%s: %v in %s", path, err, *raw)
		}
	}
}

func TestStream(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	c := at(t, "stream")
	w, err := c.CreateWebhook(t.Context(), WebhookCreate{Endpoint: receiver.URL, Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	published := make(chan error, 1)
	go func() { // until the stream, which begins at an unknown moment, has seen one
		for ctx.Err() == nil {
			_, err := c.PublishEvent(ctx, Publish{CompanyID: c.cfg.Company, Event: "customer", Data: 1})
			if err != nil || pause(ctx, 20*time.Millisecond) != nil {
				published <- err
				return
			}
		}
	}()
	for a, err := range c.StreamAttempts(ctx, w.ID) {
		if err != nil || a.WebhookID != w.ID || a.Outcome != OutcomeDelivered || *a.StatusCode != 200 {
			t.Fatalf("%+v, %v", a, err)
		}
		break
	}
	stop()
	if err := <-published; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestStreamGoesOn: a stream that breaks off is asked for again from the last event on.
func TestStreamGoesOn(t *testing.T) {
	s := &scripted{answers: []any{
		answer{status: 200, body: "retry: 1\n\n: hello\n\nid: x-1\nevent: attempt\ndata: {\"number\":1}\n\nid: x-2\nevent: att"},
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
	if want := []string{"", "x-1", "x-3"}; !slices.Equal(ids, want) {
		t.Errorf("%q", ids)
	}
}
