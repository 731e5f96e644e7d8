package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type secretOut struct{ Body client.Secret }

// Rotate is the body of a rotation.
type Rotate struct {
	OverlapSeconds *int64  `json:"overlap_seconds,omitempty" minimum:"0" maximum:"604800" doc:"How long the old secret stays in use; 86400 when left out."`
	SigningSecret  *string `json:"signing_secret,omitempty" doc:"The new secret; one is made when left out."`
	Force          bool    `json:"force,omitempty" doc:"Although a rotation is in progress."`
}

type rotateIn struct {
	WebhookPath
	Body *Rotate
}

const defaultOverlap = 24 * time.Hour

func (a *API) secretRoutes() {
	const tag = "Secrets"
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/secret", id: "get-secret", tag: tag, need: companyWrite,
		summary: "Show the signing secret", description: "Who looked is in the audit log.",
	}, func(ctx context.Context, x *exchange, in *WebhookPath) (*secretOut, error) {
		return a.secretAnswer(a.opt.Store.Secrets(ctx, x.company.Key, in.ID, x.audit("webhook.secret_shown", nil)))
	})
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/secret/rotate", id: "rotate-secret", tag: tag, need: companyWrite, creates: true,
		summary:     "Replace the signing secret",
		description: "During the overlap X-Atlas-Webhook-Signature is made with the old secret, and webhook-signature carries both.",
	}, a.rotate)
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/secret/activate", id: "activate-secret", tag: tag, need: companyWrite, conflicts: true,
		summary: "Sign with the new secret at once", description: "The old one stays in webhook-signature until the overlap ends.",
	}, func(ctx context.Context, x *exchange, in *WebhookPath) (*secretOut, error) {
		return a.secretAnswer(a.opt.Store.ActivateSecret(ctx, x.company.Key, in.ID, x.audit("webhook.secret_activated", nil)))
	})
	handle(a, route{
		method: http.MethodDelete, path: "/v1/webhooks/{id}/secret/rotate", id: "cancel-rotation", tag: tag, need: companyWrite, conflicts: true,
		summary: "Keep the old secret", description: "Ends the rotation and forgets the new secret.",
	}, func(ctx context.Context, x *exchange, in *WebhookPath) (*secretOut, error) {
		return a.secretAnswer(a.opt.Store.CancelRotation(ctx, x.company.Key, in.ID, x.audit("webhook.rotation_cancelled", nil)))
	})
}

func (a *API) rotate(ctx context.Context, x *exchange, in *rotateIn) (*secretOut, error) {
	r := store.Rotation{Overlap: defaultOverlap}
	if b := in.Body; b != nil {
		if b.OverlapSeconds != nil {
			r.Overlap = time.Duration(*b.OverlapSeconds) * time.Second
		}
		if b.SigningSecret != nil {
			if r.Secret = *b.SigningSecret; !hook.ValidSecret(r.Secret) {
				return nil, hook.Invalid("signing_secret", "invalid_secret", "must be 16–256 visible ASCII characters without spaces")
			}
		}
		r.Force = b.Force
	}
	detail := map[string]any{"overlap_seconds": int64(r.Overlap.Seconds())}
	out, err := a.secretAnswer(a.opt.Store.RotateSecret(ctx, x.company.Key, in.ID, r, x.audit("webhook.secret_rotated", detail)))
	if err == nil {
		out.Body.Warnings = secretWarnings([]hook.Warning{}, out.Body.SigningSecret)
	}
	return out, err
}

func (a *API) secretAnswer(s hook.Secrets, err error) (*secretOut, error) {
	if err != nil {
		return nil, err
	}
	out := &secretOut{Body: client.Secret{SigningSecret: s.Current}}
	now := a.now()
	if _, other := s.At(now); other != "" {
		out.Body.Previous = &client.PreviousSecret{SigningSecret: s.Previous, ExpiresAt: s.PreviousExpires}
		from := s.PreviousExpires
		if s.Activated {
			from = now
		}
		out.Body.ActiveFrom = &from
	}
	return out, nil
}
