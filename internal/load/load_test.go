package load

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func TestQuantiles(t *testing.T) {
	var list []time.Duration
	for i := 200; i > 0; i-- {
		list = append(list, time.Duration(i))
	}
	if q := quantiles(list); q.P50 != 100 || q.P99 != 198 {
		t.Errorf("%+v", q)
	}
	if q := quantiles([]time.Duration{7}); q.P50 != 7 || q.P99 != 7 {
		t.Errorf("%+v", q)
	}
	if q := quantiles(nil); q != (Quantiles{}) {
		t.Errorf("%+v", q)
	}
}

// The middle of each figure; but what went wrong in any round is not averaged away.
func TestMedians(t *testing.T) {
	got := medians([]Result{
		{Scenario: Ceiling, PerSecond: 5},
		{Scenario: "single", PerSecond: 3, Ratio: 0.1, Lost: 1, RSS: 9},
		{Scenario: "single", PerSecond: 1, Ratio: 0.3, Duplicates: 2, RSS: 7},
		{Scenario: "single", PerSecond: 2, Ratio: 0.2},
	})
	want := Result{Scenario: "single", PerSecond: 2, Ratio: 0.2, Lost: 1, Duplicates: 2, RSS: 9}
	if len(got) != 2 || got[0].PerSecond != 5 || got[1] != want {
		t.Errorf("%+v", got)
	}
}

// A run counts each delivery once, however often it comes, and knows its own.
func TestRun(t *testing.T) {
	s := &sink{}
	n := &run{name: "r-1", webhooks: 2, progress: make(chan struct{}, 1), seen: make([][]uint64, 2)}
	n.published.Add(100)
	s.run.Store(n)
	post := func(path, id string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
		r.Header.Set(wire.HeaderEventID, id)
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	for _, id := range []string{"r-1_0", "r-1_99", "r-1_64", "r-1_64"} {
		post("/0", id)
		post("/1", id)
	}
	post("/2", "r-1_1")
	post("/0", "r-2_1")
	post("/0", "r-1_x")
	post("/x", "r-1_1")
	if n.arrived.Load() != 6 || n.duplicates.Load() != 2 || n.foreign.Load() != 4 || n.waiting() != 194 || s.received.Load() != 12 {
		t.Errorf("%d arrived, %d twice, %d foreign, %d to come", n.arrived.Load(), n.duplicates.Load(), n.foreign.Load(), n.waiting())
	}
}

// TestRatio: a machine on which nothing arrived in time has no ratio, and one that is a number.
func TestRatio(t *testing.T) {
	if got := ratio(Result{PerSecond: 3}, Result{PerSecond: 4}, Result{PerSecond: 8}); got != 0.5 {
		t.Error(got)
	}
	if got := ratio(Result{}, Result{}, Result{}); got != 0 {
		t.Error(got)
	}
}
