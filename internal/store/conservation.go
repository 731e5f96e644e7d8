package store

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Balance is the first invariant for one webhook: what it matched is delivered, failed, skipped,
// parked or pending.
type Balance struct {
	WebhookID                                            string
	Matched, Delivered, Failed, Skipped, Parked, Pending int64
	Balanced                                             bool
}

// Conservation adds up the counters of a company's webhooks, newest first.
func (s *Store) Conservation(ctx context.Context, company hook.CompanyKey, p Page) (list []Balance, more string, err error) {
	return nil, "", errUnbuilt
}

// Recount is the same from the log itself.
type Recount struct {
	Balance
	Since       time.Time // acceptance of the first event that is still kept
	Complete    bool      // nothing was purged, so that Balance must equal the counters'
	Unexplained int64     // matches that the cursor has passed and that left no trace: must be 0
}

// Recount counts a webhook's matches from events and rules, and what became of each, in chunks of
// 10,000 offsets, each a transaction of its own.
func (s *Store) Recount(ctx context.Context, key hook.WebhookKey) (*Recount, error) {
	return nil, errUnbuilt
}
