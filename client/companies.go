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
	DefaultSignatureScheme *SignatureScheme `json:"default_signature_scheme" doc:"Of webhooks created without one."`
	DefaultDataFormat      *DataFormat      `json:"default_data_format" doc:"Of webhooks created without one."`
	AllowNetworks          []string         `json:"allow_networks" doc:"Networks that its endpoints may lie in although they are private, in CIDR notation."`
	MaxWebhooks            *int             `json:"max_webhooks" doc:"null: as many as the server allows."`
	Validate               *string          `json:"validate" enum:"off,warn,reject" doc:"What becomes of events whose data their topic's schema forbids; of this and the topic's the stricter holds. null: what the topic says, else warn."`
	CreatedAt              time.Time        `json:"created_at"`
	UpdatedAt              time.Time        `json:"updated_at"`
}

// CompanyUpdate is a change of a company. A field left out keeps its value.
type CompanyUpdate struct {
	DefaultSignatureScheme Change[SignatureScheme] `json:"default_signature_scheme,omitzero"`
	DefaultDataFormat      Change[DataFormat]      `json:"default_data_format,omitzero"`
	AllowNetworks          []string                `json:"allow_networks,omitzero"`
	MaxWebhooks            Change[int]             `json:"max_webhooks,omitzero"`
	Validate               Change[string]          `json:"validate,omitzero"`
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
	ID          string           `json:"id" doc:"Made at each start."`
	URL         string           `json:"url"`
	Version     string           `json:"version"`
	Store       string           `json:"store" enum:"sqlite,postgres" doc:"The engine that keeps the log."`
	StartedAt   time.Time        `json:"started_at"`
	LeaseUntil  *time.Time       `json:"lease_until" doc:"null: the embedded store has one node, which needs no lease."`
	InFlight    int              `json:"in_flight" doc:"Attempts under way or not yet recorded."`
	Leaving     bool             `json:"leaving" doc:"It hands its partitions over and takes none."`
	HeldSince   *time.Time       `json:"held_since" doc:"When the store was restored from a backup, or went back, while it delivers nothing until an operator lets it; null otherwise."`
	Partitions  []NodePartition  `json:"partitions"`
	Authorities *NodeAuthorities `json:"certificate_authorities" doc:"That it verifies endpoints by. null: of another node than the one that answers."`
	OwnFault    *NodeFault       `json:"own_fault" doc:"A fault of the node that answers which attempts met within the last minute; null for none, and of other nodes."`
}

// NodeFault is a fault of a node that holds deliveries up: its resolver, its egress proxy, its routes.
type NodeFault struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	LastAt time.Time `json:"last_at" doc:"When an attempt met it last. None of these counts against its webhook."`
}

// NodeAuthorities are the certificate authorities that a node verifies endpoints by.
type NodeAuthorities struct {
	Count  int    `json:"count" doc:"-1: the system keeps them to itself."`
	Source string `json:"source" doc:"Where they come from."`
}

// NodePartition is a partition of the log as its node runs it; offsets count its events.
type NodePartition struct {
	Partition int   `json:"partition"`
	Tail      int64 `json:"tail" doc:"Offset of its last event."`
	Swept     int64 `json:"swept" doc:"Offset up to which a start has nothing to read again but what lags or is parked."`
	Lag       int64 `json:"lag" doc:"Events between the two."`
}

// Nodes lists the installation's processes. It needs an operator key.
func (c *Client) Nodes(ctx context.Context) iter.Seq2[Node, error] {
	return list[Node](ctx, c, get("/v1/nodes"))
}

// Era is a time in which the store never went back.
type Era struct {
	Number      int64      `json:"number" doc:"Counted from 1."`
	BeganAt     time.Time  `json:"began_at"`
	Cause       string     `json:"cause" doc:"Why another era began: a standby was promoted, or a copy restored. Empty for the first one."`
	MissingFrom *time.Time `json:"missing_from" doc:"What was acknowledged from then on may be missing; null when nothing is."`
	MissingTo   *time.Time `json:"missing_to" doc:"And what was acknowledged later is there."`
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

// Caller is whose key a request came with.
type Caller struct {
	Actor     string     `json:"actor" doc:"As the audit log names it: a key's id, or operator."`
	Scope     Scope      `json:"scope" enum:"operator,read,write"`
	CompanyID *string    `json:"company_id" doc:"The company that the key acts for; null for an operator key, which names one in each request."`
	ExpiresAt *time.Time `json:"expires_at" doc:"When the key ends by itself; null: never."`
}

// Caller says whose key the client has.
func (c *Client) Caller(ctx context.Context) (*Caller, error) {
	return fetch[Caller](ctx, c, get("/v1/caller"))
}

// Key is an API key of a company.
type Key struct {
	ID         string     `json:"id"`
	Key        string     `json:"key,omitempty" doc:"Only in the answer to its creation; it is not kept."`
	CompanyID  string     `json:"company_id"`
	Name       string     `json:"name"`
	Scope      Scope      `json:"scope" enum:"read,write,publish"`
	Topics     string     `json:"topic_prefix,omitempty" doc:"Of a publish key: it publishes this topic and those that begin with it and a dot. Absent: all."`
	Hint       string     `json:"hint" doc:"Its last four characters."`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"To within ten minutes."`
	RevokedAt  *time.Time `json:"revoked_at"`
}

// KeyCreate is a key that is to be made.
type KeyCreate struct {
	Name      string     `json:"name,omitempty" maxLength:"128"`
	Scope     Scope      `json:"scope" enum:"read,write,publish" doc:"read: sees everything but secrets. write: everything within the company. publish: POST /v1/events, /v1/events/batch and /v1/changes, and nothing else; its text begins with awp_."`
	Topics    string     `json:"topic_prefix,omitempty" maxLength:"128" doc:"Of a publish key: it publishes this topic and those that begin with it and a dot."`
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
