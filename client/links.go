package client

import (
	"context"
	"iter"
	"time"
)

// ConsoleLink opens the console for a company, once.
type ConsoleLink struct {
	ID               string     `json:"id"`
	URL              string     `json:"url,omitempty" doc:"Only in the answer to its creation. The token stands behind #, so that no server and no log sees it."`
	CompanyID        string     `json:"company_id"`
	ReadOnly         bool       `json:"read_only"`
	CreatedBy        string     `json:"created_by"`
	CreatedAt        time.Time  `json:"created_at"`
	ExpiresAt        time.Time  `json:"expires_at" doc:"When the link stops working, if it was not used."`
	UsedAt           *time.Time `json:"used_at"`
	SessionExpiresAt *time.Time `json:"session_expires_at" doc:"When the session ends that it opened."`
	RevokedAt        *time.Time `json:"revoked_at"`
}

// ConsoleLinkCreate is a link that is to be made.
type ConsoleLinkCreate struct {
	TTLSeconds int64 `json:"ttl_seconds,omitempty"` // how long it waits to be used, 30 to 3600; 300 when 0
	ReadOnly   bool  `json:"read_only,omitempty"`
}

// CreateConsoleLink makes a link that opens the console without a sign-in. It ends with the key of
// this client, and so does the session that it opens.
func (c *Client) CreateConsoleLink(ctx context.Context, company string, l ConsoleLinkCreate) (*ConsoleLink, error) {
	return fetch[ConsoleLink](ctx, c, post("/v1/companies/{id}/console-links", l, company).once())
}

// ConsoleLinks lists a company's links, newest first.
func (c *Client) ConsoleLinks(ctx context.Context, company string) iter.Seq2[ConsoleLink, error] {
	return list[ConsoleLink](ctx, c, get("/v1/companies/{id}/console-links", company))
}

// RevokeConsoleLink ends a link and the session that it opened.
func (c *Client) RevokeConsoleLink(ctx context.Context, company, link string) error {
	return c.do(ctx, remove("/v1/companies/{id}/console-links/{id}", company, link), nil)
}
