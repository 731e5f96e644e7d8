package filter

import (
	linked "container/list"
	"crypto/sha256"
	"sync"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Limits of what is remembered.
const (
	maxRemembered = 4 << 20 // bytes, about
	dear          = 100_000 // steps: what took some milliseconds to find out
)

// memory is what filters said of the last events that were dear to ask about. What was accepted never
// changes, nor does what a filter says of it; so whoever asks next, another reader or another lane, need
// not ask again.
type memory struct {
	mu     sync.Mutex
	events map[eventKey]*linked.Element // of asked
	asked  linked.List                  // of *remembered, the one asked about last at the end
	size   int                          // bytes
}

// eventKey says which event of the log: its offset counts within its company's partition.
type eventKey struct {
	company hook.CompanyKey
	offset  hook.Offset
}

type remembered struct {
	eventKey
	said map[[sha256.Size]byte]hook.Judged // by the filter's digest
	size int
}

// recall answers what is known; the rest is to be asked.
func (m *memory) recall(e *hook.Event, filters []string, judged []hook.Judged) (rest []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.find(e)
	for i, f := range filters {
		known := false
		if x != nil {
			judged[i], known = x.said[sha256.Sum256([]byte(f))]
		}
		if !known {
			rest = append(rest, i)
		}
	}
	return rest
}

// find returns what is known of an event, and makes it the last one to be forgotten.
func (m *memory) find(e *hook.Event) *remembered {
	at := m.events[eventKey{e.Company, e.Offset}]
	if at == nil {
		return nil
	}
	m.asked.MoveToBack(at)
	return at.Value.(*remembered)
}

// remember keeps what filters said of an event of the log, if that was dear.
func (m *memory) remember(e *hook.Event, filters []string, judged []hook.Judged, asked []int) {
	steps := 0
	for _, i := range asked {
		steps += judged[i].Steps
	}
	if steps < dear || e.Offset == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.find(e)
	if x == nil {
		x = m.add(eventKey{e.Company, e.Offset})
	}
	for _, i := range asked {
		x.said[sha256.Sum256([]byte(filters[i]))] = judged[i]
		size := 128 + len(judged[i].Clause) + len(judged[i].Problem)
		x.size, m.size = x.size+size, m.size+size
	}
	for m.size > maxRemembered {
		oldest := m.asked.Remove(m.asked.Front()).(*remembered)
		delete(m.events, oldest.eventKey)
		m.size -= oldest.size
	}
}

func (m *memory) add(at eventKey) *remembered {
	if m.events == nil {
		m.events = map[eventKey]*linked.Element{}
	}
	x := &remembered{eventKey: at, said: map[[sha256.Size]byte]hook.Judged{}}
	m.events[at] = m.asked.PushBack(x)
	return x
}
