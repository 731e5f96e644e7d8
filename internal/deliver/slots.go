package deliver

import (
	"container/heap"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// slots hands out requests in flight: the next one goes to the company that holds the fewest, and
// within it round robin to the lanes that may start. It wastes none while somebody can use it,
// except that the last quarter, of slots and of their bytes, is kept from companies that hold a quarter
// already, and that slow and unproven lanes and probes share at most a quarter.
type slots struct {
	most     int
	mostSlow int
	reserve  int // of most, kept from companies that hold a quarter
	mostByte int64
	byteRest int64 // of mostByte, kept likewise
	taken    int
	slow     int
	bytes    int64
	lines    [2]line // fast and slow
	clock    uint64
	flights  map[eventAt]int // attempts that hold a slot, by event
}

// eventAt names an event of the log.
type eventAt struct {
	partition hook.Partition
	offset    hook.Offset
}

const (
	fastLine = iota
	slowLine
)

// line is where the lane waits for a slot.
func (l *consumer) line() int {
	if l.Pooled() {
		return slowLine
	}
	return fastLine
}

// queue is what waits of one company in one line.
type queue struct {
	company *company
	lanes   []*consumer
	index   int // in the line's heap; −1 when not
}

// ready puts a lane that may start an attempt in line.
func (s *slots) ready(l *consumer) {
	if l.inLine {
		return
	}
	l.inLine = true
	i := l.line()
	q := &l.subscription.company.waiting[i]
	q.lanes = append(q.lanes, l)
	if q.index < 0 {
		heap.Push(&s.lines[i], q)
	}
}

// next takes the lane out of line that has the next slot, or nil when there is none to give.
func (s *slots) next() *consumer {
	for s.taken < s.most && s.bytes < s.mostByte {
		q, i := s.first()
		if q == nil {
			return nil
		}
		l := q.lanes[0]
		q.lanes[0] = nil
		q.lanes = q.lanes[1:]
		l.inLine = false
		if len(q.lanes) == 0 {
			q.lanes = nil
			heap.Remove(&s.lines[i], q.index)
		}
		if l.line() == i {
			return l
		}
		s.ready(l) // it got slow, or quick, while it stood in line
	}
	return nil
}

// first is the company whose turn it is, and in which line; nil for none.
func (s *slots) first() (first *queue, in int) {
	for i, l := range s.lines {
		if len(l) == 0 || i == slowLine && s.slow >= s.mostSlow {
			continue
		}
		if q := s.firstOf(l); q != nil && (first == nil || less(q, first)) {
			first, in = q, i
		}
	}
	return first, in
}

// firstOf is the company in a line that comes next: its head, but for one that may have no more bytes.
func (s *slots) firstOf(l line) (first *queue) {
	if s.full(l[0].company) {
		return nil // whoever comes next in line holds more
	}
	if !s.heavy(l[0].company) {
		return l[0]
	}
	for _, q := range l {
		if !s.heavy(q.company) && !s.full(q.company) && (first == nil || less(q, first)) {
			first = q
		}
	}
	return first
}

// full says that the slots that are left are kept from a company.
func (s *slots) full(c *company) bool {
	return c.running >= max(s.most/4, 1) && s.most-s.taken <= s.reserve
}

// heavy says that the bytes that are left are.
func (s *slots) heavy(c *company) bool {
	return c.bytes >= s.mostByte/4 && s.mostByte-s.bytes <= s.byteRest
}

// slowed moves an attempt under way to the share of the slow.
func (s *slots) slowed(it *lane.Item) {
	if !it.Pooled {
		it.Pooled = true
		s.slow++
	}
}

// take counts an attempt that starts.
func (s *slots) take(l *consumer, it *lane.Item) {
	it.Pooled = l.Pooled()
	it.Bytes = it.Payload.Event.Size()
	s.taken++
	l.subscription.part.taken++
	s.bytes += it.Bytes
	l.subscription.company.bytes += it.Bytes
	if it.Pooled {
		s.slow++
	}
	s.flights[eventAt{l.subscription.part.id, it.Offset}]++
	s.clock++
	l.subscription.company.served = s.clock
	s.count(l.subscription.company, +1)
}

// release counts one that was recorded.
func (s *slots) release(l *consumer, it *lane.Item) {
	f := eventAt{l.subscription.part.id, it.Offset}
	if s.flights[f]--; s.flights[f] == 0 {
		delete(s.flights, f)
	}
	s.taken--
	l.subscription.part.taken--
	s.bytes -= it.Bytes
	l.subscription.company.bytes -= it.Bytes
	if it.Pooled {
		s.slow--
	}
	s.count(l.subscription.company, -1)
}

func (s *slots) count(c *company, n int) {
	c.running += n
	for i := range c.waiting {
		if q := &c.waiting[i]; q.index >= 0 {
			heap.Fix(&s.lines[i], q.index)
		}
	}
}

// line orders companies by the slots they hold, then by when they were served last.
type line []*queue

func less(a, b *queue) bool {
	if a.company.running != b.company.running {
		return a.company.running < b.company.running
	}
	return a.company.served < b.company.served
}

func (h line) Len() int           { return len(h) }
func (h line) Less(i, j int) bool { return less(h[i], h[j]) }

func (h line) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *line) Push(x any) {
	q := x.(*queue)
	q.index = len(*h)
	*h = append(*h, q)
}

func (h *line) Pop() any {
	old := *h
	q := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	q.index = -1
	return q
}
