package store

import (
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// TestOffsetAt: of events between those of another company, some of one time, the first at or after a time is
// found, whichever it is; where none is too old, which is what upkeep finds most often, the oldest alone is
// asked. The control is a time between.
func TestOffsetAt(t *testing.T) {
	begin := hook.Now(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	now := begin
	s, err := OpenSQLite(t.Context(), Options{Dir: t.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var companies []*Company
	for _, id := range []string{"c1", "c2"} {
		c, err := s.EnsureCompany(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		companies = append(companies, c)
	}
	c := companies[0]
	own := func(i int) bool { return i%4 != 1 && i >= 3 }
	var at []time.Time // of the events, by offset, from the first on
	for i := range 40 {
		now = begin.Add(time.Duration(i/3) * time.Minute)
		at = append(at, now)
		whose := companies[1]
		if own(i) {
			whose = c
		}
		s.accepted(t, whose, i, 1)
	}
	e := &counting{Engine: s.engine}
	s.engine = e
	find := func(when time.Time) hook.Offset {
		t.Helper()
		e.most = 0
		o, err := s.OffsetAt(t.Context(), c.Key, when)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for minute := range 16 {
		when, want := hook.Now(begin.Add(time.Duration(minute)*time.Minute)), 40
		for i := 39; i >= 0; i-- {
			if own(i) && !at[i].Before(when) {
				want = i
			}
		}
		if o := find(when); o != hook.Offset(want+1) {
			t.Errorf("from minute %d on: offset %d, want %d", minute, o, want+1)
		}
	}
	find(begin.Add(-time.Hour))
	if e.most != 2 {
		t.Errorf("where nothing is too old %d questions are asked", e.most)
	}
	find(begin.Add(7 * time.Minute))
	if e.most < 5 {
		t.Errorf("control: %d questions for a time between", e.most)
	}
}
