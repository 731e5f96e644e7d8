package store

import (
	"context"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/schema"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sqlite"
)

// Migration is a step of the schema.
type Migration = schema.Step

// Migrate brings the schema of the store that opt names up to date if apply is set, and lists its
// steps. The code runs before and after each step, so that nodes of this version and of the one before
// can serve meanwhile.
func Migrate(ctx context.Context, opt Options, apply bool) (list []Migration, err error) {
	if opt.DatabaseURL != "" {
		list, err = postgres.Migrate(ctx, opt.postgres(), apply)
	} else {
		list, err = sqlite.Migrate(ctx, opt.sqlite(), apply)
	}
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	return list, nil
}
