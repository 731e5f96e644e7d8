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

// When little is allocated there is no collection for minutes, and what a load took would stay as long.
// So some time after collections that were worth it the memory is given back to the system.
const (
	heapRest = 20 * time.Second // without much being allocated
	heapIdle = 1 << 20          // bytes a second that are not much
	heapOver = 32 << 20         // bytes allocated since memory was given back that make it worth doing again
)

// heap sets the collector's pace after each collection. Between two it does nothing, so that an idle
// process stays idle.
type heap struct {
	mu        sync.Mutex
	stopped   bool
	percent   int
	at        time.Time
	allocated uint64
	rest      *time.Timer // gives memory back
	freed     uint64      // bytes allocated ever, when that was done last
	looked    uint64      // and when it was looked at
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
	h.rest = time.AfterFunc(heapRest, func() { h.giveBack(debug.FreeOSMemory) })
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
	if allocated-h.freed > heapOver {
		h.looked = allocated
		h.rest.Reset(heapRest)
	}
	h.wait()
}

// giveBack gives memory back if little was allocated since the last look, and else looks again later. It
// collects, so that the pace is as usual afterwards.
func (h *heap) giveBack(free func()) {
	h.mu.Lock()
	allocated, _ := heapSizes()
	idle := allocated-h.looked < uint64(heapIdle*heapRest/time.Second)
	h.looked = allocated
	if idle {
		h.freed = allocated
	} else if !h.stopped {
		h.rest.Reset(heapRest)
	}
	stopped := h.stopped
	h.mu.Unlock()
	if idle && !stopped {
		free()
	}
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
	h.rest.Stop()
	debug.SetGCPercent(heapPace)
}

// heapSizes are the bytes allocated ever, and those found alive by the last collection.
func heapSizes() (allocated, live uint64) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64(), sample[1].Value.Uint64()
}
