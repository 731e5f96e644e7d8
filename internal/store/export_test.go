package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sqlite"
)

// Texts are the statements that the open store has prepared.
func (s *Store) Texts() []string { return s.engine.(*sqlite.Engine).Texts() }

// Explain says how SQLite runs a statement, a step a line.
func (s *Store) Explain(ctx context.Context, text string) (plan string, err error) {
	args := make([]any, strings.Count(text, "?"))
	for i := 1; strings.Contains(text, fmt.Sprintf("$%d", i)); i++ {
		args = append(args, nil)
	}
	err = s.read(ctx, func(q sql.Tx) error {
		return sql.Each(ctx, q, "EXPLAIN QUERY PLAN "+text, args, func(r sql.Rows) error {
			var id, parent, unused int
			var detail string
			err := r.Scan(&id, &parent, &unused, &detail)
			plan += detail + "\n"
			return err
		})
	})
	return plan, err
}

// LimitPages makes the database full at so many pages more than it has; 0 takes the limit away.
func (s *Store) LimitPages(ctx context.Context, more int) error {
	return s.write(ctx, func(q sql.Tx) error {
		var pages, limit int
		if err := sql.One(ctx, q, `PRAGMA page_count`, nil, &pages); err != nil {
			return err
		}
		if limit = pages + more; more == 0 {
			limit = 1 << 30
		}
		return sql.One(ctx, q, fmt.Sprintf(`PRAGMA max_page_count = %d`, limit), nil, &limit)
	})
}

// RecordStepwise records in small steps, as Record does on Postgres where a value is refused.
func (s *Store) RecordStepwise(ctx context.Context, r *Record) (Recorded, error) {
	return s.engine.(*postgres.Engine).RecordStepwise(ctx, r)
}

// LockPartition is what every append begins with.
const LockPartition = postgres.LockPartition
