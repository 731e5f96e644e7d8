package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"time"
)

// AuditEntry is one change: who, what, when.
type AuditEntry struct {
	ID        string          `json:"id"`
	At        time.Time       `json:"at"`
	Address   *string         `json:"address"` // from where; nil where that is not known
	Actor     string          `json:"actor"`   // a key's id, operator, or engine
	Action    string          `json:"action"`
	Object    string          `json:"object"` // the id of what was changed
	RequestID string          `json:"request_id"`
	Detail    json.RawMessage `json:"detail"` // an object
}

// AuditLog lists who changed what, newest first.
func (c *Client) AuditLog(ctx context.Context) iter.Seq2[AuditEntry, error] {
	return list[AuditEntry](ctx, c, get("/v1/audit-log"))
}

// Notice is something that a company should know about one of its webhooks.
type Notice struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	WebhookID string    `json:"webhook_id"` // empty when it is about all of them
	Kind      string    `json:"kind"`
	Detail    string    `json:"detail"`
}

// Notices lists what happened to the webhooks, newest first.
func (c *Client) Notices(ctx context.Context) iter.Seq2[Notice, error] {
	return list[Notice](ctx, c, get("/v1/notices"))
}

// Balance is where everything is that a webhook matched.
type Balance struct {
	WebhookID string `json:"webhook_id"`
	Matched   int64  `json:"matched"`
	Delivered int64  `json:"delivered"`
	Failed    int64  `json:"failed"`
	Skipped   int64  `json:"skipped"`
	Parked    int64  `json:"parked"`
	Pending   int64  `json:"pending"`
	Balanced  bool   `json:"balanced"` // Matched is the sum of the others
	// Of a deep count: acceptance of the first event counted; that nothing was purged, so that both
	// counts must agree; and matches that left no trace, of which there must be none.
	Since       *time.Time `json:"since,omitempty"`
	Complete    *bool      `json:"complete,omitempty"`
	Unexplained *int64     `json:"unexplained,omitempty"`
}

// conservation is a page of balances.
type conservation struct {
	page[Balance]
	Balanced bool `json:"balanced"`
}

// CheckConservation lists for each webhook where everything is that it matched. A deep one counts
// anew from the log, which is slow.
func (c *Client) CheckConservation(ctx context.Context, deep bool) iter.Seq2[Balance, error] {
	return list[Balance](ctx, c, get("/v1/conservation").with(url.Values(query{}.flag("deep", deep))))
}
