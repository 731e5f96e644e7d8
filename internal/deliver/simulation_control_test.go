package deliver

import (
	"slices"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// The controls: a store, or an engine, that breaks one promise must be found out.
func TestSimulationNoticesSabotage(t *testing.T) {
	const tried = 16
	if simulatedShare < 1 {
		t.Skip("they need all their seeds; run without the race detector, as make unit does")
	}
	for name, sabotage := range map[string]func(*simulation, *store.Record){
		"an attempt in 25 is forgotten": func(s *simulation, r *store.Record) {
			for i := range r.Items {
				if r.Items[i].Attempt != nil && s.chance(0.04) {
					r.Items[i] = store.Item{}
				}
			}
		},
		"a cursor passes what is not settled": func(s *simulation, r *store.Record) {
			for i := range r.Cursors {
				c := &r.Cursors[i]
				w := s.memory.webhooks[c.Webhook]
				if next := w.after(c.Offset); next < len(w.deliveries) && s.chance(0.1) {
					c.Offset, c.Sequence = w.deliveries[next].event.Offset, int64(next+1)
				}
			}
		},
		"the swept mark passes what is not settled": func(s *simulation, r *store.Record) {
			for p := range r.Swept {
				if s.chance(0.1) {
					r.Swept[p] = s.memory.head()
				}
			}
		},
		"a cursor moves back": func(s *simulation, r *store.Record) {
			for i := range r.Cursors {
				if s.chance(0.1) {
					r.Cursors[i].Offset--
				}
			}
		},
		"what was delivered is undone": func(s *simulation, r *store.Record) {
			for i := range r.Items {
				if a := r.Items[i].Attempt; a != nil && a.Outcome == hook.OutcomeDelivered && s.chance(0.05) {
					a.Outcome = hook.OutcomeRetry
				}
			}
		},
		"a delivery is counted twice": func(s *simulation, r *store.Record) {
			for i := range r.Cursors {
				if c := &r.Cursors[i]; c.Delivered > 0 && s.chance(0.05) {
					c.Delivered++
				}
			}
		},
		"a retry is forgotten": func(s *simulation, r *store.Record) {
			for i := range r.Items {
				if p := r.Items[i].Park; p != nil && p.DueAt != nil && s.chance(0.05) {
					never := p.DueAt.AddDate(1, 0, 0)
					p.DueAt = &never
				}
			}
		},
		"what is held is never released": func(_ *simulation, r *store.Record) {
			for i := range r.Items {
				r.Items[i].Release, r.Items[i].Free = nil, nil
			}
		},
		"a replay is called done": func(_ *simulation, r *store.Record) {
			for i := range r.Replays {
				r.Replays[i].Done = r.Replays[i].Place > 0
			}
		},
		"what a cancelled replay parked is kept": func(s *simulation, r *store.Record) {
			if key := s.memory.keys[s.dice.IntN(len(s.memory.keys))]; !s.healthy && !s.memory.webhooks[key].deleted {
				s.replay(key) // so that there always is one to cancel
				s.commits = append(s.commits, commit{0, nil, s.memory.version})
			}
			r.Replays = slices.DeleteFunc(r.Replays, func(m store.ReplayMove) bool { return s.memory.replays[m.Key-1].Status == store.ReplayCancelled })
		},
		"an attempt's number is given twice": func(s *simulation, r *store.Record) {
			for i := range r.Items {
				if a := r.Items[i].Attempt; a != nil && a.Number > 1 && s.chance(0.1) {
					a.Number--
				}
			}
		},
		"an attempt that a connection took with it is forgotten": func(_ *simulation, r *store.Record) {
			for i := range r.Items {
				if a := r.Items[i].Attempt; a != nil && a.Reused {
					r.Items[i] = store.Item{}
				}
			}
		},
		"what waits of a delivery that was made stays": func(s *simulation, r *store.Record) {
			if key := s.memory.keys[s.dice.IntN(len(s.memory.keys))]; !s.healthy && len(s.memory.webhooks[key].parked) > 0 && !s.memory.webhooks[key].deleted {
				s.replay(key) // so that there are such deliveries
				s.commits = append(s.commits, commit{0, nil, s.memory.version})
			}
			for i := range r.Items {
				r.Items[i].Settle = nil
			}
		},
		"the clock is waited out": func(_ *simulation, r *store.Record) { r.Rewind = nil },
		"the gate is open": func(s *simulation, _ *store.Record) {
			for _, l := range s.core.lanes {
				l.Gate, l.Fault = lane.Gate{}, lane.Gate{}
			}
		},
		"the gate is not kept": func(_ *simulation, r *store.Record) { r.Gates = nil },
		"the bucket is always full": func(s *simulation, _ *store.Record) {
			for _, l := range s.core.lanes {
				l.Limiter = nil
			}
		},
		"the order is forgotten": func(s *simulation, _ *store.Record) {
			for _, l := range s.core.lanes {
				clear(l.Blocked)
				clear(l.Chains)
			}
		},
		"an event stops its webhook": func(s *simulation, r *store.Record) {
			s.knobs.stubborn, s.knobs.parked = max(s.knobs.stubborn, 0.4), 10_000 // so that there are such events
			for _, l := range s.core.lanes {
				for _, it := range l.Items {
					it.Throttles = 0
				}
			}
			for i := range r.Items {
				if p := r.Items[i].Park; p != nil {
					p.Throttles = 0
				}
			}
		},
		"patience counts": func(s *simulation, r *store.Record) {
			for i := range r.Items {
				if a := r.Items[i].Attempt; a != nil && a.Outcome == hook.OutcomeThrottled && s.chance(0.1) {
					a.Outcome = hook.OutcomeRetry
				}
			}
		},
		"a slot is not given back": func(s *simulation, _ *store.Record) {
			if s.chance(0.05) {
				s.core.slots.taken++
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			for seed := range tried {
				s := newSimulation(uint64(seed+1), func(string, ...any) {})
				s.sabotage = sabotage
				s.knobs.jump, s.knobs.change, s.knobs.cancel = 0.001, 0.05, 0.05
				if err := s.run(controlDays); err != nil {
					found++
				}
			}
			t.Logf("found in %d of %d seeds", found, tried)
			if found == 0 {
				t.Errorf("found in %d of %d seeds only", found, tried)
			}
		})
	}
}
