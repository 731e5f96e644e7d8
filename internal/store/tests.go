package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// TestDelivery is one request made to try an endpoint out, beside the lane: it is not an event,
// not counted and never retried.
type TestDelivery struct {
	ID      string // its event id in the request
	Webhook hook.WebhookKey
	At      time.Time
	Topic   string
	Data    []byte
	Attempt hook.Attempt
}

// testsKept is how many test deliveries of a webhook are kept.
const testsKept = 50

// SaveTest keeps a test delivery among the last fifty of its webhook.
func (s *Store) SaveTest(ctx context.Context, t *TestDelivery) error {
	attempt, err := json.Marshal(t.Attempt)
	if err != nil {
		return fmt.Errorf("save test: %w", err)
	}
	err = s.write(ctx, func(q sql.Tx) error {
		if _, err := q.Exec(ctx, `INSERT INTO tests (id, webhook, at, topic, data, attempt) VALUES ($1, $2, $3, $4, $5, $6)`,
			t.ID, int64(t.Webhook), sql.Micros(t.At), t.Topic, t.Data, attempt); err != nil {
			return err
		}
		_, err := q.Exec(ctx, `
			DELETE FROM tests WHERE webhook = $1 AND id < (SELECT min(id) FROM (SELECT id FROM tests WHERE webhook = $1 ORDER BY id DESC LIMIT $2) AS kept)`,
			int64(t.Webhook), int64(testsKept))
		return err
	})
	if err != nil {
		return fmt.Errorf("save test: %w", err)
	}
	return nil
}

// Tests lists a webhook's test deliveries, newest first.
func (s *Store) Tests(ctx context.Context, key hook.WebhookKey, p Page) (list []*TestDelivery, more string, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `SELECT id, at, topic, data, attempt FROM tests WHERE webhook = $1 AND id < $2 ORDER BY id DESC LIMIT $3`,
			[]any{int64(key), p.before(), int64(p.Limit + 1)}, func(r sql.Rows) error {
				t := &TestDelivery{Webhook: key}
				var at int64
				var attempt []byte
				if err := r.Scan(&t.ID, &at, &t.Topic, &t.Data, &attempt); err != nil {
					return err
				}
				t.At = sql.FromMicros(at)
				list = append(list, t)
				return json.Unmarshal(attempt, &t.Attempt)
			})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list tests: %w", err)
	}
	list, more = next(p, list, func(t *TestDelivery) string { return t.ID })
	return list, more, nil
}
