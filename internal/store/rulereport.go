package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// RuleReport says what a webhook's rule makes of the latest events of its company.
type RuleReport struct {
	Events   int    // that were looked at
	OfTopics int    // of them, those of the topics that the webhook wants now
	Excluded int    // of these, those that its filter refuses
	Clause   string // of the filter, that refused the latest one
	Missed   int    // those that it wants now, did not want when they were accepted, and never got
	Exact    bool   // false: there are more, which were not looked at
}

// Limits of a report: how many events it looks at, how many of the webhook's topics, and how many bytes of those that
// filters are asked about.
const (
	reportedEvents   = 5000
	reportedOfTopics = 200
	reportedBytes    = 8 << 20
)

// reporting is a report that is being made.
type reporting struct {
	RuleReport
	before hook.Offset // looked at up to here, downwards
	bytes  int         // of the events that filters were asked about
}

// RuleReport looks at the events accepted since a time, or since the webhook exists, newest first, and no
// further than a report may.
func (s *Store) RuleReport(ctx context.Context, key hook.WebhookKey, since time.Time) (RuleReport, error) {
	r := reporting{before: lastOffset}
	for !r.Exact && r.Events < reportedEvents && r.OfTopics < reportedOfTopics && r.bytes < reportedBytes {
		err := s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
			v, err := s.view(ctx, q, k, key)
			if err != nil {
				return err
			}
			low, _, err := offsetsBetween(ctx, q, v.company, &since, nil)
			if err != nil {
				return err
			}
			more := r
			if err := v.report(ctx, max(low, v.rules[0].From), &more); err != nil {
				return err
			}
			r = more
			return nil
		})
		if err != nil {
			return RuleReport{}, fmt.Errorf("report on rule: %w", err)
		}
	}
	return r.RuleReport, nil
}

// report looks at the next events, down to low.
func (v *view) report(ctx context.Context, low hook.Offset, r *reporting) error {
	const chunk = 100
	refs, err := v.refs(ctx, low, r.before-1, true, chunk)
	if err != nil {
		return err
	}
	undecided := false
	for _, ref := range refs {
		switch err := v.reportOn(ctx, ref, r); {
		case errors.Is(err, errUndecided):
			if undecided = true; v.opinions.full() {
				return err
			}
		case err != nil:
			return err
		}
		if r.before = ref.Offset; !undecided && r.bytes >= reportedBytes {
			return nil
		}
	}
	if undecided {
		return errUndecided
	}
	r.Exact = len(refs) < chunk
	return nil
}

func (v *view) reportOn(ctx context.Context, ref Ref, r *reporting) error {
	now, then := &v.rules[len(v.rules)-1], v.ruleAt(ref.Offset)
	r.Events++
	r.bytes += max(v.opinions.known[opinion{ref.Offset, now.Filter}].size, v.opinions.known[opinion{ref.Offset, then.Filter}].size)
	switch verdict, err := v.verdict(ctx, now, ref); {
	case err != nil:
		return err
	case verdict == TopicNotSubscribed:
		return nil
	case verdict == FilterFailed:
		if r.OfTopics, r.Excluded = r.OfTopics+1, r.Excluded+1; r.Clause == "" {
			r.Clause = v.opinions.known[opinion{ref.Offset, now.Filter}].Clause
		}
		return nil
	}
	r.OfTopics++
	if verdict, err := v.verdict(ctx, then, ref); err != nil || verdict == Matched {
		return err
	}
	h, err := v.history(ctx, ref.Offset)
	if err == nil && h.requests == 0 {
		r.Missed++
	}
	return err
}
