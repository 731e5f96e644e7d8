package client

import (
	"context"
	"iter"
	"time"
)

// ReplayCreate is a stretch of the past that is to be sent again.
type ReplayCreate struct {
	From          time.Time  `json:"from"`                      // events accepted at or after
	To            *time.Time `json:"to,omitempty"`              // events accepted before; nil = up to now
	Only          Extent     `json:"only,omitempty"`            // "" = all
	Rules         Rules      `json:"rules,omitempty"`           // "" = then
	Event         string     `json:"event,omitempty"`           // a topic; "" = all
	RatePerSecond float64    `json:"rate_per_second,omitempty"` // 0 = the webhook's own
}

// replayRequest is the body of a replay and of its measurement.
type replayRequest struct {
	ReplayCreate
	DryRun bool `json:"dry_run,omitempty"`
}

// Replay is a wish to send again, and how far it is.
type Replay struct {
	ID            string       `json:"id"`
	WebhookID     string       `json:"webhook_id"`
	Status        ReplayStatus `json:"status" enum:"running,done,cancelled"`
	From          time.Time    `json:"from"`
	To            *time.Time   `json:"to"`
	Only          Extent       `json:"only" enum:"all,failed,undelivered"`
	Rules         Rules        `json:"rules" enum:"then,current"`
	Event         *string      `json:"event"`
	RatePerSecond *float64     `json:"rate_per_second"`
	Progress      float64      `json:"progress" doc:"Which part of its events has been looked at, 0 to 1."`
	Started       int64        `json:"started" doc:"Deliveries begun."`
	Delivered     int64        `json:"delivered"`
	Failed        int64        `json:"failed"`
	CreatedAt     time.Time    `json:"created_at"`
	FinishedAt    *time.Time   `json:"finished_at"`
}

// ReplayExtent is what a replay would send.
type ReplayExtent struct {
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes" doc:"Of data."`
	Exact bool  `json:"exact" doc:"False: counting stopped after 100,000 events."`
}

// CreateReplay sends a stretch of the past again. There is one at a time for a webhook.
func (c *Client) CreateReplay(ctx context.Context, webhook string, r ReplayCreate) (*Replay, error) {
	return fetch[Replay](ctx, c, post("/v1/webhooks/{id}/replays", replayRequest{ReplayCreate: r}, webhook).once())
}

// MeasureReplay counts what a replay would send. It sends nothing.
func (c *Client) MeasureReplay(ctx context.Context, webhook string, r ReplayCreate) (*ReplayExtent, error) {
	return fetch[ReplayExtent](ctx, c, post("/v1/webhooks/{id}/replays", replayRequest{r, true}, webhook).again())
}

// Replays lists a webhook's replays, newest first.
func (c *Client) Replays(ctx context.Context, webhook string) iter.Seq2[Replay, error] {
	return list[Replay](ctx, c, get("/v1/webhooks/{id}/replays", webhook))
}

// Replay returns one replay.
func (c *Client) Replay(ctx context.Context, webhook, replay string) (*Replay, error) {
	return fetch[Replay](ctx, c, get("/v1/webhooks/{id}/replays/{id}", webhook, replay))
}

// CancelReplay ends a replay. Attempts in flight end; what waits is forgotten.
func (c *Client) CancelReplay(ctx context.Context, webhook, replay string) error {
	return c.do(ctx, remove("/v1/webhooks/{id}/replays/{id}", webhook, replay), nil)
}
