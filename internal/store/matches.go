package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Match is one webhook's verdict on an event.
type Match struct {
	WebhookID string
	Endpoint  string
	Verdict   Verdict
	Rule      *hook.Rule // in force at the event's offset; nil for CreatedAfter
	Clause    string     // of the rule's filter, that said no
	Problem   string     // that the filter had with the event, which counts as a match
	Delivery  *Delivery  // nil unless matched, or sent by a replay
}

// Matches explains what each webhook of a company made of an event, newest webhook first.
func (s *Store) Matches(ctx context.Context, company hook.CompanyKey, eventID string, p Page) (list []Match, more string, err error) {
	err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
		list = list[:0]
		e, err := eventByID(ctx, q, company, eventID)
		if err != nil {
			return err
		}
		keys, err := webhookPage(ctx, q, company, p)
		if err != nil {
			return err
		}
		for _, key := range keys {
			m, err := s.match(ctx, q, k, key, e)
			switch {
			case err == nil:
				list = append(list, m)
			case !errors.Is(err, errUndecided): // else the other filters are asked with it
				return err
			}
		}
		if len(k.asked) > 0 {
			return errUndecided
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("explain event: %w", err)
	}
	list, more = next(p, list, func(m Match) string { return m.WebhookID })
	return list, more, nil
}

// webhookPage reads the keys of one page of a company's webhooks, and one more.
func webhookPage(ctx context.Context, q sql.Tx, company hook.CompanyKey, p Page) (keys []hook.WebhookKey, err error) {
	err = sql.Each(ctx, q, `SELECT key FROM webhooks WHERE company = $1 AND deleted_at IS NULL AND id < $2 ORDER BY id DESC LIMIT $3`,
		[]any{int64(company), p.before(), int64(p.Limit + 1)}, func(r sql.Rows) error {
			var key hook.WebhookKey
			err := r.Scan(&key)
			keys = append(keys, key)
			return err
		})
	return keys, err
}

func (s *Store) match(ctx context.Context, q sql.Tx, k *opinions, key hook.WebhookKey, e *hook.Event) (m Match, err error) {
	v, err := s.view(ctx, q, k, key)
	if err != nil {
		return m, err
	}
	m.WebhookID, m.Rule = v.id, v.ruleAt(e.Offset)
	if err := sql.One(ctx, q, `SELECT endpoint FROM webhooks WHERE key = $1`, []any{int64(key)}, &m.Endpoint); err != nil {
		return m, err
	}
	if m.Verdict, err = v.verdict(ctx, m.Rule, Ref{Offset: e.Offset, Topic: e.Topic}); err != nil {
		return m, err
	}
	if m.Rule != nil {
		x := k.known[opinion{e.Offset, m.Rule.Filter}]
		m.Clause, m.Problem = x.Clause, x.Problem
	}
	m.Delivery, err = v.derive(ctx, e.Offset, nil)
	return m, err
}

// MatchCount counts the webhooks of a company that matched an event, deleted ones left out.
func (s *Store) MatchCount(ctx context.Context, company hook.CompanyKey, e *hook.Event) (n int, err error) {
	var filters []string
	var wanted map[string]int // webhooks that want the topic, by filter
	err = s.read(ctx, func(q sql.Tx) error {
		n, filters, wanted = 0, nil, map[string]int{}
		sets := map[string]hook.TopicSet{} // most webhooks want one of a few sets
		return sql.Each(ctx, q, `
			SELECT r.topics, r.filter FROM webhooks w JOIN rules r ON r.webhook = w.key
			WHERE w.company = $1 AND w.deleted_at IS NULL
				AND r.from_offset = (SELECT max(x.from_offset) FROM rules x WHERE x.webhook = w.key AND x.from_offset <= $2)`,
			[]any{int64(company), int64(e.Offset)}, func(r sql.Rows) error {
				var topics, filter string
				if err := r.Scan(&topics, &filter); err != nil {
					return err
				}
				set, ok := sets[topics]
				if !ok {
					var err error
					if set, err = topicSet(topics); err != nil {
						return err
					}
					sets[topics] = set
				}
				switch {
				case !set.Has(e.Topic):
				case filter == "" || s.judge == nil:
					n++
				default:
					if wanted[filter] == 0 {
						filters = append(filters, filter)
					}
					wanted[filter]++
				}
				return nil
			})
	})
	if err == nil && len(filters) > 0 {
		var judged []hook.Judged
		if judged, err = s.judge(ctx, company, e, filters); err != nil {
			err = notJudged(err)
		}
		for i, j := range judged {
			if j.Matched {
				n += wanted[filters[i]]
			}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("count matches: %w", err)
	}
	return n, nil
}
