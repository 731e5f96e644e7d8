package httpapi

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// hidden stands for the value of a custom header, which is write-only.
const hidden = "••••"

// shapeWebhook shows a webhook without its secrets, as it is now.
func shapeWebhook(w *hook.Webhook, now time.Time) client.Webhook {
	s := client.Webhook{
		ID: w.ID, CompanyID: w.CompanyID, Endpoint: w.Endpoint, Events: w.Topics, Status: w.Status, StatusReason: orNull(w.StatusReason),
		Description: w.Description, Metadata: client.Object(w.Metadata), SignatureScheme: w.Scheme, DataFormat: w.Format,
		Headers: map[string]string{}, Ordering: w.Ordering, MaxConcurrency: w.MaxConcurrency, TimeoutMS: w.Timeout.Milliseconds(), HTTPVersion: w.HTTPVersion, TLSCompat: w.TLSCompat, IncludeChanges: w.IncludeChanges, SignatureEd25519: w.Ed25519, HTTPSignature: w.HTTPSignature,
		RetryScheduleSeconds: make([]float64, len(w.RetrySchedule)), Filter: orNull(w.Filter), CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt,
	}
	if len(w.Topics) > 0 {
		s.Event = w.Topics[0]
	}
	for _, h := range w.Headers {
		s.Headers[h.Name] = hidden
	}
	if w.RateLimit > 0 {
		s.RateLimitPerSecond = &w.RateLimit
	}
	for i, d := range w.RetrySchedule {
		s.RetryScheduleSeconds[i] = d.Seconds()
	}
	atlas, other := w.Secrets.At(now)
	s.StandardWebhooks, s.StandardWebhooksReason = standardWebhooks(atlas, other)
	if other != "" {
		s.SecretRotation = &client.SecretRotation{EndsAt: w.Secrets.PreviousExpires, Activated: w.Secrets.Activated}
	}
	return s
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
