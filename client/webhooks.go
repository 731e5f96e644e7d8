package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Webhook is a subscription.
type Webhook struct {
	ID                     string            `json:"id" example:"wh_01kakqz0x8e4m9wz7q3t5v6y8b"`
	CompanyID              string            `json:"company_id" example:"c1"`
	Endpoint               string            `json:"endpoint" example:"https://example.com/hooks"`
	Event                  string            `json:"event" example:"conversation.status" doc:"The first of events."`
	Events                 []string          `json:"events" doc:"What it is subscribed to, as it was written."`
	Status                 Status            `json:"status" enum:"ACTIVE,PAUSED,INACTIVE"`
	StatusReason           *string           `json:"status_reason" doc:"Why it became INACTIVE without its owner's doing: gone or failing."`
	SigningSecret          string            `json:"signing_secret,omitempty" doc:"Only in the answer to its creation."`
	Description            string            `json:"description"`
	Metadata               Object            `json:"metadata"` // an object
	SignatureScheme        SignatureScheme   `json:"signature_scheme" enum:"hex,base64,base64-dotted,python-dict"`
	DataFormat             DataFormat        `json:"data_format" enum:"string,object"`
	Headers                map[string]string `json:"headers" doc:"Names of its own headers; their values are never shown."`
	Ordering               Ordering          `json:"ordering" enum:"relaxed,object,webhook"`
	MaxConcurrency         int               `json:"max_concurrency"`
	RateLimitPerSecond     *float64          `json:"rate_limit_per_second"` // nil = no limit
	TimeoutMS              int64             `json:"timeout_ms"`
	RetryScheduleSeconds   []float64         `json:"retry_schedule_seconds"` // delays after the first attempt
	HTTPVersion            HTTPVersion       `json:"http_version" enum:"auto,1.1"`
	IncludeChanges         bool              `json:"include_changes"`   // bodies say what changed, where the event knows
	SignatureEd25519       bool              `json:"signature_ed25519"` // webhook-signature also carries v1a, by the company's key
	HTTPSignature          bool              `json:"http_signature"`    // requests are signed by RFC 9421 as well
	TLSCompat              bool              `json:"tls_compat"`        // TLS without the key shares that old middleboxes swallow
	Filter                 *string           `json:"filter"`
	FilterProblem          *string           `json:"filter_problem,omitempty" doc:"Only in the answer about one webhook, and only while the filter cannot be used, which another version saved: why. Until it is changed every event of its topics matches."`
	StandardWebhooks       bool              `json:"standard_webhooks" doc:"Whether its requests carry the three webhook-* headers of the Standard Webhooks specification."`
	StandardWebhooksReason *string           `json:"standard_webhooks_reason" doc:"Why they do not."`
	CreatedAt              time.Time         `json:"created_at"`
	UpdatedAt              time.Time         `json:"updated_at"`
	SecretRotation         *SecretRotation   `json:"secret_rotation,omitempty" doc:"Only while the signing secret is being replaced."`
	Health                 *Health           `json:"health,omitempty" doc:"In the answers about one webhook and in lists. In a list it is what is stored, and nobody counts what waits: backlog, oldest_pending_at, parked and expires_at are empty."`
	Skipped                *Backlog          `json:"skipped,omitempty" doc:"Only in the answer that sets it ACTIVE without what waited: how many events are skipped."`
	Warnings               []Warning         `json:"warnings,omitzero" doc:"Only in answers to creating and changing it: what was accepted and probably does not do what was meant."`

	// ETag is the webhook's version, for IfMatch; "" in a list.
	ETag string `json:"-"`
}

// Warning says that something was accepted and probably does not do what was meant.
type Warning = hook.Warning

// Object is a JSON object, kept as it is written.
type Object json.RawMessage

// MarshalJSON is the object itself; {} where there is none.
func (o Object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("{}"), nil
	}
	return o, nil
}

// UnmarshalJSON keeps a copy.
func (o *Object) UnmarshalJSON(text []byte) error {
	*o = append((*o)[:0:0], text...)
	return nil
}

// WebhookSummary is how a company's webhooks fare, in numbers.
type WebhookSummary struct {
	Total    int      `json:"total"`
	Active   int      `json:"active"`
	Failing  int      `json:"failing" doc:"Of the active ones: failures in a row, slowed down."`
	Down     int      `json:"down" doc:"Of the active ones: standing still, probed now and then."`
	Refusing int      `json:"refusing" doc:"Of the active ones: the endpoint answers and takes nothing."`
	Paused   int      `json:"paused"`
	Inactive int      `json:"inactive"`
	Disabled int      `json:"disabled" doc:"Of the inactive ones: not by their owner."`
	Troubled []string `json:"troubled" doc:"Ids of those that are failing, down, refusing or disabled: the newest 100."`
}

// WebhookSummary counts the webhooks by how they fare.
func (c *Client) WebhookSummary(ctx context.Context) (*WebhookSummary, error) {
	return fetch[WebhookSummary](ctx, c, get("/v1/webhooks/summary"))
}

// SecretRotation says that a webhook's secret is about to change.
type SecretRotation struct {
	EndsAt    time.Time `json:"ends_at" doc:"From then on the new secret alone signs."`
	Activated bool      `json:"activated" doc:"True: X-Atlas-Webhook-Signature is made with the new secret already. False: with the old one until ends_at."`
}

// Health says how a webhook fares.
type Health struct {
	State               State             `json:"state" enum:"healthy,failing,down"`
	Reason              *string           `json:"reason" doc:"Why it does what it does now, in a word or two: idle, or what the last failure was."`
	Since               *time.Time        `json:"since" doc:"Of the first failure in a row; null when healthy."`
	ConsecutiveFailures int               `json:"consecutive_failures"`
	LastSuccessAt       *time.Time        `json:"last_success_at"`
	LastFailureAt       *time.Time        `json:"last_failure_at" doc:"Of the last attempt that did not deliver, whatever the answer said of the endpoint."`
	NextProbeAt         *time.Time        `json:"next_probe_at"`
	Backlog             Backlog           `json:"backlog"`
	OldestPendingAt     *time.Time        `json:"oldest_pending_at" doc:"Acceptance of the oldest event that is not delivered yet."`
	Parked              int               `json:"parked" doc:"Deliveries that wait for a retry."`
	Waiting             map[Cause]Waiting `json:"waiting,omitzero" doc:"For what deliveries wait, each for one thing: pending (their turn), throttled, down, own_fault, paused (also while INACTIVE), parked (the time of their retry), held (an earlier one of their object). Not in lists."`
	ExpiresAt           *time.Time        `json:"expires_at" doc:"When the oldest undelivered event will be given up, if nothing changes."`
	SuccessRate         *float64          `json:"success_rate" doc:"Of the last day's attempts at this endpoint, the part that delivered: 0 to 1; null when there were none."`
	RefusesSince        *time.Time        `json:"refuses_since" doc:"The endpoint answers, and has taken nothing since then in ten attempts or more: it is not down, and somebody should look."`
	Live                bool              `json:"live" doc:"False: this node does not run the webhook and tells what is stored."`
	ThrottledUntil      *time.Time        `json:"throttled_until" doc:"Until when nothing is sent, because the endpoint asked for that: 429, 503 or Retry-After."`
	OwnFault            *string           `json:"own_fault" doc:"A fault of the server's, not of the endpoint, that holds it up now."`
	LastError           *LastError        `json:"last_error" doc:"Of the last attempt that did not deliver, since the endpoint was set; it may have succeeded after."`
	Sentence            string            `json:"sentence" doc:"How it fares and, where it does not, why and what to do about it, for people."`
}

// LastError is the last attempt of a webhook that did not deliver, and what to do about it.
type LastError struct {
	Class      string    `json:"class" doc:"As error_class of the attempt."`
	StatusCode *int      `json:"status_code" doc:"Null when no status was received."`
	Detail     string    `json:"detail"`
	Advice     string    `json:"advice"`
	At         time.Time `json:"at"`
}

// Waiting is how many deliveries wait for one thing.
type Waiting struct {
	Count    int        `json:"count"`
	Exact    bool       `json:"exact" doc:"False: there are at least so many."`
	OldestAt *time.Time `json:"oldest_at" doc:"Acceptance of the oldest event among them."`
}

// Backlog is how many events wait behind the cursor.
type Backlog struct {
	Count int  `json:"count"`
	Exact bool `json:"exact" doc:"False above 10,000."`
}

// WebhookCreate is what a webhook is made from: an endpoint and its topics, by Event or by Events.
// What is left out gets the company's default, or else the server's.
type WebhookCreate struct {
	Endpoint             string            `json:"endpoint,omitempty"`
	Event                string            `json:"event,omitempty"`
	Events               []string          `json:"events,omitempty"` // conversation.status, conversation.*, *
	Description          string            `json:"description,omitempty"`
	Metadata             map[string]any    `json:"metadata,omitempty"`
	Status               Status            `json:"status,omitempty"`
	SigningSecret        string            `json:"signing_secret,omitempty"` // one is made if there is none
	SignatureScheme      SignatureScheme   `json:"signature_scheme,omitempty"`
	DataFormat           DataFormat        `json:"data_format,omitempty"`
	Headers              map[string]string `json:"headers,omitempty"`
	Ordering             Ordering          `json:"ordering,omitempty"`
	MaxConcurrency       int               `json:"max_concurrency,omitempty"`
	RateLimitPerSecond   float64           `json:"rate_limit_per_second,omitempty"`
	TimeoutMS            int64             `json:"timeout_ms,omitempty"`
	RetryScheduleSeconds []float64         `json:"retry_schedule_seconds,omitzero"` // empty, not nil: no retry
	HTTPVersion          HTTPVersion       `json:"http_version,omitempty"`
	IncludeChanges       bool              `json:"include_changes,omitempty"`
	TLSCompat            bool              `json:"tls_compat,omitempty"`
	SignatureEd25519     bool              `json:"signature_ed25519,omitempty"`
	HTTPSignature        bool              `json:"http_signature,omitempty"`
	Filter               string            `json:"filter,omitempty"`
	StartAt              *time.Time        `json:"start_at,omitempty"` // begin with the events accepted from then on
}

// WebhookUpdate is a change of a webhook. A field left out keeps its value.
type WebhookUpdate struct {
	Endpoint             *string           `json:"endpoint,omitempty"`
	Event                *string           `json:"event,omitempty"`
	Events               []string          `json:"events,omitempty"`
	Description          *string           `json:"description,omitempty"`
	Metadata             map[string]any    `json:"metadata,omitzero"`
	Status               Status            `json:"status,omitempty"`
	Resume               Resume            `json:"resume,omitempty"` // with Status Active
	SigningSecret        *string           `json:"signing_secret,omitempty"`
	SignatureScheme      SignatureScheme   `json:"signature_scheme,omitempty"`
	DataFormat           DataFormat        `json:"data_format,omitempty"`
	Headers              map[string]string `json:"headers,omitzero"` // replaces those before; the value •••• keeps what it was
	Ordering             Ordering          `json:"ordering,omitempty"`
	MaxConcurrency       int               `json:"max_concurrency,omitempty"`
	RateLimitPerSecond   Change[float64]   `json:"rate_limit_per_second,omitzero"`
	TimeoutMS            int64             `json:"timeout_ms,omitempty"`
	RetryScheduleSeconds []float64         `json:"retry_schedule_seconds,omitzero"`
	IncludeChanges       *bool             `json:"include_changes,omitempty"`
	TLSCompat            *bool             `json:"tls_compat,omitempty"`
	SignatureEd25519     *bool             `json:"signature_ed25519,omitempty"`
	HTTPSignature        *bool             `json:"http_signature,omitempty"`
	HTTPVersion          HTTPVersion       `json:"http_version,omitempty"`
	Filter               Change[string]    `json:"filter,omitzero"`

	// IfMatch makes the change only if the webhook is still at this version ([Webhook].ETag).
	IfMatch string `json:"-"`
}

// CreateWebhook subscribes. The answer holds the signing secret.
func (c *Client) CreateWebhook(ctx context.Context, w WebhookCreate) (*Webhook, error) {
	return c.webhook(ctx, post("/v1/webhooks", w).once())
}

// webhook makes a call that answers with a webhook and its version.
func (c *Client) webhook(ctx context.Context, k call) (*Webhook, error) {
	w := &Webhook{}
	err := c.try(ctx, k, func(answer *http.Response) error {
		defer answer.Body.Close()
		w.ETag = answer.Header.Get("ETag")
		return json.NewDecoder(answer.Body).Decode(w)
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// WebhookFilter narrows a list of webhooks. Its zero value is all of them.
type WebhookFilter struct {
	Status   Status
	Event    string // subscribed to this topic
	PageSize int    // 1 to 250; 0 = 50
}

// WebhookList is a page of webhooks, which is found by its offset.
type WebhookList struct {
	Data   []Webhook `json:"data"`
	Total  int       `json:"total"`
	Cursor int       `json:"cursor"`
	Limit  int       `json:"limit"`
}

// Webhooks lists webhooks, newest first. One that is created meanwhile may be missing; none is there
// twice.
func (c *Client) Webhooks(ctx context.Context, f WebhookFilter) iter.Seq2[Webhook, error] {
	return func(yield func(Webhook, error) bool) {
		seen := map[string]bool{} // one that is created moves the others to the next page
		for cursor := 0; ; {
			q := query{}.text("status", string(f.Status)).text("event", f.Event).number("limit", int64(f.PageSize)).number("cursor", int64(cursor))
			p, err := fetch[WebhookList](ctx, c, get("/v1/webhooks").with(url.Values(q)))
			if err != nil {
				yield(Webhook{}, err)
				return
			}
			for _, w := range p.Data {
				if !seen[w.ID] && !yield(w, nil) {
					return
				}
				seen[w.ID] = true
			}
			if cursor += len(p.Data); len(p.Data) == 0 || cursor >= p.Total {
				return
			}
		}
	}
}

// Webhook returns one webhook, with its health.
func (c *Client) Webhook(ctx context.Context, id string) (*Webhook, error) {
	return c.webhook(ctx, get("/v1/webhooks/{id}", id))
}

// UpdateWebhook changes a webhook. New topics and a new filter apply to events accepted from then
// on, everything else to the next attempt.
func (c *Client) UpdateWebhook(ctx context.Context, id string, u WebhookUpdate) (*Webhook, error) {
	k := post("/v1/webhooks/{id}", u, id)
	if u.IfMatch == "" {
		return c.webhook(ctx, k.again())
	}
	k.header = http.Header{"If-Match": {u.IfMatch}}
	return c.webhook(ctx, k)
}

// DeleteWebhook unsubscribes. Its history is not found from then on. With ifMatch it is deleted only
// if it is still at this version ([Webhook].ETag).
func (c *Client) DeleteWebhook(ctx context.Context, id, ifMatch string) error {
	k := remove("/v1/webhooks/{id}", id)
	if ifMatch != "" {
		k.header = http.Header{"If-Match": {ifMatch}}
	}
	return c.do(ctx, k, nil)
}

// Secret is what a webhook signs with.
type Secret struct {
	SigningSecret string          `json:"signing_secret"`
	ActiveFrom    *time.Time      `json:"active_from,omitempty" doc:"During a rotation: when the Atlas header is signed with it."`
	Previous      *PreviousSecret `json:"previous,omitempty" doc:"During a rotation: the secret that it replaces."`
	Warnings      []Warning       `json:"warnings,omitzero" doc:"Only in the answer to a rotation: what was accepted and probably does not do what was meant."`
}

// PreviousSecret is the secret that a rotation replaces.
type PreviousSecret struct {
	SigningSecret string    `json:"signing_secret"`
	ExpiresAt     time.Time `json:"expires_at"`
}

// Rotate is how a secret is replaced. Its zero value makes a new one that overlaps with the old one
// for a day.
type Rotate struct {
	OverlapSeconds *int64 `json:"overlap_seconds,omitempty"` // 0 to 604800
	SigningSecret  string `json:"signing_secret,omitempty"`
	Force          bool   `json:"force,omitempty"` // although a rotation is in progress
}

// Secret shows the signing secret. That is audited.
func (c *Client) Secret(ctx context.Context, webhook string) (*Secret, error) {
	return fetch[Secret](ctx, c, get("/v1/webhooks/{id}/secret", webhook))
}

// RotateSecret replaces the signing secret. During the overlap the Atlas header is signed with the
// old one, and webhook-signature carries both.
func (c *Client) RotateSecret(ctx context.Context, webhook string, r Rotate) (*Secret, error) {
	return fetch[Secret](ctx, c, post("/v1/webhooks/{id}/secret/rotate", r, webhook).once())
}

// ActivateSecret signs with the new secret at once.
func (c *Client) ActivateSecret(ctx context.Context, webhook string) (*Secret, error) {
	return fetch[Secret](ctx, c, post("/v1/webhooks/{id}/secret/activate", nil, webhook))
}

// CancelRotation keeps the old secret and forgets the new one.
func (c *Client) CancelRotation(ctx context.Context, webhook string) (*Secret, error) {
	k := remove("/v1/webhooks/{id}/secret/rotate", webhook)
	k.repeatable = false
	return fetch[Secret](ctx, c, k)
}

// TestRequest is what a test sends; by default the sample of the webhook's first topic.
type TestRequest struct {
	Event string          `json:"event,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// TestWebhook makes one attempt beside the queue. An endpoint that fails is an outcome and no error.
func (c *Client) TestWebhook(ctx context.Context, webhook string, t TestRequest) (*Attempt, error) {
	return fetch[Attempt](ctx, c, post("/v1/webhooks/{id}/test", t, webhook))
}

// ProbeWebhook has an endpoint that is down, or that asked to wait, tried now with one of the deliveries that
// wait. It returns how the webhook fares until then.
func (c *Client) ProbeWebhook(ctx context.Context, webhook string) (*Health, error) {
	return fetch[Health](ctx, c, post("/v1/webhooks/{id}/probe", nil, webhook))
}

// PreflightRequest is an endpoint that is to be checked.
type PreflightRequest struct {
	Endpoint  string `json:"endpoint"`
	TLSCompat bool   `json:"tls_compat,omitempty" required:"false" doc:"As the webhook's setting of this name."`
}

// Preflight is what an endpoint looks like from the server, without anything having been sent to it.
type Preflight struct {
	OK        bool               `json:"ok" doc:"A request could be sent."`
	Endpoint  *string            `json:"endpoint" doc:"As it would be saved; null when the rules refuse it."`
	Refused   []FieldError       `json:"refused" doc:"By the rules for endpoints."`
	Addresses []PreflightAddress `json:"addresses" doc:"What the name resolves to."`
	Protocol  *string            `json:"protocol"`
	TLS       *PreflightTLS      `json:"tls,omitempty"`
	Failure   *PreflightFailure  `json:"failure,omitempty"`
	Timing    Timing             `json:"timing"`
}

// PreflightAddress is one address, or that one is refused.
type PreflightAddress struct {
	Address *string `json:"address" doc:"Null for one that is refused: only that is told."`
	Rule    *string `json:"rule" doc:"Why it is refused; null when it is not."`
}

// PreflightTLS is the handshake and the receiver's certificate, also where the handshake failed.
type PreflightTLS struct {
	Version           string                 `json:"version" doc:"Empty: it failed before one was chosen."`
	Subject           string                 `json:"subject" doc:"Of the receiver's own certificate, as what follows."`
	Issuer            string                 `json:"issuer"`
	Names             []string               `json:"names"`
	NotBefore         time.Time              `json:"not_before" doc:"Without meaning when no certificate came, as not_after: chain is empty then."`
	NotAfter          time.Time              `json:"not_after"`
	Chain             []PreflightCertificate `json:"chain" doc:"The certificates as sent, the receiver's own first."`
	Verified          bool                   `json:"verified"`
	ClientCertificate string                 `json:"client_certificate" enum:"none,requested" doc:"requested: the receiver asks for one in the handshake. It may or may not insist on it."`
}

// PreflightCertificate is one certificate of a chain.
type PreflightCertificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// PreflightFailure is the step at which it ended.
type PreflightFailure struct {
	ErrorClass string `json:"error_class"`
	Detail     string `json:"detail"`
	Advice     string `json:"advice"`
}

// Preflight checks an endpoint before it is saved: rules, DNS, addresses, TLS.
func (c *Client) Preflight(ctx context.Context, p PreflightRequest) (*Preflight, error) {
	return fetch[Preflight](ctx, c, post("/v1/webhooks/preflight", p).again())
}
