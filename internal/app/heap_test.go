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
