package store

import (
	"context"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// walk visits the offsets that several indexes name, each offset once, in one order, between two
// bounds. It reads no further than it is asked to, and stops where the snapshot is spent.
type walk struct {
	v          *view
	descending bool
	low, high  hook.Offset // both inclusive
	sources    []*source
}

// source is one index. Its fetch reads a chunk of low ≤ offset ≤ high from the walk's side: what it
// found there, how far it looked, and whether that is all.
type source struct {
	fetch    func(ctx context.Context, low, high hook.Offset) (found []hook.Offset, upTo hook.Offset, done bool, err error)
	from, to hook.Offset
	found    []hook.Offset // not visited yet, in order
	upTo     hook.Offset   // what lies up to here, in the walk's order, is known
	fetched  bool
	done     bool
}

func (v *view) walk(low, high hook.Offset, descending bool) *walk {
	v.down = descending
	return &walk{v: v, descending: descending, low: max(low, v.purged+1), high: high}
}

// before is the order of the walk.
func (w *walk) before(a, b hook.Offset) bool {
	if w.descending {
		return a > b
	}
	return a < b
}

// add gives the walk an index that has nothing outside from ≤ offset ≤ to.
func (w *walk) add(from, to hook.Offset, fetch func(ctx context.Context, low, high hook.Offset) ([]hook.Offset, hook.Offset, bool, error)) {
	from, to = max(from, w.low), min(to, w.high)
	s := &source{fetch: fetch, from: from, to: to, upTo: from - 1, done: from > to}
	if w.descending {
		s.upTo = to
		if to < lastOffset {
			s.upTo++
		}
	}
	w.sources = append(w.sources, s)
}

// next visits one offset. At the end ok is false; then reached tells how far the walk has come, if
// it is not all there is: everything up to there was visited.
func (w *walk) next(ctx context.Context) (o, reached hook.Offset, ok bool, err error) {
	for {
		var behind *source // the least advanced one of those that have nothing to show
		o, ok = 0, false
		for _, s := range w.sources {
			switch {
			case len(s.found) > 0:
				if !ok || w.before(s.found[0], o) {
					o, ok = s.found[0], true
				}
			case !s.done && (behind == nil || w.before(s.upTo, behind.upTo)):
				behind = s
			}
		}
		if behind == nil || ok && !w.before(behind.upTo, o) {
			break
		}
		if w.v.spent() && behind.fetched {
			return 0, behind.upTo, false, nil
		}
		if err := w.fetch(ctx, behind); err != nil {
			return 0, 0, false, err
		}
	}
	for _, s := range w.sources {
		if len(s.found) > 0 && s.found[0] == o {
			s.found = s.found[1:]
		}
	}
	return o, 0, ok, nil
}

func (w *walk) fetch(ctx context.Context, s *source) (err error) {
	low, high := max(s.from, s.upTo+1), s.to
	if w.descending {
		low, high = s.from, min(s.to, s.upTo-1)
	}
	s.fetched = true
	if low > high {
		s.done = true
		return nil
	}
	s.found, s.upTo, s.done, err = s.fetch(ctx, low, high)
	return err
}

// rowsOf adds an index over (webhook, offset) of a table, of which a condition may choose rows.
func (w *walk) rowsOf(tableWhere string) {
	const chunk = 100 // a page's worth and a little more
	order := ` ORDER BY "offset" LIMIT $4`
	if w.descending {
		order = ` ORDER BY "offset" DESC LIMIT $4`
	}
	query := `SELECT "offset" FROM ` + tableWhere + ` AND webhook = $1 AND "offset" >= $2 AND "offset" <= $3` + order
	w.add(0, lastOffset, func(ctx context.Context, low, high hook.Offset) (found []hook.Offset, upTo hook.Offset, done bool, err error) {
		n := 0
		err = sql.Each(ctx, w.v.q, query, []any{int64(w.v.key), int64(low), int64(high), int64(chunk)}, func(r sql.Rows) error {
			if err := r.Scan(&upTo); err != nil {
				return err
			}
			if n++; len(found) == 0 || found[len(found)-1] != upTo { // a delivery has several attempts
				found = append(found, upTo)
			}
			return nil
		})
		w.v.rows -= n
		return found, upTo, n < chunk, err
	})
}

// eventsIn adds the company's events between two bounds that want accepts, from the covering index.
func (w *walk) eventsIn(from, to hook.Offset, want func(ctx context.Context, ref Ref) (bool, error)) {
	const chunk = 500
	w.add(from, to, func(ctx context.Context, low, high hook.Offset) (found []hook.Offset, upTo hook.Offset, done bool, err error) {
		refs, err := w.v.refs(ctx, low, high, w.descending, chunk)
		for _, ref := range refs {
			ok, err := want(ctx, ref)
			if err != nil {
				return nil, 0, false, err
			}
			if ok {
				found = append(found, ref.Offset)
			}
			if upTo = ref.Offset; w.v.bytes <= 0 {
				return found, upTo, false, nil
			}
		}
		return found, upTo, len(refs) < chunk, err
	})
}

// eventsOf adds the company's events about one object.
func (w *walk) eventsOf(object string) {
	const chunk = 100
	order := `ORDER BY "offset" LIMIT $5`
	if w.descending {
		order = `ORDER BY "offset" DESC LIMIT $5`
	}
	query := `SELECT "offset" FROM events WHERE company = $1 AND object_key = $2 AND object_key <> '' AND "offset" >= $3 AND "offset" <= $4 ` + order
	w.add(0, lastOffset, func(ctx context.Context, low, high hook.Offset) (found []hook.Offset, upTo hook.Offset, done bool, err error) {
		err = sql.Each(ctx, w.v.q, query, []any{int64(w.v.company), object, int64(low), int64(high), int64(chunk)}, func(r sql.Rows) error {
			err := r.Scan(&upTo)
			found = append(found, upTo)
			return err
		})
		w.v.rows -= len(found)
		return found, upTo, len(found) < chunk, err
	})
}

// Indexes that a walk can use.
const (
	everyAttempt  = `attempts WHERE 1 = 1`
	failedAttempt = `attempts WHERE outcome <> 'delivered'` // attempts_failed
	liveParked    = `parked WHERE kind = 'live'`
	replayParked  = `parked WHERE kind = 'replay'`
)

// pending adds what lies above the place.
func (w *walk) pending() { w.eventsIn(w.v.place+1, lastOffset, w.v.matches) }

// skipped adds what a skipped range covers of what the cursor has passed.
func (w *walk) skipped() {
	for _, k := range w.v.skips {
		w.eventsIn(k.From, min(k.To, w.v.place), w.v.matches)
	}
}
