package store

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Verdict says whether a webhook wanted an event, and what decided it.
type Verdict string

// Verdicts.
const (
	Matched            Verdict = "matched"
	TopicNotSubscribed Verdict = "topic_not_subscribed"
	FilterFailed       Verdict = "filter_failed"
	CreatedAfter       Verdict = "created_after" // the webhook begins after the event
)

// view is what reading a webhook's deliveries needs to know of it, in one snapshot, and how much
// more that snapshot may be used for.
type view struct {
	s         *Store
	q         sql.Tx
	key       hook.WebhookKey
	id        string
	company   hook.CompanyKey
	partition hook.Partition
	status    hook.Status
	cursor    hook.Cursor
	place     hook.Offset // every match up to here is settled or parked
	purged    hook.Offset // events up to here are gone, or going
	rules     []hook.Rule // ascending by From
	skips     []SkipRange // ascending by From
	rows      int         // that may still be examined
	bytes     int         // of payload that may still be looked into
	steps     int         // that filters may still take
	opinions  *opinions   // what filters say
	down      bool        // it is walked from new to old
	sequences map[hook.Offset]int64
}

// view reads it; k is nil for a function that asks no filters.
func (s *Store) view(ctx context.Context, q sql.Tx, k *opinions, key hook.WebhookKey) (*view, error) {
	if k == nil {
		k = &opinions{}
	}
	v := &view{s: s, q: q, opinions: k, key: key, rows: readRows, bytes: readBytes, steps: readSteps}
	err := sql.One(ctx, q, `
		SELECT w.id, w.company, w.partition, w.status, c.purged_offset FROM webhooks w JOIN companies c ON c.key = w.company
		WHERE w.key = $1 AND w.deleted_at IS NULL`, []any{int64(key)}, &v.id, &v.company, &v.partition, &v.status, &v.purged)
	if errors.Is(err, sql.ErrNoRow) {
		return nil, hook.NotFound("webhook")
	}
	if err != nil {
		return nil, err
	}
	if v.cursor, v.place, err = cursorOf(ctx, q, key); err != nil {
		return nil, err
	}
	err = sql.Each(ctx, q, `SELECT webhook, from_offset, topics, filter, leap FROM rules WHERE webhook = $1 ORDER BY from_offset`, []any{int64(key)}, func(r sql.Rows) error {
		rule, err := scanRule(r)
		v.rules = append(v.rules, rule)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = sql.Each(ctx, q, `SELECT from_offset, to_offset, reason FROM skips WHERE webhook = $1 AND to_offset > $2 ORDER BY from_offset`,
		[]any{int64(key), int64(v.purged)}, func(r sql.Rows) error {
			var k SkipRange
			err := r.Scan(&k.From, &k.To, &k.Reason)
			v.skips = append(v.skips, k)
			return err
		})
	return v, err
}

// ruleAt is the rule in force at an offset; nil before the first one.
func (v *view) ruleAt(o hook.Offset) *hook.Rule {
	i := sort.Search(len(v.rules), func(i int) bool { return v.rules[i].From > o })
	if i == 0 {
		return nil
	}
	return &v.rules[i-1]
}

// leapAt is what a match's number is higher by than its count.
func (v *view) leapAt(o hook.Offset) int64 {
	if rule := v.ruleAt(o); rule != nil {
		return rule.Leap
	}
	return 0
}

// skipAt is the skipped range that an offset lies in; nil for none.
func (v *view) skipAt(o hook.Offset) *SkipRange {
	for i := range v.skips {
		if v.skips[i].From <= o && o <= v.skips[i].To {
			return &v.skips[i]
		}
	}
	return nil
}

// matches reports whether the webhook wants an event, by the rule in force at its offset.
func (v *view) matches(ctx context.Context, ref Ref) (bool, error) {
	return v.wants(ctx, ref, func(ref Ref) *hook.Rule { return v.ruleAt(ref.Offset) })
}

// wants is that by a rule of the caller's choice; nil wants nothing.
func (v *view) wants(ctx context.Context, ref Ref, rule func(Ref) *hook.Rule) (bool, error) {
	verdict, err := v.verdict(ctx, rule(ref), ref)
	if errors.Is(err, errUndecided) {
		return false, v.lookAhead(ctx, ref, rule)
	}
	return verdict == Matched, err
}

// verdict fails with errUndecided when a filter has to be asked, which it notes.
func (v *view) verdict(ctx context.Context, rule *hook.Rule, ref Ref) (Verdict, error) {
	switch {
	case rule == nil:
		return CreatedAfter, nil
	case !rule.Topics.Has(ref.Topic):
		return TopicNotSubscribed, nil
	case rule.Filter == "" || v.s.judge == nil:
		return Matched, nil
	}
	if x, ok := v.opinions.known[opinion{ref.Offset, rule.Filter}]; ok {
		v.rows, v.bytes, v.steps = v.rows-1, v.bytes-x.size, v.steps-x.Steps
		if !x.Matched {
			return FilterFailed, nil
		}
		return Matched, nil
	}
	e := v.opinions.lastAsked(ref.Offset)
	if e == nil {
		var err error
		if e, err = eventAt(ctx, v.q, v.company, ref.Offset); err != nil {
			return "", err
		}
	}
	v.opinions.ask(e, rule.Filter)
	return "", errUndecided
}

// lookAhead asks about the events that are likely to be wanted next, the more the more often a read
// had to be made again, and ends this one.
func (v *view) lookAhead(ctx context.Context, ref Ref, rule func(Ref) *hook.Rule) error {
	n := min(1<<min(v.opinions.rounds, 10), askedMost)
	if n == 1 {
		return errUndecided
	}
	low, high := ref.Offset+1, lastOffset
	if v.down {
		low, high = 0, ref.Offset-1
	}
	refs, err := v.refs(ctx, low, high, v.down, n)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if v.opinions.full() {
			break
		}
		if _, err := v.verdict(ctx, rule(ref), ref); err != nil && !errors.Is(err, errUndecided) {
			return err
		}
	}
	return errUndecided
}

// spent reports whether the snapshot has been used enough.
func (v *view) spent() bool { return v.rows <= 0 || v.bytes <= 0 || v.steps <= 0 }

// refs reads the company's events in low ≤ offset ≤ high, ascending or descending, from the
// covering index. Fewer than limit means that there are no more.
func (v *view) refs(ctx context.Context, low, high hook.Offset, descending bool, limit int) (refs []Ref, err error) {
	query := `SELECT "offset", topic, object_key FROM events WHERE company = $1 AND "offset" >= $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4`
	if descending {
		query = `SELECT "offset", topic, object_key FROM events WHERE company = $1 AND "offset" >= $2 AND "offset" <= $3 ORDER BY "offset" DESC LIMIT $4`
	}
	err = sql.Each(ctx, v.q, query, []any{int64(v.company), int64(max(low, v.purged+1)), int64(high), int64(limit)}, func(r sql.Rows) error {
		var ref Ref
		err := r.Scan(&ref.Offset, &ref.Topic, &ref.ObjectKey)
		refs = append(refs, ref)
		return err
	})
	v.rows -= len(refs)
	return refs, err
}

// matchesIn reads the webhook's matches in after < offset ≤ upTo, ascending. It stops when the
// snapshot is spent: reached is the last offset that was looked at, upTo when all were.
func (v *view) matchesIn(ctx context.Context, after, upTo hook.Offset) (found []Ref, reached hook.Offset, err error) {
	const chunk = 1000
	for reached = after; reached < upTo; {
		if v.spent() {
			return found, reached, nil
		}
		refs, err := v.refs(ctx, reached+1, upTo, false, chunk)
		if err != nil {
			return nil, 0, err
		}
		undecided := false
		for _, ref := range refs {
			if (v.bytes <= 0 || v.steps <= 0) && !undecided {
				return found, reached, nil
			}
			verdict, err := v.verdict(ctx, v.ruleAt(ref.Offset), ref)
			switch {
			case errors.Is(err, errUndecided):
				if undecided = true; v.opinions.full() {
					return nil, 0, errUndecided
				}
			case err != nil:
				return nil, 0, err
			case verdict == Matched:
				found = append(found, ref)
			}
			reached = ref.Offset
		}
		if undecided {
			return nil, 0, errUndecided
		}
		if len(refs) < chunk {
			reached = upTo
		}
	}
	return found, reached, nil
}

// sequenceAt finds a match's number where no attempt carries it: by counting from the nearest place
// whose number is known. Known is false when that would take too long.
func (v *view) sequenceAt(ctx context.Context, o hook.Offset) (sequence int64, known bool, err error) {
	if o > v.place {
		return v.countFrom(ctx, v.place, v.cursor.Sequence, o)
	}
	const nearestBefore = `SELECT "offset", sequence FROM attempts WHERE webhook = $1 AND "offset" < $2 AND sequence > 0 ORDER BY "offset" DESC, number DESC LIMIT 1`
	var at hook.Offset
	err = sql.One(ctx, v.q, nearestBefore, []any{int64(v.key), int64(o)}, &at, &sequence)
	sequence -= v.leapAt(at)
	if errors.Is(err, sql.ErrNoRow) && len(v.rules) > 0 && v.purged < v.rules[0].From {
		at, sequence, err = v.rules[0].From-1, 0, nil
	}
	if err == nil {
		sequence, known, err = v.countFrom(ctx, at, sequence, o)
	}
	if known || err != nil && !errors.Is(err, sql.ErrNoRow) {
		return sequence, known, err
	}
	const nearestAfter = `SELECT "offset", sequence FROM attempts WHERE webhook = $1 AND "offset" > $2 AND "offset" <= $3 AND sequence > 0 ORDER BY "offset", number LIMIT 1`
	err = sql.One(ctx, v.q, nearestAfter, []any{int64(v.key), int64(o), int64(v.place)}, &at, &sequence)
	sequence -= v.leapAt(at)
	if errors.Is(err, sql.ErrNoRow) {
		at, sequence, err = v.place, v.cursor.Sequence, nil
	}
	if err != nil {
		return 0, false, err
	}
	v.rows = max(v.rows, readRows/2) // the count above may have used up everything
	between, reached, err := v.matchesIn(ctx, o, at)
	return sequence - int64(len(between)) + v.leapAt(o), err == nil && reached == at, err
}

// countFrom is the number of a match, by the count of matches up to a place before it.
func (v *view) countFrom(ctx context.Context, at hook.Offset, count int64, o hook.Offset) (int64, bool, error) {
	between, reached, err := v.matchesIn(ctx, at, o)
	return count + int64(len(between)) + v.leapAt(o), err == nil && reached == o, err
}

// eachMatch calls fn with a webhook's matches in after < offset ≤ upTo, ascending, until it returns
// false. Each some thousand events are a transaction of their own: what was accepted never changes,
// nor does what a rule says about it. Reached is the last offset that was looked at.
func (s *Store) eachMatch(ctx context.Context, key hook.WebhookKey, after, upTo hook.Offset, fn func(Ref) bool) (reached hook.Offset, err error) {
	for reached = after; reached < upTo; {
		var found []Ref
		err := s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
			v, err := s.view(ctx, q, k, key)
			if err != nil {
				return err
			}
			list, at, err := v.matchesIn(ctx, reached, upTo)
			if err == nil {
				found, reached = list, at
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		if i := slices.IndexFunc(found, func(ref Ref) bool { return !fn(ref) }); i >= 0 {
			return found[i].Offset, nil
		}
	}
	return reached, nil
}
