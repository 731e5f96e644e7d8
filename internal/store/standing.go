package store

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Standing is where a webhook stands, as the store knows it.
type Standing struct {
	Cursor          hook.Cursor
	Place           hook.Offset // every match up to here is settled or parked
	Parked          int         // live deliveries that wait for a retry, held ones included
	Backlog         int         // matches above the place that are neither settled nor parked
	BacklogExact    bool        // false: there are at least Backlog
	OldestPendingAt *time.Time  // acceptance of the oldest delivery that is pending or parked
}

// Standing reads where a webhook stands. The backlog is counted up to 10,000.
func (s *Store) Standing(ctx context.Context, key hook.WebhookKey) (*Standing, error) {
	return nil, errUnbuilt
}
