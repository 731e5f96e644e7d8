package store

import (
	"context"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// SavedFilter is the filter of a webhook as it was saved, maybe by another version.
type SavedFilter struct {
	Key       hook.WebhookKey
	WebhookID string
	Filter    string
}

// SavedFilters lists the filters of all companies' webhooks whose key is above one, ascending; fewer
// than limit means that there are no more.
func (s *Store) SavedFilters(ctx context.Context, after hook.WebhookKey, limit int) (list []SavedFilter, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `SELECT key, id, filter FROM webhooks WHERE key > $1 AND deleted_at IS NULL AND filter <> '' ORDER BY key LIMIT $2`,
			[]any{int64(after), int64(limit)}, func(r sql.Rows) error {
				var f SavedFilter
				err := r.Scan(&f.Key, &f.WebhookID, &f.Filter)
				list = append(list, f)
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	return list, nil
}
