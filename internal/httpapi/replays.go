package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// ReplayCreate is the body of a replay.
type ReplayCreate struct {
	From          time.Time  `json:"from" doc:"Events accepted at or after."`
	To            *time.Time `json:"to,omitempty" doc:"Events accepted before; up to now when left out."`
	Only          string     `json:"only,omitempty" enum:"all,failed,undelivered" default:"all" doc:"undelivered: failed, skipped, retrying and held ones; with rules current also those that never matched."`
	Rules         string     `json:"rules,omitempty" enum:"then,current" default:"then" doc:"Which rule decides whether the webhook wanted an event: the one that was in force when it was accepted, or, for all events, the one in force now. current covers also what never matched: it is sent without a sequence."`
	Event         string     `json:"event,omitempty" doc:"A topic."`
	RatePerSecond float64    `json:"rate_per_second,omitempty" minimum:"0.01" maximum:"10000" doc:"The webhook's own rate when left out."`
	DryRun        bool       `json:"dry_run,omitempty" doc:"Only count what it would send."`
}

// ReplayPath is the part of a path that names a replay.
type ReplayPath struct {
	WebhookPath
	ReplayID string `path:"replay_id"`
}

type replayCreateIn struct {
	WebhookPath
	Body ReplayCreate
}

// replayCreateOut is the replay, or with dry_run its extent.
type replayCreateOut struct {
	Status int
	Body   any
}

type replayOut struct{ Body client.Replay }

type replaysIn struct {
	WebhookPath
	Paging
}

type replaysOut struct{ Body *client.List[client.Replay] }

func (a *API) replayRoutes() {
	const tag = "Replays"
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/{id}/replays", id: "create-replay", tag: tag, need: companyWrite, status: http.StatusAccepted, creates: true,
		summary:     "Send a stretch of the past again",
		description: "Covers what the webhook has passed when it starts; one at a time for a webhook. It survives restarts, and its deliveries are retried like any other. With dry_run: 200 and what it would send.",
	}, a.createReplay)
	a.describeReplay()
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/replays", id: "list-replays", tag: tag, need: companyRead, summary: "List a webhook's replays",
	}, func(ctx context.Context, x *exchange, in *replaysIn) (*replaysOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.Replays(ctx, w.Key, page)
		if err != nil {
			return nil, err
		}
		return &replaysOut{listByID(in.Paging, list, more, func(r *store.Replay) client.Replay { return shapeReplay(r, w.ID) })}, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/replays/{replay_id}", id: "get-replay", tag: tag, need: companyRead, summary: "How far a replay is",
	}, func(ctx context.Context, x *exchange, in *ReplayPath) (*replayOut, error) {
		w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
		if err != nil {
			return nil, err
		}
		r, err := a.opt.Store.Replay(ctx, w.Key, in.ReplayID)
		if err != nil {
			return nil, err
		}
		return &replayOut{shapeReplay(r, w.ID)}, nil
	})
	handle(a, route{
		method: http.MethodDelete, path: "/v1/webhooks/{id}/replays/{replay_id}", id: "cancel-replay", tag: tag, need: companyWrite, conflicts: true,
		summary: "Cancel a replay", description: "Attempts in flight end; what waits is forgotten.",
	}, func(ctx context.Context, x *exchange, in *ReplayPath) (*struct{}, error) {
		w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
		if err != nil {
			return nil, err
		}
		if err := a.opt.Store.CancelReplay(ctx, w.Key, in.ReplayID, x.audit("replay.cancelled", nil)); err != nil {
			return nil, err
		}
		a.kick(w.Key)
		return nil, nil
	})
}

// describeReplay gives the two answers of one route their schemas.
func (a *API) describeReplay() {
	responses := a.huma.OpenAPI().Paths["/v1/webhooks/{id}/replays"].Post.Responses
	responses["202"].Content["application/json"].Schema = a.schemaOf(client.Replay{})
	responses["200"] = response("With dry_run: what it would send.", a.schemaOf(client.ReplayExtent{}))
}

func (a *API) createReplay(ctx context.Context, x *exchange, in *replayCreateIn) (*replayCreateOut, error) {
	b := in.Body
	if _, ok := a.catalogue().Lookup(b.Event); b.Event != "" && !ok {
		return nil, hook.Invalid("event", "unknown_topic", "%s", unknownTopic(a.catalogue(), b.Event))
	}
	n := store.NewReplay{From: b.From.UTC(), Covers: store.Covers(b.Only), Rules: store.Rules(b.Rules), Topic: b.Event, Rate: b.RatePerSecond}
	if b.To != nil {
		if n.To = timeOrNil(*b.To); !b.To.After(b.From) {
			return nil, hook.Invalid("to", "invalid_time", "must lie after from")
		}
	}
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	if b.DryRun {
		count, bytes, exact, err := a.opt.Store.ReplayExtent(ctx, w.Key, n)
		return &replayCreateOut{http.StatusOK, client.ReplayExtent{Count: count, Bytes: bytes, Exact: exact}}, err
	}
	r, err := a.opt.Store.CreateReplay(ctx, w.Key, n, x.audit("replay.created", map[string]any{"webhook_id": w.ID, "from": n.From, "only": n.Covers, "rules": n.Rules}))
	if err != nil {
		return nil, err
	}
	a.kick(w.Key)
	return &replayCreateOut{http.StatusAccepted, shapeReplay(r, w.ID)}, nil
}

func shapeReplay(r *store.Replay, webhookID string) client.Replay {
	s := client.Replay{
		ID: r.ID, WebhookID: webhookID, Status: client.ReplayStatus(r.Status), From: r.From, To: r.To, Only: client.Extent(r.Covers), Rules: client.Rules(r.Rules), Event: orNull(r.Topic),
		Progress: 1, Started: r.Started, Delivered: r.Delivered, Failed: r.Failed, CreatedAt: r.CreatedAt, FinishedAt: r.FinishedAt,
	}
	if r.Rate > 0 {
		s.RatePerSecond = &r.Rate
	}
	if span := r.ToOffset - r.FromOffset + 1; span > 0 && r.Status != store.ReplayDone {
		s.Progress = float64(r.Place-r.FromOffset+1) / float64(span)
	}
	return s
}
