package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/atlas-webhooks/atlas-webhooks/client" // these start the server, which knows this package
)

func TestProblem(t *testing.T) {
	company := own("problems")
	c := at(t, company)
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

// TestDataIsKept: a document's own text reaches the receiver.
func TestDataIsKept(t *testing.T) {
	company := own("texts")
	c := at(t, company)
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
	sent, err := c.PublishEvent(t.Context(), Publish{CompanyID: company, Event: "customer", Data: json.RawMessage(text)})
	if err != nil {
		t.Fatal(err)
	}
	if body := <-got; body != `{"event":"customer","data":`+text+`}` {
		t.Error(body)
	}
	for _, data := range []string{`1},"event":"customer`, "", "{", "1 2"} {
		if _, err := c.PublishEvent(t.Context(), Publish{CompanyID: company, Event: "customer", Data: json.RawMessage(data)}); err == nil {
			t.Errorf("%q was published", data)
		}
	}
	again, err := c.PublishEvent(t.Context(), Publish{CompanyID: company, Event: "customer", ID: sent.ID, Data: json.RawMessage(text)})
	if err != nil || !again.Duplicate {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := c.PublishEvent(t.Context(), Publish{CompanyID: company, Event: "customer", Data: `{"a":1}`}); err == nil {
		t.Error("data that was encoded twice is taken")
	}
	if _, err := c.PublishEvent(t.Context(), Publish{CompanyID: company, Event: "customer", Data: `{"a":1}`, AllowStringData: true}); err != nil {
		t.Error(err)
	}
}

// TestLists: pages follow each other, a list can be left early and read twice.
func TestLists(t *testing.T) {
	company := own("lists")
	c := at(t, company)
	var events []Publish
	for n := range 7 {
		events = append(events, Publish{CompanyID: company, Event: "customer", ID: fmt.Sprintf("e%d", n), Data: map[string]int{"id": n}})
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
	company := own("fields")
	c := at(t, company)
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
	if _, err := c.PublishEvent(t.Context(), Publish{CompanyID: company, Event: "customer.updated", Data: json.RawMessage(`{"id":1}`)}); err != nil {
		t.Fatal(err)
	}
	<-got
}

func TestStream(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	company := own("stream")
	c := at(t, company)
	w, err := c.CreateWebhook(t.Context(), WebhookCreate{Endpoint: receiver.URL, Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	published := make(chan error, 1)
	go func() { // until the stream, which begins at an unknown moment, has seen one
		for ctx.Err() == nil {
			_, err := c.PublishEvent(ctx, Publish{CompanyID: company, Event: "customer", Data: 1})
			if err != nil {
				published <- err
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		published <- nil
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
