package filter

import (
	"crypto/sha256"
	"slices"
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
	events []*remembered // the one asked about last at the end
	size   int           // bytes
}

type remembered struct {
	company hook.CompanyKey
	offset  hook.Offset
	said    map[[sha256.Size]byte]hook.Judged // by the filter's digest
	size    int
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
	i := slices.IndexFunc(m.events, func(x *remembered) bool { return x.company == e.Company && x.offset == e.Offset })
	if i < 0 {
		return nil
	}
	x := m.events[i]
	m.events = append(slices.Delete(m.events, i, i+1), x)
	return x
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
		x = &remembered{company: e.Company, offset: e.Offset, said: make(map[[sha256.Size]byte]hook.Judged, len(asked))}
		m.events = append(m.events, x)
	}
	for _, i := range asked {
		x.said[sha256.Sum256([]byte(filters[i]))] = judged[i]
		size := 128 + len(judged[i].Clause) + len(judged[i].Problem)
		x.size, m.size = x.size+size, m.size+size
	}
	for m.size > maxRemembered {
		m.size -= m.events[0].size
		m.events = slices.Delete(m.events, 0, 1)
	}
}
