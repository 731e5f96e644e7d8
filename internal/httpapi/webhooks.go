package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// WebhookPath is the part of a path that names a webhook.
type WebhookPath struct {
	ID string `path:"id" doc:"The webhook's id."`
}

type webhookOut struct {
	ETag string `header:"ETag" doc:"The webhook's version, for If-Match."`
	Body client.Webhook
}

type createIn struct{ Body WebhookCreate }

type updateIn struct {
	WebhookPath
	IfMatch string `header:"If-Match" doc:"Change it only if it is still at this version."`
	Body    WebhookUpdate
}

type deleteIn struct {
	WebhookPath
	IfMatch string `header:"If-Match" doc:"Delete it only if it is still at this version."`
}

type listWebhooksIn struct {
	Status string `query:"status" enum:"ACTIVE,PAUSED,INACTIVE"`
	Event  string `query:"event" doc:"Subscribed to this topic."`
	Cursor int    `query:"cursor" minimum:"0" default:"0" doc:"How many to leave out at the beginning."`
	Limit  int    `query:"limit" minimum:"1" maximum:"250" default:"50"`
}

type listWebhooksOut struct{ Body client.WebhookList }

type webhookSummaryOut struct{ Body client.WebhookSummary }

// mostTroubled is how many ids a summary names.
const mostTroubled = 100

func (a *API) webhookRoutes() {
	const tag = "Webhooks"
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks", id: "create-webhook", tag: tag, need: companyWrite, status: http.StatusCreated, creates: true,
		summary:     "Subscribe",
		description: "The answer holds signing_secret, which later only GET /v1/webhooks/{id}/secret shows. The same endpoint and topics twice among the ACTIVE and PAUSED ones is 409 duplicate_webhook.",
	}, a.createWebhook)
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks", id: "list-webhooks", tag: tag, need: companyRead,
		summary: "List webhooks", description: "By offset: cursor, limit and total are integers, and a page beyond the end is empty.",
	}, a.listWebhooks)
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/summary", id: "get-webhook-summary", tag: tag, need: companyRead,
		summary: "Count the webhooks by how they fare",
	}, a.summarizeWebhooks)
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}", id: "get-webhook", tag: tag, need: companyRead, live: true,
		summary: "One webhook, with its health",
	}, a.getWebhook)
	change := route{
		method: http.MethodPost, path: "/v1/webhooks/{id}", id: "update-webhook", tag: tag, need: companyWrite, conflicts: true, etag: true,
		summary:     "Change a webhook",
		description: "New topics or a new filter apply to events accepted from then on; everything else to the next attempt. PATCH does the same. The webhook as GET showed it may be sent back: read-only fields that are unchanged are let pass, others are 422 read_only_field.",
	}
	handle(a, change, a.updateWebhook)
	change.method, change.id = http.MethodPatch, "patch-webhook"
	handle(a, change, a.updateWebhook)
	handle(a, route{
		method: http.MethodDelete, path: "/v1/webhooks/{id}", id: "delete-webhook", tag: tag, need: companyWrite, etag: true,
		summary: "Unsubscribe", description: "Attempts in flight end. Its history answers 404 from then on.",
	}, a.deleteWebhook)
}

func (a *API) createWebhook(ctx context.Context, x *exchange, in *createIn) (*webhookOut, error) {
	s := in.Body.Settings
	var missing []hook.FieldError
	if s.Endpoint == nil {
		missing = append(missing, hook.FieldError{Field: "endpoint", Code: "required", Detail: "is required"})
	}
	if s.Event == nil && s.Events == nil {
		missing = append(missing, hook.FieldError{Field: "event", Code: "required", Detail: "give event or events"})
	}
	if missing != nil {
		return nil, hook.InvalidFields(missing...)
	}
	company, err := a.opt.Store.Company(ctx, x.company.ID)
	if err != nil {
		return nil, err
	}
	c, err := a.check(s, company, x.caller)
	if err != nil {
		return nil, err
	}
	w := a.defaults(company)
	if err := c.apply(&w); err != nil {
		return nil, err
	}
	if s.SigningSecret != nil {
		w.Secrets.Current = *s.SigningSecret
	}
	created, err := a.opt.Store.CreateWebhook(ctx, w, in.Body.StartAt, x.audit("webhook.created", map[string]any{"endpoint": w.Endpoint, "events": w.Topics}))
	if err != nil {
		return nil, err
	}
	a.kick(created.Key)
	out, err := a.changed(ctx, created)
	if err == nil {
		out.Body.SigningSecret = created.Secrets.Current
	}
	return out, err
}

// defaults is a webhook whose owner set nothing: the company's defaults before the server's.
func (a *API) defaults(company *store.Company) hook.Webhook {
	w := hook.Webhook{
		Company: company.Key, Status: hook.Active, Scheme: a.opt.Config.DefaultSignatureScheme, Format: a.opt.Config.DefaultDataFormat,
		Ordering: hook.Relaxed, MaxConcurrency: hook.DefaultWindow, Timeout: hook.DefaultTimeout, HTTPVersion: hook.HTTPAuto, RetrySchedule: hook.DefaultRetrySchedule(),
	}
	if company.Scheme != "" {
		w.Scheme = company.Scheme
	}
	if company.Format != "" {
		w.Format = company.Format
	}
	return w
}

func (a *API) listWebhooks(ctx context.Context, x *exchange, in *listWebhooksIn) (*listWebhooksOut, error) {
	if _, ok := a.catalogue().Lookup(in.Event); in.Event != "" && !ok {
		return nil, badParameter("event", "unknown_topic", unknownTopic(a.catalogue(), in.Event))
	}
	list, total, err := a.opt.Store.Webhooks(ctx, x.company.Key, store.WebhookFilter{Status: hook.Status(in.Status), Topic: in.Event}, in.Cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &listWebhooksOut{}
	out.Body.Total, out.Body.Cursor, out.Body.Limit = total, in.Cursor, in.Limit
	out.Body.Data = make([]client.Webhook, len(list))
	fares, err := a.opt.Store.Fares(ctx, list)
	if err != nil {
		return nil, err
	}
	for i, w := range list {
		out.Body.Data[i] = shapeWebhook(w, a.now())
		h := a.stored(w, &fares[i].Cursor)
		if last := fares[i].LastFailure; last != nil && !last.StartedAt.Before(w.EndpointSince) {
			f := advice.FailureOf(last, w)
			h.LastError = LastError(&f)
		}
		measured(w, &h, &fares[i].Tally)
		a.bound(w, &h)
		h.Sentence = advice.Sentence(standing(w, &h, -1))
		out.Body.Data[i].Health = &h
	}
	return out, nil
}

func (a *API) summarizeWebhooks(ctx context.Context, x *exchange, _ *struct{}) (*webhookSummaryOut, error) {
	c, troubled, err := a.opt.Store.CountWebhooks(ctx, x.company.Key, store.Trouble{Failing: failingAfter, Refuses: refusesAfter}, mostTroubled)
	if err != nil {
		return nil, err
	}
	if troubled == nil {
		troubled = []string{}
	}
	return &webhookSummaryOut{client.WebhookSummary{
		Total: c.Active + c.Paused + c.Inactive, Active: c.Active, Failing: c.Failing, Down: c.Down, Refusing: c.Refusing,
		Paused: c.Paused, Inactive: c.Inactive, Disabled: c.Disabled, Troubled: troubled,
	}}, nil
}

func (a *API) getWebhook(ctx context.Context, x *exchange, in *WebhookPath) (*webhookOut, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	health, err := a.health(ctx, w)
	if err != nil {
		return nil, err
	}
	out := &webhookOut{ETag: etag(w.Version), Body: shapeWebhook(w, a.now())}
	out.Body.Health = health
	if _, err := filter.Compile(w.Filter); w.Filter != "" && err != nil {
		problem := err.Error()
		out.Body.FilterProblem = &problem
	}
	return out, nil
}

func (a *API) updateWebhook(ctx context.Context, x *exchange, in *updateIn) (*webhookOut, error) {
	company, err := a.opt.Store.Company(ctx, x.company.ID)
	if err != nil {
		return nil, err
	}
	if err := a.readBack(ctx, x, in); err != nil {
		return nil, err
	}
	c, err := a.check(in.Body.Settings, company, x.caller)
	if err != nil {
		return nil, err
	}
	if c.SigningSecret != nil {
		return nil, hook.Invalid("signing_secret", "use_rotation", "a secret is replaced by POST /v1/webhooks/%s/secret/rotate", in.ID)
	}
	version, err := a.ifMatch(ctx, x.company.Key, in.ID, in.IfMatch)
	if err != nil {
		return nil, err
	}
	change := store.Change{IfMatch: version, Apply: c.apply, Audit: x.audit("webhook.updated", c.changes())}
	if in.Body.Resume != nil {
		if c.Status == nil || *c.Status != hook.Active {
			return nil, hook.Invalid("resume", "resume_needs_active", "goes with status ACTIVE")
		}
		change.Resume = store.Resume(*in.Body.Resume)
	}
	skipped, err := a.skips(ctx, x, in.ID, c, &change)
	if err != nil {
		return nil, err
	}
	w, err := a.opt.Store.UpdateWebhook(ctx, x.company.Key, in.ID, change)
	if err != nil {
		return nil, err
	}
	a.kick(w.Key)
	out, err := a.changed(ctx, w)
	if err == nil {
		out.Body.Skipped = skipped
	}
	return out, err
}

// skips counts what a webhook that becomes ACTIVE will not send of what waits, and adds that to the audit
// entry; nil where nothing is skipped. What is accepted between this and the change is not counted.
func (a *API) skips(ctx context.Context, x *exchange, id string, c *checked, change *store.Change) (*client.Backlog, error) {
	if c.Status == nil || *c.Status != hook.Active {
		return nil, nil
	}
	was, err := a.opt.Store.Webhook(ctx, x.company.Key, id)
	if err != nil || !change.Resume.Skips(was) {
		return nil, err
	}
	s, err := a.opt.Store.Standing(ctx, was.Key)
	if err != nil {
		return nil, err
	}
	change.Audit.Detail["skipped"], change.Audit.Detail["skipped_exact"] = s.Backlog, s.BacklogExact
	return &client.Backlog{Count: s.Backlog, Exact: s.BacklogExact}, nil
}

// changed answers with a webhook that was created or changed, and what is odd about it.
func (a *API) changed(ctx context.Context, w *hook.Webhook) (*webhookOut, error) {
	var twins []string
	if w.Status != hook.Inactive {
		var err error
		if twins, err = a.opt.Store.Twins(ctx, w); err != nil {
			return nil, err
		}
	}
	out := &webhookOut{ETag: etag(w.Version), Body: shapeWebhook(w, a.now())}
	out.Body.Warnings = warnings(w, twins)
	return out, nil
}

// changes is what was asked for, for the audit log: names of everything, values where they are no
// secret and short.
func (c *checked) changes() map[string]any {
	detail := map[string]any{}
	if c.endpoint != "" {
		detail["endpoint"] = c.endpoint
	}
	if c.topics != nil {
		detail["events"] = c.topics
	}
	if c.Status != nil {
		detail["status"] = *c.Status
	}
	var others []string
	for name, given := range map[string]bool{
		"description": c.Description != nil, "metadata": c.Metadata != nil, "signature_scheme": c.SignatureScheme != nil, "data_format": c.DataFormat != nil,
		"headers": c.Headers != nil, "ordering": c.Ordering != nil, "max_concurrency": c.MaxConcurrency != nil, "rate_limit_per_second": c.RateLimit.Given,
		"timeout_ms": c.TimeoutMS != nil, "retry_schedule_seconds": c.RetrySchedule != nil, "filter": c.Filter.Given, "http_version": c.HTTPVersion != nil, "tls_compat": c.TLSCompat != nil, "include_changes": c.IncludeChanges != nil, "signature_ed25519": c.Ed25519 != nil, "http_signature": c.HTTPSignature != nil,
	} {
		if given {
			others = append(others, name)
		}
	}
	if others != nil {
		slices.Sort(others)
		detail["changed"] = others
	}
	return detail
}

func (a *API) deleteWebhook(ctx context.Context, x *exchange, in *deleteIn) (*struct{}, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	version, err := a.ifMatch(ctx, x.company.Key, in.ID, in.IfMatch)
	if err != nil {
		return nil, err
	}
	if err := a.opt.Store.DeleteWebhook(ctx, x.company.Key, in.ID, version, x.audit("webhook.deleted", map[string]any{"endpoint": w.Endpoint})); err != nil {
		return nil, err
	}
	a.kick(w.Key)
	return nil, nil
}

// kick hints to the engine that something was committed for a webhook.
func (a *API) kick(key hook.WebhookKey) {
	if a.opt.Engine != nil {
		a.opt.Engine.Kick(key)
	}
}
