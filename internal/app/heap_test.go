package app

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestHeapPercent(t *testing.T) {
	for _, test := range []struct {
		perSecond float64
		live      uint64
		want      int
	}{
		{0, 10 << 20, 100},        // nothing is allocated
		{1 << 20, 10 << 20, 100},  // little is
		{1 << 30, 12 << 20, 400},  // much is, little lives
		{1 << 30, 48 << 20, 100},  // as much lives as there is room
		{1 << 30, 500 << 20, 100}, // and more
		{1 << 30, 0, 100},         // no collection yet
	} {
		if got := heapPercent(test.perSecond, test.live); got != test.want {
			t.Errorf("%.0f B/s, %d alive: %d, want %d", test.perSecond, test.live, got, test.want)
		}
	}
}

var garbage []byte

// Under load the pace changes, and afterwards it is what it was.
func TestPaceHeap(t *testing.T) {
	before := debug.SetGCPercent(heapPace)
	defer debug.SetGCPercent(before)
	stop := paceHeap()
	pace := func() int {
		p := debug.SetGCPercent(heapPace)
		debug.SetGCPercent(p)
		return p
	}
	deadline := time.Now().Add(30 * time.Second)
	for pace() == heapPace && time.Now().Before(deadline) {
		for range 64 {
			garbage = make([]byte, 1<<20)
		}
		runtime.GC()
	}
	if pace() == heapPace {
		t.Error("the pace is the default's although much is allocated")
	}
	stop()
	if p := pace(); p != heapPace {
		t.Errorf("the pace is %d after the end", p)
	}
}

// What an operator has set stays.
func TestPaceHeapLeavesGOGC(t *testing.T) {
	before := debug.SetGCPercent(50)
	defer debug.SetGCPercent(before)
	stop := paceHeap()
	runtime.GC()
	stop()
	if p := debug.SetGCPercent(50); p != 50 {
		t.Errorf("the pace was made %d", p)
	}
}

// Memory is given back when little was allocated since the last look, and not under load (the control).
func TestHeapIsGivenBackAtRest(t *testing.T) {
	h := &heap{rest: time.NewTimer(time.Hour)}
	defer h.rest.Stop()
	freed := 0
	look := func() int {
		h.giveBack(func() { freed++ })
		return freed
	}
	look()
	freed = 0
	for range 30 {
		garbage = make([]byte, 1<<20)
	}
	if look() != 0 {
		t.Error("control: memory was given back although much was allocated")
	}
	if look() != 1 {
		t.Error("memory was not given back at rest")
	}
	before, _ := heapSizes()
	for range 64 {
		garbage = make([]byte, 1<<20)
	}
	if h.collected(time.Now()); h.freed >= before+heapOver || h.looked < before+heapOver {
		t.Errorf("a collection after %d bytes: freed at %d, looked at %d", before, h.freed, h.looked)
	}
	h.stop()
	if look(); freed != 1 {
		t.Error("memory was given back after the end")
	}
}
