package store

import (
	"context"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// FedEvent is an event in a webhook's pull feed.
type FedEvent struct {
	*hook.Event
	Sequence int64
}

// Feed reads the events that a webhook matched, in sequence, after a sequence number, with their
// data: at most limit of them and some megabytes. It is empty only at the end of the log.
func (s *Store) Feed(ctx context.Context, key hook.WebhookKey, after int64, limit int) ([]FedEvent, error) {
	return nil, errUnbuilt
}
