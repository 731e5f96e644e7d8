package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Era is a time in which the store never went back. Another one begins when it turns out to be older
// than what it was: a standby was promoted, or a copy restored.
type Era struct {
	Number  int64
	BeganAt time.Time
	Cause   string // in words; "" for the first one
	// What was acknowledged between these two may be missing; nil when nothing is.
	MissingFrom, MissingTo *time.Time

	id     string
	origin origin
}

// origin is how an era's server and row are told from others.
type origin struct {
	System   string // the server's own identifier; "" = not known
	Timeline int64  // of its log; 0 = not known
	Database int64
	written  int64 // the transaction that wrote the era's row; 0 = nobody has looked yet
}

// Whatever was given out in the time that is lost lies less far ahead than a leap, and nine thousand
// leaps are less than 2⁵³, up to where every reader of JSON counts exactly. The versions of a webhook
// count changes that people made.
const (
	leap        = 1_000_000_000_000
	versionLeap = 1_000_000
)

// NoticeWentBack is the kind of the notice that companies get.
const NoticeWentBack = "went_back"

// Eras lists them, the newest first.
func (s *Store) Eras(ctx context.Context, p Page) (list []Era, more string, err error) {
	err = s.look(ctx, func(q tx) error {
		list = list[:0]
		before := int64(1) << 62
		if p.Before != "" {
			if _, err := fmt.Sscan(p.Before, &before); err != nil {
				return hook.Refuse(hook.KindMalformed, "invalid_cursor", "cursor: is not one of this list")
			}
		}
		return each(ctx, q, `SELECT `+eraColumns+` FROM eras WHERE number < $1 ORDER BY number DESC LIMIT $2`, []any{before, int64(p.Limit + 1)}, func(r rows) error {
			e, err := scanEra(r)
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

const eraColumns = `number, id, began_at, cause, missing_from, missing_to, system, timeline, database, written`

func scanEra(r rows) (e Era, err error) {
	var began int64
	var from, to *int64
	err = r.Scan(&e.Number, &e.id, &began, &e.Cause, &from, &to, &e.origin.System, &e.origin.Timeline, &e.origin.Database, &e.origin.written)
	e.BeganAt, e.MissingFrom, e.MissingTo = fromMicros(began), fromMicrosOrNull(from), fromMicrosOrNull(to)
	return e, err
}

// lastEra reads the era that lasts; its number is 0 where none has begun.
func lastEra(ctx context.Context, q tx) (e Era, err error) {
	err = each(ctx, q, `SELECT `+eraColumns+` FROM eras ORDER BY number DESC LIMIT 1`, nil, func(r rows) error {
		e, err = scanEra(r)
		return err
	})
	return e, err
}

// EraBegun is the era that this store began when it was opened or settled; nil when it found one.
func (s *Store) EraBegun() *Era { return s.begun }

// enter finds the embedded store's era, and begins one where somebody says that it was restored.
func (s *Store) enter(ctx context.Context, opt Options) error {
	return s.write(ctx, func(q tx) error {
		e, err := lastEra(ctx, q)
		if err != nil || e.Number > 0 && !opt.Restored {
			return err
		}
		if e.Number == 0 {
			err = s.addEra(ctx, q, &e)
		}
		if err == nil && opt.Restored {
			s.begun, err = s.beginEra(ctx, q, setback{cause: causeSaid, hold: opt.HoldWhenBack})
		}
		return err
	})
}

// setback is what is known when a store turns out to have gone back.
type setback struct {
	cause string
	whole bool // all that was acknowledged is there
	hold  bool // nothing is to be delivered until an operator says so
}

const (
	causeSaid     = "an operator said so"
	causeRestored = "restored from a backup"
	causeCopy     = "a copy of it was restored"
)

// beginEra makes everything that is given out from now on lie far above whatever may have been given
// out in the time that is lost, and writes down what may be missing. What was known of the store before
// means nothing any more. The caller keeps others from it.
func (s *Store) beginEra(ctx context.Context, q tx, b setback) (*Era, error) {
	e, err := lastEra(ctx, q)
	if err != nil {
		return nil, err
	}
	now := hook.Now(s.now())
	if !b.whole {
		from, err := s.lastKnown(ctx, q, e.BeganAt)
		if err != nil {
			return nil, err
		}
		e.MissingFrom, e.MissingTo = &from, &now
	} else {
		e.MissingFrom, e.MissingTo = nil, nil
	}
	e.Cause, e.origin = b.cause, origin{}
	if _, err := q.exec(ctx, `UPDATE meta SET value = (value / $1 + 1) * $1 WHERE name IN ('company_key', 'webhook_key', 'replay_key')`, int64(leap)); err != nil {
		return nil, err
	}
	for p := range s.partitions() {
		if err := s.leapLog(ctx, q, hook.Partition(p)); err != nil {
			return nil, err
		}
	}
	if _, err := q.exec(ctx, `UPDATE webhooks SET version = version + $1 WHERE deleted_at IS NULL`, int64(versionLeap)); err != nil {
		return nil, err
	}
	if b.hold {
		if err := setMeta(ctx, q, metaHeld, micros(now)); err != nil {
			return nil, err
		}
	}
	if err := s.addEra(ctx, q, &e); err != nil {
		return nil, err
	}
	return &e, s.tellAll(ctx, q, &e)
}

// leapLog lets a partition's offsets begin anew, and with them the numbers of all webhooks.
func (s *Store) leapLog(ctx context.Context, q tx, p hook.Partition) error {
	head, err := s.lockLog(ctx, q, p)
	if err != nil {
		return err
	}
	base := (int64(head)/leap + 1) * leap
	if err := s.beginAfter(ctx, q, p, base); err != nil {
		return err
	}
	_, err = q.exec(ctx, `
		INSERT INTO rules (webhook, from_offset, topics, filter, leap)
		SELECT r.webhook, $1, r.topics, r.filter, r.leap + $2 FROM webhooks w JOIN rules r ON r.webhook = w.key
		WHERE w.partition = $3 AND r.from_offset = (SELECT max(x.from_offset) FROM rules x WHERE x.webhook = w.key)`, base+1, int64(leap), int64(p))
	return err
}

// lastKnown is the time of the last that the store knows of: everything that was acknowledged before is
// there.
func (s *Store) lastKnown(ctx context.Context, q tx, began time.Time) (time.Time, error) {
	last := micros(began)
	for p := range s.partitions() {
		var at int64
		err := one(ctx, q, `SELECT coalesce((SELECT accepted_at FROM events WHERE `+s.slice(hook.Partition(p))+` ORDER BY "offset" DESC LIMIT 1), 0)`, nil, &at)
		if err != nil {
			return time.Time{}, err
		}
		last = max(last, at)
	}
	beat, err := s.lastBeat(ctx, q)
	return fromMicros(max(last, beat)), err
}

// addEra writes the next era down.
func (s *Store) addEra(ctx context.Context, q tx, e *Era) error {
	e.Number, e.id, e.BeganAt = e.Number+1, rand.Text(), hook.Now(s.now())
	_, err := q.exec(ctx, `
		INSERT INTO eras (number, id, began_at, cause, missing_from, missing_to, system, timeline, database, written)
		VALUES ($1, $2, $3, $4, $5, $6, '', 0, 0, 0)`, e.Number, e.id, micros(e.BeganAt), e.Cause, microsOrNull(e.MissingFrom), microsOrNull(e.MissingTo))
	return err
}

// tellAll leaves a notice for every company that has webhooks, if something may be missing. Their ids
// are in the order of time, as all are.
func (s *Store) tellAll(ctx context.Context, q tx, e *Era) error {
	if e.MissingFrom == nil {
		return nil
	}
	id := hook.NewID(hook.NoticePrefix, e.BeganAt)
	_, err := q.exec(ctx, `
		INSERT INTO notices (id, company, webhook, at, kind, detail)
		SELECT $1 || substr('0000000000000000' || CAST(c.key AS TEXT), length(CAST(c.key AS TEXT)) + 1), c.key, 0, $2, $3, $4
		FROM companies c WHERE EXISTS (SELECT 1 FROM webhooks w WHERE w.company = c.key AND w.deleted_at IS NULL)`,
		id[:len(id)-16], micros(e.BeganAt), NoticeWentBack, e.Missing())
	if err != nil {
		return fmt.Errorf("tell companies: %w", err)
	}
	return nil
}

// Missing says in words what may be missing; "" when nothing is.
func (e *Era) Missing() string {
	if e.MissingFrom == nil || e.MissingTo == nil {
		return ""
	}
	return fmt.Sprintf("events and changes that were acknowledged from %s to %s may be missing; publish them again with their ids, what is there is not taken twice",
		e.MissingFrom.Format(time.RFC3339), e.MissingTo.Format(time.RFC3339))
}

// ErrWentBack is the answer to who knows the store as it was before it went back: nothing was written.
// It is an [ErrFenced], too.
var ErrWentBack error = wentBackError{}

type wentBackError struct{}

func (wentBackError) Error() string {
	return "the database went back: it is older than what this node knows of it"
}

func (wentBackError) Is(target error) bool { return target == ErrFenced }

// gone is the same to callers of the API, who may try again.
func gone() error { return unavailable("store_busy", ErrWentBack) }

var errNotWhole = errors.New("tables or keys are missing: it is being restored")
