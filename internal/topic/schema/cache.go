package schema

import "sync"

// MaxCached bounds what a [Cache] holds, in bytes, about.
const MaxCached = 24 << 20

// Cache compiles each schema once, whoever uses it. Its zero value works, and it is safe for concurrent use.
type Cache struct {
	mu      sync.RWMutex
	schemas map[string]*Schema
	weight  int
}

// Get returns the compiled schema of a text; nil where there is none, as of a text that only another version
// can have saved.
func (c *Cache) Get(text string) *Schema {
	c.mu.RLock()
	s, ok := c.schemas[text]
	c.mu.RUnlock()
	if ok {
		return s
	}
	s, _ = Compile(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.schemas[text]; ok {
		return s
	}
	if c.schemas == nil {
		c.schemas = map[string]*Schema{}
	}
	c.weight += s.held()
	for old, o := range c.schemas { // any; a map begins anywhere
		if c.weight <= MaxCached {
			break
		}
		delete(c.schemas, old)
		c.weight -= o.held()
	}
	c.schemas[text] = s
	return s
}

func (s *Schema) held() int {
	if s == nil {
		return 500
	}
	return s.weight
}
