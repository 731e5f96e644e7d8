package store

import (
	"context"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// StatsQuery asks for the figures of a webhook, or of all webhooks of a company (Webhook 0).
type StatsQuery struct {
	Company  hook.CompanyKey
	Webhook  hook.WebhookKey
	From, To int64 // minutes since 1970: From ≤ bucket < To
	Step     int64 // minutes that are merged into one bucket, beginning at multiples of it; 0 = 1
}

// Stats reads figures, ascending by bucket; buckets in which nothing happened are left out. The
// Webhook of the answers is 0.
func (s *Store) Stats(ctx context.Context, query StatsQuery) ([]Stat, error) {
	return nil, errUnbuilt
}
