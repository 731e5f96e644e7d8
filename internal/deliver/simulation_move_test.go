package deliver

import (
	"fmt"
	"testing"
)

// The simulation hands its partition over now and then: sometimes the handover is taken back,
// sometimes the same core gets the partition again, with answers to its old questions still under
// way, and sometimes another node does, which knows nothing.

// move begins a handover, or takes one back.
func (s *simulation) move() {
	switch {
	case len(s.core.handovers) > 0:
		s.log("the handover is taken back, if it still can be")
		s.core.keep(0)
	case s.core.partitions[0] != nil:
		s.log("a handover begins with %d in flight", len(s.running))
		s.core.release(0, s.moved)
	}
}

// moves lets handovers go on; a partition that was released has nothing under way and nothing to
// record.
func (s *simulation) moves() error {
	s.core.handOver()
	select {
	case m := <-s.moved:
		if !m.released {
			return nil
		}
		s.log("handed over")
		if left := s.core.record(); len(s.running) > 0 || s.record != nil || len(s.recorded) > 0 || left != nil {
			return fmt.Errorf("handed over with %d in flight, %+v under way, %d to tell, %+v to record", len(s.running), s.record, len(s.recorded), left)
		}
		s.handovers++
		if s.chance(0.5) {
			commits := s.commits // what the other node hears of, it reads
			s.boot(true)
			s.commits = commits
			return nil
		}
		delete(s.core.released, 0)
		s.watchAnew(true)
		s.core.own(0)
	default:
	}
	return nil
}

// TestSimulationHandsOver: handovers do take place.
func TestSimulationHandsOver(t *testing.T) {
	done, tried := 0, shareOf(20)
	for seed := range tried {
		s := newSimulation(uint64(seed+1), func(string, ...any) {})
		s.knobs.move = 0.05
		if err := s.run(simulatedDays); err != nil {
			t.Fatalf("seed %d: %v", seed+1, err)
		}
		done += s.handovers
	}
	if done < tried {
		t.Errorf("%d handovers in %d seeds", done, tried)
	}
}
