// Package client is a typed client of the Atlas Webhooks API.
//
// A [Client] is made from an address and a key, and acts for one company:
//
//	c, err := client.New(client.Config{URL: "https://hooks.example.com", Key: key, Company: "c1"})
//	w, err := c.CreateWebhook(ctx, client.WebhookCreate{Endpoint: "https://example.com/hooks", Events: []string{"conversation.*"}})
//	e, err := c.PublishEvent(ctx, client.Publish{CompanyID: "c1", Event: "conversation.status", Data: conversation})
//
// Every operation of the API's document (GET /openapi.json) has a method. Its name is that of the
// operation, without get and list: CreateWebhook for create-webhook, Webhook for get-webhook,
// Webhooks for list-webhooks. What it returns is what the server answers with: the types are the same.
//
// # Lists
//
// A list is an [iter.Seq2] that asks for the next page when the one before has been read. An error
// is its last element:
//
//	for d, err := range c.Deliveries(ctx, w.ID, client.DeliveryFilter{Status: client.Failed}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(d.EventID, *d.Reason)
//	}
//
// # Errors
//
// What the server refuses is a [*Problem], with a stable code, the fields and the request's id:
//
//	if p, ok := errors.AsType[*client.Problem](err); ok && p.Code == "duplicate_webhook" {
//		return p.ExistingID
//	}
//
// # Repeating
//
// A request that failed for a passing reason is repeated, at most [Config.Retries] times, after a
// random pause that grows, or after the time that the server asks for (Retry-After). That never does
// a thing twice: events get their id before they are sent, what creates gets an Idempotency-Key, and
// a request that has neither is repeated only if the server cannot have carried it out.
//
// # Null
//
// A field that may be null is a pointer. In the body of a change a field left out keeps its value;
// new("text") makes a pointer, and [Change] tells "set back" from "left out".
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config is what a client is made from. URL and Key are required.
type Config struct {
	// URL is where the server is, as https://hooks.example.com; a path before /v1 is kept.
	URL string
	// Key is an operator key (awo_…), a company key (awc_…) or a publish key (awp_…).
	Key string
	// Company is the company to act for. A company key needs none: it has its own.
	Company string
	// Retries is how often a request is repeated at most; 0 means 4, a negative number never.
	Retries int
	// Timeout bounds each try of a request; 0 means 30 s. Streams and exports have no bound but
	// their context.
	Timeout time.Duration
	// UserAgent is the header of this name; "" means atlas-webhooks-go.
	UserAgent string
	// Transport carries the requests; nil means one like [http.DefaultTransport].
	Transport http.RoundTripper
}

// Client calls one server. Its methods may be called concurrently.
type Client struct {
	cfg  Config
	http *http.Client
	// pause waits between two tries, or returns ctx's error.
	pause func(ctx context.Context, d time.Duration) error
}

// New returns a client. It makes no request.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("client: %q is no address of a server, as https://hooks.example.com", c.URL)
	case c.Key == "":
		return nil, errors.New("client: there is no key")
	}
	c.URL = strings.TrimRight(c.URL, "/")
	if c.Retries == 0 {
		c.Retries = 4
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.UserAgent == "" {
		c.UserAgent = "atlas-webhooks-go"
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &Client{cfg: c, pause: pause, http: &http.Client{
		Transport: c.Transport,
		// A redirect would turn a POST into a GET; it is an answer that nobody expects.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// For returns a client that acts for another company, with the same connections. It is for operator
// keys.
func (c *Client) For(company string) *Client {
	other := *c
	other.cfg.Company = company
	return &other
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
