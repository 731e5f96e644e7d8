package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// StatsQuery asks for the figures of a webhook, or of all webhooks of a company (Webhook 0).
type StatsQuery struct {
	Company  hook.CompanyKey
	Webhook  hook.WebhookKey
	From, To int64 // minutes since 1970: From ≤ bucket < To
	Step     int64 // minutes that are merged into one bucket, beginning at multiples of it; 0 = 1
}

// Stats reads figures, ascending by bucket; buckets in which nothing happened are left out. The
// Webhook of the answers is 0.
func (s *Store) Stats(ctx context.Context, query StatsQuery) ([]Stat, error) {
	keys := []hook.WebhookKey{query.Webhook}
	if query.Webhook == 0 {
		keys = nil
		err := s.read(ctx, func(q sql.Tx) (err error) {
			keys, err = webhookKeys(ctx, q, query.Company, WebhookFilter{})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read stats: %w", err)
		}
	}
	query.Step = max(query.Step, 1)
	sums := map[int64]*Stat{}
	from := query.From
	for len(keys) > 0 {
		err := s.read(ctx, func(q sql.Tx) error {
			for rows := 0; len(keys) > 0 && rows < readRows; {
				n, last, err := addStats(ctx, q, keys[0], from, query, sums)
				if err != nil {
					return err
				}
				rows, from = rows+n, last+1
				if n < readRows {
					keys, from = keys[1:], query.From
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read stats: %w", err)
		}
	}
	list := make([]Stat, 0, len(sums))
	for _, bucket := range slices.Sorted(maps.Keys(sums)) {
		list = append(list, *sums[bucket])
	}
	return list, nil
}

func addStats(ctx context.Context, q sql.Tx, key hook.WebhookKey, from int64, query StatsQuery, sums map[int64]*Stat) (n int, last int64, err error) {
	err = sql.Each(ctx, q, `
		SELECT bucket, delivered, failed, retried, latency, arrival FROM stats
		WHERE webhook = $1 AND bucket >= $2 AND bucket < $3 ORDER BY bucket LIMIT $4`,
		[]any{int64(key), from, query.To, int64(readRows)}, func(r sql.Rows) error {
			var x Stat
			var latency, arrival []byte
			if err := r.Scan(&x.Bucket, &x.Delivered, &x.Failed, &x.Retried, &latency, &arrival); err != nil {
				return err
			}
			if err := errors.Join(x.Latency.UnmarshalBinary(latency), x.Arrival.UnmarshalBinary(arrival)); err != nil {
				return err
			}
			n, last = n+1, x.Bucket
			bucket := x.Bucket - x.Bucket%query.Step
			sum, ok := sums[bucket]
			if !ok {
				sum = &Stat{Bucket: bucket}
				sums[bucket] = sum
			}
			sum.Delivered, sum.Failed, sum.Retried = sum.Delivered+x.Delivered, sum.Failed+x.Failed, sum.Retried+x.Retried
			sum.Latency.Merge(&x.Latency)
			sum.Arrival.Merge(&x.Arrival)
			return nil
		})
	return n, last, err
}

// Tally is what a webhook's attempts of a stretch of time came to, as its statistics have it.
type Tally struct {
	Delivered, Undelivered int64
	Refused                int64 // of the undelivered ones, those since the last success
}

// Tallied is the stretch of time that a [Tally] is about.
const Tallied = 24 * time.Hour

// Tally counts a webhook's attempts since its endpoint was set, at most for a day.
func (s *Store) Tally(ctx context.Context, w *hook.Webhook, c *hook.Cursor) (t Tally, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		t, err = s.tally(ctx, q, w, c)
		return err
	})
	if err != nil {
		return Tally{}, fmt.Errorf("count attempts: %w", err)
	}
	return t, nil
}

// tally goes by minutes, as statistics do: the one in which it succeeded last does not count as after that.
func (s *Store) tally(ctx context.Context, q sql.Tx, w *hook.Webhook, c *hook.Cursor) (t Tally, err error) {
	minute := func(t time.Time) int64 { return t.Unix() / 60 }
	success := int64(-1)
	if c.LastSuccessAt != nil {
		success = minute(*c.LastSuccessAt)
	}
	err = sql.One(ctx, q, `
		SELECT coalesce(sum(delivered), 0), coalesce(sum(failed + retried), 0), coalesce(sum(CASE WHEN bucket > $3 THEN failed + retried ELSE 0 END), 0)
		FROM stats WHERE webhook = $1 AND bucket >= $2`,
		[]any{int64(w.Key), max(minute(s.now().Add(-Tallied)), minute(w.EndpointSince)), success}, &t.Delivered, &t.Undelivered, &t.Refused)
	return t, err
}
