package deliver

import (
	"cmp"
	"maps"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// chain is what a lane holds of one object: one delivery in line or in flight, the others behind it.
type chain struct {
	head   *item
	behind []*item
}

// enqueue puts a delivery in line: behind another of its object, if there is one. A retry goes before
// what still waits.
func (l *lane) enqueue(it *item) {
	if it.object == "" {
		l.stand(it)
		return
	}
	c := l.chains[it.object]
	switch {
	case c == nil:
		l.chains[it.object] = &chain{head: it}
	case l.yields(it):
		c.behind = append(c.behind, it)
		return
	case l.yields(c.head):
		c.behind = slices.Insert(c.behind, 0, it) // what waits there is set aside too
		l.yield(c)
		return
	case it.parked && c.head.state == waiting && it.before(c.head):
		l.take(c.head)
		c.behind = slices.Insert(c.behind, 0, c.head)
		c.head = it
	case it.parked:
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

// again puts a delivery that started, but is not settled, back at the head of its line.
func (l *lane) again(it *item) {
	it.state, it.probe = waiting, false
	switch {
	case it.kind == hook.Replay && !it.parked:
		l.replays = slices.Insert(l.replays, 0, it)
	case it.parked:
		l.due = slices.Insert(l.due, 0, it)
	default:
		l.run = slices.Insert(l.run, 0, it)
	}
}

// take removes a delivery from its line. It says whether it stood in one.
func (l *lane) take(it *item) bool {
	for _, line := range []*[]*item{&l.due, &l.run, &l.replays} {
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

// pass lets the next delivery of an object go when the one before it is settled.
func (l *lane) pass(object string) {
	if object == "" {
		return
	}
	c := l.chains[object]
	if c == nil || len(c.behind) == 0 {
		delete(l.chains, object)
		return
	}
	c.head, c.behind = c.behind[0], c.behind[1:]
	l.stand(c.head)
	l.yield(c)
}

// yields says that a delivery lets others of its object go first: it is set aside, and neither an order,
// which replays and retries on request are not part of, nor the cap on parked deliveries forbids them to.
func (l *lane) yields(it *item) bool {
	return it.state == waiting && l.aside(it) && l.hook != nil && (l.hook.Ordering == hook.Relaxed || it.kind != hook.Live) && l.parked < l.parkedCap()
}

// insist takes it back that parked deliveries let others of their objects go first, which may not go
// either now that there is no more room in parked.
func (l *lane) insist() {
	for _, object := range slices.Sorted(maps.Keys(l.chains)) {
		c := l.chains[object]
		i := slices.IndexFunc(c.behind, func(x *item) bool { return x.parked })
		if i < 0 || c.head.parked || !l.take(c.head) {
			continue
		}
		it := c.behind[i]
		c.behind = slices.Insert(slices.Delete(c.behind, i, i+1), 0, c.head)
		c.head = it
		l.stand(it)
	}
}

// yield puts a chain's head at its end, if it lets others go first and there is one.
func (l *lane) yield(c *chain) {
	next := slices.IndexFunc(c.behind, func(x *item) bool { return !l.aside(x) })
	if next < 0 || !l.yields(c.head) {
		return
	}
	head := c.head
	l.take(head)
	c.head = c.behind[next]
	c.behind = append(slices.Delete(c.behind, next, next+1), head)
	l.stand(c.head)
}

// cut drops what merely waits, to be read again from the store: the lane detaches.
func (l *lane) cut() {
	keep := l.lastTouched() + 1
	for _, it := range l.items[keep:] {
		if it.attempts > 0 { // it was throttled: its next attempt goes on counting
			if l.above == nil {
				l.above = map[hook.Offset]above{}
			}
			l.above[it.offset] = above{attempts: it.attempts, throttles: it.throttles}
		}
		it.drop()
		it.offset = 0 // marks it as dropped
	}
	if keep > 0 {
		l.read, l.sequence = l.items[keep-1].offset, l.items[keep-1].count
	} else {
		l.read, l.sequence = l.low, l.lowSeq
	}
	clear(l.items[keep:])
	l.items = l.items[:keep]
	dropped := func(it *item) bool { return it.offset == 0 }
	heads := slices.DeleteFunc(slices.Clone(l.run), func(it *item) bool { return !dropped(it) })
	l.run = slices.DeleteFunc(l.run, dropped)
	for _, c := range l.chains {
		c.behind = slices.DeleteFunc(c.behind, dropped)
	}
	for _, it := range heads {
		l.pass(it.object)
	}
	l.fed = false
}

// lastTouched is the index of the last item that is not merely waiting.
func (l *lane) lastTouched() int {
	for i, it := range slices.Backward(l.items) {
		if it.state != waiting {
			return i
		}
	}
	return -1
}

// orderKey is what two deliveries must share to be ordered.
func (l *lane) orderKey(object string) string {
	if l.hook != nil && l.hook.Ordering == hook.WebhookOrder {
		return "*"
	}
	return object
}

// itemAt is what the cursor has yet to pass at an offset, nil when it has or when that was not read.
func (l *lane) itemAt(o hook.Offset) *item {
	i, found := slices.BinarySearchFunc(l.items, o, func(it *item, o hook.Offset) int { return cmp.Compare(it.offset, o) })
	if !found {
		return nil
	}
	return l.items[i]
}

// remove takes a waiting delivery out of its line or chain.
func (l *lane) remove(it *item) {
	if l.take(it) {
		l.pass(it.object)
	} else if c := l.chains[it.object]; c != nil {
		c.behind = slices.DeleteFunc(c.behind, func(x *item) bool { return x == it })
	}
}
