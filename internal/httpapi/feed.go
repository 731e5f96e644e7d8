package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

type feedIn struct {
	WebhookPath
	After int64 `query:"after" minimum:"0" default:"0" doc:"The sequence after which to begin: that of the last event that the receiver has."`
	Limit int   `query:"limit" minimum:"1" maximum:"250" default:"50"`
}

type feedOut struct{ Body client.Feed }

func (a *API) feedRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/events", id: "pull-events", tag: "Deliveries", need: companyRead, payloads: true,
		summary:     "Pull what a webhook matched",
		description: "In sequence, with data: for a receiver that noticed a gap in X-Atlas-Webhook-Sequence. It changes nothing. Purged events are missing.",
	}, a.feed)
}

func (a *API) feed(ctx context.Context, x *exchange, in *feedIn) (*feedOut, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	list, err := a.opt.Store.Feed(ctx, w.Key, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &feedOut{client.Feed{Data: make([]client.FedEvent, len(list)), Limit: in.Limit, NextAfter: in.After}}
	for i, e := range list {
		out.Body.Data[i] = client.FedEvent{
			Sequence: e.Sequence, EventID: e.ID, Event: e.Topic, ObjectID: orNull(e.ObjectID()), AcceptedAt: e.AcceptedAt, Data: json.RawMessage(e.Data),
		}
		if w.IncludeChanges {
			out.Body.Data[i].Changes = client.Object(e.Changes)
		}
		out.Body.NextAfter = e.Sequence
	}
	return out, nil
}
