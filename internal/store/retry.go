package store

import (
	"context"
	"fmt"
	"maps"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// ReasonRequested is why a delivery is due that somebody asked for.
const ReasonRequested = "requested"

// RequestRetry wishes for an attempt at a delivery now, and returns the delivery as it was.
//
// What is pending will be sent anyway, or not at all while the webhook stands still: a conflict. What is retrying becomes due now. What is held
// must not overtake: the earliest delivery of its object becomes due now, and this one follows as
// soon as that is settled. What is settled gets one more attempt beside the schedule. Of a webhook whose
// endpoint is down it is due before all others, so that it is the next probe.
func (s *Store) RequestRetry(ctx context.Context, key hook.WebhookKey, eventID string, a Audit) (d *Delivery, err error) {
	err = s.writeOpinions(ctx, func(q sql.Tx, k *opinions) error {
		v, err := s.view(ctx, q, k, key)
		if err != nil {
			return err
		}
		e, err := eventByID(ctx, q, v.company, eventID)
		if err != nil {
			return err
		}
		if d, err = v.one(ctx, e); err != nil {
			return err
		}
		if at, err := cancelledAt(ctx, q, v.company, e.Offset); err != nil {
			return err
		} else if at != nil {
			return hook.Refuse(hook.KindConflict, "event_cancelled", "the event was cancelled; publish it again under another id")
		}
		switch pending := d.Status == hook.Pending; {
		case v.status == hook.Inactive, pending && v.status != hook.Active:
			return hook.Refuse(hook.KindConflict, "webhook_inactive", "the webhook is %s and stands still; set it ACTIVE first", v.status)
		case pending:
			return hook.Refuse(hook.KindConflict, "pending", "the delivery is still to be made; it needs no retry")
		}
		if err := v.makeDue(ctx, d); err != nil {
			return err
		}
		if err := v.touch(ctx); err != nil {
			return err
		}
		a.Detail = maps.Clone(a.Detail)
		if a.Detail == nil {
			a.Detail = map[string]any{}
		}
		a.Detail["event_id"] = eventID
		return writeAudit(ctx, q, v.company, v.id, a, hook.Now(s.now()))
	})
	if err != nil {
		return nil, fmt.Errorf("request retry: %w", err)
	}
	return d, nil
}

func (v *view) makeDue(ctx context.Context, d *Delivery) error {
	now := sql.Micros(v.s.now())
	due := now
	if v.cursor.ProbeAt != nil {
		var first *int64
		if err := sql.One(ctx, v.q, `SELECT min(due_at) FROM parked WHERE webhook = $1`, []any{int64(v.key)}, &first); err != nil {
			return err
		}
		if first != nil {
			due = min(due, *first-1)
		}
	}
	n, err := v.q.Exec(ctx, `
		UPDATE parked SET due_at = $6, parked_at = $1, reason = 'requested' WHERE webhook = $2 AND kind = 'live' AND "offset" =
			CASE WHEN $3 = 1 THEN (SELECT min("offset") FROM parked WHERE webhook = $2 AND object_key = $4 AND kind = 'live') ELSE $5 END`,
		now, int64(v.key), sql.Flag(d.Status == hook.Held), d.ObjectKey, int64(d.Offset), due)
	if err != nil || n > 0 {
		return err
	}
	h, err := v.history(ctx, d.Offset)
	if err != nil {
		return err
	}
	var sequence int64
	if d.Sequence != nil {
		sequence = *d.Sequence
	}
	_, err = v.q.Exec(ctx, `
		INSERT INTO parked (webhook, kind, "offset", partition, sequence, object_key, attempts, step, due_at, parked_at, reason, replay)
		VALUES ($1, 'manual', $2, $3, $4, $5, $6, 0, $8, $7, 'requested', 0)
		ON CONFLICT (webhook, kind, "offset") DO UPDATE SET due_at = excluded.due_at, parked_at = excluded.parked_at, reason = excluded.reason`,
		int64(v.key), int64(d.Offset), int64(v.partition), sequence, d.ObjectKey, int64(h.number), now, due)
	return err
}

// RequestProbe writes down that somebody wishes for an attempt now at a webhook which is down or throttled.
// The wish itself is the engine's.
func (s *Store) RequestProbe(ctx context.Context, company hook.CompanyKey, id string, a Audit) error {
	err := s.write(ctx, func(q sql.Tx) error {
		w, err := s.webhookOf(ctx, q, company, id)
		if err != nil {
			return err
		}
		if w.Status != hook.Active {
			return hook.Refuse(hook.KindConflict, "webhook_inactive", "the webhook is %s and stands still; set it ACTIVE first", w.Status)
		}
		return writeAudit(ctx, q, company, id, a, hook.Now(s.now()))
	})
	if err != nil {
		return fmt.Errorf("request probe: %w", err)
	}
	return nil
}

// touch tells the owner of the webhook's partition that there is a wish, without making a new
// version of the webhook.
func (v *view) touch(ctx context.Context) error { return touch(ctx, v.q, v.partition, v.key) }

func touch(ctx context.Context, q sql.Tx, p hook.Partition, w hook.WebhookKey) error {
	version, err := log.CountChange(ctx, q, p)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `UPDATE webhooks SET changed = $1 WHERE key = $2`, version, int64(w))
	return err
}
