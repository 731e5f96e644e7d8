package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// The collector's pace. By default it begins when the heap has doubled. Little lives in this process,
// some ten megabytes, and under load that doubles ten times a second: a tenth of all CPU went into
// collecting. So while much is allocated the heap may grow by a fixed size, which memory has to be
// there for anyway; where more than that lives, and where little is allocated, it is as usual.
const (
	heapRoom = 48 << 20 // bytes that the heap may grow by while much is allocated
	heapBusy = 16 << 20 // bytes a second that are much
	heapPace = 100      // per cent of what lives: Go's default
)

// heap sets the collector's pace after each collection. Between two it does nothing, so that an idle
// process stays idle.
type heap struct {
	mu        sync.Mutex
	stopped   bool
	percent   int
	at        time.Time
	allocated uint64
}

// paceHeap begins to set the pace, until the function that it returns is called. Where somebody has set
// another pace than the default (GOGC), that stays.
func paceHeap() (stop func()) {
	if set := debug.SetGCPercent(heapPace); set != heapPace {
		debug.SetGCPercent(set)
		return func() {}
	}
	h := &heap{percent: heapPace, at: time.Now()}
	h.allocated, _ = heapSizes()
	h.wait()
	return h.stop
}

// wait lets collected be called after the next collection.
func (h *heap) wait() {
	runtime.AddCleanup(new([64]byte), func(h *heap) { h.collected(time.Now()) }, h)
}

func (h *heap) collected(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	allocated, live := heapSizes()
	perSecond := float64(allocated-h.allocated) / max(now.Sub(h.at).Seconds(), 1e-3)
	h.at, h.allocated = now, allocated
	h.set(heapPercent(perSecond, live))
	h.wait()
}

// heapPercent is the pace for what is allocated and what lives.
func heapPercent(perSecond float64, live uint64) int {
	if perSecond < heapBusy || live == 0 {
		return heapPace
	}
	return max(heapPace, int(heapPace*heapRoom/live))
}

// set changes the pace where it differs by more than a tenth: a change stops the world for a moment.
func (h *heap) set(percent int) {
	if change := percent - h.percent; change > h.percent/10 || -change > h.percent/10 {
		h.percent = percent
		debug.SetGCPercent(percent)
	}
}

func (h *heap) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	debug.SetGCPercent(heapPace)
}

// heapSizes are the bytes allocated ever, and those found alive by the last collection.
func heapSizes() (allocated, live uint64) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64(), sample[1].Value.Uint64()
}
