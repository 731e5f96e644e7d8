package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// memory is a store small enough to be checked by brute force at every step: what the engine's
// store means, without a database. The conformance suite holds the real ones to the same.
type memory struct {
	events   []*hook.Event // the offset is the index + 1
	webhooks map[hook.WebhookKey]*memoryWebhook
	attempts map[hook.WebhookKey]map[hook.Offset][]hook.Attempt
	parked   map[hook.WebhookKey]map[parkedKey]hook.Parked
	replays  map[int64]*store.Replay
	swept    hook.Offset
	version  int64
	broken   error // the first invariant that a record broke
	forget   int   // sabotage: every so many attempts are not recorded; 0 for none
	records  int
}

type memoryWebhook struct {
	hook    hook.Webhook
	rules   []hook.Rule
	skips   []store.SkipRange
	cursor  hook.Cursor
	changed int64
	deleted bool
}

var errMemory = errors.New("not in memory")

func newMemory() *memory {
	return &memory{
		webhooks: map[hook.WebhookKey]*memoryWebhook{}, attempts: map[hook.WebhookKey]map[hook.Offset][]hook.Attempt{},
		parked: map[hook.WebhookKey]map[parkedKey]hook.Parked{}, replays: map[int64]*store.Replay{},
	}
}

func (m *memory) head() hook.Offset { return hook.Offset(len(m.events)) }

func (m *memory) append(e *hook.Event) {
	e.Offset = m.head() + 1
	m.events = append(m.events, e)
}

// change mutates a webhook as the API would, in one transaction.
func (m *memory) change(key hook.WebhookKey, fn func(*memoryWebhook)) {
	m.version++
	w := m.webhooks[key]
	fn(w)
	w.hook.Version++
	w.changed = m.version
}

func (m *memory) create(h hook.Webhook, topics hook.TopicSet) {
	m.version++
	m.webhooks[h.Key] = &memoryWebhook{
		hook: h, changed: m.version, rules: []hook.Rule{{Webhook: h.Key, From: m.head() + 1, Topics: topics}},
		cursor: hook.Cursor{Webhook: h.Key, Offset: m.head()},
	}
	m.attempts[h.Key] = map[hook.Offset][]hook.Attempt{}
	m.parked[h.Key] = map[parkedKey]hook.Parked{}
}

// matches are the offsets that a webhook wants, in order.
func (m *memory) matches(w *memoryWebhook) (list []hook.Offset) {
	p := place{}
	for _, r := range w.rules {
		p.rules = append(p.rules, rule{from: r.From, topics: r.Topics})
	}
	for _, e := range m.events {
		if _, ok := p.wants(e.Offset, e.Topic); ok && e.Company == w.hook.Company {
			list = append(list, e.Offset)
		}
	}
	return list
}

// place is where a webhook stands: an attached one at least at the swept mark.
func (m *memory) place(w *memoryWebhook) hook.Offset {
	if w.cursor.Detached {
		return w.cursor.Offset
	}
	return max(w.cursor.Offset, m.swept)
}

// settled says how a delivery ended, or that it is parked; "" when it is pending.
func (m *memory) settled(w *memoryWebhook, o hook.Offset) string {
	for _, a := range m.attempts[w.hook.Key][o] {
		if a.Kind == hook.Live && a.Outcome == hook.OutcomeDelivered {
			return "delivered"
		}
	}
	if _, ok := m.parked[w.hook.Key][parkedKey{hook.Live, o}]; ok {
		return "parked"
	}
	for _, a := range m.attempts[w.hook.Key][o] {
		if a.Kind == hook.Live && (a.Outcome == hook.OutcomeFailed || a.Outcome == hook.OutcomeGone) {
			return "failed"
		}
	}
	for _, k := range w.skips {
		if k.From <= o && o <= k.To && o <= m.place(w) {
			return "skipped"
		}
	}
	return ""
}

// check holds every webhook to the invariants of the design.
func (m *memory) check() error {
	for _, key := range slices.Sorted(maps.Keys(m.webhooks)) {
		w := m.webhooks[key]
		if w.deleted {
			continue
		}
		counts, passed := map[string]int64{}, int64(0)
		matches := m.matches(w)
		for i, o := range matches {
			state := m.settled(w, o)
			counts[state]++
			if o <= m.place(w) {
				passed++
				if state == "" {
					return fmt.Errorf("webhook %d: the cursor (%+v, swept %d) passed %d, which is not settled; attempts %v", key, w.cursor, m.swept, o, m.attempts[key][o])
				}
			}
			for _, a := range m.attempts[key][o] {
				if a.Kind != hook.Replay && a.Sequence != int64(i+1) {
					return fmt.Errorf("webhook %d, offset %d: sequence %d, want %d", key, o, a.Sequence, i+1)
				}
			}
		}
		if passed != w.cursor.Sequence {
			return fmt.Errorf("webhook %d: sequence %d at %d, but %d matches were passed", key, w.cursor.Sequence, m.place(w), passed)
		}
		c := w.cursor
		if c.Delivered != counts["delivered"] || c.Failed != counts["failed"] || c.Skipped != counts["skipped"] {
			return fmt.Errorf("webhook %d counts %d delivered, %d failed, %d skipped; it has %v", key, c.Delivered, c.Failed, c.Skipped, counts)
		}
		if c.Delivered+c.Failed+c.Skipped+counts["parked"]+counts[""] != int64(len(matches)) {
			return fmt.Errorf("webhook %d: %d matched, but %+v and %v", key, len(matches), c, counts)
		}
	}
	return m.broken
}

// open counts what is not at its end.
func (m *memory) open() (n int) {
	for _, w := range m.webhooks {
		if w.deleted || w.hook.Status != hook.Active {
			continue
		}
		for _, o := range m.matches(w) {
			if s := m.settled(w, o); s == "" || s == "parked" {
				n++
			}
		}
		for key := range m.parked[w.hook.Key] {
			if key.kind != hook.Live {
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

func (m *memory) Tail(_ context.Context, _ hook.Partition, after hook.Offset, limit, _ int) ([]*hook.Event, int64, error) {
	end := min(int(after)+limit, len(m.events))
	if int(after) >= end {
		return nil, m.version, nil
	}
	return slices.Clone(m.events[after:end]), m.version, nil
}

func (m *memory) Backlog(_ context.Context, c hook.CompanyKey, after, upTo hook.Offset, limit int) (refs []store.Ref, err error) {
	for o := after + 1; o <= min(upTo, m.head()) && len(refs) < limit; o++ {
		if e := m.events[o-1]; e.Company == c {
			refs = append(refs, store.Ref{Offset: o, Topic: e.Topic, ObjectKey: e.ObjectKey})
		}
	}
	return refs, nil
}

func (m *memory) Events(_ context.Context, _ hook.Partition, offsets []hook.Offset) (events []*hook.Event, err error) {
	for _, o := range offsets {
		events = append(events, m.events[o-1])
	}
	return events, nil
}

func (m *memory) Places(_ context.Context, _ hook.Partition, since int64, limit int) (places []store.Place, swept hook.Offset, version int64, err error) {
	changed := slices.SortedFunc(maps.Keys(m.webhooks), func(a, b hook.WebhookKey) int {
		return cmp.Compare(m.webhooks[a].changed, m.webhooks[b].changed)
	})
	for _, key := range changed {
		w := m.webhooks[key]
		if w.changed <= since || since < 0 && w.deleted {
			continue
		}
		if len(places) == limit {
			return places, m.swept, version, nil
		}
		version = w.changed
		p := store.Place{
			Webhook: key, Company: w.hook.Company, Status: w.hook.Status, Deleted: w.deleted, Version: w.hook.Version, Cursor: w.cursor,
			Rules: slices.Clone(w.rules),
		}
		for _, k := range w.skips {
			if k.To > w.cursor.Offset {
				p.Skips = append(p.Skips, k)
			}
		}
		for _, r := range m.replays {
			if r.Webhook == key && r.Status == store.ReplayRunning {
				p.Replay = r.Key
			}
		}
		places = append(places, p)
	}
	return places, m.swept, m.version, nil
}

func (m *memory) LoadLane(_ context.Context, key hook.WebhookKey, at hook.Offset) (l store.Lane, err error) {
	w, ok := m.webhooks[key]
	if !ok {
		return l, errMemory
	}
	h := w.hook
	l.Webhook, l.Cursor = &h, w.cursor
	above := map[hook.Offset]store.Above{}
	for o, list := range m.attempts[key] {
		for _, a := range list {
			x := above[o]
			x.Offset, x.Attempts = o, max(x.Attempts, a.Number)
			x.Settled = x.Settled || a.Kind == hook.Live && a.Outcome != hook.OutcomeRetry && a.Outcome != hook.OutcomeThrottled
			above[o] = x
		}
	}
	l.Blocked = map[string]int{}
	for k, p := range m.parked[key] {
		if k.kind == hook.Live {
			x := above[k.offset]
			x.Offset, x.Attempts, x.Settled = k.offset, max(x.Attempts, p.Attempts), true
			above[k.offset] = x
			l.Parked++
			l.Blocked[p.ObjectKey]++
		}
	}
	for o, x := range above {
		if o > at {
			l.Above = append(l.Above, x)
		}
	}
	if h.Ordering != hook.ObjectOrder {
		l.Blocked = nil
	}
	for _, p := range m.stranded(key, h.Ordering) {
		l.Stranded = append(l.Stranded, p.Offset)
	}
	return l, nil
}

func (m *memory) stranded(key hook.WebhookKey, ordering hook.Ordering) (list []hook.Parked) {
	for _, p := range m.rows(key) {
		if p.Kind != hook.Live || p.DueAt != nil {
			continue
		}
		earlier := false
		for k, q := range m.parked[key] {
			earlier = earlier || k.kind == hook.Live && q.ObjectKey == p.ObjectKey && q.Offset < p.Offset
		}
		if ordering != hook.ObjectOrder || !earlier {
			list = append(list, p)
		}
	}
	return list
}

// number is the highest attempt number that a delivery has.
func (m *memory) number(key hook.WebhookKey, o hook.Offset) (n int) {
	for _, a := range m.attempts[key][o] {
		n = max(n, a.Number)
	}
	return n
}

// rows are a webhook's parked deliveries in the order of their due times.
func (m *memory) rows(key hook.WebhookKey) []hook.Parked {
	list := slices.Collect(maps.Values(m.parked[key]))
	for i := range list {
		list[i].Number = m.number(key, list[i].Offset)
	}
	slices.SortFunc(list, func(a, b hook.Parked) int {
		var x, y time.Time
		if a.DueAt != nil {
			x = *a.DueAt
		}
		if b.DueAt != nil {
			y = *b.DueAt
		}
		return cmp.Or(x.Compare(y), cmp.Compare(a.Webhook, b.Webhook), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Offset, b.Offset))
	})
	return list
}

func (m *memory) Due(_ context.Context, _ hook.Partition, after store.DuePlace, now time.Time, limit int) (due []hook.Parked, next *time.Time, err error) {
	var all []hook.Parked
	for key := range m.webhooks {
		all = append(all, m.rows(key)...)
	}
	place := func(p hook.Parked) (time.Time, hook.WebhookKey, hook.Kind, hook.Offset) {
		return *p.DueAt, p.Webhook, p.Kind, p.Offset
	}
	all = slices.DeleteFunc(all, func(p hook.Parked) bool { return p.DueAt == nil })
	slices.SortFunc(all, func(a, b hook.Parked) int {
		at, aw, ak, ao := place(a)
		bt, bw, bk, bo := place(b)
		return cmp.Or(at.Compare(bt), cmp.Compare(aw, bw), cmp.Compare(ak, bk), cmp.Compare(ao, bo))
	})
	for _, p := range all {
		t, w, k, o := place(p)
		switch {
		case t.After(now):
			return due, &t, nil
		case cmp.Or(t.Compare(after.DueAt), cmp.Compare(w, after.Webhook), cmp.Compare(k, after.Kind), cmp.Compare(o, after.Offset)) <= 0:
		case len(due) == limit:
			return due, nil, nil
		default:
			due = append(due, p)
		}
	}
	return due, nil, nil
}

func (m *memory) DueOf(_ context.Context, key hook.WebhookKey, now time.Time, probe bool, limit int) (due []hook.Parked, err error) {
	for _, p := range m.rows(key) {
		if p.DueAt != nil && (probe || !p.DueAt.After(now)) && len(due) < limit {
			due = append(due, p)
		}
	}
	return due, nil
}

func (m *memory) ReplayByKey(_ context.Context, key int64) (*store.Replay, error) {
	r := *m.replays[key]
	return &r, nil
}

func (m *memory) ReplayWork(_ context.Context, key int64, after hook.Offset, limit int) (items []store.ReplayItem, upTo hook.Offset, done bool, err error) {
	r := m.replays[key]
	w := m.webhooks[r.Webhook]
	upTo = max(after, r.FromOffset-1)
	for i, o := range m.matches(w) {
		if o <= upTo {
			continue
		}
		if o > r.ToOffset {
			break
		}
		if len(items) == limit {
			return items, upTo, false, nil
		}
		upTo = o
		again, number := false, 0
		for _, a := range m.attempts[r.Webhook][o] {
			again = again || a.Kind == hook.Replay && a.Replay == key
			number = max(number, a.Number)
		}
		if !again {
			items = append(items, store.ReplayItem{Ref: store.Ref{Offset: o, Topic: m.events[o-1].Topic, ObjectKey: m.events[o-1].ObjectKey}, Sequence: int64(i + 1), Attempts: number})
		}
	}
	return items, r.ToOffset, true, nil
}

// Record applies a record as one transaction, and remembers the first invariant that it breaks.
func (m *memory) Record(_ context.Context, r *store.Record) (out store.Recorded, err error) {
	fail := func(format string, args ...any) {
		if m.broken == nil {
			m.broken = fmt.Errorf(format, args...)
		}
	}
	for _, it := range r.Items {
		if a := it.Attempt; a != nil {
			if m.records++; m.forget > 0 && m.records%m.forget == 0 {
				continue
			}
			list := m.attempts[a.Webhook][a.Offset]
			for _, b := range list {
				if b.Number == a.Number {
					fail("webhook %d, offset %d: attempt %d was recorded twice", a.Webhook, a.Offset, a.Number)
				}
				if b.Outcome == hook.OutcomeDelivered && b.Kind == hook.Live && a.Kind == hook.Live {
					fail("webhook %d, offset %d: attempted again after it was recorded as delivered", a.Webhook, a.Offset)
				}
			}
			m.attempts[a.Webhook][a.Offset] = append(list, *a)
		}
		if p := it.Park; p != nil {
			m.parked[p.Webhook][parkedKey{p.Kind, p.Offset}] = *p
		}
		if k := it.Unpark; k != nil {
			delete(m.parked[k.Webhook], parkedKey{k.Kind, k.Offset})
		}
		if k := it.Free; k != nil {
			if p, ok := m.parked[k.Webhook][parkedKey{hook.Live, k.Offset}]; ok && p.DueAt == nil {
				at := r.At
				p.DueAt, p.ParkedAt, p.Reason = &at, at, "released"
				m.parked[k.Webhook][parkedKey{hook.Live, k.Offset}] = p
				p.Number = m.number(k.Webhook, k.Offset) // as the statement returns it
				out.Released = append(out.Released, p)
			}
		}
		if k := it.Release; k != nil {
			for _, p := range m.stranded(k.Webhook, hook.ObjectOrder) {
				if p.ObjectKey == k.Object {
					at := r.At
					p.DueAt, p.ParkedAt, p.Reason = &at, at, "released"
					m.parked[k.Webhook][parkedKey{p.Kind, p.Offset}] = p
					out.Released = append(out.Released, p)
				}
			}
		}
	}
	for _, c := range r.Cursors {
		w := m.webhooks[c.Webhook]
		if c.Offset < w.cursor.Offset || c.Sequence < w.cursor.Sequence {
			fail("webhook %d: the cursor moves back from %d/%d to %d/%d", c.Webhook, w.cursor.Offset, w.cursor.Sequence, c.Offset, c.Sequence)
		}
		w.cursor.Detached, w.cursor.Offset, w.cursor.Sequence = c.Detached, c.Offset, c.Sequence
		w.cursor.Delivered += c.Delivered
		w.cursor.Failed += c.Failed
		w.cursor.Skipped += c.Skipped
		w.cursor.FailingSince, w.cursor.FailingHours, w.cursor.LastFailingHour = c.Health.FailingSince, c.Health.FailingHours, c.Health.LastFailingHour
		w.cursor.ConsecutiveFailures, w.cursor.ProbeAt, w.cursor.ProbeStep = c.Health.ConsecutiveFailures, c.Health.ProbeAt, c.Health.ProbeStep
		w.cursor.LastSuccessAt, w.cursor.LastFailureAt = c.Health.LastSuccessAt, c.Health.LastFailureAt
	}
	for _, swept := range r.Swept {
		m.swept = max(m.swept, swept)
	}
	for _, p := range r.Rewind {
		if m.rewind(r.At) {
			out.Rewound = append(out.Rewound, p)
		}
	}
	for _, x := range r.Replays {
		p := m.replays[x.Key]
		p.Place = max(p.Place, x.Place)
		if x.Done && p.Status == store.ReplayRunning {
			p.Status = store.ReplayDone
			m.change(p.Webhook, func(w *memoryWebhook) { w.hook.Version-- })
		}
	}
	for _, s := range r.Status {
		m.change(s.Webhook, func(w *memoryWebhook) {
			if w.hook.EndpointVersion == s.EndpointVersion && w.hook.Status == hook.Active {
				w.hook.Status, w.hook.StatusReason = s.Status, s.Reason
			}
		})
	}
	return out, nil
}

// rewind lets what was parked in the future wait from now on.
func (m *memory) rewind(now time.Time) (any bool) {
	for key := range m.webhooks {
		for k, p := range m.parked[key] {
			if p.DueAt != nil && p.ParkedAt.After(now.Add(5*time.Second)) {
				due := now.Add(p.DueAt.Sub(p.ParkedAt))
				p.DueAt, p.ParkedAt, any = &due, now, true
				m.parked[key][k] = p
			}
		}
	}
	return any
}
