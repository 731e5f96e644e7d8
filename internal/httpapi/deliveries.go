package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type deliveriesIn struct {
	WebhookPath
	DeliveryFilter
	Paging
}

// DeliveryFilter narrows a list of deliveries.
type DeliveryFilter struct {
	Status     string    `query:"status" enum:"pending,retrying,held,delivered,failed,skipped"`
	Event      string    `query:"event" doc:"A topic."`
	ObjectID   string    `query:"object_id"`
	StatusCode int       `query:"status_code" minimum:"100" maximum:"999" doc:"Of the last attempt."`
	From       time.Time `query:"from" doc:"Accepted at or after."`
	To         time.Time `query:"to" doc:"Accepted before."`
}

type deliveriesOut struct{ Body *client.List[client.Delivery] }

// DeliveryPath is the part of a path that names a delivery.
type DeliveryPath struct {
	WebhookPath
	EventID string `path:"event_id"`
}

type deliveryOut struct{ Body client.DeliveryDetail }

func (a *API) deliveryRoutes() {
	const tag = "Deliveries"
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/deliveries", id: "list-deliveries", tag: tag, need: companyRead,
		summary: "List a webhook's deliveries", description: "Newest event first.",
	}, a.listDeliveries)
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/deliveries/{event_id}", id: "get-delivery", tag: tag, need: companyRead, payloads: true,
		summary: "One delivery with its attempts", description: "Requests as they were sent, secrets masked; what was answered, how long each phase took, and advice.",
	}, a.getDelivery)
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/deliveries/{event_id}/retry", id: "retry-delivery", tag: tag, need: companyWrite,
		status: http.StatusAccepted, conflicts: true,
		summary: "Send again", description: "Any event that matched, also a delivered one. A pending one will be sent anyway: 409.",
	}, a.retryDelivery)
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/deliveries/{event_id}/curl", id: "sign-curl", tag: tag, need: companyWrite, payloads: true,
		summary: "The request as a command, validly signed", description: "Signed now, with the secret that is in force. Custom header values stand as $NAME. Who asked is in the audit log.",
	}, a.signedCurl)
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/deliveries/{event_id}/explain", id: "explain-signature", tag: tag, need: companyWrite, conflicts: true,
		summary:     "Which mistake your code makes",
		description: "Takes apart what a receiver's code computed for a request: which key, timestamp, body and function give it. The secret stays here. One search at a time for each company; who asked is in the audit log.",
	}, a.explainSignature)
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/test", id: "test-webhook", tag: tag, need: companyWrite,
		summary: "Send a test", description: "One attempt beside the queue, signed like any other, in any status; never retried or counted. 200 also when the endpoint failed. At most one a second.",
	}, a.testWebhook)
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/probe", id: "probe-webhook", tag: tag, need: companyWrite, status: http.StatusAccepted, live: true, conflicts: true,
		summary:     "Try a down or throttled endpoint now",
		description: "What waits for its endpoint's recovery, or for the time that it asked for, is tried now instead: one delivery, and if that succeeds the others. 409 nothing_waits when there is none: send a test, which does the same if it is answered 2xx.",
	}, a.probeWebhook)
}

// query turns the parameters into the store's question.
func (f DeliveryFilter) query(topics *hook.Catalogue) (store.DeliveryQuery, error) {
	q := store.DeliveryQuery{Status: hook.DeliveryStatus(f.Status), Topic: f.Event, ObjectID: f.ObjectID, StatusCode: f.StatusCode}
	if f.Event != "" && !topics.Was(f.Event) {
		return q, badParameter("event", "unknown_topic", unknownTopic(topics, f.Event))
	}
	q.From, q.To = timeOrNil(f.From), timeOrNil(f.To)
	return q, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (a *API) listDeliveries(ctx context.Context, x *exchange, in *deliveriesIn) (*deliveriesOut, error) {
	q, err := in.query(a.catalogue())
	if err != nil {
		return nil, err
	}
	if q.Before, err = in.offset(); err != nil {
		return nil, err
	}
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	q.Limit = in.Limit
	list, more, err := a.opt.Store.Deliveries(ctx, w.Key, q)
	if err != nil {
		return nil, err
	}
	return &deliveriesOut{listByOffset(in.Paging, list, more, shapeDelivery)}, nil
}

func shapeHead(d *store.Delivery) client.DeliveryHead {
	s := client.DeliveryHead{
		EventID: d.EventID, Event: d.Topic, ObjectID: orNull(d.ObjectID()), Sequence: d.Sequence, Unmatched: d.Unmatched, Status: d.Status, Reason: orNull(d.Reason),
		LastAttemptAt: d.LastAttemptAt, NextAttemptAt: d.NextAttemptAt, AcceptedAt: d.AcceptedAt,
	}
	if d.LastStatus != 0 {
		s.LastStatusCode = &d.LastStatus
	}
	if d.LastAttemptAt != nil {
		ms := milliseconds(d.LastDuration)
		s.LastDurationMS = &ms
	}
	return s
}

func shapeDelivery(d store.Delivery) client.Delivery {
	return client.Delivery{DeliveryHead: shapeHead(&d), Attempts: d.Attempts}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// delivery reads what a path names, with its webhook: one of the company's.
func (a *API) delivery(ctx context.Context, x *exchange, in *DeliveryPath) (*hook.Webhook, *store.DeliveryDetail, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, nil, err
	}
	d, err := a.opt.Store.Delivery(ctx, w.Key, in.EventID)
	if err != nil {
		return nil, nil, err
	}
	return w, d, nil
}

func (a *API) getDelivery(ctx context.Context, x *exchange, in *DeliveryPath) (*deliveryOut, error) {
	w, d, err := a.delivery(ctx, x, in)
	if err != nil {
		return nil, err
	}
	out := &deliveryOut{client.DeliveryDetail{
		DeliveryHead: shapeHead(&d.Delivery), WebhookID: w.ID,
		Attempts: make([]client.Attempt, len(d.History)), AttemptsMore: d.HistoryMore,
	}}
	replays := map[int64]string{}
	for i := range d.History {
		h := &d.History[i]
		sent := sentRequest{webhook: w, event: d.Event, attempt: h, agent: a.opt.Version}
		if h.Replay != 0 {
			if sent.replay, err = a.replayID(ctx, replays, h.Replay); err != nil {
				return nil, err
			}
		}
		out.Body.Attempts[i] = shapeAttempt(&sent)
	}
	last := sentRequest{webhook: w, event: d.Event, attempt: nextAttempt(w, d), agent: a.opt.Version}
	out.Body.Curl = last.curl(placeholder)
	return out, nil
}

// replayID finds the id of a replay that caused attempts.
func (a *API) replayID(ctx context.Context, known map[int64]string, key int64) (string, error) {
	if id, ok := known[key]; ok {
		return id, nil
	}
	r, err := a.opt.Store.ReplayByKey(ctx, key)
	if hook.IsKind(err, hook.KindNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	known[key] = r.ID
	return r.ID, nil
}

func (a *API) retryDelivery(ctx context.Context, x *exchange, in *DeliveryPath) (*struct{ Body client.Delivery }, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	d, err := a.opt.Store.RequestRetry(ctx, w.Key, in.EventID, x.audit("delivery.retried", map[string]any{"event_id": in.EventID}))
	if err != nil {
		return nil, err
	}
	a.kick(w.Key)
	a.probe(w.Key)
	return &struct{ Body client.Delivery }{shapeDelivery(*d)}, nil
}

func (a *API) probeWebhook(ctx context.Context, x *exchange, in *WebhookPath) (*struct{ Body client.Health }, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	h, err := a.health(ctx, w)
	if err != nil {
		return nil, err
	}
	if w.Status == hook.Active && h.Backlog.Count+h.Parked == 0 {
		return nil, hook.Refuse(hook.KindConflict, "nothing_waits", "no event waits that the endpoint could be tried with; send a test")
	}
	if err := a.opt.Store.RequestProbe(ctx, x.company.Key, w.ID, x.audit("webhook.probed", nil)); err != nil {
		return nil, err
	}
	a.probe(w.Key)
	return &struct{ Body client.Health }{*h}, nil
}

// probe has an endpoint that is down, or that asked to wait, tried now.
func (a *API) probe(key hook.WebhookKey) {
	if a.opt.Engine != nil {
		a.opt.Engine.Probe(key)
	}
}
