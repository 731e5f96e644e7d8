package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type sourcesOut struct{ Body *client.List[client.Source] }

type deadLettersIn struct {
	Paging
	Source string `query:"source" maxLength:"64" doc:"Only of the source with this name."`
}

type deadLettersOut struct {
	Body *client.List[client.DeadLetter]
}

// DeadLetterPath is the part of a path that names a dead letter.
type DeadLetterPath struct {
	DeadLetterID string `path:"dead_letter_id"`
}

type deadLetterOut struct{ Body client.DeadLetterDetail }

type deadLetterRetriedOut struct{ Body client.DeadLetterRetried }

func (a *API) sourceRoutes() {
	const tag = "Sources"
	handle(a, route{
		method: http.MethodGet, path: "/v1/sources", id: "list-sources", tag: tag, need: operatorOnly, summary: "List sources",
		description: "Where events come from besides the API, as the node that answers reads them: what they do, how far behind they are, and why they stand still.",
	}, func(ctx context.Context, _ *exchange, in *Paging) (*sourcesOut, error) {
		if in.Cursor != "" {
			return nil, hook.Refuse(hook.KindMalformed, "invalid_cursor", "cursor: there is one page of sources")
		}
		var list []client.Source
		if a.opt.Sources != nil {
			list = a.opt.Sources()
		}
		if len(list) > 0 {
			counts, err := a.opt.Store.CountDeadLetters(ctx)
			if err != nil {
				return nil, err
			}
			for i := range list {
				list[i].DeadLetters = counts[list[i].Name]
			}
		}
		return &sourcesOut{newList(*in, list, "", func(s client.Source) client.Source { return s })}, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/dead-letters", id: "list-dead-letters", tag: tag, need: operatorOnly, summary: "List dead letters",
		description: "Messages that sources could not have accepted, newest first, each with the reason. They are kept for as long as events are.",
	}, func(ctx context.Context, _ *exchange, in *deadLettersIn) (*deadLettersOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.DeadLetters(ctx, in.Source, page)
		if err != nil {
			return nil, err
		}
		return &deadLettersOut{listByID(in.Paging, list, more, shapeDeadLetter)}, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/dead-letters/{dead_letter_id}", id: "get-dead-letter", tag: tag, need: operatorOnly, summary: "One dead letter, with what was sent",
		payloads: true,
	}, func(ctx context.Context, _ *exchange, in *DeadLetterPath) (*deadLetterOut, error) {
		d, err := a.opt.Store.DeadLetter(ctx, in.DeadLetterID)
		if err != nil {
			return nil, err
		}
		shown := d.Body[:min(len(d.Body), deadBodyShown)]
		return &deadLetterOut{client.DeadLetterDetail{
			DeadLetter: shapeDeadLetter(*d), Attributes: d.Attributes, Body: strings.ToValidUTF8(string(shown), "\ufffd"),
		}}, nil
	})
	handle(a, route{
		method: http.MethodPost, path: "/v1/dead-letters/{dead_letter_id}/retry", id: "retry-dead-letter", tag: tag, need: operatorOnly, status: http.StatusAccepted, conflicts: true,
		summary: "Retry a dead letter",
		description: "Publishes it as its source would now, under the id that it would have had at first, and takes it off the list. " +
			"One that is refused again stays there with the new reason, which the answer names. Its event comes behind those of its object that were accepted meanwhile.",
	}, a.retryDeadLetter)
	handle(a, route{
		method: http.MethodDelete, path: "/v1/dead-letters/{dead_letter_id}", id: "discard-dead-letter", tag: tag, need: operatorOnly,
		summary: "Discard a dead letter",
	}, func(ctx context.Context, x *exchange, in *DeadLetterPath) (*struct{}, error) {
		return nil, a.opt.Store.DropDeadLetter(ctx, in.DeadLetterID, x.audit("dead_letter.discarded", nil))
	})
}

// deadBodyShown is how much an answer shows of what was sent.
const deadBodyShown = 256 << 10

func (a *API) retryDeadLetter(ctx context.Context, x *exchange, in *DeadLetterPath) (*deadLetterRetriedOut, error) {
	d, err := a.opt.Store.DeadLetter(ctx, in.DeadLetterID)
	if err != nil {
		return nil, err
	}
	if d.Cut() {
		return nil, hook.Refuse(hook.KindConflict, "truncated", "the message has %d bytes, of which a part is kept: it can only be discarded", d.Size)
	}
	message := intake.Message{Body: d.Body, ContentType: d.ContentType, Attributes: d.Attributes, ID: d.EventID}
	outcomes, err := a.opt.Intake.PublishMessages(ctx, []intake.Message{message}, intake.Publishing{Company: d.Company})
	if err != nil {
		return nil, err
	}
	if refused := outcomes[0].Refused; refused != nil {
		code, reason := "refused", refused.Error()
		if e, ok := errors.AsType[*hook.Error](refused); ok {
			code, reason = e.Code, e.Detail
		}
		return nil, errors.Join(a.opt.Store.KeepDeadLetter(ctx, d.ID, code, reason), refused)
	}
	out := &deadLetterRetriedOut{client.DeadLetterRetried{Data: []client.Published{}}}
	for _, e := range outcomes[0].Events {
		out.Body.Data = append(out.Body.Data, client.Published{
			ID: e.Event.ID, CompanyID: e.CompanyID, Event: e.Event.Topic, ObjectID: orNull(e.Event.ObjectID()), AcceptedAt: e.Event.AcceptedAt, Duplicate: e.Duplicate,
		})
	}
	err = a.opt.Store.DropDeadLetter(ctx, d.ID, x.audit("dead_letter.retried", map[string]any{"source": d.Source}))
	if hook.IsKind(err, hook.KindNotFound) { // somebody else retried it meanwhile
		err = nil
	}
	return out, err
}

func shapeDeadLetter(d store.DeadLetter) client.DeadLetter {
	return client.DeadLetter{
		ID: d.ID, Source: d.Source, Message: d.MessageKey, At: d.At, WrittenAt: d.WrittenAt, Code: d.Code, Reason: d.Reason, Retries: d.Retries,
		Size: d.Size, Truncated: d.Cut(), EventID: d.EventID, ContentType: d.ContentType,
	}
}
