package lane

import (
	"cmp"
	"maps"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// chain is what a lane holds of one object: one delivery in line or in flight, the others behind it.
type chain struct {
	head   *Item
	behind []*Item
}

// Enqueue puts a delivery in line: behind another of its object, if there is one. A retry goes before
// what still waits.
func (l *Lane) Enqueue(it *Item) {
	if it.Object == "" {
		l.stand(it)
		return
	}
	c := l.Chains[it.Object]
	switch {
	case c == nil:
		l.Chains[it.Object] = &chain{head: it}
	case l.yields(it):
		c.behind = append(c.behind, it)
		return
	case l.yields(c.head):
		c.behind = slices.Insert(c.behind, 0, it) // what waits there is set aside too
		l.yield(c)
		return
	case it.Parked && c.head.State == Waiting && it.before(c.head):
		l.Take(c.head)
		c.behind = slices.Insert(c.behind, 0, c.head)
		c.head = it
	case it.Parked:
		i := slices.IndexFunc(c.behind, it.before)
		if i < 0 {
			i = len(c.behind)
		}
		c.behind = slices.Insert(c.behind, i, it)
		return
	default:
		c.behind = append(c.behind, it)
		return
	}
	l.stand(it)
}

// Again puts a delivery that started, but is not settled, back at the head of its line.
func (l *Lane) Again(it *Item) {
	it.State, it.Probe = Waiting, false
	switch {
	case it.Kind == hook.Replay && !it.Parked:
		l.Replays = slices.Insert(l.Replays, 0, it)
	case it.Parked:
		l.Due = slices.Insert(l.Due, 0, it)
	default:
		l.Run = slices.Insert(l.Run, 0, it)
	}
}

// Take removes a delivery from its line. It says whether it stood in one.
func (l *Lane) Take(it *Item) bool {
	for _, line := range []*[]*Item{&l.Due, &l.Run, &l.Replays} {
		if len(*line) > 0 && (*line)[0] == it {
			(*line)[0] = nil
			*line = (*line)[1:]
			return true
		}
		if i := slices.Index(*line, it); i >= 0 {
			*line = slices.Delete(*line, i, i+1)
			return true
		}
	}
	return false
}

// Pass lets the next delivery of an object go when the one before it is settled.
func (l *Lane) Pass(object string) {
	if object == "" {
		return
	}
	c := l.Chains[object]
	if c == nil || len(c.behind) == 0 {
		delete(l.Chains, object)
		return
	}
	c.head, c.behind = c.behind[0], c.behind[1:]
	l.stand(c.head)
	l.yield(c)
}

// yields says that a delivery lets others of its object go first: it is set aside, and neither an order,
// which replays and retries on request are not part of, nor the cap on parked deliveries forbids them to.
func (l *Lane) yields(it *Item) bool {
	return it.State == Waiting && l.aside(it) && l.Hook != nil && (l.Hook.Ordering == hook.Relaxed || it.Kind != hook.Live) && l.Parked < l.parkedCap()
}

// insist takes it back that parked deliveries let others of their objects go first, which may not go
// either now that there is no more room in parked.
func (l *Lane) insist() {
	for _, object := range slices.Sorted(maps.Keys(l.Chains)) {
		c := l.Chains[object]
		i := slices.IndexFunc(c.behind, func(x *Item) bool { return x.Parked })
		if i < 0 || c.head.Parked || !l.Take(c.head) {
			continue
		}
		it := c.behind[i]
		c.behind = slices.Insert(slices.Delete(c.behind, i, i+1), 0, c.head)
		c.head = it
		l.stand(it)
	}
}

// yield puts a chain's head at its end, if it lets others go first and there is one.
func (l *Lane) yield(c *chain) {
	next := slices.IndexFunc(c.behind, func(x *Item) bool { return !l.aside(x) })
	if next < 0 || !l.yields(c.head) {
		return
	}
	head := c.head
	l.Take(head)
	c.head = c.behind[next]
	c.behind = append(slices.Delete(c.behind, next, next+1), head)
	l.stand(c.head)
}

// Cut drops what merely waits, to be read again from the store: the lane detaches.
func (l *Lane) Cut() {
	keep := l.lastTouched() + 1
	for _, it := range l.Items[keep:] {
		if it.Attempt > 0 { // it was throttled: its next attempt goes on counting
			if l.Above == nil {
				l.Above = map[hook.Offset]Above{}
			}
			l.Above[it.Offset] = Above{Attempts: it.Attempt, Throttles: it.Throttles}
		}
		it.Drop()
		it.Offset = 0 // marks it as dropped
	}
	if keep > 0 {
		l.Read, l.sequence = l.Items[keep-1].Offset, l.Items[keep-1].count
	} else {
		l.Read, l.sequence = l.Low, l.LowSeq
	}
	clear(l.Items[keep:])
	l.Items = l.Items[:keep]
	dropped := func(it *Item) bool { return it.Offset == 0 }
	heads := slices.DeleteFunc(slices.Clone(l.Run), func(it *Item) bool { return !dropped(it) })
	l.Run = slices.DeleteFunc(l.Run, dropped)
	for _, c := range l.Chains {
		c.behind = slices.DeleteFunc(c.behind, dropped)
	}
	for _, it := range heads {
		l.Pass(it.Object)
	}
	l.Fed = false
}

// lastTouched is the index of the last item that is not merely waiting.
func (l *Lane) lastTouched() int {
	for i, it := range slices.Backward(l.Items) {
		if it.State != Waiting {
			return i
		}
	}
	return -1
}

// OrderKey is what two deliveries must share to be ordered.
func (l *Lane) OrderKey(object string) string {
	if l.Hook != nil && l.Hook.Ordering == hook.WebhookOrder {
		return "*"
	}
	return object
}

// ItemAt is what the cursor has yet to pass at an offset, nil when it has or when that was not read.
func (l *Lane) ItemAt(o hook.Offset) *Item {
	i, found := slices.BinarySearchFunc(l.Items, o, func(it *Item, o hook.Offset) int { return cmp.Compare(it.Offset, o) })
	if !found {
		return nil
	}
	return l.Items[i]
}

// Remove takes a waiting delivery out of its line or chain.
func (l *Lane) Remove(it *Item) {
	if l.Take(it) {
		l.Pass(it.Object)
	} else if c := l.Chains[it.Object]; c != nil {
		c.behind = slices.DeleteFunc(c.behind, func(x *Item) bool { return x == it })
	}
}
