package store

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// PurgeCompanyStep deletes at most limit of a company's events from before a time, with what is
// left of their deliveries, and returns how many: 0 when there is no more to do. Events that some
// webhook has not passed, or still has parked, stay; so does the last event of the log, because no
// offset may be given twice.
func (s *Store) PurgeCompanyStep(ctx context.Context, company hook.CompanyKey, before time.Time, limit int) (int, error) {
	return 0, errUnbuilt
}

// PurgeRestStep deletes at most limit rows from before a time of what is not about one event: saved
// answers, statistics, notices, test deliveries.
func (s *Store) PurgeRestStep(ctx context.Context, before time.Time, limit int) (int, error) {
	return 0, errUnbuilt
}

// EraseDeletedStep deletes at most limit rows of webhooks that were deleted before a time, and
// returns how many: 0 when there is no more to do.
func (s *Store) EraseDeletedStep(ctx context.Context, before time.Time, limit int) (int, error) {
	return 0, errUnbuilt
}
