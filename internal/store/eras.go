package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Era is a time in which the store never went back.
type Era = era.Era

// NoticeWentBack is the kind of the notice that companies get.
const NoticeWentBack = era.NoticeWentBack

// ErrWentBack is the answer to who knows the store as it was before it went back: nothing was written.
// It is an [ErrFenced], too.
var ErrWentBack = era.ErrWentBack

// Eras lists them, the newest first.
func (s *Store) Eras(ctx context.Context, p Page) (list []Era, more string, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		list = list[:0]
		before := int64(1) << 62
		if p.Before != "" {
			if _, err := fmt.Sscan(p.Before, &before); err != nil {
				return hook.Refuse(hook.KindMalformed, "invalid_cursor", "cursor: is not one of this list")
			}
		}
		return sql.Each(ctx, q, `SELECT `+era.Columns+` FROM eras WHERE number < $1 ORDER BY number DESC LIMIT $2`, []any{before, int64(p.Limit + 1)}, func(r sql.Rows) error {
			e, err := era.Scan(r)
			list = append(list, e)
			return err
		})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list eras: %w", err)
	}
	list, more = next(p, list, func(e Era) string { return fmt.Sprint(e.Number) })
	return list, more, nil
}

// EraBegun is the era that this store began when it was opened or settled; nil when it found one.
func (s *Store) EraBegun() *Era { return s.begun }

// enter finds the embedded store's era, and begins one where somebody says that it was restored.
func (s *Store) enter(ctx context.Context, opt Options) error {
	return s.write(ctx, func(q sql.Tx) error {
		e, err := era.Last(ctx, q)
		if err != nil || e.Number > 0 && !opt.Restored {
			return err
		}
		if e.Number == 0 {
			err = era.Add(ctx, q, s.now(), &e)
		}
		if err == nil && opt.Restored {
			s.begun, err = s.BeginEra(ctx, q, era.Setback{Cause: era.CauseSaid, Hold: opt.HoldWhenBack})
		}
		return err
	})
}

// BeginEra begins one for whoever has the store for itself.
func (s *Store) BeginEra(ctx context.Context, q sql.Tx, b era.Setback) (*Era, error) {
	return era.Begin(ctx, q, s.engine, s.now(), b)
}

// forget empties the caches of what a database says that went back.
func (s *Store) forget() {
	s.companies.Lock()
	s.companies.byID = nil
	s.companies.Unlock()
	s.purges.Lock()
	s.purges.done = nil
	s.purges.Unlock()
}

// Resettle looks at a database anew after this process has written what shows that it is the same.
func (s *Store) Resettle(ctx context.Context) error {
	if e, ok := s.engine.(*postgres.Engine); ok {
		return e.Resettle(ctx)
	}
	return nil
}

// Pin marks the context of a request: what it looks up in one era it does not write in another.
func (s *Store) Pin(ctx context.Context) context.Context {
	if e, ok := s.engine.(*postgres.Engine); ok {
		return e.Pin(ctx)
	}
	return ctx
}

// HeldSince says since when a restored store waits for an operator; nil when it does not.
func (s *Store) HeldSince(ctx context.Context) (*time.Time, error) {
	var since *int64
	err := s.read(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT (SELECT value FROM meta WHERE name = $1)`, []any{era.MetaHeld}, &since)
	})
	return sql.FromMicrosOrNull(since), err
}

// Resume lets a restored store deliver.
func (s *Store) Resume(ctx context.Context) error {
	return s.write(ctx, func(q sql.Tx) error {
		_, err := q.Exec(ctx, `DELETE FROM meta WHERE name = $1`, era.MetaHeld)
		return err
	})
}
