package filter

import (
	"fmt"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// full is a memory that has forgotten half of the events of two companies, and the last one's offset.
func full() (m *memory, last hook.Offset) {
	m = &memory{}
	for range maxRemembered / 128 {
		last++
		remember(m, 0, last)
		remember(m, 1, last)
	}
	return m, last
}

func remember(m *memory, company hook.CompanyKey, o hook.Offset) {
	m.remember(&hook.Event{Company: company, Offset: o}, []string{"true"}, []hook.Judged{{Steps: dear}}, []int{0})
}

func (m *memory) knows(company hook.CompanyKey, o hook.Offset) bool {
	return len(m.recall(&hook.Event{Company: company, Offset: o}, []string{"true"}, make([]hook.Judged, 1))) == 0
}

// TestForgetsWhatNobodyAskedAbout: of two events that were found out together, the one that somebody asked
// about since outlives the other; companies whose offsets are the same are told apart; and what is forgotten
// leaves nothing behind.
func TestForgetsWhatNobodyAskedAbout(t *testing.T) {
	m, last := full()
	oldest := m.asked.Front().Value.(*remembered).eventKey
	other := eventKey{1 - oldest.company, oldest.offset}
	if m.knows(0, 1) || !m.knows(oldest.company, oldest.offset) {
		t.Fatalf("of %d events the oldest is that at %d", len(m.events), oldest.offset)
	}
	before := len(m.events)
	for range 10 {
		last++
		remember(m, 0, last)
	}
	if !m.knows(oldest.company, oldest.offset) {
		t.Error("forgotten, though somebody asked about it")
	}
	if other.offset == oldest.offset && m.knows(other.company, other.offset) {
		t.Error("still known, though nobody asked about it")
	}
	if !m.knows(0, last) || m.knows(1, last) {
		t.Error("two companies' events at one offset are taken for one")
	}
	size := 0
	for x := m.asked.Front(); x != nil; x = x.Next() {
		size += x.Value.(*remembered).size
	}
	if len(m.events) != before || m.asked.Len() != before || m.size != size || size > maxRemembered {
		t.Errorf("%d events by their keys, %d in order, %d before; %d bytes counted of %d", len(m.events), m.asked.Len(), before, m.size, size)
	}
}

// BenchmarkRecall is what it costs to look for an event among all that can be remembered, while everybody
// who asks filters waits.
func BenchmarkRecall(b *testing.B) {
	m, last := full()
	for _, known := range []bool{true, false} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			company := hook.CompanyKey(3)
			if known {
				company = 0
			}
			for b.Loop() {
				m.knows(company, last)
			}
		})
	}
}
