package deliver

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// memory is a store small enough to be checked at every step (memory_check_test.go): what the
// engine's store means, without a database. The conformance suite holds the real ones to the same.
type memory struct {
	events   []*hook.Event // the offset is the index + 1
	webhooks map[hook.WebhookKey]*memoryWebhook
	keys     []hook.WebhookKey // of all webhooks, in the order in which they were made
	replays  []*store.Replay   // the key is the index + 1
	purged   map[hook.CompanyKey]hook.Offset
	compile  func(filter string) func(topic string, data []byte) bool
	swept    hook.Offset
	version  int64
	broken   error // the first invariant that a record broke
	commits  int
}

type memoryWebhook struct {
	hook       hook.Webhook
	rules      []hook.Rule
	skips      []store.SkipRange
	cursor     hook.Cursor
	changed    int64
	deleted    bool
	expired    hook.Offset       // retention has given up what was unresolved up to here
	deliveries []*memoryDelivery // what it matched, in order
	parked     map[lane.Key]hook.Parked
	tally
}

// memoryDelivery is what the log and the attempts say of one delivery.
type memoryDelivery struct {
	event    *hook.Event
	attempts []try
	won      bool // by an attempt beside the schedule, while it was parked
	fate     fate
}

type try struct {
	number  int
	kind    hook.Kind
	outcome hook.Outcome
	replay  int64
	status  int
	lost    bool // with a kept connection
}

var errMemory = errors.New("not in memory")

func newMemory(compile func(string) func(string, []byte) bool) *memory {
	return &memory{webhooks: map[hook.WebhookKey]*memoryWebhook{}, purged: map[hook.CompanyKey]hook.Offset{}, compile: compile}
}

func (m *memory) head() hook.Offset { return hook.Offset(len(m.events)) }

func (m *memory) append(e *hook.Event) {
	e.Offset = m.head() + 1
	m.events = append(m.events, e)
	for _, key := range m.keys {
		if w := m.webhooks[key]; !w.deleted && m.wants(w, e) {
			w.match(e)
		}
	}
}

// wants says whether a webhook matches an event: by the rule in force at its offset, which no later
// change touches.
func (m *memory) wants(w *memoryWebhook, e *hook.Event) bool {
	if e.Company != w.hook.Company {
		return false
	}
	for _, r := range slices.Backward(w.rules) {
		if r.From <= e.Offset {
			return r.Topics.Has(e.Topic) && (r.Filter == "" || m.compile(r.Filter)(e.Topic, e.Data))
		}
	}
	return false
}

// delivery finds a webhook's delivery at an offset, and its sequence; nil when it did not match.
func (w *memoryWebhook) delivery(o hook.Offset) (d *memoryDelivery, sequence int64) {
	i := w.after(o - 1)
	if i == len(w.deliveries) || w.deliveries[i].event.Offset != o {
		return nil, 0
	}
	return w.deliveries[i], int64(i + 1)
}

// after is the index of the first delivery beyond an offset.
func (w *memoryWebhook) after(o hook.Offset) int {
	i, _ := slices.BinarySearchFunc(w.deliveries, o+1, func(d *memoryDelivery, o hook.Offset) int { return cmp.Compare(d.event.Offset, o) })
	return i
}

func (d *memoryDelivery) number() (n int) {
	for _, a := range d.attempts {
		n = max(n, a.number)
	}
	return n
}

// change mutates a webhook as the API would, in one transaction.
func (m *memory) change(key hook.WebhookKey, fn func(*memoryWebhook)) {
	m.touch(key, fn)
	m.webhooks[key].hook.Version++
}

// touch makes the engine look at a webhook again, at a wish or a status that is not a new version.
func (m *memory) touch(key hook.WebhookKey, fn func(*memoryWebhook)) {
	m.version++
	w := m.webhooks[key]
	fn(w)
	w.changed = m.version
}

// create subscribes a webhook to what comes after an offset.
func (m *memory) create(h hook.Webhook, from hook.Offset, topics hook.TopicSet, filter string) {
	m.version++
	w := &memoryWebhook{
		hook: h, changed: m.version, rules: []hook.Rule{{Webhook: h.Key, From: from + 1, Topics: topics, Filter: filter}},
		cursor: hook.Cursor{Webhook: h.Key, Offset: from, Detached: from < m.head()}, parked: map[lane.Key]hook.Parked{},
	}
	m.webhooks[h.Key], m.keys = w, append(m.keys, h.Key)
	for _, e := range m.events[from:] {
		if m.wants(w, e) && e.Offset > m.purged[e.Company] {
			w.match(e)
		}
	}
}

// place is where a webhook stands: an attached one at least at the swept mark.
func (m *memory) place(w *memoryWebhook) hook.Offset {
	if w.cursor.Detached {
		return w.cursor.Offset
	}
	return max(w.cursor.Offset, m.swept)
}

func (m *memory) Tail(_ context.Context, _ hook.Partition, after hook.Offset, limit, _ int) ([]*hook.Event, int64, error) {
	end := min(int(after)+limit, len(m.events))
	if int(after) >= end {
		return nil, m.version, nil
	}
	return slices.Clone(m.events[after:end]), m.version, nil
}

func (m *memory) Backlog(_ context.Context, c hook.CompanyKey, after, upTo hook.Offset, limit int) (refs []store.Ref, err error) {
	for o := max(after, m.purged[c]) + 1; o <= min(upTo, m.head()) && len(refs) < limit; o++ {
		if e := m.events[o-1]; e.Company == c {
			refs = append(refs, store.Ref{Offset: o, Topic: e.Topic, ObjectKey: e.ObjectKey})
		}
	}
	return refs, nil
}

func (m *memory) Events(_ context.Context, _ hook.Partition, offsets []hook.Offset) (events []*hook.Event, err error) {
	for _, o := range offsets {
		if e := m.events[o-1]; o > m.purged[e.Company] {
			events = append(events, e)
		}
	}
	return events, nil
}

func (m *memory) Places(_ context.Context, _ hook.Partition, since int64, limit int) (places []store.Place, swept hook.Offset, version int64, err error) {
	changed := slices.SortedFunc(slices.Values(m.keys), func(a, b hook.WebhookKey) int {
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
	for _, d := range w.deliveries[w.after(at):] {
		x := store.Above{Offset: d.event.Offset, Attempts: d.number(), Throttles: d.throttles(hook.Live)}
		p, parked := w.parked[lane.Key{Kind: hook.Live, Offset: x.Offset}]
		x.Attempts = max(x.Attempts, p.Attempts)
		x.Settled = parked || d.ended() != pending
		if x.Settled || len(d.attempts) > 0 {
			l.Above = append(l.Above, x)
		}
	}
	l.Blocked = map[string]int{}
	for k, p := range w.parked {
		if k.Kind == hook.Live {
			l.Parked++
			l.Blocked[p.ObjectKey]++
		}
	}
	if h.Ordering != hook.ObjectOrder {
		l.Blocked = nil
	}
	for k, p := range w.parked {
		if k.Kind != hook.Live || p.DueAt != nil {
			continue
		}
		if first, _ := w.firstParked(p.ObjectKey); h.Ordering != hook.ObjectOrder || first.Offset == k.Offset {
			l.Stranded = append(l.Stranded, k.Offset)
		}
	}
	slices.Sort(l.Stranded)
	return l, nil
}

// firstParked is the earliest parked delivery of an object.
func (w *memoryWebhook) firstParked(object string) (first hook.Parked, ok bool) {
	for k, p := range w.parked {
		if k.Kind == hook.Live && p.ObjectKey == object && (!ok || k.Offset < first.Offset) {
			first, ok = p, true
		}
	}
	return first, ok
}

// numbered fills in what the statement of the real stores looks up.
func (w *memoryWebhook) numbered(list []hook.Parked) []hook.Parked {
	for i := range list {
		if d, _ := w.delivery(list[i].Offset); d != nil {
			list[i].Number = d.number()
		}
	}
	return list
}

// byDue orders by due time, as the index does.
func byDue(a, b hook.Parked) int {
	return cmp.Or(a.DueAt.Compare(*b.DueAt), cmp.Compare(a.Webhook, b.Webhook), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Offset, b.Offset))
}

func (m *memory) Due(_ context.Context, _ hook.Partition, after store.DuePlace, now time.Time, limit int) (due []hook.Parked, next *time.Time, err error) {
	last := hook.Parked{DueAt: &after.DueAt, Webhook: after.Webhook, Kind: after.Kind, Offset: after.Offset}
	for _, key := range m.keys {
		w := m.webhooks[key]
		from := len(due)
		for _, p := range w.parked {
			switch {
			case p.DueAt == nil:
			case p.DueAt.After(now):
				if next == nil || p.DueAt.Before(*next) {
					next = p.DueAt
				}
			case byDue(p, last) > 0:
				due = append(due, p)
			}
		}
		w.numbered(due[from:])
	}
	slices.SortFunc(due, byDue)
	return due[:min(len(due), limit)], next, nil
}

func (m *memory) DueOf(_ context.Context, key hook.WebhookKey, now time.Time, probe bool, limit int) (due []hook.Parked, err error) {
	w := m.webhooks[key]
	for _, p := range w.parked {
		if p.DueAt != nil && (probe || !p.DueAt.After(now)) {
			due = append(due, p)
		}
	}
	slices.SortFunc(due, byDue)
	return w.numbered(due[:min(len(due), limit)]), nil
}

func (m *memory) ReplayByKey(_ context.Context, key int64) (*store.Replay, error) {
	r := *m.replays[key-1]
	return &r, nil
}

func (m *memory) ReplayWork(_ context.Context, key int64, after hook.Offset, limit int) (items []store.ReplayItem, upTo hook.Offset, done bool, err error) {
	r := m.replays[key-1]
	w := m.webhooks[r.Webhook]
	upTo = max(after, r.FromOffset-1)
	if r.Status != store.ReplayRunning {
		return nil, upTo, true, nil
	}
	for i := w.after(max(upTo, m.purged[w.hook.Company])); i < len(w.deliveries); i++ {
		d := w.deliveries[i]
		if d.event.Offset > r.ToOffset {
			break
		}
		if len(items) == limit {
			return items, upTo, false, nil
		}
		upTo = d.event.Offset
		if !slices.ContainsFunc(d.attempts, func(a try) bool { return a.kind == hook.Replay && a.replay == key }) {
			ref := store.Ref{Offset: upTo, Topic: d.event.Topic, ObjectKey: d.event.ObjectKey}
			items = append(items, store.ReplayItem{Ref: ref, Sequence: int64(i + 1), Attempts: d.number()})
		}
	}
	return items, r.ToOffset, true, nil
}

// Record applies a record as one transaction, and remembers the first invariant that it breaks.
func (m *memory) Record(_ context.Context, r *store.Record) (out store.Recorded, err error) {
	m.commits++
	for i := range r.Items {
		m.recordItem(&r.Items[i], r.At, &out)
	}
	for i := range r.Cursors {
		m.move(&r.Cursors[i])
	}
	for _, g := range r.Gates {
		m.webhooks[g.Webhook].cursor.Gate = g.Gate
	}
	for _, swept := range r.Swept {
		m.swept = max(m.swept, swept)
	}
	for _, x := range r.Replays {
		p := m.replays[x.Key-1]
		p.Place = max(p.Place, x.Place)
		if x.Done && p.Status == store.ReplayRunning {
			p.Status = store.ReplayDone
			m.covered(p)
		}
		m.freeCancelled(p)
	}
	for _, s := range r.Status {
		w := m.webhooks[s.Webhook]
		if w.hook.EndpointVersion == s.EndpointVersion && w.hook.Status == hook.Active {
			m.change(s.Webhook, func(w *memoryWebhook) { w.hook.Status, w.hook.StatusReason = s.Status, s.Reason })
		} else {
			m.touch(s.Webhook, func(*memoryWebhook) {})
		}
	}
	for _, x := range r.Repairs {
		w := m.webhooks[x.Webhook]
		for k, p := range w.parked {
			if p.DueAt != nil && p.DueAt.After(r.At) && !p.ParkedAt.Before(x.Since) && !p.ParkedAt.After(r.At) {
				p.DueAt, p.ParkedAt, p.Throttles = &r.At, r.At, 0
				w.parked[k] = p
			}
		}
	}
	for _, p := range r.Rewind {
		if m.rewind(r.At) {
			out.Rewound = append(out.Rewound, p)
		}
	}
	return out, nil
}

func (m *memory) recordItem(it *store.Item, at time.Time, out *store.Recorded) {
	if a := it.Attempt; a != nil {
		m.attempted(a)
	}
	if p := it.Park; p != nil {
		m.webhooks[p.Webhook].parked[lane.Key{Kind: p.Kind, Offset: p.Offset}] = *p
		m.webhooks[p.Webhook].look(p.Offset)
	}
	if k := it.Unpark; k != nil {
		delete(m.webhooks[k.Webhook].parked, lane.Key{Kind: k.Kind, Offset: k.Offset})
		m.webhooks[k.Webhook].look(k.Offset)
	}
	if k := it.Skip; k != nil {
		w := m.webhooks[k.Webhook]
		w.skips = append(w.skips, store.SkipRange{From: k.Offset, To: k.Offset, Reason: k.Reason})
		w.look(k.Offset)
	}
	if k := it.Settle; k != nil {
		m.settle(m.webhooks[k.Webhook], k.Offset, out)
	}
	if k := it.Free; k != nil {
		w := m.webhooks[k.Webhook]
		if p, ok := w.parked[lane.Key{Kind: hook.Live, Offset: k.Offset}]; ok && p.DueAt == nil {
			m.release(w, p, at, out)
		}
	}
	if k := it.Release; k != nil {
		w := m.webhooks[k.Webhook]
		if p, ok := w.firstParked(k.Object); ok && p.DueAt == nil {
			m.release(w, p, at, out)
		}
	}
}

// settle takes away what waits of a delivery that was made.
func (m *memory) settle(w *memoryWebhook, o hook.Offset, out *store.Recorded) {
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay} {
		key := lane.Key{Kind: kind, Offset: o}
		p, there := w.parked[key]
		if !there {
			continue
		}
		if delete(w.parked, key); kind == hook.Live {
			d, _ := w.delivery(o)
			d.won = true
			w.cursor.Delivered++
		}
		out.Settled = append(out.Settled, p)
	}
	w.look(o)
}

func (m *memory) release(w *memoryWebhook, p hook.Parked, at time.Time, out *store.Recorded) {
	p.DueAt, p.ParkedAt, p.Reason = &at, at, "released"
	w.parked[lane.Key{Kind: p.Kind, Offset: p.Offset}] = p
	if d, _ := w.delivery(p.Offset); d != nil {
		p.Number = d.number() // as the statement returns it
	}
	out.Released = append(out.Released, p)
}

func (m *memory) attempted(a *hook.Attempt) {
	w := m.webhooks[a.Webhook]
	d, sequence := w.delivery(a.Offset)
	if d == nil {
		m.fail("webhook %d, offset %d: attempted, but it does not match", a.Webhook, a.Offset)
		return
	}
	if a.Sequence != sequence {
		m.fail("webhook %d, offset %d: sequence %d, want %d", a.Webhook, a.Offset, a.Sequence, sequence)
	}
	for _, b := range d.attempts {
		if b.number == a.Number {
			m.fail("webhook %d, offset %d: attempt %d was recorded twice", a.Webhook, a.Offset, a.Number)
		}
		if b.outcome == hook.OutcomeDelivered && b.kind == hook.Live && a.Kind == hook.Live {
			m.fail("webhook %d, offset %d: attempted again after it was recorded as delivered", a.Webhook, a.Offset)
		}
	}
	d.attempts = append(d.attempts, try{a.Number, a.Kind, a.Outcome, a.Replay, a.StatusCode, a.Reused && !a.Counted && a.ErrorClass == hook.ErrReset})
	w.look(a.Offset)
}

func (m *memory) move(c *store.CursorMove) {
	w := m.webhooks[c.Webhook]
	if c.Offset < w.cursor.Offset || c.Sequence < w.cursor.Sequence {
		m.fail("webhook %d: the cursor moves back from %d/%d to %d/%d", c.Webhook, w.cursor.Offset, w.cursor.Sequence, c.Offset, c.Sequence)
	}
	w.cursor.Detached, w.cursor.Offset, w.cursor.Sequence = c.Detached, c.Offset, c.Sequence
	w.cursor.Delivered += c.Delivered
	w.cursor.Failed += c.Failed
	w.cursor.Skipped += c.Skipped
	w.cursor.FailingSince, w.cursor.FailingHours, w.cursor.LastFailingHour = c.Health.FailingSince, c.Health.FailingHours, c.Health.LastFailingHour
	w.cursor.ConsecutiveFailures, w.cursor.ProbeAt, w.cursor.ProbeStep = c.Health.ConsecutiveFailures, c.Health.ProbeAt, c.Health.ProbeStep
	w.cursor.LastSuccessAt, w.cursor.LastFailureAt = c.Health.LastSuccessAt, c.Health.LastFailureAt
}

// freeCancelled lets go of what was parked for a replay after it was cancelled.
func (m *memory) freeCancelled(r *store.Replay) {
	if r.Status == store.ReplayCancelled {
		maps.DeleteFunc(m.webhooks[r.Webhook].parked, func(k lane.Key, p hook.Parked) bool { return k.Kind == hook.Replay && p.Replay == r.Key })
	}
}

// rewind lets what was parked in the future wait from now on.
func (m *memory) rewind(now time.Time) (any bool) {
	for _, w := range m.webhooks {
		for k, p := range w.parked {
			if p.DueAt != nil && p.ParkedAt.After(now.Add(5*time.Second)) {
				due := now.Add(p.DueAt.Sub(p.ParkedAt))
				p.DueAt, p.ParkedAt, any = &due, now, true
				w.parked[k] = p
			}
		}
	}
	return any
}

// expire gives up what was accepted before a time and is unresolved; purge forgets what nobody needs
// any more.
func (m *memory) expire(company hook.CompanyKey, before, now time.Time) {
	boundary := m.acceptedBefore(before)
	for _, key := range m.keys {
		w := m.webhooks[key]
		if w.deleted || w.hook.Company != company {
			continue
		}
		place := m.place(w)
		behind := place < boundary && !slices.ContainsFunc(w.skips, func(k store.SkipRange) bool {
			return k.To >= boundary && k.From <= w.cursor.Offset+1
		})
		var rows []hook.Parked
		for k, p := range w.parked {
			if k.Kind == hook.Live && k.Offset <= boundary && p.Reason != store.ReasonExpired {
				p.DueAt, p.ParkedAt, p.Reason = &now, now, store.ReasonExpired
				rows = append(rows, p)
			}
		}
		if !behind && len(rows) == 0 {
			continue
		}
		m.touch(key, func(w *memoryWebhook) {
			w.expired = max(w.expired, boundary)
			if behind {
				w.skips = append(w.skips, store.SkipRange{From: place + 1, To: boundary, Reason: store.ReasonExpired})
			}
			for _, p := range rows {
				w.parked[lane.Key{Kind: p.Kind, Offset: p.Offset}] = p
			}
		})
	}
}

func (m *memory) acceptedBefore(t time.Time) hook.Offset {
	i, _ := slices.BinarySearchFunc(m.events, t, func(e *hook.Event, t time.Time) int { return e.AcceptedAt.Compare(t) })
	return hook.Offset(i)
}

func (m *memory) purge(company hook.CompanyKey, before time.Time) {
	boundary := min(m.acceptedBefore(before), m.head()-1)
	for _, w := range m.webhooks {
		if w.deleted || w.hook.Company != company {
			continue
		}
		boundary = min(boundary, m.place(w))
		for k := range w.parked {
			if k.Kind == hook.Live {
				boundary = min(boundary, k.Offset-1)
			}
		}
	}
	if boundary <= m.purged[company] {
		return
	}
	m.purged[company] = boundary
	for _, w := range m.webhooks {
		if w.hook.Company == company {
			maps.DeleteFunc(w.parked, func(k lane.Key, _ hook.Parked) bool { return k.Kind != hook.Live && k.Offset <= boundary })
		}
	}
}
