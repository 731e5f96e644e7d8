package store

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Covers says which deliveries a replay sends again.
type Covers string

// What a replay may cover.
const (
	CoversAll         Covers = "all"
	CoversFailed      Covers = "failed"
	CoversUndelivered Covers = "undelivered" // failed and skipped
)

// ReplayStatus is where a replay is in its life.
type ReplayStatus string

// Statuses of a replay.
const (
	ReplayRunning   ReplayStatus = "running"
	ReplayDone      ReplayStatus = "done"
	ReplayCancelled ReplayStatus = "cancelled"
)

// NewReplay is what to send again: events accepted at From ≤ t < To that the cursor has passed.
type NewReplay struct {
	From   time.Time
	To     *time.Time // nil = up to the cursor's place now
	Covers Covers
	Topic  string  // "" for all
	Rate   float64 // deliveries per second; 0 = the webhook's own rate
}

// Replay is a wish to send again, and how far it is.
type Replay struct {
	NewReplay
	Key                        int64
	ID                         string
	Webhook                    hook.WebhookKey
	Status                     ReplayStatus
	FromOffset, ToOffset       hook.Offset // resolved when it was made, both inclusive
	Place                      hook.Offset // looked at up to here
	Started, Delivered, Failed int64
	CreatedAt                  time.Time
	FinishedAt                 *time.Time
}

// CreateReplay begins a replay. One at a time runs for a webhook; an INACTIVE one has none.
func (s *Store) CreateReplay(ctx context.Context, key hook.WebhookKey, n NewReplay, a Audit) (*Replay, error) {
	return nil, errUnbuilt
}

// ReplayExtent counts what a replay would cover: deliveries and bytes of data. The count stops
// after 100,000 events have been looked at; then it is not exact.
func (s *Store) ReplayExtent(ctx context.Context, key hook.WebhookKey, n NewReplay) (count, bytes int64, exact bool, err error) {
	return 0, 0, false, errUnbuilt
}

// Replay reads a replay of a webhook.
func (s *Store) Replay(ctx context.Context, key hook.WebhookKey, id string) (*Replay, error) {
	return nil, errUnbuilt
}

// Replays lists a webhook's replays, newest first.
func (s *Store) Replays(ctx context.Context, key hook.WebhookKey, p Page) (list []*Replay, more string, err error) {
	return nil, "", errUnbuilt
}

// CancelReplay ends a running replay; what it parked is forgotten.
func (s *Store) CancelReplay(ctx context.Context, key hook.WebhookKey, id string, a Audit) error {
	return errUnbuilt
}

// ReplayItem is one delivery that a replay covers.
type ReplayItem struct {
	Ref
	Sequence int64 // 0 when it was never matched, or when finding it out would take too long
	Attempts int   // the highest attempt number so far
}

// ReplayWork reads what a running replay covers after an offset, at most limit items. Events up to
// upTo have been looked at; done says that there is nothing further.
func (s *Store) ReplayWork(ctx context.Context, key int64, after hook.Offset, limit int) (items []ReplayItem, upTo hook.Offset, done bool, err error) {
	return nil, 0, false, errUnbuilt
}

// ReplayByKey reads a replay by its key.
func (s *Store) ReplayByKey(ctx context.Context, key int64) (*Replay, error) {
	return nil, errUnbuilt
}
