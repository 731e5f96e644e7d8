package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Covers says which deliveries a replay sends again.
type Covers string

// What a replay may cover.
const (
	CoversAll         Covers = "all"
	CoversFailed      Covers = "failed"
	CoversUndelivered Covers = "undelivered" // failed, skipped, retrying and held
)

// Rules says by which rule a replay decides whether the webhook wants an event.
type Rules string

// The rules of a replay.
const (
	RulesThen    Rules = "then"    // the one that was in force when the event was accepted
	RulesCurrent Rules = "current" // the one in force when the replay is made, also for what was never matched
)

// ReplayStatus is where a replay is in its life.
type ReplayStatus string

// Statuses of a replay.
const (
	ReplayRunning   ReplayStatus = "running"
	ReplayDone      ReplayStatus = "done"
	ReplayCancelled ReplayStatus = "cancelled"
)

// ReasonCancelled is why a parked delivery is due that nobody wants any more: its replay was cancelled.
const ReasonCancelled = "cancelled"

// NewReplay is what to send again: events accepted at From ≤ t < To that the cursor has passed.
type NewReplay struct {
	From   time.Time
	To     *time.Time // nil = up to the cursor's place now
	Covers Covers
	Rules  Rules   // "" = then
	Topic  string  // "" for all
	Rate   float64 // deliveries per second; 0 = the webhook's own rate
}

// Replay is a wish to send again, and how far it is.
type Replay struct {
	NewReplay
	Key                        int64
	ID                         string
	Webhook                    hook.WebhookKey
	Rule                       *hook.Rule // that decides with RulesCurrent; nil otherwise
	Status                     ReplayStatus
	FromOffset, ToOffset       hook.Offset // resolved when it was made, both inclusive
	Place                      hook.Offset // looked at up to here
	Started, Delivered, Failed int64
	CreatedAt                  time.Time
	FinishedAt                 *time.Time
}

// CreateReplay begins a replay. One at a time runs for a webhook; an INACTIVE one has none.
func (s *Store) CreateReplay(ctx context.Context, key hook.WebhookKey, n NewReplay, a Audit) (r *Replay, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		v, err := s.view(ctx, q, nil, key)
		if err != nil {
			return err
		}
		if v.status == hook.Inactive {
			return hook.Refuse(hook.KindConflict, "webhook_inactive", "the webhook is INACTIVE; activate it first")
		}
		if err := v.touch(ctx); err != nil { // a second wish waits here
			return err
		}
		if err := refuseSecondReplay(ctx, q, key); err != nil {
			return err
		}
		now := hook.Now(s.now())
		n.Rules = cmp.Or(n.Rules, RulesThen)
		r = &Replay{NewReplay: n, ID: hook.NewID(hook.ReplayPrefix, now), Webhook: key, Status: ReplayRunning, CreatedAt: now}
		if r.FromOffset, r.ToOffset, err = v.span(ctx, n); err != nil {
			return err
		}
		if r.Key, err = sql.NextKey(ctx, q, "replay_key"); err != nil {
			return err
		}
		r.Place = r.FromOffset - 1
		r.Rule = v.ruleOf(n)
		var topics, filter *string
		if r.Rule != nil { // which may be another one before the replay is done
			if err := sql.One(ctx, q, `SELECT topics, filter FROM rules WHERE webhook = $1 ORDER BY from_offset DESC LIMIT 1`, []any{int64(key)}, &topics, &filter); err != nil {
				return err
			}
		}
		if _, err := q.Exec(ctx, `
			INSERT INTO replays (key, id, webhook, status, from_at, to_at, from_offset, to_offset, place, covers, rule_topics, rule_filter, topic, rate, created_at)
			VALUES ($1, $2, $3, 'running', $4, $5, $6, $7, $8, $9, $13, $14, $10, $11, $12)`,
			r.Key, r.ID, int64(key), sql.Micros(n.From), sql.MicrosOrNull(n.To), int64(r.FromOffset), int64(r.ToOffset), int64(r.Place),
			string(n.Covers), n.Topic, n.Rate, sql.Micros(now), topics, filter); err != nil {
			return err
		}
		return writeAudit(ctx, q, v.company, r.ID, a, now)
	})
	if err != nil {
		return nil, fmt.Errorf("create replay: %w", err)
	}
	return r, nil
}

func refuseSecondReplay(ctx context.Context, q sql.Tx, key hook.WebhookKey) error {
	var running string
	err := sql.One(ctx, q, `SELECT id FROM replays WHERE webhook = $1 AND status = 'running'`, []any{int64(key)}, &running)
	if errors.Is(err, sql.ErrNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	e := hook.Refuse(hook.KindConflict, "replay_running", "replay %s is running", running)
	e.Extra = map[string]any{"existing_id": running}
	return e
}

// span resolves times to offsets, within what the cursor has passed.
func (v *view) span(ctx context.Context, n NewReplay) (from, to hook.Offset, err error) {
	from, to, err = offsetsBetween(ctx, v.q, v.company, &n.From, n.To)
	return max(from, v.purged+1), min(to, v.place), err
}

// ReplayExtent counts what a replay would cover: deliveries and bytes of data. The count stops
// after some 100,000 events have been looked at; then it is not exact.
func (s *Store) ReplayExtent(ctx context.Context, key hook.WebhookKey, n NewReplay) (count, bytes int64, exact bool, err error) {
	var from, to hook.Offset
	err = s.read(ctx, func(q sql.Tx) error {
		v, err := s.view(ctx, q, nil, key)
		if err == nil {
			from, to, err = v.span(ctx, n)
		}
		return err
	})
	for steps := 0; err == nil && !exact && steps < 100_000/readRows; steps++ {
		err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
			v, err := s.view(ctx, q, k, key)
			if err != nil {
				return err
			}
			items, reached, done, err := v.covered(ctx, n, v.ruleOf(n), from, to, readRows)
			if err != nil {
				return err
			}
			for _, o := range items {
				var size int64
				if err := sql.One(ctx, q, `SELECT length(data) FROM events WHERE company = $1 AND "offset" = $2`, []any{int64(v.company), int64(o)}, &size); err != nil {
					return err
				}
				count, bytes = count+1, bytes+size
			}
			from, exact = reached+1, done
			return nil
		})
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("count replay: %w", err)
	}
	return count, bytes, exact, nil
}

// ruleOf is the rule that decides for a replay which is made now; nil where that which was in force at
// each event does.
func (v *view) ruleOf(n NewReplay) *hook.Rule {
	if n.Rules != RulesCurrent {
		return nil
	}
	latest := v.rules[len(v.rules)-1]
	return &hook.Rule{Topics: latest.Topics, Filter: latest.Filter}
}

// covered finds the offsets in from ≤ offset ≤ to that a replay sends again, ascending. Reached is
// the last one that was looked at; done says that there is nothing further.
func (v *view) covered(ctx context.Context, n NewReplay, rule *hook.Rule, from, to hook.Offset, limit int) (found []hook.Offset, reached hook.Offset, done bool, err error) {
	decides := v.deciding(n, rule)
	w := v.walk(from, to, false)
	switch {
	case n.Covers == CoversAll || n.Covers == CoversUndelivered && rule != nil:
		w.eventsIn(from, to, func(ctx context.Context, ref Ref) (bool, error) { return v.wants(ctx, ref, decides) })
	case n.Covers == CoversUndelivered:
		w.skipped()
		w.rowsOf(failedAttempt)
		w.rowsOf(liveParked)
	default:
		w.rowsOf(failedAttempt)
	}
	for len(found) < limit {
		o, reached, ok, err := w.next(ctx)
		if err != nil || !ok {
			return found, reached, reached == 0, err
		}
		switch ok, err := v.covers(ctx, n, rule, o, decides); {
		case err != nil:
			return nil, 0, false, err
		case ok:
			found = append(found, o)
		}
	}
	return found, found[len(found)-1], false, nil
}

// deciding chooses the rule that decides on an event: the replay's, or that which was in force. Before the
// first one, when the webhook did not exist, what it wants now decides.
func (v *view) deciding(n NewReplay, rule *hook.Rule) func(Ref) *hook.Rule {
	return func(ref Ref) *hook.Rule {
		then := v.ruleAt(ref.Offset)
		switch {
		case n.Topic != "" && ref.Topic != n.Topic:
			return nil
		case rule != nil:
			return rule
		case then == nil:
			return &v.rules[len(v.rules)-1]
		}
		return then
	}
}

// covers decides on an event that the walk came by, of which the rule is known to want it, or which is known
// to have been attempted, skipped or parked.
func (v *view) covers(ctx context.Context, n NewReplay, rule *hook.Rule, o hook.Offset, decides func(Ref) *hook.Rule) (bool, error) {
	if at, err := cancelledAt(ctx, v.q, v.company, o); err != nil || at != nil {
		return false, err
	}
	switch {
	case n.Covers == CoversAll:
		return true, nil
	case n.Covers == CoversUndelivered && rule != nil:
		h, err := v.history(ctx, o)
		v.rows -= 1 + h.requests
		return h.delivered == "", err
	}
	d, err := v.derive(ctx, o, func(d *Delivery) bool { return n.Topic == "" || d.Topic == n.Topic })
	switch {
	case err != nil || d == nil || !n.covers(d.Status):
		return false, err
	case rule == nil:
		return true, nil
	}
	return v.wants(ctx, Ref{Offset: o, Topic: d.Topic}, decides)
}

func (n *NewReplay) covers(status hook.DeliveryStatus) bool {
	switch status {
	case hook.Failed:
		return true
	case hook.Skipped, hook.Retrying, hook.Held:
		return n.Covers == CoversUndelivered
	case hook.Delivered, hook.Pending:
	}
	return false
}
