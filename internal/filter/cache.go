package filter

import "sync"

// cached bounds how many compiled expressions a [Cache] holds; it is emptied when it is full.
const cached = 10_000

// Cache compiles each expression once. Its zero value works, and it is safe for concurrent use.
type Cache struct {
	mu       sync.RWMutex
	programs map[string]*Program // nil for one that does not compile
}

// Match is [Program.Match] for an expression given as text. One that does not compile, which only
// a newer version can have saved, matches: no event is lost to it.
func (c *Cache) Match(source, topic string, data []byte) bool {
	c.mu.RLock()
	p, ok := c.programs[source]
	c.mu.RUnlock()
	if !ok {
		p, _ = Compile(source)
		c.mu.Lock()
		if c.programs == nil || len(c.programs) >= cached {
			c.programs = map[string]*Program{}
		}
		c.programs[source] = p
		c.mu.Unlock()
	}
	if p == nil {
		return true
	}
	matched, err := p.Match(topic, data)
	return matched || err != nil
}
