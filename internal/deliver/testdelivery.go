package deliver

import (
	"context"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/retry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Test makes one attempt beside the lane: signed, sent and classified like any other, but never
// retried, held, ordered or counted.
func (e *Engine) Test(ctx context.Context, w *hook.Webhook, event *hook.Event) (*hook.Attempt, error) {
	r := e.Sender.Send(ctx, send.Request{
		Webhook: w, EventID: event.ID, Topic: event.Topic, Object: event.ObjectID(), Body: wire.Body(event.Topic, event.Data, w.Format),
		Attempt: 1, Kind: hook.Test, AllowNetworks: w.AllowNetworks,
		Fresh: true, // nobody wants to test whether a kept connection still lives
	})
	answer := retry.Answer{StatusCode: r.StatusCode, Class: r.Class}
	if r.HasRetryAfter {
		answer.RetryAfter = &r.RetryAfter
	}
	outcome := retry.Decide(answer, retry.Standing{}, 0).Outcome
	if outcome != hook.OutcomeDelivered {
		outcome = hook.OutcomeFailed // there is no second try
	}
	return &hook.Attempt{
		Webhook: w.Key, Number: 1, Kind: hook.Test, Version: w.Version, TimestampText: r.TimestampText, Format: w.Format, StartedAt: r.StartedAt,
		Phases: r.Phases, Reused: r.Reused, Outcome: outcome, StatusCode: r.StatusCode, ErrorClass: r.Class, ErrorDetail: r.Detail, RetryAfter: r.RetryAfter,
		AnswerHeader: r.AnswerHeader, AnswerBody: r.AnswerBody,
	}, nil
}
