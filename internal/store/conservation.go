package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Balance is the first invariant for one webhook: what it matched is delivered, failed, skipped,
// parked or pending.
type Balance struct {
	WebhookID                                            string
	Matched, Delivered, Failed, Skipped, Parked, Pending int64
	// PendingExact says that Pending, and so Matched, were counted to the end of the log; otherwise
	// they are what the next 100,000 offsets hold.
	PendingExact bool
	Balanced     bool
}

// Conservation adds up the counters of a company's webhooks, newest first.
//
// The cursor's sequence counts the matches that it has passed; they are settled or parked. So the
// counters balance when the sequence is what they hold, less what is settled or parked out of order
// above the place. What is pending is counted from the log by the rules.
func (s *Store) Conservation(ctx context.Context, company hook.CompanyKey, p Page) (list []Balance, more string, err error) {
	var keys []hook.WebhookKey
	err = s.read(ctx, func(q sql.Tx) (err error) {
		keys, err = webhookPage(ctx, q, company, p)
		return err
	})
	for _, key := range keys {
		if err != nil {
			break
		}
		var c count
		if c, err = s.count(ctx, key); err == nil {
			list = append(list, c.Balance)
		}
		if hook.IsKind(err, hook.KindNotFound) {
			err = nil // deleted meanwhile
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("count conservation: %w", err)
	}
	list, more = next(p, list, func(b Balance) string { return b.WebhookID })
	return list, more, nil
}

// count is a balance and the snapshot that it was taken from.
type count struct {
	Balance
	v          *view // spent; its facts serve
	head       hook.Offset
	end        hook.Offset // up to where is counted: the head, or where much lies between
	aboveCount int64       // settled or parked above the place
}

func (s *Store) count(ctx context.Context, key hook.WebhookKey) (c count, err error) {
	var above map[hook.Offset]bool
	err = s.read(ctx, func(q sql.Tx) error {
		v, err := s.view(ctx, q, nil, key)
		if err != nil {
			return err
		}
		c = count{v: v, Balance: Balance{WebhookID: v.id, Delivered: v.cursor.Delivered, Failed: v.cursor.Failed, Skipped: v.cursor.Skipped}}
		if above, err = v.above(ctx); err != nil {
			return err
		}
		if c.head, err = s.head(ctx, q, v.partition); err != nil {
			return err
		}
		if c.end, err = countedTo(ctx, q, v.company, v.place, c.head); err != nil {
			return err
		}
		return sql.One(ctx, q, `SELECT count(*) FROM parked WHERE webhook = $1 AND kind = 'live'`, []any{int64(key)}, &c.Parked)
	})
	if err != nil {
		return c, err
	}
	c.aboveCount = int64(len(above))
	upTo := c.end
	_, err = s.eachMatch(ctx, key, c.v.place, upTo, func(ref Ref) bool {
		if _, done := above[ref.Offset]; !done {
			c.Pending++
		}
		return true
	})
	c.PendingExact = upTo == c.head
	c.Matched = c.v.cursor.Sequence + c.aboveCount + c.Pending
	c.Balanced = c.Matched == c.Delivered+c.Failed+c.Skipped+c.Parked+c.Pending
	return c, err
}

// Recount is the same from the log itself: nothing in it comes from a counter.
type Recount struct {
	Balance
	Since       time.Time // acceptance of the first match that is still kept; zero when none is
	Unexplained int64     // matches that the cursor has passed and that left no trace: must be 0
	Complete    bool      // nothing was purged, so that the matches up to the cursor must be its sequence
}

// recounted is how many offsets one transaction of a recount covers.
const recounted = 10_000

// Recount counts a webhook's matches from events and rules, and what became of each, in chunks of
// 10,000 offsets, each a transaction of its own. What is delivered, failed or parked can change
// between two of them; that each match left exactly one trace cannot.
func (s *Store) Recount(ctx context.Context, key hook.WebhookKey) (*Recount, error) {
	c, err := s.count(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("recount: %w", err)
	}
	r := &Recount{Complete: c.v.purged < c.v.rules[0].From}
	r.WebhookID, r.PendingExact = c.WebhookID, c.PendingExact
	place, end := c.v.place, c.end
	var passed int64
	for at := max(c.v.purged, c.v.rules[0].From-1); at < end; {
		upTo := end
		err := s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
			first, err := firstAfter(ctx, q, c.v.company, at, end+1) // offsets leap where the store went back
			if err != nil {
				return err
			}
			if upTo = min(first-1+recounted, end); at < place {
				upTo = min(upTo, place)
			}
			v, err := s.view(ctx, q, k, key)
			if err != nil {
				return err
			}
			return v.recount(ctx, max(at, min(first-1, upTo)), upTo, r, place)
		})
		if err != nil {
			return nil, fmt.Errorf("recount: %w", err)
		}
		if at = upTo; at <= place {
			passed = r.Matched
		}
	}
	r.Balanced = r.Unexplained == 0 && (!r.Complete || passed == c.v.cursor.Sequence)
	return r, nil
}

// countedTo is how far what lies above a place is counted in one go. Offsets leap where the store went
// back; what has no events costs nothing.
func countedTo(ctx context.Context, q sql.Tx, c hook.CompanyKey, place, head hook.Offset) (hook.Offset, error) {
	const most = 8 // stretches with nothing between them
	end := place
	for range most {
		next, err := firstAfter(ctx, q, c, end, head+1)
		switch {
		case err != nil || next > head:
			return head, err
		case end > place && next-end <= backlogRead:
			return end, nil
		}
		end = min(head, next-1+backlogRead)
	}
	return end, nil
}

// firstAfter is the first offset of a company's after one; otherwise that which is given.
func firstAfter(ctx context.Context, q sql.Tx, c hook.CompanyKey, after, otherwise hook.Offset) (first hook.Offset, err error) {
	err = sql.One(ctx, q, `SELECT coalesce((SELECT min("offset") FROM events WHERE company = $1 AND "offset" > $2), $3)`,
		[]any{int64(c), int64(after), int64(otherwise)}, &first)
	return first, err
}

// recount adds one chunk; a chunk that fails has added nothing.
func (v *view) recount(ctx context.Context, after, upTo hook.Offset, sum *Recount, place hook.Offset) error {
	v.rows, v.bytes, v.steps = 2*recounted, 16*readBytes, math.MaxInt // by construction no more than that many offsets
	found, _, err := v.matchesIn(ctx, after, upTo)
	if err != nil {
		return err
	}
	traces, err := v.traces(ctx, after, upTo)
	if err != nil {
		return err
	}
	r := *sum
	if r.Since.IsZero() && len(found) > 0 {
		at, err := v.acceptedAt(ctx, found[0].Offset)
		if err != nil {
			return err
		}
		if at != nil {
			r.Since = *at
		}
	}
	for _, ref := range found {
		r.Matched++
		trace := traces[ref.Offset]
		switch pending := ref.Offset > place; {
		case trace == hook.Delivered:
			r.Delivered++
		case trace == hook.Retrying:
			r.Parked++
		case trace == hook.Failed:
			r.Failed++
		case pending:
			r.Pending++
		case trace == hook.Skipped || v.skipAt(ref.Offset) != nil:
			r.Skipped++
		default:
			r.Unexplained++
		}
	}
	*sum = r
	return nil
}

// traces is what the attempts and the parked rows of a chunk say, as in [view.statusOf]. What was skipped
// stays so, also where a replay has delivered it since.
func (v *view) traces(ctx context.Context, after, upTo hook.Offset) (map[hook.Offset]hook.DeliveryStatus, error) {
	traces := map[hook.Offset]hook.DeliveryStatus{}
	bounds := []any{int64(v.key), int64(after), int64(upTo)}
	err := sql.Each(ctx, v.q, `
		SELECT "offset", max(CASE WHEN kind = 'live' THEN CASE outcome WHEN 'delivered' THEN 4 WHEN 'failed' THEN 3 WHEN 'gone' THEN 3 ELSE 1 END
			WHEN outcome = 'delivered' THEN 2 ELSE 0 END)
		FROM attempts WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3 GROUP BY "offset"`, bounds, func(r sql.Rows) error {
		var o hook.Offset
		var best int
		if err := r.Scan(&o, &best); err != nil || best == 0 || best == 2 && v.skipAt(o) != nil {
			return err
		}
		traces[o] = []hook.DeliveryStatus{1: hook.Skipped, 2: hook.Delivered, 3: hook.Failed, 4: hook.Delivered}[best] // not settled, not parked: expired
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, query := range []string{
		`SELECT "offset" FROM parked WHERE webhook = $1 AND kind = 'live' AND "offset" > $2 AND "offset" <= $3`,
		`SELECT "offset" FROM unrecordable WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3`,
	} {
		err := sql.Each(ctx, v.q, query, bounds, func(r sql.Rows) error {
			var o hook.Offset
			err := r.Scan(&o)
			if t, there := traces[o]; query[len(`SELECT "offset" FROM `)] == 'p' && t != hook.Delivered {
				traces[o] = hook.Retrying
			} else if !there {
				traces[o] = hook.Failed // its attempt could not be kept
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return traces, nil
}
