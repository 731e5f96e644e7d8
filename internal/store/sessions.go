package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Session is one of the console's that began with a key. It is what the key is, and ends with it.
type Session struct {
	Maker     [32]byte // hash of the key
	ExpiresAt time.Time
}

// BeginSession keeps a session by the hash of its text, and forgets some that are over.
func (s *Store) BeginSession(ctx context.Context, text string, n Session) error {
	err := s.write(ctx, func(q sql.Tx) error {
		if _, err := q.Exec(ctx, `DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE expires_at < $1 LIMIT 100)`, sql.Micros(s.now())); err != nil {
			return err
		}
		hash := KeyHash(text)
		_, err := q.Exec(ctx, `INSERT INTO sessions (hash, maker, expires_at) VALUES ($1, $2, $3)`, hash[:], n.Maker[:], sql.Micros(n.ExpiresAt))
		return err
	})
	if err != nil {
		return fmt.Errorf("begin session: %w", err)
	}
	return nil
}

// SessionByHash finds a session, over or not; [hook.NotFound] when there is none.
func (s *Store) SessionByHash(ctx context.Context, hash [32]byte) (found *Session, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		var maker []byte
		var expires int64
		err := sql.One(ctx, q, `SELECT maker, expires_at FROM sessions WHERE hash = $1`, []any{hash[:]}, &maker, &expires)
		if errors.Is(err, sql.ErrNoRow) {
			return hook.NotFound("session")
		}
		found = &Session{ExpiresAt: sql.FromMicros(expires)}
		copy(found.Maker[:], maker)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// EndSession ends a session of the console by its text, however it began. One that is not there has
// ended.
func (s *Store) EndSession(ctx context.Context, text string) error {
	err := s.write(ctx, func(q sql.Tx) error {
		hash, now := KeyHash(text), sql.Micros(s.now())
		if _, err := q.Exec(ctx, `DELETE FROM sessions WHERE hash = $1`, hash[:]); err != nil {
			return err
		}
		_, err := q.Exec(ctx, `UPDATE links SET session_expires_at = $1 WHERE session_hash = $2 AND session_expires_at > $1`, now, hash[:])
		return err
	})
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}
