package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// demonstration is a demo while it runs: who receives what, and what has arrived so far.
type demonstration struct {
	program   *Program
	pace      rate.Limit
	screen    *screen // nil: nobody watches
	keyFile   string  // where the operator key is; "" where one was given
	endpoints []*endpoint

	mu        sync.Mutex // what follows, and the counts of the endpoints
	published int
	sent      map[string]time.Time // by event id: when its publication began, until it arrived first
	took      []time.Duration      // of the latest first arrivals
}

// endpoint is one receiver of the demo and what it has seen.
type endpoint struct {
	name     string
	topics   []string
	script   []receiver.Behaviour
	secret   string
	receiver *receiver.Receiver
	webhook  string // its id

	waiting                              int // for the server to deliver, as it says
	requests, delivered, refused, forged int
}

// run starts the receivers and the server, tells the story, and ends them in the order in which
// they need each other: senders before receivers.
func (d *demonstration) run(ctx context.Context, server Server) error {
	listening, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	var receivers errgroup.Group
	for _, e := range d.endpoints {
		receivers.Go(func() error { return e.receiver.Run(listening) })
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error {
		select {
		case <-server.Ready():
		case <-ctx.Done():
			return nil
		}
		err := d.tell(ctx, server)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // it ends when it is told to, and has no other end
		}
		return err
	})
	err := group.Wait()
	hangUp()
	return errors.Join(err, receivers.Wait())
}

// tell subscribes the receivers, then publishes, and shows every second how it stands.
func (d *demonstration) tell(ctx context.Context, server Server) error {
	api, err := newCaller(config.Client{URL: server.URL(), APIKey: server.OperatorKey(), Company: demoCompany})
	if err != nil {
		return err
	}
	if _, err := api.PutTopic(ctx, ownTopic.Name, client.TopicPut{
		Category: ownTopic.Category, Description: ownTopic.Description, Sample: json.RawMessage(ownTopic.Sample), Schema: json.RawMessage(ownTopic.Schema),
	}); err != nil {
		return fmt.Errorf("add the topic %s: %w", ownTopic.Name, err)
	}
	for _, e := range d.endpoints {
		w, err := api.CreateWebhook(ctx, client.WebhookCreate{
			Endpoint: e.receiver.URL() + e.name, Events: e.topics, Description: "demo: " + e.name,
			SigningSecret: e.secret, RetryScheduleSeconds: []float64{1, 2, 4, 8, 15, 30, 60},
		})
		if err != nil {
			return fmt.Errorf("subscribe %s: %w", e.name, err)
		}
		e.webhook = w.ID
	}
	d.program.progress("The server is at %s. Three webhooks are subscribed: helpdesk, which answers everything,\n"+
		"billing, which fails a dozen requests now and then, and warehouse, which always fails. Ctrl-C ends the demo.\n"+
		"Beside the built-in topics there is one of the demo's own, %s.\n", server.URL(), ownTopic.Name)
	if d.keyFile != "" {
		d.program.progress("The operator key is in %s, until the demo ends.\n", d.keyFile)
	}
	if err := d.showConsole(ctx, api); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.publish(ctx, api) })
	group.Go(func() error { return d.show(ctx, api) })
	return group.Wait()
}

// showConsole prints a link that opens the console signed in, once.
func (d *demonstration) showConsole(ctx context.Context, api *caller) error {
	link, err := api.CreateConsoleLink(ctx, demoCompany, client.ConsoleLinkCreate{TTLSeconds: 3600})
	if err != nil {
		return fmt.Errorf("make a link to the console: %w", err)
	}
	d.program.progress("Open this once, within the hour, and look at what happens:\n\n  %s\n", link.URL)
	return nil
}

// ownTopic is a topic as a platform adds it.
var ownTopic = hook.Topic{
	Name: "order.shipped", Category: "ORDER", Description: "An order has left the warehouse.",
	Sample: `{"id":"order-1","customer":"customer-1","carrier":"post","parcels":2}`,
	Schema: `{"type":"object","required":["id","carrier"],"properties":{"id":{"type":"string"},"customer":{"type":"string"},"carrier":{"type":"string"},"parcels":{"type":"integer","minimum":1}}}`,
}

// publish sends samples of all topics in turn, each about one of twenty objects.
func (d *demonstration) publish(ctx context.Context, api *caller) error {
	pace := rate.NewLimiter(d.pace, 1)
	topics := append(hook.Topics(), ownTopic)
	for n := 0; ; n++ {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		t := topics[n%len(topics)]
		data, err := setAll([]byte(t.Sample), []string{fmt.Sprintf("id=%s-%d", strings.ToLower(t.Category), n/len(topics)%20)})
		if err != nil {
			return err
		}
		now := time.Now()
		id := hook.NewID(hook.EventPrefix, now)
		d.mu.Lock()
		d.published++
		d.sent[id] = now
		d.mu.Unlock()
		if _, err := api.PublishEvent(ctx, client.Publish{CompanyID: demoCompany, Event: t.Name, ID: id, Data: json.RawMessage(data)}); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
}

// received is told of every request that an endpoint gets.
func (d *demonstration) received(e *endpoint, got receiver.Delivery) {
	id := got.Header.Get(wire.HeaderEventID)
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, first := d.sent[id]; first {
		delete(d.sent, id)
		d.took = append(d.took, got.At.Sub(at))
		d.took = d.took[max(0, len(d.took)-1000):]
	}
	e.requests++
	switch {
	case got.Invalid != nil:
		e.forged++
	case got.Answer != "200":
		e.refused++
	default:
		e.delivered++
	}
}

// show shows every second how it stands: in place on a terminal, else a line.
func (d *demonstration) show(ctx context.Context, api *caller) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			d.ask(ctx, api)
			switch {
			case d.program.quiet:
			case d.screen != nil:
				d.screen.draw(d.board(now.Sub(start)))
			default:
				d.program.progress("%4.0f s  %s", now.Sub(start).Seconds(), d.line())
			}
		}
	}
}

// ask asks the server what waits for each endpoint: one that is down is not tried, so that its receiver
// cannot know.
func (d *demonstration) ask(ctx context.Context, api *caller) {
	for _, e := range d.endpoints {
		w, err := api.Webhook(ctx, e.webhook)
		if err != nil || w.Health == nil {
			continue // it stands as it was
		}
		d.mu.Lock()
		e.waiting = w.Health.Backlog.Count + w.Health.Parked
		d.mu.Unlock()
	}
}

// board is how it stands, as lines of equal columns.
func (d *demonstration) board(length time.Duration) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	head := fmt.Sprintf("%4.0f s  published %d", length.Seconds(), d.published)
	if p50 := median(d.took); p50 > 0 {
		head += fmt.Sprintf(", publish to receive %.1f ms", float64(p50)/float64(time.Millisecond))
	}
	lines := []string{head, fmt.Sprintf("        %-10s %10s %8s %8s", "", "delivered", "refused", "waiting")}
	for _, e := range d.endpoints {
		lines = append(lines, fmt.Sprintf("        %-10s %10d %8d %8d", e.name, e.delivered, e.refused, e.waiting))
	}
	return lines
}

func (d *demonstration) line() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	parts := []string{fmt.Sprintf("published %d", d.published)}
	for _, e := range d.endpoints {
		parts = append(parts, fmt.Sprintf("%s %d delivered, %d waiting", e.name, e.delivered, e.waiting))
	}
	if p50 := median(d.took); p50 > 0 {
		parts = append(parts, fmt.Sprintf("publish to receive %.1f ms", float64(p50)/float64(time.Millisecond)))
	}
	return strings.Join(parts, " | ")
}

func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}

// endpointRecord is what an endpoint came to.
type endpointRecord struct {
	Endpoint  string `json:"endpoint"`
	Requests  int    `json:"requests"`
	Delivered int    `json:"delivered"`
	Refused   int    `json:"refused"`
	Forged    int    `json:"not_verified"`
	Waiting   int    `json:"waiting"`
}

// summary prints what came of it. A signature that did not verify is a failure of ours.
func (d *demonstration) summary() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []endpointRecord
	forged := 0
	for _, e := range d.endpoints {
		list = append(list, endpointRecord{e.name, e.requests, e.delivered, e.refused, e.forged, e.waiting})
		forged += e.forged
	}
	err := records(d.program, "ENDPOINT REQUESTS DELIVERED REFUSED NOT-VERIFIED WAITING", list, func(r endpointRecord) []string {
		return []string{r.Endpoint, fmt.Sprint(r.Requests), fmt.Sprint(r.Delivered), fmt.Sprint(r.Refused), fmt.Sprint(r.Forged), fmt.Sprint(r.Waiting)}
	})
	if forged > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests did not verify", forged))
	}
	return err
}
