package client

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// AuditEntry is one change: who, what, when.
type AuditEntry struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	Address   *string   `json:"address" doc:"The address from which it was asked for; null where that is not known, and for the engine."`
	Actor     string    `json:"actor" doc:"A key's id, operator, or engine."`
	Action    string    `json:"action" example:"webhook.updated"`
	Object    string    `json:"object" doc:"The id of what was changed."`
	RequestID string    `json:"request_id"`
	Detail    Object    `json:"detail" doc:"What was asked for; never a secret."`
}

// AuditLog lists who changed what, newest first.
func (c *Client) AuditLog(ctx context.Context) iter.Seq2[AuditEntry, error] {
	return list[AuditEntry](ctx, c, get("/v1/audit-log"))
}

// Notice is something that a company should know about one of its webhooks.
type Notice struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	WebhookID string    `json:"webhook_id" doc:"Empty when it is about all of the company's."`
	Kind      string    `json:"kind" example:"down"`
	Detail    string    `json:"detail"`
}

// Notices lists what happened to the webhooks, newest first.
func (c *Client) Notices(ctx context.Context) iter.Seq2[Notice, error] {
	return list[Notice](ctx, c, get("/v1/notices"))
}

// Balance is where everything is that a webhook matched.
type Balance struct {
	WebhookID   string     `json:"webhook_id"`
	Matched     int64      `json:"matched"`
	Delivered   int64      `json:"delivered"`
	Failed      int64      `json:"failed"`
	Skipped     int64      `json:"skipped"`
	Parked      int64      `json:"parked"`
	Pending     int64      `json:"pending"`
	Balanced    bool       `json:"balanced" doc:"matched is the sum of the others."`
	Since       *time.Time `json:"since,omitempty" doc:"With deep: acceptance of the first event that was counted."`
	Complete    *bool      `json:"complete,omitempty" doc:"With deep: nothing was purged, so that both counts must agree."`
	Unexplained *int64     `json:"unexplained,omitempty" doc:"With deep: matches that left no trace. Must be 0."`
}

// Conservation is a page of balances.
type Conservation struct {
	List[Balance]
	Balanced bool `json:"balanced" doc:"All webhooks of this page are."`
}

// CheckConservation lists for each webhook where everything is that it matched. A deep one counts
// anew from the log, which is slow.
func (c *Client) CheckConservation(ctx context.Context, deep bool) iter.Seq2[Balance, error] {
	return list[Balance](ctx, c, get("/v1/conservation").with(url.Values(query{}.flag("deep", deep))))
}
