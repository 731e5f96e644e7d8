package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// NoticeEntry is something that a company should know, mostly about one of its webhooks.
type NoticeEntry struct {
	ID        string
	WebhookID string // "" for all of them
	At        time.Time
	Kind      string
	Detail    string
}

// Notices lists what happened to a company's webhooks, newest first.
func (s *Store) Notices(ctx context.Context, company hook.CompanyKey, p Page) (list []NoticeEntry, more string, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `
			SELECT n.id, coalesce(w.id, ''), n.at, n.kind, n.detail FROM notices n LEFT JOIN webhooks w ON w.key = n.webhook
			WHERE n.company = $1 AND n.id < $2 AND (w.key IS NOT NULL OR n.webhook = 0) ORDER BY n.id DESC LIMIT $3`,
			[]any{int64(company), p.before(), int64(p.Limit + 1)}, func(r sql.Rows) error {
				var n NoticeEntry
				var at int64
				err := r.Scan(&n.ID, &n.WebhookID, &at, &n.Kind, &n.Detail)
				n.At = sql.FromMicros(at)
				list = append(list, n)
				return err
			})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list notices: %w", err)
	}
	list, more = next(p, list, func(n NoticeEntry) string { return n.ID })
	return list, more, nil
}

// SetAsideEntry is a result that the store itself refused, with the reason.
type SetAsideEntry struct {
	WebhookID string
	EventID   string // "" when the event is purged
	Number    int
	At        time.Time
	Reason    string
}

// SetAside lists the refused results of a webhook, the latest events first.
func (s *Store) SetAside(ctx context.Context, key hook.WebhookKey, limit int) (list []SetAsideEntry, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `
			SELECT w.id, coalesce(e.id, ''), u.number, u.at, u.error
			FROM unrecordable u JOIN webhooks w ON w.key = u.webhook LEFT JOIN events e ON e.company = w.company AND e."offset" = u."offset"
			WHERE u.webhook = $1 ORDER BY u."offset" DESC, u.number DESC LIMIT $2`,
			[]any{int64(key), int64(limit)}, func(r sql.Rows) error {
				var e SetAsideEntry
				var at int64
				var reason []byte
				err := r.Scan(&e.WebhookID, &e.EventID, &e.Number, &at, &reason)
				e.At, e.Reason = sql.FromMicros(at), string(reason)
				list = append(list, e)
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("list results set aside: %w", err)
	}
	return list, nil
}
