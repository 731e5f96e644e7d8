package app

import (
	"context"

	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// shownUnusable is how many webhooks a warning names.
const shownUnusable = 20

// tellUnusable warns of saved filters that this version cannot use: one that allowed more has saved
// them. Every event of their topics matches, until they are written anew.
func (s *Server) tellUnusable(ctx context.Context) {
	const page = 1000
	count, shown := 0, []string(nil)
	for after := hook.WebhookKey(0); ctx.Err() == nil; {
		list, err := s.store.SavedFilters(ctx, after, page)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("the saved filters could not be checked", "error", err)
			}
			return
		}
		for _, f := range list {
			after = f.Key
			if _, err := filter.Compile(f.Filter); err == nil {
				continue
			}
			if count++; count <= shownUnusable {
				shown = append(shown, f.WebhookID)
			}
		}
		if len(list) < page {
			break
		}
	}
	if count > 0 {
		s.log.Warn("filters that this version cannot use: every event of their topics matches", "webhooks", count, "among_them", shown)
	}
}
