package deliver

import (
	"fmt"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// fate is what has become of a delivery.
type fate uint8

const (
	pending fate = iota
	parked
	delivered
	failed
	skipped
)

func (f fate) String() string {
	return [...]string{"pending", "parked", "delivered", "failed", "skipped"}[f]
}

// tally is what the check knows of a webhook, so that a commit costs no more than what it changed.
type tally struct {
	counts  [skipped + 1]int64
	passed  int   // deliveries that its place has passed
	changed []int // deliveries that something was recorded of since the last check
}

func (m *memory) fail(format string, args ...any) {
	if m.broken == nil {
		m.broken = fmt.Errorf(format, args...)
	}
}

func (w *memoryWebhook) match(e *hook.Event) {
	w.deliveries = append(w.deliveries, &memoryDelivery{event: e})
	w.counts[pending]++
}

// look marks a delivery for the next check.
func (w *memoryWebhook) look(o hook.Offset) {
	if i := w.after(o - 1); i < len(w.deliveries) {
		w.tally.changed = append(w.tally.changed, i)
	}
}

// ended is what the live attempts say.
func (d *memoryDelivery) ended() fate {
	end := pending
	for _, a := range d.attempts {
		switch {
		case a.kind != hook.Live:
		case a.outcome == hook.OutcomeDelivered:
			return delivered
		case a.outcome == hook.OutcomeFailed, a.outcome == hook.OutcomeGone:
			end = failed
		}
	}
	return end
}

// made is the number of the last attempt, of any kind, that was answered 2xx; 0 for none.
func (d *memoryDelivery) made() (n int) {
	for _, a := range d.attempts {
		if a.outcome == hook.OutcomeDelivered {
			n = max(n, a.number)
		}
	}
	return n
}

// settled derives a delivery's fate from everything that the store holds, as DESIGN.md defines it.
func (m *memory) settled(w *memoryWebhook, d *memoryDelivery) fate {
	o, end := d.event.Offset, d.ended()
	_, waits := w.parked[lane.Key{Kind: hook.Live, Offset: o}]
	switch {
	case end == delivered, d.won:
		return delivered
	case waits:
		return parked
	case end == failed:
		return failed
	case o > m.place(w):
		return pending
	case o <= w.expired:
		return skipped
	case d.event.ExpiresAt != nil && slices.ContainsFunc(d.attempts, func(a try) bool { return a.kind == hook.Live }):
		return skipped // it was attempted, and its event expired
	}
	for _, k := range w.skips {
		if k.From <= o && o <= k.To {
			return skipped
		}
	}
	return pending
}

// check holds every webhook to the invariants of the design, as far as the last commits could have
// broken them. Now and then everything is derived anew.
func (m *memory) check(all bool) error {
	for _, key := range m.keys {
		w := m.webhooks[key]
		if w.deleted {
			continue
		}
		if all {
			w.tally = tally{changed: w.tally.changed[:0]}
			w.counts[pending] = int64(len(w.deliveries))
			for i, d := range w.deliveries {
				d.fate = pending
				w.tally.changed = append(w.tally.changed, i)
			}
		}
		if err := m.checkOne(w); err != nil {
			return fmt.Errorf("webhook %d: %w; cursor %+v, swept %d", key, err, w.cursor, m.swept)
		}
	}
	return m.broken
}

func (m *memory) checkOne(w *memoryWebhook) error {
	place := m.place(w)
	for w.passed < len(w.deliveries) && w.deliveries[w.passed].event.Offset <= place {
		w.tally.changed = append(w.tally.changed, w.passed)
		w.passed++
	}
	for _, i := range w.tally.changed {
		d := w.deliveries[i]
		w.counts[d.fate]--
		d.fate = m.settled(w, d)
		w.counts[d.fate]++
		if i < w.passed && d.fate == pending {
			return fmt.Errorf("the cursor passed %d, which is not settled: %v", d.event.Offset, d.attempts)
		}
		for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
			if p, waits := w.parked[lane.Key{Kind: kind, Offset: d.event.Offset}]; waits && (kind == hook.Live && d.made() > 0 || p.Attempts < d.made()) {
				return fmt.Errorf("%d is delivered, and parked %s: %+v after %v", d.event.Offset, kind, p, d.attempts)
			}
		}
	}
	w.tally.changed = w.tally.changed[:0]
	for k, p := range w.parked {
		if k.Kind == hook.Replay && m.replays[p.Replay-1].Status == store.ReplayCancelled {
			return fmt.Errorf("%d is parked for replay %d, which was cancelled", k.Offset, p.Replay)
		}
	}
	c := w.cursor
	switch {
	case int64(w.passed) != c.Sequence:
		return fmt.Errorf("sequence %d at %d, but %d matches were passed", c.Sequence, place, w.passed)
	case c.Delivered != w.counts[delivered], c.Failed != w.counts[failed], c.Skipped != w.counts[skipped]:
		return fmt.Errorf("counts %d delivered, %d failed, %d skipped; of %d it has %v", c.Delivered, c.Failed, c.Skipped, len(w.deliveries), w.counts)
	}
	return nil
}

// covered checks that a replay which is done attempted everything that is still there.
func (m *memory) covered(r *store.Replay) {
	w := m.webhooks[r.Webhook]
	for _, d := range w.deliveries[w.after(max(r.FromOffset-1, m.purged[w.hook.Company])):] {
		o := d.event.Offset
		if _, waits := w.parked[lane.Key{Kind: hook.Replay, Offset: o}]; o <= r.ToOffset && !waits && !slices.ContainsFunc(d.attempts, func(a try) bool { return a.kind == hook.Replay }) {
			m.fail("webhook %d: replay %d is done and has not attempted %d", r.Webhook, r.Key, o)
		}
	}
}

// open counts what is not at its end.
func (m *memory) open() (n int) {
	for _, key := range m.keys {
		w := m.webhooks[key]
		if w.deleted || w.hook.Status != hook.Active {
			continue
		}
		n += int(w.counts[pending] + w.counts[parked])
		for k := range w.parked {
			if k.Kind != hook.Live {
				n++
			}
		}
	}
	for _, r := range m.replays {
		if w := m.webhooks[r.Webhook]; r.Status == store.ReplayRunning && !w.deleted && w.hook.Status == hook.Active {
			n++
		}
	}
	return n
}
