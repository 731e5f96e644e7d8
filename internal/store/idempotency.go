package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// SavedAnswer is what a POST with an Idempotency-Key was answered, kept so that the same request
// gets the same answer and is done once.
type SavedAnswer struct {
	Company hook.CompanyKey
	Key     string   // the header's text
	Route   string   // method and path pattern
	Digest  [32]byte // of what else makes two requests the same: path values, query, body
	Status  int      // 0 while the first request runs
	Body    []byte
	At      time.Time
}

// reservedFor is how long a request may take before another with its key may try again: the first
// one's process has died.
const reservedFor = time.Minute

// ReserveAnswer returns the answer that the key's first request got, or reserves the key for the
// caller and returns nil: the caller then does the request and calls [Store.SaveAnswer], or
// [Store.ForgetAnswer] when it was refused or failed. A key that was used for something else, or
// whose first request still runs, is a conflict. Answers from before since do not count.
func (s *Store) ReserveAnswer(ctx context.Context, want SavedAnswer, since time.Time) (saved *SavedAnswer, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		now := hook.Now(s.now())
		saved = &SavedAnswer{Company: want.Company, Key: want.Key}
		var digest, sealed []byte
		var at int64
		err := sql.One(ctx, q, `SELECT route, digest, status, answer, created_at FROM idempotency WHERE company = $1 AND key = $2`,
			[]any{int64(want.Company), want.Key}, &saved.Route, &digest, &saved.Status, &sealed, &at)
		if err != nil && !errors.Is(err, sql.ErrNoRow) {
			return err
		}
		saved.At = sql.FromMicros(at)
		copy(saved.Digest[:], digest)
		abandoned := saved.Status == 0 && now.Sub(saved.At) > reservedFor
		if errors.Is(err, sql.ErrNoRow) || abandoned || saved.At.Before(since) {
			saved = nil
			return s.putAnswer(ctx, q, SavedAnswer{Company: want.Company, Key: want.Key, Route: want.Route, Digest: want.Digest, At: now})
		}
		if saved.Route != want.Route || saved.Digest != want.Digest {
			return hook.Refuse(hook.KindConflict, "idempotency_key_reused", "this Idempotency-Key was used for another request")
		}
		if saved.Status == 0 {
			return hook.Refuse(hook.KindConflict, "idempotency_in_progress", "the first request with this Idempotency-Key has not finished")
		}
		saved.Body, err = s.unseal(sealed, answerRow(want), "answer")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reserve answer: %w", err)
	}
	return saved, nil
}

// SaveAnswer keeps the answer to a request whose key was reserved.
func (s *Store) SaveAnswer(ctx context.Context, a SavedAnswer) error {
	err := s.write(ctx, func(q sql.Tx) error {
		a.At = hook.Now(s.now())
		return s.putAnswer(ctx, q, a)
	})
	if err != nil {
		return fmt.Errorf("save answer: %w", err)
	}
	return nil
}

// ForgetAnswer gives a reserved key back.
func (s *Store) ForgetAnswer(ctx context.Context, company hook.CompanyKey, key string) error {
	return s.write(ctx, func(q sql.Tx) error {
		_, err := q.Exec(ctx, `DELETE FROM idempotency WHERE company = $1 AND key = $2 AND status = 0`, int64(company), key)
		return err
	})
}

func answerRow(a SavedAnswer) string { return fmt.Sprintf("%d/%s", a.Company, a.Key) }

// Reseal seals an answer that is kept in another store for the request that it answers in this one.
func (s *Store) Reseal(from *Store, sealed []byte, was, is SavedAnswer) ([]byte, error) {
	plain, err := from.unseal(sealed, answerRow(was), "answer")
	if err != nil {
		return nil, err
	}
	return s.seal(plain, answerRow(is), "answer"), nil
}

func (s *Store) putAnswer(ctx context.Context, q sql.Tx, a SavedAnswer) error {
	_, err := q.Exec(ctx, `
		INSERT INTO idempotency (company, key, route, digest, status, answer, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (company, key) DO UPDATE SET route = excluded.route, digest = excluded.digest, status = excluded.status,
			answer = excluded.answer, created_at = excluded.created_at`,
		int64(a.Company), a.Key, a.Route, a.Digest[:], int64(a.Status), s.seal(a.Body, answerRow(a), "answer"), sql.Micros(a.At))
	return err
}
