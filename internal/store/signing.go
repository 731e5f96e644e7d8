package store

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// A company has a pair of keys for signatures without a shared secret, from the first of its webhooks that asks
// for them on. The next pair is published a day before it signs, and the last one a day after it has ended, so
// that receivers who look for a key once a day know each in time.
const (
	keyPublishedBefore = 24 * time.Hour
	keyPublishedAfter  = 24 * time.Hour
)

// fieldSigningKey is the sealed field of a signing key's row, which its id names.
const fieldSigningKey = "signing_key"

// ensureSigningKey makes a company's first pair, which signs at once.
func (s *Store) ensureSigningKey(ctx context.Context, q sql.Tx, company hook.CompanyKey) error {
	var n int
	if err := sql.One(ctx, q, `SELECT count(*) FROM signing_keys WHERE company = $1`, []any{int64(company)}, &n); err != nil || n > 0 {
		return err
	}
	now := hook.Now(s.now())
	_, err := s.insertSigningKey(ctx, q, company, now, now)
	return err
}

func (s *Store) insertSigningKey(ctx context.Context, q sql.Tx, company hook.CompanyKey, now, from time.Time) (hook.SigningKey, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return hook.SigningKey{}, err
	}
	k := hook.SigningKey{ID: hook.NewID(hook.SigningKeyPrefix, now), Public: public, From: from}
	_, err = q.Exec(ctx, `INSERT INTO signing_keys (id, company, public, private, active_from, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		k.ID, int64(company), []byte(public), s.seal(private.Seed(), k.ID, fieldSigningKey), sql.Micros(from), sql.Micros(now))
	return k, err
}

// signingKeys are those of a company that are used or will be, the earliest first, with what signs.
func (s *Store) signingKeys(ctx context.Context, q sql.Tx, company hook.CompanyKey) (list []hook.SigningKey, err error) {
	err = sql.Each(ctx, q, `SELECT id, public, private, active_from FROM signing_keys WHERE company = $1 ORDER BY active_from DESC, id DESC LIMIT 2`,
		[]any{int64(company)}, func(r sql.Rows) error {
			var k hook.SigningKey
			var public, private []byte
			var from int64
			if err := r.Scan(&k.ID, &public, &private, &from); err != nil {
				return err
			}
			seed, err := s.unseal(private, k.ID, fieldSigningKey)
			if err != nil {
				return err
			}
			if len(seed) != ed25519.SeedSize {
				return fmt.Errorf("signing key %s has %d bytes", k.ID, len(seed))
			}
			k.Public, k.Private, k.From = public, ed25519.NewKeyFromSeed(seed), sql.FromMicros(from)
			list = append([]hook.SigningKey{k}, list...)
			return nil
		})
	return list, err
}

// RotateSigningKey publishes a company's next pair, which signs from a day from now on. Another one that waits to
// is a conflict. A company that has none gets its first, which signs at once.
func (s *Store) RotateSigningKey(ctx context.Context, company hook.CompanyKey, a Audit) (k hook.SigningKey, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		now := hook.Now(s.now())
		c, err := companyWhere(ctx, q, `key = $1`, int64(company))
		if err != nil {
			return err
		}
		keys, err := s.signingKeys(ctx, q, company)
		if err != nil {
			return err
		}
		from := now
		if len(keys) > 0 {
			if last := keys[len(keys)-1]; now.Before(last.From) {
				return hook.Refuse(hook.KindConflict, "rotation_in_progress", "the next key, %s, signs from %s on", last.ID, last.From.Format(time.RFC3339))
			}
			from = now.Add(keyPublishedBefore)
		}
		if k, err = s.insertSigningKey(ctx, q, company, now, from); err != nil {
			return err
		}
		version, err := log.CountChange(ctx, q, c.Partition)
		if err != nil {
			return err
		}
		// A new version makes their lanes read the keys.
		_, err = q.Exec(ctx, `UPDATE webhooks SET version = version + 1, changed = $1 WHERE company = $2 AND deleted_at IS NULL AND (signature_ed25519 = 1 OR http_signature = 1)`,
			version, int64(company))
		if err != nil {
			return err
		}
		return writeAudit(ctx, q, company, k.ID, a, now)
	})
	if err != nil {
		return hook.SigningKey{}, fmt.Errorf("rotate signing key: %w", err)
	}
	return k, nil
}

// mostPublished bounds the set of public keys.
const mostPublished = 20_000

// PublicKeys are those that are published: in use, to be used, or used until a day ago. Of one company, or of all
// (0), the newest first.
func (s *Store) PublicKeys(ctx context.Context, company hook.CompanyKey) (list []hook.SigningKey, err error) {
	condition, args := `1 = 1`, []any{sql.Micros(s.now().Add(-keyPublishedAfter)), int64(mostPublished)}
	if company != 0 {
		condition, args = `k.company = $3`, append(args, int64(company))
	}
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `
			SELECT k.id, k.public, k.active_from FROM signing_keys k WHERE `+condition+` AND NOT EXISTS (
				SELECT 1 FROM signing_keys n WHERE n.company = k.company AND n.active_from > k.active_from AND n.active_from <= $1)
			ORDER BY k.id DESC LIMIT $2`, args, func(r sql.Rows) error {
			var k hook.SigningKey
			var public []byte
			var from int64
			err := r.Scan(&k.ID, &public, &from)
			k.Public, k.From = public, sql.FromMicros(from)
			list = append(list, k)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list public keys: %w", err)
	}
	return list, nil
}

// addSigningKeys gives a webhook what it signs with, where it asks for such signatures.
func (s *Store) addSigningKeys(ctx context.Context, q sql.Tx, w *hook.Webhook) (err error) {
	if !w.SignsWithKey() {
		return nil
	}
	if w.SigningKeys, err = s.signingKeys(ctx, q, w.Company); err == nil && len(w.SigningKeys) == 0 {
		err = errors.New("the company has no signing key")
	}
	return err
}
