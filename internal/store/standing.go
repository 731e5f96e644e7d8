package store

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Standing is where a webhook stands, as the store knows it.
type Standing struct {
	Cursor          hook.Cursor
	Place           hook.Offset // every match up to here is settled or parked
	Parked          int         // live deliveries that wait for a retry, held ones included
	Held            int         // of those
	Backlog         int         // matches above the place that are neither settled nor parked
	BacklogExact    bool        // false: there are at least Backlog
	OldestPendingAt *time.Time  // acceptance of the oldest delivery that is pending or parked
	// The same of those that wait for a time, that are held, and that are in the backlog.
	OldestRetryAt, OldestHeldAt, OldestInBacklogAt *time.Time
}

// Limits of counting a backlog for a page that somebody looks at.
const (
	backlogCounted = 10_000
	backlogRead    = 100_000
)

// Standing reads where a webhook stands. The backlog is counted up to 10,000, among the next
// 100,000 offsets.
func (s *Store) Standing(ctx context.Context, key hook.WebhookKey) (*Standing, error) {
	var st Standing
	var above map[hook.Offset]bool
	var head, retry, held hook.Offset
	err := s.read(ctx, func(q sql.Tx) error {
		v, err := s.view(ctx, q, nil, key)
		if err != nil {
			return err
		}
		st.Cursor, st.Place = v.cursor, v.place
		if above, err = v.above(ctx); err != nil {
			return err
		}
		if head, err = s.head(ctx, q, v.partition); err != nil {
			return err
		}
		err = sql.One(ctx, q, `
			SELECT count(*), coalesce(sum(CASE WHEN due_at IS NULL THEN 1 ELSE 0 END), 0),
				coalesce(min(CASE WHEN due_at IS NOT NULL THEN "offset" END), 0), coalesce(min(CASE WHEN due_at IS NULL THEN "offset" END), 0)
			FROM parked WHERE webhook = $1 AND kind = 'live'`, []any{int64(key)}, &st.Parked, &st.Held, &retry, &held)
		if err == nil && retry > 0 {
			st.OldestRetryAt, err = v.acceptedAt(ctx, retry)
		}
		if err == nil && held > 0 {
			st.OldestHeldAt, err = v.acceptedAt(ctx, held)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read standing: %w", err)
	}
	var oldest hook.Offset
	upTo := min(head, st.Place+backlogRead)
	reached, err := s.eachMatch(ctx, key, st.Place, upTo, func(ref Ref) bool {
		if _, done := above[ref.Offset]; !done {
			if st.Backlog++; st.Backlog == 1 {
				oldest = ref.Offset
			}
		}
		return st.Backlog < backlogCounted
	})
	if err != nil {
		return nil, fmt.Errorf("count backlog: %w", err)
	}
	st.BacklogExact = reached == head
	if oldest > 0 {
		err = s.read(ctx, func(q sql.Tx) error {
			v, err := s.view(ctx, q, nil, key)
			if err == nil {
				st.OldestInBacklogAt, err = v.acceptedAt(ctx, oldest)
			}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read standing: %w", err)
	}
	for _, at := range []*time.Time{st.OldestRetryAt, st.OldestHeldAt, st.OldestInBacklogAt} {
		if at != nil && (st.OldestPendingAt == nil || at.Before(*st.OldestPendingAt)) {
			st.OldestPendingAt = at
		}
	}
	return &st, nil
}

// How many of the newest events with a failure are looked at for the latest, for one webhook and for
// each of a list.
const (
	lookedForFailure = 20
	lookedInList     = 3
)

// Fare is how a webhook fares, as far as that costs little to know.
type Fare struct {
	Cursor      hook.Cursor
	Tally       Tally
	LastFailure *hook.Attempt // nil where there is none, or where it succeeded since
}

// Fares reads how webhooks fare, in their order: each by itself, for as long as that takes. All of a long
// list in one read would keep the write-ahead log from being reset.
func (s *Store) Fares(ctx context.Context, list []*hook.Webhook) ([]Fare, error) {
	fares := make([]Fare, len(list))
	for i, w := range list {
		err := s.read(ctx, func(q sql.Tx) (err error) {
			fares[i], err = s.fare(ctx, q, w)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read how webhooks fare: %w", err)
		}
	}
	return fares, nil
}

func (s *Store) fare(ctx context.Context, q sql.Tx, w *hook.Webhook) (f Fare, err error) {
	if f.Cursor, _, err = cursorOf(ctx, q, w.Key); err != nil && !hook.IsKind(err, hook.KindNotFound) { // deleted a moment ago
		return Fare{}, err
	}
	c := &f.Cursor
	if f.Tally, err = s.tally(ctx, q, w, c); err != nil {
		return Fare{}, err
	}
	if c.LastFailureAt != nil && (c.LastSuccessAt == nil || !c.LastFailureAt.Before(*c.LastSuccessAt)) {
		f.LastFailure, err = lastFailure(ctx, q, w.Key, lookedInList)
	}
	return f, err
}

// LastFailure is the latest attempt that did not deliver, among those of the newest events that have one
// and of the deliveries that wait for a retry; nil where there is none.
func (s *Store) LastFailure(ctx context.Context, key hook.WebhookKey) (last *hook.Attempt, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		last, err = lastFailure(ctx, q, key, lookedForFailure)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the last failure: %w", err)
	}
	return last, nil
}

func lastFailure(ctx context.Context, q sql.Tx, key hook.WebhookKey, among int) (last *hook.Attempt, err error) {
	var failed []hook.Offset
	collect := func(r sql.Rows) error {
		var o hook.Offset
		err := r.Scan(&o)
		failed = append(failed, o)
		return err
	}
	err = sql.Each(ctx, q, `SELECT DISTINCT "offset" FROM attempts WHERE webhook = $1 AND outcome <> 'delivered' ORDER BY "offset" DESC LIMIT $2`,
		[]any{int64(key), int64(among)}, collect)
	if err != nil {
		return nil, err
	}
	// The latest may be a retry of any of those that wait, of which there are no more than may be parked.
	err = sql.Each(ctx, q, `
		SELECT "offset" FROM parked
		WHERE webhook = $1 AND due_at IS NOT NULL AND parked_at = (SELECT max(x.parked_at) FROM parked x WHERE x.webhook = $1 AND x.due_at IS NOT NULL) LIMIT 1`,
		[]any{int64(key)}, collect)
	if err != nil {
		return nil, err
	}
	for _, o := range failed {
		// The last two: one that delivered is the last of its event, but for a retry by hand.
		err := sql.Each(ctx, q, `SELECT `+log.AttemptColumns+` FROM attempts WHERE webhook = $1 AND "offset" = $2 ORDER BY number DESC LIMIT 2`,
			[]any{int64(key), int64(o)}, func(r sql.Rows) error {
				a, err := scanAttempt(r)
				if a.Outcome != hook.OutcomeDelivered && (last == nil || a.StartedAt.After(last.StartedAt)) {
					last = &a
				}
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}

// above holds what is not pending above the place: true where it is settled, false where it is
// parked. There are no more of them than a lane has in flight, and than may be parked.
func (v *view) above(ctx context.Context) (map[hook.Offset]bool, error) {
	above := map[hook.Offset]bool{}
	put := func(settled bool) func(sql.Rows) error {
		return func(r sql.Rows) error {
			var o hook.Offset
			err := r.Scan(&o)
			above[o] = settled
			return err
		}
	}
	err := sql.Each(ctx, v.q, `SELECT "offset" FROM parked WHERE webhook = $1 AND kind = 'live' AND "offset" > $2`, []any{int64(v.key), int64(v.place)}, put(false))
	if err != nil {
		return nil, err
	}
	err = sql.Each(ctx, v.q, `
		SELECT "offset" FROM attempts WHERE webhook = $1 AND "offset" > $2 AND kind = 'live' AND outcome IN ('delivered', 'failed', 'gone')`,
		[]any{int64(v.key), int64(v.place)}, put(true))
	return above, err
}

// acceptedAt is nil for an event that is purged.
func (v *view) acceptedAt(ctx context.Context, o hook.Offset) (at *time.Time, err error) {
	err = sql.Each(ctx, v.q, `SELECT accepted_at FROM events WHERE company = $1 AND "offset" = $2`, []any{int64(v.company), int64(o)}, func(r sql.Rows) error {
		var us int64
		err := r.Scan(&us)
		at = sql.FromMicrosOrNull(&us)
		return err
	})
	return at, err
}
