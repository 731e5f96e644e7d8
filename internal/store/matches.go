package store

import (
	"context"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Verdict says whether a webhook wanted an event, and what decided it.
type Verdict string

// Verdicts.
const (
	Matched           Verdict = "matched"
	TopicNotSubcribed Verdict = "topic_not_subscribed"
	FilterFailed      Verdict = "filter_failed"
	CreatedAfter      Verdict = "created_after" // the webhook begins after the event
)

// Match is one webhook's verdict on an event.
type Match struct {
	WebhookID string
	Endpoint  string
	Verdict   Verdict
	Rule      *hook.Rule // in force at the event's offset; nil for CreatedAfter
	Delivery  *Delivery  // nil unless matched or sent by a replay
}

// Matches explains what each webhook of a company made of an event, newest webhook first.
func (s *Store) Matches(ctx context.Context, company hook.CompanyKey, eventID string, p Page) (list []Match, more string, err error) {
	return nil, "", errUnbuilt
}

// MatchCount counts the webhooks of a company that matched an event, deleted ones left out.
func (s *Store) MatchCount(ctx context.Context, company hook.CompanyKey, e *hook.Event) (int, error) {
	return 0, errUnbuilt
}
