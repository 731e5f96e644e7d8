package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// The examples run against a server whose address and operator key are in the environment.
func newClient(company string) *client.Client {
	c, err := client.New(client.Config{
		URL: os.Getenv("ATLAS_WEBHOOKS_URL"), Key: os.Getenv("ATLAS_WEBHOOKS_API_KEY"), Company: company,
	})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// Subscribe, publish, and receive what was published.
func Example() {
	ctx, c := context.Background(), newClient("example")

	// A receiver, as its owner would write it; the secret comes with the subscription.
	verifier := &webhook.Verifier{}
	received := make(chan *webhook.Event)
	receiver := httptest.NewServer(verifier.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		event, _ := webhook.FromContext(r.Context())
		received <- event
	})))
	defer receiver.Close()

	w, err := c.CreateWebhook(ctx, client.WebhookCreate{Endpoint: receiver.URL, Events: []string{"conversation.*"}})
	if err != nil {
		log.Fatal(err)
	}
	verifier.Secrets = []string{w.SigningSecret}

	_, err = c.PublishEvent(ctx, client.Publish{
		CompanyID: "example", Event: "conversation.status", ID: "status-17", Data: map[string]any{"id": "c-17", "status": "CLOSED"},
	})
	if err != nil {
		log.Fatal(err)
	}
	e := <-received
	fmt.Println(e.Topic, string(e.Data))
	// Output: conversation.status {"id":"c-17","status":"CLOSED"}
}

// A refusal has a code for programs, and says which fields are wrong.
func ExampleProblem() {
	c := newClient("example")
	_, err := c.PublishEvent(context.Background(), client.Publish{CompanyID: "example", Event: "conversation.stat", Data: 1})
	if p, ok := errors.AsType[*client.Problem](err); ok {
		fmt.Println(p.Status, p.Code)
		fmt.Println(p.Detail)
	}
	// Output:
	// 422 unknown_topic
	// event: there is no such topic; did you mean conversation.status?
}

// Publishing again under the same id is harmless: the first answer comes again.
func ExampleClient_PublishEvent() {
	ctx, c := context.Background(), newClient("example")
	e := client.Publish{CompanyID: "example", Event: "customer.created", ID: "customer-5-created", Data: map[string]int{"id": 5}}
	for range 2 {
		p, err := c.PublishEvent(ctx, e)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.ID, p.Duplicate)
	}
	// Output:
	// customer-5-created false
	// customer-5-created true
}

// A list asks for its pages by itself; leaving the loop ends it.
func ExampleClient_Events() {
	ctx, c := context.Background(), newClient("lists")
	for n := range 3 {
		_, err := c.PublishEvent(ctx, client.Publish{
			CompanyID: "lists", Event: "customer_notes", ID: fmt.Sprintf("note-%d", n), Data: map[string]int{"id": n},
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	for e, err := range c.Events(ctx, client.EventFilter{Event: "customer_notes"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.ID, string(e.Data))
	}
	// Output:
	// note-2 {"id":2}
	// note-1 {"id":1}
	// note-0 {"id":0}
}

// Why did a webhook not get an event?
func ExampleClient_ExplainEvent() {
	ctx, c := context.Background(), newClient("why")
	_, err := c.CreateWebhook(ctx, client.WebhookCreate{
		Endpoint: "https://example.com/hooks", Event: "conversation.priority", Filter: `data.priority == "URGENT"`, Status: client.Paused,
	})
	if err != nil {
		log.Fatal(err)
	}
	e, err := c.PublishEvent(ctx, client.Publish{CompanyID: "why", Event: "conversation.priority", Data: map[string]string{"priority": "LOW"}})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range c.ExplainEvent(ctx, e.ID) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Verdict, "-", m.Reason)
	}
	// Output: filter_failed - its filter said no: data.priority == "URGENT"
}

// A change says only what is to become different. Clear sets a field back, and IfMatch makes sure
// that nobody changed the webhook meanwhile.
func ExampleClient_UpdateWebhook() {
	ctx, c := context.Background(), newClient("changes")
	w, err := c.CreateWebhook(ctx, client.WebhookCreate{Endpoint: "https://example.com/hooks", Event: "customer", Filter: "data.id > 9"})
	if err != nil {
		log.Fatal(err)
	}
	w, err = c.UpdateWebhook(ctx, w.ID, client.WebhookUpdate{
		Status: client.Paused, Description: new("moves on Monday"), Filter: client.Clear[string](), RateLimitPerSecond: client.To(20.0), IfMatch: w.ETag,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Status, w.Description, w.Filter == nil, *w.RateLimitPerSecond)
	// Output: PAUSED moves on Monday true 20
}

// What would be sent again since an outage, before it is.
func ExampleClient_MeasureReplay() {
	ctx, c := context.Background(), newClient("replays")
	w, err := c.CreateWebhook(ctx, client.WebhookCreate{Endpoint: "https://example.com/hooks", Event: "customer", Status: client.Paused})
	if err != nil {
		log.Fatal(err)
	}
	extent, err := c.MeasureReplay(ctx, w.ID, client.ReplayCreate{From: time.Now().Add(-time.Hour), Only: client.OnlyUndelivered})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(extent.Count, extent.Exact)
	// Output: 0 true
}
