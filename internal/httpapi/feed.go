package httpapi

import (
	"context"
	"net/http"
	"time"
)

// Feed is a stretch of the events that a webhook matched, oldest first.
type Feed struct {
	Data  []FedEvent `json:"data"`
	Limit int        `json:"limit"`
	Next  int64      `json:"next_after" doc:"The value of after for what follows; the same again at the end."`
}

// FedEvent is an event in a webhook's pull feed, with the body as a delivery would carry it.
type FedEvent struct {
	Sequence   int64     `json:"sequence"`
	EventID    string    `json:"event_id"`
	Event      string    `json:"event"`
	ObjectID   *string   `json:"object_id"`
	AcceptedAt time.Time `json:"accepted_at"`
	Data       Document  `json:"data"`
}

type feedIn struct {
	WebhookPath
	After int64 `query:"after" minimum:"0" default:"0" doc:"The sequence after which to begin: that of the last event that the receiver has."`
	Limit int   `query:"limit" minimum:"1" maximum:"250" default:"50"`
}

type feedOut struct{ Body Feed }

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
	out := &feedOut{Feed{Data: make([]FedEvent, len(list)), Limit: in.Limit, Next: in.After}}
	for i, e := range list {
		out.Body.Data[i] = FedEvent{e.Sequence, e.ID, e.Topic, orNull(e.ObjectID()), e.AcceptedAt, Document(e.Data)}
		out.Body.Next = e.Sequence
	}
	return out, nil
}
