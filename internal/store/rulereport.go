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

// Limits of a report: how many events it looks at, and how many of the webhook's topics.
const (
	reportedEvents   = 5000
	reportedOfTopics = 200
)

// RuleReport looks at the events accepted since a time, or since the webhook exists, newest first, and no
// further than a report may.
func (s *Store) RuleReport(ctx context.Context, key hook.WebhookKey, since time.Time) (r RuleReport, err error) {
	for before := lastOffset; err == nil && !r.Exact && r.Events < reportedEvents && r.OfTopics < reportedOfTopics; {
		err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
			v, err := s.view(ctx, q, k, key)
			if err != nil {
				return err
			}
			low, _, err := offsetsBetween(ctx, q, v.company, &since, nil)
			if err != nil {
				return err
			}
			more, last, err := v.report(ctx, max(low, v.rules[0].From), before-1)
			if err != nil {
				return err
			}
			more.Events, more.OfTopics = more.Events+r.Events, more.OfTopics+r.OfTopics
			more.Excluded, more.Missed = more.Excluded+r.Excluded, more.Missed+r.Missed
			if r.Clause != "" {
				more.Clause = r.Clause
			}
			r, before = more, last
			return nil
		})
	}
	if err != nil {
		return RuleReport{}, fmt.Errorf("report on rule: %w", err)
	}
	return r, nil
}

// report looks at the next events, from high downwards.
func (v *view) report(ctx context.Context, low, high hook.Offset) (r RuleReport, last hook.Offset, err error) {
	const chunk = 100
	refs, err := v.refs(ctx, low, high, true, chunk)
	if err != nil {
		return r, 0, err
	}
	undecided := false
	for _, ref := range refs {
		switch err := v.reportOn(ctx, ref, &r); {
		case errors.Is(err, errUndecided):
			if undecided = true; v.opinions.full() {
				return r, 0, err
			}
		case err != nil:
			return r, 0, err
		}
		last = ref.Offset
	}
	if undecided {
		return r, 0, errUndecided
	}
	r.Exact = len(refs) < chunk
	return r, last, nil
}

func (v *view) reportOn(ctx context.Context, ref Ref, r *RuleReport) error {
	now, then := &v.rules[len(v.rules)-1], v.ruleAt(ref.Offset)
	r.Events++
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
