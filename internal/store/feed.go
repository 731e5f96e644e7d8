package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// FedEvent is an event in a webhook's pull feed.
type FedEvent struct {
	*hook.Event
	Sequence int64
}

// Feed reads the events that a webhook matched, in sequence, after a sequence number, with their
// data: at most limit of them and [PageBytes] before the last one. It is empty only at the end of the log.
func (s *Store) Feed(ctx context.Context, key hook.WebhookKey, after int64, limit int) (list []FedEvent, err error) {
	var head, at hook.Offset
	var sequence int64
	err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
		v, err := s.view(ctx, q, k, key)
		if err != nil {
			return err
		}
		if head, err = s.head(ctx, q, v.partition); err != nil {
			return err
		}
		at, sequence, err = v.numbered(ctx, after)
		return err
	})
	for err == nil && len(list) == 0 && at < head {
		err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
			v, err := s.view(ctx, q, k, key)
			if err != nil {
				return err
			}
			found, reached, err := v.matchesIn(ctx, at, head)
			if err != nil {
				return err
			}
			for i, bytes := 0, 0; i < len(found) && len(list) < limit && bytes < PageBytes; i++ {
				number := sequence + int64(i) + 1 + v.leapAt(found[i].Offset)
				if number <= after {
					continue
				}
				e, notThere := eventAt(ctx, q, v.company, found[i].Offset)
				if notThere != nil {
					return notThere
				}
				bytes += int(e.Size())
				list = append(list, FedEvent{Event: e, Sequence: number})
			}
			at, sequence = reached, sequence+int64(len(found))
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read feed: %w", err)
	}
	return list, nil
}

// numbered finds a place from which matches can be counted up to those after a sequence: an offset
// and the count of matches there.
func (v *view) numbered(ctx context.Context, after int64) (at hook.Offset, sequence int64, err error) {
	if v.cursor.Sequence+v.leapAt(v.place) <= after {
		return v.place, v.cursor.Sequence, nil
	}
	first := v.rules[0].From - 1
	at, sequence, err = v.lastNumbered(ctx, max(first, v.purged), after)
	if err == nil && sequence > 0 || err != nil {
		return at, sequence - v.leapAt(at), err
	}
	if v.purged <= first {
		return first, 0, nil
	}
	// Count down from the first number that is still known: what was purged is not in the feed.
	err = sql.One(ctx, v.q, `
		SELECT "offset", sequence FROM attempts WHERE webhook = $1 AND "offset" > $2 AND sequence > 0 ORDER BY "offset", number LIMIT 1`,
		[]any{int64(v.key), int64(v.purged)}, &at, &sequence)
	sequence -= v.leapAt(at)
	if errors.Is(err, sql.ErrNoRow) {
		at, sequence, err = v.place, v.cursor.Sequence, nil
	}
	if err != nil {
		return 0, 0, err
	}
	before, reached, err := v.matchesIn(ctx, v.purged, at)
	if reached < at {
		return at, sequence, err // too far to count: the feed begins after it
	}
	return v.purged, sequence - int64(len(before)), err
}

// lastNumbered finds the last attempted match above an offset whose sequence is at most a given one, 0
// for none. Sequences ascend with offsets, so the primary key is searched by halving and no index of
// sequences is needed, which every delivery would have to pay for.
func (v *view) lastNumbered(ctx context.Context, low hook.Offset, most int64) (at hook.Offset, sequence int64, err error) {
	for high := v.place; low < high; {
		middle := low + (high-low+1)/2
		var o hook.Offset
		var number int64
		err := sql.One(ctx, v.q, `
			SELECT "offset", sequence FROM attempts WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3 AND sequence > 0
			ORDER BY "offset" DESC, number DESC LIMIT 1`, []any{int64(v.key), int64(low), int64(middle)}, &o, &number)
		switch {
		case errors.Is(err, sql.ErrNoRow):
			low = middle
		case err != nil:
			return 0, 0, err
		case number <= most:
			at, sequence, low = o, number, middle
		default:
			high = o - 1
		}
	}
	return at, sequence, nil
}
