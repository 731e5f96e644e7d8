package deliver

import (
	"container/heap"
	"time"
)

// timers wakes lanes, and runs the few other things that wait for a time.
type timers struct {
	lanes laneHeap
	tasks []task
}

type task struct {
	at time.Time
	do func()
}

// set wakes a lane at a time, if it would not be woken before.
func (t *timers) set(l *consumer, at time.Time) {
	switch {
	case l.wakeIndex < 0:
		l.wake = at
		heap.Push(&t.lanes, l)
	case at.Before(l.wake):
		l.wake = at
		heap.Fix(&t.lanes, l.wakeIndex)
	}
}

// forget takes a lane out.
func (t *timers) forget(l *consumer) {
	if l.wakeIndex >= 0 {
		heap.Remove(&t.lanes, l.wakeIndex)
	}
}

func (t *timers) in(now time.Time, d time.Duration, do func()) {
	t.tasks = append(t.tasks, task{now.Add(d), do})
}

// run wakes everybody whose time has come.
func (t *timers) run(now time.Time, touch func(*consumer)) {
	for len(t.lanes) > 0 && !now.Before(t.lanes[0].wake) {
		touch(heap.Pop(&t.lanes).(*consumer))
	}
	if len(t.tasks) == 0 {
		return
	}
	later := t.tasks[:0:0]
	var due []task
	for _, k := range t.tasks {
		if now.Before(k.at) {
			later = append(later, k)
		} else {
			due = append(due, k)
		}
	}
	t.tasks = later
	for _, k := range due {
		k.do()
	}
}

// next is when run has something to do; zero for never.
func (t *timers) next() (at time.Time) {
	if len(t.lanes) > 0 {
		at = t.lanes[0].wake
	}
	for _, k := range t.tasks {
		if at.IsZero() || k.at.Before(at) {
			at = k.at
		}
	}
	return at
}

type laneHeap []*consumer

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].wake.Before(h[j].wake) }

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].wakeIndex, h[j].wakeIndex = i, j
}

func (h *laneHeap) Push(x any) {
	l := x.(*consumer)
	l.wakeIndex = len(*h)
	*h = append(*h, l)
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.wakeIndex = -1
	return l
}
