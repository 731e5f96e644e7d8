package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"time"
)

// Company is a tenant and its defaults. nil means that the server's default holds.
type Company struct {
	ID                     string           `json:"id"`
	DefaultSignatureScheme *SignatureScheme `json:"default_signature_scheme"`
	DefaultDataFormat      *DataFormat      `json:"default_data_format"`
	AllowNetworks          []string         `json:"allow_networks"` // private networks that its endpoints may lie in
	MaxWebhooks            *int             `json:"max_webhooks"`   // nil = as many as the server allows
	CreatedAt              time.Time        `json:"created_at"`
	UpdatedAt              time.Time        `json:"updated_at"`
}

// CompanyUpdate is a change of a company. A field left out keeps its value.
type CompanyUpdate struct {
	DefaultSignatureScheme Change[SignatureScheme] `json:"default_signature_scheme,omitzero"`
	DefaultDataFormat      Change[DataFormat]      `json:"default_data_format,omitzero"`
	AllowNetworks          []string                `json:"allow_networks,omitzero"`
	MaxWebhooks            Change[int]             `json:"max_webhooks,omitzero"`
}

// Companies lists the companies. It needs an operator key.
func (c *Client) Companies(ctx context.Context) iter.Seq2[Company, error] {
	return list[Company](ctx, c, get("/v1/companies"))
}

// Company returns one company. It needs an operator key.
func (c *Client) Company(ctx context.Context, id string) (*Company, error) {
	return fetch[Company](ctx, c, get("/v1/companies/{id}", id))
}

// UpdateCompany sets a company's defaults and limits. It needs an operator key.
func (c *Client) UpdateCompany(ctx context.Context, id string, u CompanyUpdate) (*Company, error) {
	k := post("/v1/companies/{id}", u, id).again()
	k.method = http.MethodPatch
	return fetch[Company](ctx, c, k)
}

// Node is one process of the installation, and what it runs.
type Node struct {
	ID         string          `json:"id"` // made at each start
	URL        string          `json:"url"`
	Version    string          `json:"version"`
	Store      string          `json:"store"` // the engine that keeps the log
	StartedAt  time.Time       `json:"started_at"`
	LeaseUntil *time.Time      `json:"lease_until"` // nil with the embedded store, which needs no lease
	InFlight   int             `json:"in_flight"`   // attempts under way or not yet recorded
	Leaving    bool            `json:"leaving"`     // it hands its partitions over and takes none
	HeldSince  *time.Time      `json:"held_since"`  // when the store was restored, while it delivers nothing until an operator lets it
	Partitions []NodePartition `json:"partitions"`
	// Authorities is nil of another node than the one that answers.
	Authorities *NodeAuthorities `json:"certificate_authorities"`
	OwnFault    *NodeFault       `json:"own_fault"` // that its attempts met within the last minute; nil of another node, too
}

// NodeFault is a fault of a node that holds deliveries up: its resolver, its egress proxy, its routes.
type NodeFault struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	LastAt time.Time `json:"last_at"` // when an attempt met it last
}

// NodeAuthorities are the certificate authorities that a node verifies endpoints by.
type NodeAuthorities struct {
	Count  int    `json:"count"` // -1: the system keeps them to itself
	Source string `json:"source"`
}

// NodePartition is a partition of the log as its node runs it; offsets count its events.
type NodePartition struct {
	Partition int   `json:"partition"`
	Tail      int64 `json:"tail"`  // the last event that was offered to its webhooks
	Swept     int64 `json:"swept"` // up to here a start has nothing to read again but what lags or is parked
	Lag       int64 `json:"lag"`   // events between the two
}

// Nodes lists the installation's processes. It needs an operator key.
func (c *Client) Nodes(ctx context.Context) iter.Seq2[Node, error] {
	return list[Node](ctx, c, get("/v1/nodes"))
}

// Era is a time in which the store never went back.
type Era struct {
	Number  int64     `json:"number"` // counted from 1
	BeganAt time.Time `json:"began_at"`
	Cause   string    `json:"cause"` // why it began; empty for the first one
	// What was acknowledged from the one to the other may be missing; nil when nothing is.
	MissingFrom *time.Time `json:"missing_from"`
	MissingTo   *time.Time `json:"missing_to"`
}

// Eras lists when the store went back, because a standby was promoted or a copy restored, newest first.
// It needs an operator key.
func (c *Client) Eras(ctx context.Context) iter.Seq2[Era, error] {
	return list[Era](ctx, c, get("/v1/eras"))
}

// Backup writes a backup of everything to w: a file that the command restore reads. It holds all that
// was acknowledged before. One that breaks off returns an error, and is none. It needs an operator key.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	answer, err := c.open(ctx, get("/v1/backup"))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	n, err := io.Copy(w, answer.Body)
	if err == nil && n != answer.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Key is an API key of a company.
type Key struct {
	ID         string     `json:"id"`
	Key        string     `json:"key,omitempty"` // in the answer to its creation only
	CompanyID  string     `json:"company_id"`
	Name       string     `json:"name"`
	Scope      Scope      `json:"scope"`
	Hint       string     `json:"hint"` // its last four characters
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at"` // to within ten minutes
	RevokedAt  *time.Time `json:"revoked_at"`
}

// KeyCreate is a key that is to be made.
type KeyCreate struct {
	Name      string     `json:"name,omitempty"`
	Scope     Scope      `json:"scope"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// CreateKey makes a key. A company's own write key can make read keys.
func (c *Client) CreateKey(ctx context.Context, company string, k KeyCreate) (*Key, error) {
	return fetch[Key](ctx, c, post("/v1/companies/{id}/keys", k, company).once())
}

// Keys lists a company's keys, newest first.
func (c *Client) Keys(ctx context.Context, company string) iter.Seq2[Key, error] {
	return list[Key](ctx, c, get("/v1/companies/{id}/keys", company))
}

// RevokeKey makes a key open nothing any more, within five seconds on all nodes.
func (c *Client) RevokeKey(ctx context.Context, company, key string) error {
	return c.do(ctx, remove("/v1/companies/{id}/keys/{id}", company, key), nil)
}
