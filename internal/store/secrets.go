package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Secrets shows what a webhook signs with. Who looked is written down.
func (s *Store) Secrets(ctx context.Context, company hook.CompanyKey, id string, a Audit) (secrets hook.Secrets, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		w, err := s.webhookOf(ctx, q, company, id)
		if err != nil {
			return err
		}
		secrets = w.Secrets
		if _, other := secrets.At(s.now()); other == "" {
			secrets = hook.Secrets{Current: secrets.Current} // an overlap that ran out and was not tidied up yet
		}
		return writeAudit(ctx, q, company, id, a, hook.Now(s.now()))
	})
	if err != nil {
		return hook.Secrets{}, fmt.Errorf("show secret: %w", err)
	}
	return secrets, nil
}

// Rotation is how to replace a secret.
type Rotation struct {
	Secret  string        // the new one; "" = make one
	Overlap time.Duration // how long the old one stays in use; 0 = not at all
	Force   bool          // although a rotation is in progress
}

// RotateSecret begins a rotation: until the end of the overlap the Atlas header is signed with the
// secret that receivers know. A rotation in progress is a conflict unless forced; then the secret
// that signs the Atlas header at this moment is the one that stays known.
func (s *Store) RotateSecret(ctx context.Context, company hook.CompanyKey, id string, r Rotation, a Audit) (secrets hook.Secrets, err error) {
	err = s.change(ctx, company, id, a, func(_ sql.Tx, w *hook.Webhook, _ hook.Offset) error {
		now := hook.Now(s.now())
		known, other := w.Secrets.At(now)
		if other != "" && !r.Force {
			return hook.Refuse(hook.KindConflict, "rotation_in_progress", "a rotation is in progress until %s", w.Secrets.PreviousExpires.Format(time.RFC3339))
		}
		w.Secrets = hook.Secrets{Current: r.Secret}
		if r.Secret == "" {
			w.Secrets.Current = hook.NewSecret()
		}
		if r.Overlap > 0 {
			w.Secrets.Previous, w.Secrets.PreviousExpires = known, now.Add(r.Overlap)
		}
		secrets = w.Secrets
		failpoint.Hit(failpoint.Rotation)
		return nil
	})
	if err != nil {
		return hook.Secrets{}, fmt.Errorf("rotate secret: %w", err)
	}
	return secrets, nil
}

// ActivateSecret signs the Atlas header with the new secret at once; the old one stays in
// webhook-signature until the end of the overlap.
func (s *Store) ActivateSecret(ctx context.Context, company hook.CompanyKey, id string, a Audit) (hook.Secrets, error) {
	return s.inRotation(ctx, company, id, a, func(x *hook.Secrets) { x.Activated = true })
}

// CancelRotation keeps the old secret and forgets the new one.
func (s *Store) CancelRotation(ctx context.Context, company hook.CompanyKey, id string, a Audit) (hook.Secrets, error) {
	return s.inRotation(ctx, company, id, a, func(x *hook.Secrets) { *x = hook.Secrets{Current: x.Previous} })
}

func (s *Store) inRotation(ctx context.Context, company hook.CompanyKey, id string, a Audit, change func(*hook.Secrets)) (secrets hook.Secrets, err error) {
	err = s.change(ctx, company, id, a, func(_ sql.Tx, w *hook.Webhook, _ hook.Offset) error {
		if _, other := w.Secrets.At(s.now()); other == "" {
			return hook.Refuse(hook.KindConflict, "no_rotation", "no rotation is in progress")
		}
		change(&w.Secrets)
		secrets = w.Secrets
		return nil
	})
	if err != nil {
		return hook.Secrets{}, fmt.Errorf("%s: %w", a.Action, err)
	}
	return secrets, nil
}

// ExpireSecrets forgets the old secrets whose overlap has ended, at most limit of them, and returns
// how many. Signing does not wait for it: [hook.Secrets.At] goes by the clock.
func (s *Store) ExpireSecrets(ctx context.Context, now time.Time, limit int) (n int, err error) {
	type expired struct {
		company hook.CompanyKey
		id      string
	}
	var list []expired
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `SELECT company, id FROM webhooks WHERE previous_expires_at <= $1 AND deleted_at IS NULL LIMIT $2`,
			[]any{sql.Micros(now), int64(limit)}, func(r sql.Rows) error {
				var e expired
				err := r.Scan(&e.company, &e.id)
				list = append(list, e)
				return err
			})
	})
	for _, e := range list {
		if err == nil {
			err = s.change(ctx, e.company, e.id, Audit{Actor: "engine", Action: "webhook.secret_expired"}, func(_ sql.Tx, w *hook.Webhook, _ hook.Offset) error {
				if w.Secrets.Previous == "" || now.Before(w.Secrets.PreviousExpires) {
					return hook.NotFound("expired secret")
				}
				w.Secrets = hook.Secrets{Current: w.Secrets.Current}
				return nil
			})
		}
		if hook.IsKind(err, hook.KindNotFound) {
			err = nil // deleted or rotated meanwhile
		}
	}
	if err != nil {
		return 0, fmt.Errorf("expire secrets: %w", err)
	}
	return len(list), nil
}
