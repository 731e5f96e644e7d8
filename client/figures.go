package client

import (
	"context"
	"net/url"
	"time"
)

// Stats are figures over a window, in buckets. Buckets in which nothing happened are left out.
type Stats struct {
	Window        Window    `json:"window" enum:"1h,24h,7d,30d"`
	From          time.Time `json:"from"`
	To            time.Time `json:"to"`
	BucketSeconds int64     `json:"bucket_seconds"`
	Total         Figures   `json:"total"`
	Data          []Bucket  `json:"data"`
	Scheduled     *int      `json:"scheduled,omitempty" doc:"Events that wait for their deliver_at now; only in the figures of all webhooks."`
}

// Bucket is the figures of one stretch of time, from At on.
type Bucket struct {
	At time.Time `json:"at" doc:"Where it begins."`
	Figures
}

// Figures are what happened.
type Figures struct {
	Delivered           int64       `json:"delivered"`
	Failed              int64       `json:"failed" doc:"For good."`
	Retried             int64       `json:"retried" doc:"Attempts that failed and were or will be repeated."`
	LatencyMS           Percentiles `json:"latency_ms" doc:"How long endpoints took to answer."`
	AcceptToDeliveredMS Percentiles `json:"accept_to_delivered_ms"` // from 202 to the receiver's answer
}

// Percentiles are at most 20 % off; nil when there is nothing to count.
type Percentiles struct {
	P50 *float64 `json:"p50"`
	P95 *float64 `json:"p95"`
	P99 *float64 `json:"p99"`
}

// Stats returns the figures of all webhooks; "" is a day.
func (c *Client) Stats(ctx context.Context, w Window) (*Stats, error) {
	return fetch[Stats](ctx, c, get("/v1/stats").with(url.Values(query{}.text("window", string(w)))))
}

// WebhookStats returns the figures of one webhook; "" is a day.
func (c *Client) WebhookStats(ctx context.Context, webhook string, w Window) (*Stats, error) {
	return fetch[Stats](ctx, c, get("/v1/webhooks/{id}/stats", webhook).with(url.Values(query{}.text("window", string(w)))))
}
