package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// tool is one thing that an agent can do.
type tool struct {
	name, title, doc string
	write            bool // for keys with scope write
	sends            bool // a request goes to an endpoint
	arguments        []argument
	run              func(ctx context.Context, c *company, v values) (any, error)
}

// Arguments that several tools take.
var (
	webhookID   = argument{name: "webhook_id", required: true, doc: "The id of a webhook, wh_…"}
	eventID     = argument{name: "event_id", required: true, doc: "The id of an event, as evt_…"}
	maybeTopic  = argument{name: "event", doc: "Only this topic, as conversation.status."}
	maybeObject = argument{name: "object_id", doc: "Only events about this object."}
	maybeFrom   = argument{name: "from", kind: moment, doc: "Only events accepted at or after this time, as 2026-01-31T15:04:05Z."}
	maybeTo     = argument{name: "to", kind: moment, doc: "Only events accepted before this time."}
	maybeLimit  = argument{name: "limit", kind: number, doc: "How many at most, newest first; 20 where it is not given."}
	maybeEvent  = argument{name: "event_id", doc: "The id of an event, as evt_…"}
)

// tools are all of them.
var tools = []tool{
	{
		name: "overview", title: "How the webhooks fare",
		doc: "Counts the company's webhooks by how they fare, with a sentence about each that is in trouble.",
		run: overview,
	},
	{
		name: "why", title: "Why something did not arrive",
		doc:       "Says why an event did not arrive at a webhook: whether the webhook wanted it, its attempts, what the endpoint answered, and what to do. Without an event: how the webhook fares, what its rule made of the latest events, and its latest deliveries that did not get through.",
		arguments: []argument{webhookID, maybeEvent},
		run:       why,
	},
	{
		name: "list_webhooks", title: "Webhooks",
		doc: "Lists the webhooks: endpoint, topics, status and settings.",
		arguments: []argument{
			{name: "status", choices: []string{"ACTIVE", "PAUSED", "INACTIVE"}, doc: "Only those with this status."}, maybeTopic, maybeLimit,
		},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return first(v, c.Webhooks(ctx, client.WebhookFilter{Status: client.Status(v.text("status")), Event: v.text("event"), PageSize: v.rows()}))
		},
	},
	{
		name: "get_webhook", title: "One webhook",
		doc:       "Shows a webhook with its settings and its health: state, last error with advice, what waits and why.",
		arguments: []argument{webhookID},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return c.Webhook(ctx, v.text("webhook_id"))
		},
	},
	{
		name: "list_deliveries", title: "Deliveries of a webhook",
		doc: "Lists a webhook's deliveries: which events it wanted and what became of each.",
		arguments: []argument{
			webhookID,
			{name: "status", choices: []string{"pending", "retrying", "held", "delivered", "failed", "skipped"}, doc: "Only those with this status."},
			maybeTopic, maybeObject, maybeFrom, maybeTo, maybeLimit,
		},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return first(v, c.Deliveries(ctx, v.text("webhook_id"), client.DeliveryFilter{
				Status: client.DeliveryStatus(v.text("status")), Event: v.text("event"), ObjectID: v.text("object_id"),
				From: v.time("from"), To: v.time("to"), PageSize: v.rows(),
			}))
		},
	},
	{
		name: "get_attempts", title: "Attempts of a delivery",
		doc:       "Shows a delivery with its attempts: the request as it was sent, what the endpoint answered, how long each phase took, and advice.",
		arguments: []argument{webhookID, eventID},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return c.Delivery(ctx, v.text("webhook_id"), v.text("event_id"))
		},
	},
	{
		name: "list_events", title: "Events",
		doc:       "Lists events without their data.",
		arguments: []argument{maybeTopic, maybeObject, maybeFrom, maybeTo, maybeLimit},
		run:       listEvents,
	},
	{
		name: "get_event", title: "One event",
		doc:       "Shows an event with its data, and what each webhook made of it, with the reason.",
		arguments: []argument{eventID},
		run:       getEvent,
	},
	{
		name: "list_topics", title: "Topics",
		doc: "Lists what can be subscribed to.",
		run: func(ctx context.Context, c *company, _ values) (any, error) {
			topics, err := c.Topics(ctx)
			for i := range topics {
				topics[i].Sample = nil // get_event shows a real one
			}
			return topics, err
		},
	},
	{
		name: "stats", title: "Figures",
		doc: "Counts what was delivered, failed and retried, with latencies, for all webhooks or one.",
		arguments: []argument{
			maybe(webhookID), {name: "window", choices: []string{"1h", "24h", "7d", "30d"}, doc: "How far back; 24h where it is not given."},
		},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			window := client.Window(v.text("window"))
			if window == "" {
				window = client.Day
			}
			if id := v.text("webhook_id"); id != "" {
				return c.WebhookStats(ctx, id, window)
			}
			return c.Stats(ctx, window)
		},
	},
	{
		name: "list_notices", title: "Notices",
		doc:       "Lists what happened to the webhooks that their owner should know: down, disabled, what was lost by retention.",
		arguments: []argument{maybeLimit},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return first(v, c.Notices(ctx))
		},
	},
	{
		name: "list_replays", title: "Replays of a webhook",
		doc:       "Lists a webhook's replays and how far each is.",
		arguments: []argument{webhookID, maybeLimit},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return first(v, c.Replays(ctx, v.text("webhook_id")))
		},
	},
	{
		name: "test_webhook", title: "Send a test", write: true, sends: true,
		doc: "Sends one signed request to the endpoint and returns the attempt. It is never retried and counts for nothing; at most one a second.",
		arguments: []argument{
			webhookID,
			{name: "event", doc: "The topic; the webhook's first where it is not given."},
			{name: "data", kind: value, doc: "The data, any JSON; the topic's sample where it is not given."},
		},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return c.TestWebhook(ctx, v.text("webhook_id"), client.TestRequest{Event: v.text("event"), Data: v["data"]})
		},
	},
	{
		name: "probe_webhook", title: "Try an endpoint now", write: true, sends: true,
		doc:       "Tries an endpoint that is down, or that asked to wait, now, with one of the deliveries that wait.",
		arguments: []argument{webhookID},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return c.ProbeWebhook(ctx, v.text("webhook_id"))
		},
	},
	{
		name: "retry_delivery", title: "Send one event again", write: true, sends: true,
		doc:       "Sends one event to one webhook again, also one that was delivered.",
		arguments: []argument{webhookID, eventID},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			return c.RetryDelivery(ctx, v.text("webhook_id"), v.text("event_id"))
		},
	},
	{
		name: "replay", title: "Send a stretch of the past again", write: true, sends: true,
		doc: "Sends a stretch of the past to a webhook again, in two calls. The first, without confirmation, sends nothing: it counts what would be sent and returns a confirmation. Show the count to the person who asked. The second, with the same arguments and the confirmation, starts it.",
		arguments: []argument{
			webhookID,
			{name: "from", kind: moment, required: true, doc: "Events accepted at or after this time, as 2026-01-31T15:04:05Z."},
			maybeTo,
			{name: "only", choices: []string{"all", "failed", "undelivered"}, doc: "Which of them: undelivered are failed, skipped, retrying and held ones; undelivered where it is not given."},
			{name: "rules", choices: []string{"then", "current"}, doc: "then: what the webhook wanted when the event was accepted. current: what it wants now, also what it did not want then. then where it is not given."},
			maybeTopic,
			{name: "confirmation", doc: "What the first call returned, once the person who asked has agreed."},
		},
		run: replay,
	},
	{
		name: "cancel_replay", title: "Cancel a replay", write: true,
		doc:       "Ends a replay. What was sent stays sent.",
		arguments: []argument{webhookID, {name: "replay_id", required: true, doc: "The id of a replay, rpl_…"}},
		run: func(ctx context.Context, c *company, v values) (any, error) {
			if err := c.CancelReplay(ctx, v.text("webhook_id"), v.text("replay_id")); err != nil {
				return nil, err
			}
			return c.Replay(ctx, v.text("webhook_id"), v.text("replay_id"))
		},
	},
}

// maybe is an argument that may be left out.
func maybe(a argument) argument {
	a.required = false
	return a
}

// rows are the first of a list.
type rows[T any] struct {
	Data []T  `json:"data"`
	More bool `json:"more"` // there are more than these
}

// first returns as many of a list as were asked for.
func first[T any](v values, list iter.Seq2[T, error]) (rows[T], error) {
	out := rows[T]{Data: []T{}}
	for item, err := range list {
		if err != nil {
			return rows[T]{}, err
		}
		if out.More = len(out.Data) == v.rows(); out.More {
			break
		}
		out.Data = append(out.Data, item)
	}
	return out, nil
}

// troubledShown is how many webhooks in trouble an overview tells about.
const troubledShown = 10

func overview(ctx context.Context, c *company, _ values) (any, error) {
	summary, err := c.WebhookSummary(ctx)
	if err != nil {
		return nil, err
	}
	type troubled struct {
		ID       string         `json:"id"`
		Endpoint string         `json:"endpoint"`
		Status   client.Status  `json:"status"`
		Health   *client.Health `json:"health"`
	}
	out := struct {
		CompanyID string                 `json:"company_id"`
		Webhooks  *client.WebhookSummary `json:"webhooks"`
		Troubled  []troubled             `json:"troubled"`
	}{c.id, summary, []troubled{}}
	for _, id := range summary.Troubled[:min(len(summary.Troubled), troubledShown)] {
		w, err := c.Webhook(ctx, id)
		if err != nil {
			return nil, err
		}
		out.Troubled = append(out.Troubled, troubled{w.ID, w.Endpoint, w.Status, w.Health})
	}
	return out, nil
}

func why(ctx context.Context, c *company, v values) (any, error) {
	id := v.text("webhook_id")
	w, err := c.Webhook(ctx, id)
	if err != nil {
		return nil, err
	}
	if event := v.text("event_id"); event != "" {
		return whyEvent(ctx, c, w, event)
	}
	out := struct {
		Webhook     *client.Webhook    `json:"webhook"`
		Rule        *client.RuleReport `json:"rule"`
		Undelivered []client.Delivery  `json:"undelivered"`
	}{Webhook: w, Undelivered: []client.Delivery{}}
	if out.Rule, err = c.ReportOnRule(ctx, id); err != nil {
		return nil, err
	}
	for _, status := range []client.DeliveryStatus{client.Failed, client.Retrying, client.Held, client.Skipped} {
		some, err := first(values{"limit": json.RawMessage("5")}, c.Deliveries(ctx, id, client.DeliveryFilter{Status: status, PageSize: 5}))
		if err != nil {
			return nil, err
		}
		out.Undelivered = append(out.Undelivered, some.Data...)
	}
	return out, nil
}

// whyEvent says what one webhook made of one event.
func whyEvent(ctx context.Context, c *company, w *client.Webhook, event string) (any, error) {
	out := struct {
		Verdict  *client.Match          `json:"verdict"`
		Delivery *client.DeliveryDetail `json:"delivery"` // null where it was not wanted
		Health   *client.Health         `json:"health"`
	}{Health: w.Health}
	for m, err := range c.ExplainEvent(ctx, event) {
		if err != nil {
			return nil, err
		}
		if m.WebhookID == w.ID {
			out.Verdict = &m
			break
		}
	}
	if out.Verdict != nil && out.Verdict.Status == "" {
		return out, nil
	}
	var err error
	out.Delivery, err = c.Delivery(ctx, w.ID, event)
	return out, err
}

func listEvents(ctx context.Context, c *company, v values) (any, error) {
	events, err := first(v, c.Events(ctx, client.EventFilter{
		Event: v.text("event"), ObjectID: v.text("object_id"), From: v.time("from"), To: v.time("to"), PageSize: v.rows(),
	}))
	for i := range events.Data {
		events.Data[i].Data = nil // get_event shows it
	}
	return events, err
}

func getEvent(ctx context.Context, c *company, v values) (any, error) {
	e, err := c.Event(ctx, v.text("event_id"))
	if err != nil {
		return nil, err
	}
	matches, err := first(values{"limit": json.RawMessage(fmt.Sprint(maxRows))}, c.ExplainEvent(ctx, e.ID))
	return struct {
		Event   *client.Event      `json:"event"`
		Matches rows[client.Match] `json:"matches"`
	}{e, matches}, err
}

func replay(ctx context.Context, c *company, v values) (any, error) {
	id, r := v.text("webhook_id"), client.ReplayCreate{
		From: v.time("from"), Only: client.Extent(v.text("only")), Rules: client.Rules(v.text("rules")), Event: v.text("event"),
	}
	if r.Only == "" {
		r.Only = client.OnlyUndelivered
	}
	if to := v.time("to"); !to.IsZero() {
		r.To = &to
	}
	given := v.text("confirmation")
	if given != "" {
		if err := c.confirmed(v, given); err != nil {
			return nil, err
		}
		return c.CreateReplay(ctx, id, r)
	}
	extent, err := c.MeasureReplay(ctx, id, r)
	if err != nil {
		return nil, err
	}
	return struct {
		*client.ReplayExtent
		Started      bool      `json:"started"`
		Confirmation string    `json:"confirmation"`
		Until        time.Time `json:"confirmation_expires_at"`
	}{extent, false, c.confirmation(v, c.now().Add(confirmable)), c.now().Add(confirmable).UTC()}, nil
}
