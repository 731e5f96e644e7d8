package httpapi

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// hidden stands for the value of a custom header, which is write-only.
const hidden = "••••"

// Webhook is a webhook as every answer shows it.
type Webhook struct {
	ID              string            `json:"id" example:"wh_01kakqz0x8e4m9wz7q3t5v6y8b"`
	CompanyID       string            `json:"company_id" example:"c1"`
	Endpoint        string            `json:"endpoint" example:"https://example.com/hooks"`
	Event           string            `json:"event" example:"conversation.status" doc:"The first of events."`
	Events          []string          `json:"events" doc:"What it is subscribed to, as it was written."`
	Status          hook.Status       `json:"status" enum:"ACTIVE,PAUSED,INACTIVE"`
	StatusReason    *string           `json:"status_reason" doc:"Why it became INACTIVE without its owner's doing: gone or failing."`
	SigningSecret   string            `json:"signing_secret,omitempty" doc:"Only in the answer to its creation."`
	Description     string            `json:"description"`
	Metadata        Object            `json:"metadata"`
	SignatureScheme string            `json:"signature_scheme" enum:"hex,base64,base64-dotted,python-dict"`
	DataFormat      string            `json:"data_format" enum:"string,object"`
	Headers         map[string]string `json:"headers" doc:"Names of its own headers; their values are never shown."`
	Ordering        string            `json:"ordering" enum:"relaxed,object,webhook"`
	MaxConcurrency  int               `json:"max_concurrency"`
	RateLimit       *float64          `json:"rate_limit_per_second"`
	TimeoutMS       int64             `json:"timeout_ms"`
	RetrySchedule   []float64         `json:"retry_schedule_seconds"`
	HTTPVersion     string            `json:"http_version" enum:"auto,1.1"`
	TLSCompat       bool              `json:"tls_compat"`
	Filter          *string           `json:"filter"`
	FilterProblem   *string           `json:"filter_problem,omitempty" doc:"Only in the answer about one webhook, and only while the filter cannot be used, which another version saved: why. Until it is changed every event of its topics matches."`
	Standard        bool              `json:"standard_webhooks" doc:"Whether its requests carry the three webhook-* headers of the Standard Webhooks specification."`
	StandardReason  *string           `json:"standard_webhooks_reason" doc:"Why they do not."`
	CreatedAt       time.Time         `json:"created_at"`
	UpdatedAt       time.Time         `json:"updated_at"`
	SecretRotation  *SecretRotation   `json:"secret_rotation,omitempty" doc:"Only while the signing secret is being replaced."`
	Health          *Health           `json:"health,omitempty" doc:"Only in the answer about one webhook."`
	Warnings        []hook.Warning    `json:"warnings,omitzero" doc:"Only in answers to creating and changing it: what was accepted and probably does not do what was meant."`
}

// SecretRotation says that a webhook's secret is about to change, and reveals neither.
type SecretRotation struct {
	EndsAt    time.Time `json:"ends_at" doc:"From then on the new secret alone signs."`
	Activated bool      `json:"activated" doc:"True: X-Atlas-Webhook-Signature is made with the new secret already. False: with the old one until ends_at."`
}

// shapeWebhook shows a webhook without its secrets, as it is now.
func shapeWebhook(w *hook.Webhook, now time.Time) Webhook {
	s := Webhook{
		ID: w.ID, CompanyID: w.CompanyID, Endpoint: w.Endpoint, Events: w.Topics, Status: w.Status, StatusReason: orNull(w.StatusReason),
		Description: w.Description, Metadata: Object(w.Metadata), SignatureScheme: string(w.Scheme), DataFormat: string(w.Format),
		Headers: map[string]string{}, Ordering: string(w.Ordering), MaxConcurrency: w.MaxConcurrency, TimeoutMS: w.Timeout.Milliseconds(), HTTPVersion: string(w.HTTPVersion), TLSCompat: w.TLSCompat,
		RetrySchedule: make([]float64, len(w.RetrySchedule)), Filter: orNull(w.Filter), CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt,
	}
	if len(w.Topics) > 0 {
		s.Event = w.Topics[0]
	}
	for _, h := range w.Headers {
		s.Headers[h.Name] = hidden
	}
	if w.RateLimit > 0 {
		s.RateLimit = &w.RateLimit
	}
	for i, d := range w.RetrySchedule {
		s.RetrySchedule[i] = d.Seconds()
	}
	atlas, other := w.Secrets.At(now)
	s.Standard, s.StandardReason = standardWebhooks(atlas, other)
	if other != "" {
		s.SecretRotation = &SecretRotation{EndsAt: w.Secrets.PreviousExpires, Activated: w.Secrets.Activated}
	}
	return s
}

// Health says how a webhook fares. Live is false where the part that only its lane knows is missing.
type Health struct {
	State               string     `json:"state" enum:"healthy,failing,down"`
	Reason              *string    `json:"reason" doc:"Why it does what it does now, in a word or two: idle, or what the last failure was."`
	Since               *time.Time `json:"since" doc:"Of the first failure in a row; null when healthy."`
	ConsecutiveFailures int        `json:"consecutive_failures"`
	LastSuccessAt       *time.Time `json:"last_success_at"`
	LastFailureAt       *time.Time `json:"last_failure_at"`
	NextProbeAt         *time.Time `json:"next_probe_at"`
	Backlog             Backlog    `json:"backlog"`
	OldestPendingAt     *time.Time `json:"oldest_pending_at" doc:"Acceptance of the oldest event that is not delivered yet."`
	Parked              int        `json:"parked" doc:"Deliveries that wait for a retry."`
	ExpiresAt           *time.Time `json:"expires_at" doc:"When the oldest undelivered event will be given up, if nothing changes."`
	Live                bool       `json:"live" doc:"False: this node does not run the webhook and tells what is stored."`
}

// Backlog is how many events wait behind the cursor.
type Backlog struct {
	Count int  `json:"count"`
	Exact bool `json:"exact" doc:"False above 10,000."`
}

// etag is a webhook's version as a header.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// parseIfMatch reads If-Match, a list of tags; nil for none and for *. What is not one of our tags
// matches nothing.
func parseIfMatch(s string) (versions []int64) {
	s = strings.TrimSpace(s)
	if s == "" || s == "*" {
		return nil
	}
	for tag := range strings.SplitSeq(s, ",") {
		text, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		text, closed := strings.CutSuffix(text, `"`)
		version, err := strconv.ParseInt(text, 10, 64)
		if !ok || !closed || err != nil {
			version = -1
		}
		versions = append(versions, version)
	}
	return versions
}

// ifMatch is the version that a change is made on, of those that the caller allows; nil for any.
func (a *API) ifMatch(ctx context.Context, company hook.CompanyKey, id, header string) (*int64, error) {
	versions := parseIfMatch(header)
	switch len(versions) {
	case 0:
		return nil, nil
	case 1:
		return &versions[0], nil
	}
	w, err := a.opt.Store.Webhook(ctx, company, id)
	if err != nil {
		return nil, err
	}
	if slices.Contains(versions, w.Version) {
		return &w.Version, nil
	}
	return &versions[0], nil
}
