package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// ReplayItem is one delivery that a replay covers.
type ReplayItem struct {
	Ref
	Sequence int64 // 0 when it was never matched, or when finding it out would take too long
	Attempts int   // the highest attempt number so far
}

// ReplayWork reads what a running replay covers after an offset, at most limit items. Events up to
// upTo have been looked at; done says that there is nothing further. A replay that runs no more is
// done.
func (s *Store) ReplayWork(ctx context.Context, key int64, after hook.Offset, limit int) (items []ReplayItem, upTo hook.Offset, done bool, err error) {
	err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
		items, done = items[:0], false
		r, err := replayWhere(ctx, q, `key = $1`, key)
		if err != nil {
			return err
		}
		if upTo = max(after, r.Place); r.Status != ReplayRunning || upTo >= r.ToOffset {
			done = true
			return nil
		}
		v, err := s.view(ctx, q, k, r.Webhook)
		if err != nil {
			return err
		}
		found, reached, end, err := v.covered(ctx, r.NewReplay, r.Rule, upTo+1, r.ToOffset, limit)
		if err != nil {
			return err
		}
		if items, err = v.replayItems(ctx, found); err != nil {
			return err
		}
		if upTo, done = reached, end; done {
			upTo = r.ToOffset
		}
		return nil
	})
	if err != nil {
		return nil, 0, false, fmt.Errorf("read replay's work: %w", err)
	}
	return items, upTo, done, nil
}

func (v *view) replayItems(ctx context.Context, offsets []hook.Offset) ([]ReplayItem, error) {
	items := make([]ReplayItem, 0, len(offsets))
	var last *ReplayItem // the next sequence is counted from the one before
	for _, o := range offsets {
		item := ReplayItem{Ref: Ref{Offset: o}}
		err := sql.One(ctx, v.q, `SELECT topic, object_key FROM events WHERE company = $1 AND "offset" = $2`, []any{int64(v.company), int64(o)}, &item.Topic, &item.ObjectKey)
		if errors.Is(err, sql.ErrNoRow) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h, err := v.history(ctx, o)
		if err != nil {
			return nil, err
		}
		item.Attempts, item.Sequence = h.number, h.sequence
		if h.requests == 0 {
			if item.Sequence, err = v.numberFrom(ctx, last, item.Ref); err != nil {
				return nil, err
			}
		}
		items = append(items, item)
		last = &items[len(items)-1]
	}
	return items, nil
}

// numberFrom finds the sequence of what was never attempted.
func (v *view) numberFrom(ctx context.Context, last *ReplayItem, ref Ref) (sequence int64, err error) {
	if ok, err := v.matches(ctx, ref); err != nil || !ok {
		return 0, err
	}
	v.rows = max(v.rows, readRows/4) // a page of items is small; counting is worth a little more
	known := false
	if last != nil && last.Sequence > 0 {
		sequence, known, err = v.countFrom(ctx, last.Offset, last.Sequence-v.leapAt(last.Offset), ref.Offset)
	} else {
		sequence, known, err = v.sequenceAt(ctx, ref.Offset)
	}
	if !known {
		sequence = 0
	}
	return sequence, err
}

const replayColumns = `key, id, webhook, status, from_at, to_at, from_offset, to_offset, place, covers, rule_topics, rule_filter, topic, rate, started, delivered, failed, created_at, finished_at`

func replayWhere(ctx context.Context, q sql.Tx, condition string, args ...any) (r *Replay, err error) {
	err = sql.Each(ctx, q, `SELECT `+replayColumns+` FROM replays WHERE `+condition, args, func(row sql.Rows) error {
		r, err = scanReplay(row)
		return err
	})
	if err == nil && r == nil {
		err = hook.NotFound("replay")
	}
	return r, err
}

func scanReplay(row sql.Rows) (*Replay, error) {
	r := &Replay{}
	var from, created int64
	var to, finished *int64
	var topics, filter *string
	err := row.Scan(&r.Key, &r.ID, &r.Webhook, &r.Status, &from, &to, &r.FromOffset, &r.ToOffset, &r.Place, &r.Covers, &topics, &filter, &r.Topic, &r.Rate,
		&r.Started, &r.Delivered, &r.Failed, &created, &finished)
	r.From, r.To, r.CreatedAt, r.FinishedAt = sql.FromMicros(from), sql.FromMicrosOrNull(to), sql.FromMicros(created), sql.FromMicrosOrNull(finished)
	r.Rules = RulesThen
	if topics != nil && filter != nil && err == nil {
		r.Rules, r.Rule = RulesCurrent, &hook.Rule{Filter: *filter}
		r.Rule.Topics, err = topicSet(*topics)
	}
	return r, err
}

// Replay reads a replay of a webhook.
func (s *Store) Replay(ctx context.Context, key hook.WebhookKey, id string) (r *Replay, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		r, err = replayWhere(ctx, q, `id = $1 AND webhook = $2`, id, int64(key))
		return err
	})
	return r, err
}

// ReplayByKey reads a replay by its key.
func (s *Store) ReplayByKey(ctx context.Context, key int64) (r *Replay, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		r, err = replayWhere(ctx, q, `key = $1`, key)
		return err
	})
	return r, err
}

// Replays lists a webhook's replays, newest first.
func (s *Store) Replays(ctx context.Context, key hook.WebhookKey, p Page) (list []*Replay, more string, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `SELECT `+replayColumns+` FROM replays WHERE webhook = $1 AND id < $2 ORDER BY id DESC LIMIT $3`,
			[]any{int64(key), p.before(), int64(p.Limit + 1)}, func(row sql.Rows) error {
				r, err := scanReplay(row)
				list = append(list, r)
				return err
			})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list replays: %w", err)
	}
	list, more = next(p, list, func(r *Replay) string { return r.ID })
	return list, more, nil
}

// CancelReplay ends a running replay; what it parked is forgotten. One that runs no more stays as it
// is, and so does what it parked.
func (s *Store) CancelReplay(ctx context.Context, key hook.WebhookKey, id string, a Audit) error {
	err := s.write(ctx, func(q sql.Tx) error {
		v, err := s.view(ctx, q, nil, key)
		if err != nil {
			return err
		}
		r, err := replayWhere(ctx, q, `id = $1 AND webhook = $2`, id, int64(key))
		if err != nil || r.Status != ReplayRunning {
			return err
		}
		now := hook.Now(s.now())
		if err := v.touch(ctx); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, `UPDATE replays SET status = 'cancelled', finished_at = $1 WHERE key = $2`, sql.Micros(now), r.Key); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, `DELETE FROM parked WHERE webhook = $1 AND kind = 'replay' AND replay = $2`, int64(key), r.Key); err != nil {
			return err
		}
		return writeAudit(ctx, q, v.company, id, a, now)
	})
	if err != nil {
		return fmt.Errorf("cancel replay: %w", err)
	}
	return nil
}
