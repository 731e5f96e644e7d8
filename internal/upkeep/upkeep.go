// Package upkeep lets go of what is over: events past the retention, deleted webhooks, secrets whose
// overlap has ended, saved answers, old entries of the audit log, keys that are over.
//
// It works in steps of at most a thousand rows with a pause between them, so that publishing never
// waits for it, and it costs by what is due: who has nothing that is over is never asked about. What the webhooks have not resolved is given up first ([Store.ExpireStep]), their
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

	warnEvery = time.Hour
	lookAgain = time.Hour
	renew     = 24 * time.Hour
	pageRows  = 5000
	pages     = 100 // of one partition in one round
	// Of answers to POSTs: what the API promises. They can hold secrets.
	answersKept = 24 * time.Hour
	// Of traces of records: long after whoever might ask for an outcome.
	tracesKept = 24 * time.Hour
)

// Store is what upkeep works on.
type Store interface {
	Partitions() int
	Aged(ctx context.Context, p hook.Partition, after hook.Offset, before time.Time, limit int) (store.Aged, error)
	Unresolved(ctx context.Context, after hook.WebhookKey, limit int) ([]hook.CompanyKey, hook.WebhookKey, error)
	WarnExpiring(ctx context.Context, company hook.CompanyKey, before, expires time.Time) (int, error)
	ExpireStep(ctx context.Context, company hook.CompanyKey, before time.Time, limit int) (int, error)
	PurgeCompanyStep(ctx context.Context, company hook.CompanyKey, before time.Time, limit int) (int, error)
	PurgeScheduledStep(ctx context.Context, before time.Time, limit int) (int, error)
	PurgeAgedStep(ctx context.Context, before time.Time, limit int) (int, error)
	PurgePastStep(ctx context.Context, before time.Time, limit int) (int, error)
	PurgeTracesStep(ctx context.Context, kept time.Duration, limit int) (int, error)
	PurgeAnswersStep(ctx context.Context, before time.Time, limit int) (int, error)
	EraseDeletedStep(ctx context.Context, before time.Time, limit int) (int, error)
	PurgeDeadLettersStep(ctx context.Context, before time.Time, limit int) (int, error)
	ExpireSecrets(ctx context.Context, now time.Time, limit int) (int, error)
}

// Upkeep is made by filling it; Store and Log are required.
type Upkeep struct {
	Store     Store
	Log       *slog.Logger
	Retention time.Duration // of events
	Past      time.Duration // how long the audit log and keys that are over are kept; 0 means for ever
	Every     time.Duration // between two rounds; 0 means a minute
	Now       func() time.Time
	Turn      func() bool // whether the work is this process's; nil means it always is

	rows   int   // since the last pause; Run's, as what follows
	logs   []log // by partition
	warnAt time.Time
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
		u.steps(ctx, func() (int, error) { return u.Store.PurgeAnswersStep(ctx, now.Add(-answersKept), stepRows) }),
		u.steps(ctx, func() (int, error) {
			if u.Past == 0 {
				return 0, nil
			}
			return u.Store.PurgePastStep(ctx, now.Add(-u.Past), stepRows)
		}),
		u.steps(ctx, func() (int, error) { return u.Store.PurgeTracesStep(ctx, tracesKept, stepRows) }),
		u.steps(ctx, func() (int, error) { return u.Store.EraseDeletedStep(ctx, now.Add(-grace), stepRows) }),
		u.warn(ctx, now),
		u.events(ctx, now),
		u.steps(ctx, func() (int, error) { return u.Store.PurgeDeadLettersStep(ctx, now.Add(-u.Retention), stepRows) }),
		u.steps(ctx, func() (int, error) { return u.Store.PurgeScheduledStep(ctx, now.Add(-u.Retention), stepRows) }),
		u.steps(ctx, func() (int, error) { return u.Store.PurgeAgedStep(ctx, now.Add(-u.Retention), stepRows) }),
	)
}

// events gives up and purges what has passed the retention, by partition.
func (u *Upkeep) events(ctx context.Context, now time.Time) error {
	if u.logs == nil {
		u.logs = make([]log, u.Store.Partitions())
	}
	for p := range u.logs {
		if l := &u.logs[p]; !now.Before(l.next) {
			if err := u.partition(ctx, hook.Partition(p), l, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// log is what upkeep knows of a partition.
type log struct {
	gone    hook.Offset // up to here there are no events any more
	next    time.Time   // nothing is due before
	renewAt time.Time   // what is known is forgotten then, for the case that somebody else changed the log
}

// partition visits the companies whose events are due, the oldest first. What they leave, because a lane
// has yet to pass it, they are visited for again in the next round.
func (u *Upkeep) partition(ctx context.Context, p hook.Partition, l *log, now time.Time) error {
	if !now.Before(l.renewAt) {
		*l = log{renewAt: now.Add(renew)}
	}
	before := now.Add(-u.Retention)
	after := l.gone
	for range pages {
		a, err := u.Store.Aged(ctx, p, after, before, pageRows)
		if err != nil {
			return err
		}
		if after == l.gone && a.First > 0 {
			l.gone = a.First - 1
		}
		if len(a.Companies) == 0 {
			if after <= l.gone { // nothing was due at all
				l.next = nextLook(a.Oldest, now, u.Retention)
			}
			return nil
		}
		for _, key := range a.Companies {
			if err := u.company(ctx, key, before); err != nil {
				return err
			}
		}
		after = a.UpTo
	}
	return nil
}

// nextLook is when something can be due next: whatever is appended from now on is younger than what is
// there. It is never long, because clocks are set.
func nextLook(oldest *time.Time, now time.Time, retention time.Duration) time.Time {
	next := now.Add(retention)
	if oldest != nil {
		next = oldest.Add(retention)
	}
	if most := now.Add(lookAgain); next.After(most) {
		return most
	}
	return next
}

// company gives up and purges, in this order.
func (u *Upkeep) company(ctx context.Context, key hook.CompanyKey, before time.Time) error {
	if err := u.steps(ctx, func() (int, error) { return u.Store.ExpireStep(ctx, key, before, stepRows) }); err != nil {
		return err
	}
	return u.steps(ctx, func() (int, error) { return u.Store.PurgeCompanyStep(ctx, key, before, stepRows) })
}

// warn tells owners of what is about to be given up. Once an hour is enough for a warning of seven days.
func (u *Upkeep) warn(ctx context.Context, now time.Time) error {
	if now.Before(u.warnAt) {
		return nil
	}
	expires := now.Add(warning)
	for after := hook.WebhookKey(0); ; {
		companies, last, err := u.Store.Unresolved(ctx, after, stepRows)
		if err != nil {
			return err
		}
		for _, key := range companies {
			if _, err := u.Store.WarnExpiring(ctx, key, expires.Add(-u.Retention), expires); err != nil {
				return err
			}
		}
		if after = last; last == 0 {
			u.warnAt = now.Add(warnEvery)
			return nil
		}
	}
}

// steps repeats a step until it has nothing left to do. Small steps share a pause: a thousand companies
// that each have a row to delete are no more work than one that has a thousand.
func (u *Upkeep) steps(ctx context.Context, step func() (int, error)) error {
	for {
		n, err := step()
		if err != nil || n == 0 {
			return err
		}
		if u.rows += n; u.rows < stepRows {
			continue
		}
		u.rows = 0
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
