// Package upkeep lets go of what is over: events past the retention, deleted webhooks, secrets whose
// overlap has ended, saved answers.
//
// It works in steps of at most a thousand rows with a pause between them, so that publishing never
// waits for it. What the webhooks have not resolved is given up first ([Store.ExpireStep]), their
// owners warned from seven days before; the rows go when the engine has passed them.
package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Paces of the work.
const (
	pause    = 50 * time.Millisecond // between two steps
	stepRows = 1000
	warning  = 7 * 24 * time.Hour
	grace    = time.Minute // from a webhook's deletion to the erasure of its rows
)

// Store is what upkeep works on.
type Store interface {
	Companies(ctx context.Context, p store.Page) ([]*store.Company, string, error)
	WarnExpiring(ctx context.Context, company hook.CompanyKey, before, expires time.Time) (int, error)
	ExpireStep(ctx context.Context, company hook.CompanyKey, before time.Time, limit int) (int, error)
	PurgeCompanyStep(ctx context.Context, company hook.CompanyKey, before time.Time, limit int) (int, error)
	PurgeAnswersStep(ctx context.Context, before time.Time, limit int) (int, error)
	EraseDeletedStep(ctx context.Context, before time.Time, limit int) (int, error)
	ExpireSecrets(ctx context.Context, now time.Time, limit int) (int, error)
}

// Upkeep is made by filling it; Store and Log are required.
type Upkeep struct {
	Store     Store
	Log       *slog.Logger
	Retention time.Duration // of events
	Every     time.Duration // between two rounds; 0 means a minute
	Now       func() time.Time
	Turn      func() bool // whether the work is this process's; nil means it always is
}

// Run works until ctx ends. A step that fails is logged and made again in the next round.
func (u *Upkeep) Run(ctx context.Context) {
	if u.Now == nil {
		u.Now = time.Now
	}
	if u.Every == 0 {
		u.Every = time.Minute
	}
	tick := time.NewTicker(u.Every)
	defer tick.Stop()
	for {
		if u.Turn != nil && !u.Turn() {
			// Another node does it.
		} else if err := u.round(ctx); err != nil && ctx.Err() == nil {
			u.Log.Error("upkeep", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// round does everything once.
func (u *Upkeep) round(ctx context.Context) error {
	now := u.Now()
	return errors.Join(
		u.steps(ctx, func() (int, error) { return u.Store.ExpireSecrets(ctx, now, stepRows) }),
		u.steps(ctx, func() (int, error) { return u.Store.PurgeAnswersStep(ctx, now.Add(-u.Retention), stepRows) }),
		u.steps(ctx, func() (int, error) { return u.Store.EraseDeletedStep(ctx, now.Add(-grace), stepRows) }),
		u.companies(ctx, now),
	)
}

func (u *Upkeep) companies(ctx context.Context, now time.Time) error {
	page := store.Page{Limit: hook.MaxLimit}
	for {
		list, next, err := u.Store.Companies(ctx, page)
		if err != nil {
			return err
		}
		for _, c := range list {
			if err := u.company(ctx, c.Key, now); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page.Before = next
	}
}

// company warns, gives up and purges, in this order.
func (u *Upkeep) company(ctx context.Context, key hook.CompanyKey, now time.Time) error {
	before := now.Add(-u.Retention)
	if _, err := u.Store.WarnExpiring(ctx, key, before.Add(warning), now.Add(warning)); err != nil {
		return err
	}
	if err := u.steps(ctx, func() (int, error) { return u.Store.ExpireStep(ctx, key, before, stepRows) }); err != nil {
		return err
	}
	return u.steps(ctx, func() (int, error) { return u.Store.PurgeCompanyStep(ctx, key, before, stepRows) })
}

// steps repeats a step until it has nothing left to do.
func (u *Upkeep) steps(ctx context.Context, step func() (int, error)) error {
	for {
		n, err := step()
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
