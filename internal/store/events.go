package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Event reads a company's event with its data. One that is not in the log has no offset: it waits, or was
// cancelled before its time.
func (s *Store) Event(ctx context.Context, company hook.CompanyKey, id string) (e *hook.Event, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		if e, err = eventByID(ctx, q, company, id); hook.IsKind(err, hook.KindNotFound) {
			e, err = scheduledByID(ctx, q, company, id)
		} else if err == nil {
			e.CancelledAt, err = cancelledAt(ctx, q, company, e.Offset)
		}
		return err
	})
	return e, err
}

func eventByID(ctx context.Context, q sql.Tx, company hook.CompanyKey, id string) (*hook.Event, error) {
	return eventWhere(ctx, q, `company = $1 AND id = $2`, int64(company), id)
}

func eventAt(ctx context.Context, q sql.Tx, company hook.CompanyKey, o hook.Offset) (*hook.Event, error) {
	return eventWhere(ctx, q, `company = $1 AND "offset" = $2`, int64(company), int64(o))
}

func eventWhere(ctx context.Context, q sql.Tx, condition string, args ...any) (e *hook.Event, err error) {
	err = log.EachEvent(ctx, q, `SELECT `+log.EventColumns+` FROM events WHERE `+condition, args, func(found *hook.Event) { e = found })
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	if e == nil {
		return nil, hook.NotFound("event")
	}
	return e, nil
}

// EventFilter narrows a list of events; zero fields do not.
type EventFilter struct {
	Topic    string
	ObjectID string
	From, To *time.Time // of acceptance: From ≤ t < To
}

// EventsPage lists a company's events with their data, newest first, from before an offset on (0:
// from the newest). A page that took too much reading ends early; more is where the next one
// begins, 0 at the end.
func (s *Store) EventsPage(ctx context.Context, company hook.CompanyKey, f EventFilter, before hook.Offset, limit int) (list []*hook.Event, more hook.Offset, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		low, high, err := offsetsBetween(ctx, q, company, f.From, f.To)
		if err != nil {
			return err
		}
		if before > 0 {
			high = min(high, before-1)
		}
		refs, end, err := s.refsDown(ctx, q, company, f, low, high, limit)
		if err != nil {
			return err
		}
		bytes := 0
		for i, ref := range refs {
			e, err := eventAt(ctx, q, company, ref.Offset)
			if err != nil {
				return err
			}
			list = append(list, e)
			if bytes += int(e.Size()); bytes >= PageBytes && i < len(refs)-1 {
				end = e.Offset
				break
			}
		}
		more = end
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list events: %w", err)
	}
	return list, more, nil
}

// refsDown reads a company's events in low ≤ offset ≤ high, descending, by the cheapest index; end
// is where to go on (exclusive), 0 when there is no more.
func (s *Store) refsDown(ctx context.Context, q sql.Tx, company hook.CompanyKey, f EventFilter, low, high hook.Offset, limit int) (refs []Ref, end hook.Offset, err error) {
	keys := []string{""}
	query := `SELECT "offset", topic, object_key FROM events WHERE company = $1 AND "offset" >= $2 AND "offset" <= $3 ORDER BY "offset" DESC LIMIT $4`
	if f.ObjectID != "" {
		keys = s.objectKeys(f)
		query = `SELECT "offset", topic, object_key FROM events WHERE company = $1 AND object_key = $5 AND object_key <> '' AND "offset" >= $2 AND "offset" <= $3 ORDER BY "offset" DESC LIMIT $4`
	}
	var floor hook.Offset // below it some index has not been read
	for _, key := range keys {
		args := []any{int64(company), int64(low), int64(high), int64(readRows)}
		if f.ObjectID != "" {
			args = append(args, key)
		}
		n := 0
		var last hook.Offset
		err := sql.Each(ctx, q, query, args, func(r sql.Rows) error {
			var ref Ref
			if err := r.Scan(&ref.Offset, &ref.Topic, &ref.ObjectKey); err != nil {
				return err
			}
			n, last = n+1, ref.Offset
			if f.Topic == "" || ref.Topic == f.Topic {
				refs = append(refs, ref)
				if len(keys) == 1 && len(refs) > limit {
					return errEnough
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, 0, err
		}
		if n == readRows {
			floor = max(floor, last)
		}
	}
	slices.SortFunc(refs, func(a, b Ref) int { return int(b.Offset - a.Offset) })
	refs = slices.DeleteFunc(refs, func(r Ref) bool { return r.Offset < floor })
	if len(refs) > limit {
		return refs[:limit], refs[limit-1].Offset, nil
	}
	return refs, floor, nil
}

// objectKeys are the keys under which an object id can stand: one for each category, or that of the
// topic asked for.
func (s *Store) objectKeys(f EventFilter) (keys []string) {
	for _, t := range s.Catalogue().Ever() {
		key := t.ObjectKey(f.ObjectID)
		if (f.Topic == "" || f.Topic == t.Name) && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// OffsetAt is the offset of a company's first event accepted at or after a time; past its last
// event when there is none.
func (s *Store) OffsetAt(ctx context.Context, company hook.CompanyKey, t time.Time) (o hook.Offset, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		o, err = offsetAt(ctx, q, company, t)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find offset: %w", err)
	}
	return o, nil
}

// offsetAt is the offset of a company's first event accepted at or after a time, as [Store.OffsetAt] has it.
func offsetAt(ctx context.Context, q sql.Tx, company hook.CompanyKey, t time.Time) (hook.Offset, error) {
	var low, high hook.Offset
	err := sql.One(ctx, q, `
		SELECT coalesce((SELECT min("offset") FROM events e WHERE e.company = c.key AND e."offset" > c.purged_offset), c.purged_offset + 1),
			coalesce((SELECT max("offset") FROM events e WHERE e.company = c.key AND e."offset" > c.purged_offset), c.purged_offset) + 1
		FROM companies c WHERE c.key = $1`, []any{int64(company)}, &low, &high)
	if err != nil {
		return 0, err
	}
	return firstSince(ctx, q, `company = $2`, low, high, t, int64(company))
}

// firstSince is the first offset, of the events of which a condition is true, from low on and below high, that
// was accepted at or after a time; high when there is none. It is a binary search, because accepted_at never
// goes backwards within a partition. It asks the oldest first, which most who look for what is too old need
// not go beyond.
func firstSince(ctx context.Context, q sql.Tx, of string, low, high hook.Offset, t time.Time, args ...any) (hook.Offset, error) {
	first := high
	for at := low; low < high; at = low + (high-low)/2 {
		var o hook.Offset
		var accepted int64
		err := sql.One(ctx, q, `SELECT "offset", accepted_at FROM events WHERE `+of+` AND "offset" >= $1 ORDER BY "offset" LIMIT 1`, append([]any{int64(at)}, args...), &o, &accepted)
		if err != nil {
			return 0, err
		}
		if accepted < sql.Micros(t) && o < high {
			low = o + 1
		} else {
			high, first = at, o
		}
	}
	return first, nil
}

// offsetsBetween resolves a range of times to one of offsets, both inclusive.
func offsetsBetween(ctx context.Context, q sql.Tx, company hook.CompanyKey, from, to *time.Time) (low, high hook.Offset, err error) {
	low, high = 1, lastOffset
	if from != nil {
		if low, err = offsetAt(ctx, q, company, *from); err != nil {
			return 0, 0, err
		}
	}
	if to != nil {
		if high, err = offsetAt(ctx, q, company, *to); err != nil {
			return 0, 0, err
		}
		high--
	}
	return low, high, nil
}
