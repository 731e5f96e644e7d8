package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// AddChecks adds what was counted since the last time, by topic. Of a topic that is gone it keeps nothing.
func (s *Store) AddChecks(ctx context.Context, fresh map[string]*hook.Checks) error {
	err := s.write(ctx, func(q sql.Tx) error {
		for _, topic := range slices.Sorted(maps.Keys(fresh)) { // in one order: nodes do not wait for each other crosswise
			if _, ok := s.Catalogue().Lookup(topic); !ok {
				continue
			}
			if err := s.addChecks(ctx, q, topic, *fresh[topic]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add checks: %w", err)
	}
	return nil
}

func (s *Store) addChecks(ctx context.Context, q sql.Tx, topic string, fresh hook.Checks) error {
	// The row first, which locks it: what is read then is the last.
	_, err := q.Exec(ctx, `
		INSERT INTO topic_checks (topic, checked, violations, rejected, unchecked, last, updated_at) VALUES ($1, $2, $3, $4, $5, '[]', $6)
		ON CONFLICT (topic) DO UPDATE SET checked = topic_checks.checked + excluded.checked, violations = topic_checks.violations + excluded.violations,
			rejected = topic_checks.rejected + excluded.rejected, unchecked = topic_checks.unchecked + excluded.unchecked, updated_at = excluded.updated_at`,
		topic, fresh.Checked, fresh.Violations, fresh.Rejected, fresh.Unchecked, sql.Micros(s.now()))
	if err != nil || len(fresh.Last) == 0 {
		return err
	}
	var last string
	if err := sql.One(ctx, q, `SELECT last FROM topic_checks WHERE topic = $1`, []any{topic}, &last); err != nil {
		return err
	}
	var all hook.Checks
	if err := json.Unmarshal([]byte(last), &all.Last); err != nil {
		return err
	}
	all.Add(hook.Checks{Last: slices.Clone(fresh.Last)})
	text, err := json.Marshal(all.Last)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `UPDATE topic_checks SET last = $2 WHERE topic = $1`, topic, string(text))
	return err
}

// Checks are what was counted of a topic, or of all that any was counted of, by topic.
func (s *Store) Checks(ctx context.Context, topic string) (map[string]*hook.Checks, error) {
	var found map[string]*hook.Checks
	err := s.look(ctx, func(q sql.Tx) error {
		found = map[string]*hook.Checks{}
		return sql.Each(ctx, q, `SELECT topic, checked, violations, rejected, unchecked, last FROM topic_checks WHERE topic = $1 OR $1 = ''`, []any{topic}, func(r sql.Rows) error {
			var name, last string
			c := &hook.Checks{}
			if err := r.Scan(&name, &c.Checked, &c.Violations, &c.Rejected, &c.Unchecked, &last); err != nil {
				return err
			}
			found[name] = c
			return json.Unmarshal([]byte(last), &c.Last)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	return found, nil
}

func forgetChecks(ctx context.Context, q sql.Tx, topic string) error {
	_, err := q.Exec(ctx, `DELETE FROM topic_checks WHERE topic = $1`, topic)
	return err
}
