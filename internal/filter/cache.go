package filter

import "sync"

// MaxCached bounds what a [Cache] holds, in bytes, about.
const MaxCached = 24 << 20

// Cache compiles each expression once, whoever uses it, and remembers what was dear to find out. Its zero
// value works, and it is safe for concurrent use.
type Cache struct {
	memory memory

	mu       sync.RWMutex
	programs map[string]compiled
	weight   int
}

// compiled is a program, or why there is none: only another version can have saved such a text.
type compiled struct {
	program *Program
	problem string
}

func (c compiled) weight() int {
	if c.program == nil {
		return 500 + len(c.problem)
	}
	return c.program.weight
}

func (c *Cache) get(source string) compiled {
	c.mu.RLock()
	x, ok := c.programs[source]
	c.mu.RUnlock()
	if ok {
		return x
	}
	program, err := Compile(source)
	x.program = program
	if err != nil {
		x.problem = "it cannot be used any more: " + err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.programs[source]; ok {
		return x
	}
	if c.programs == nil {
		c.programs = map[string]compiled{}
	}
	c.weight += x.weight()
	for old, o := range c.programs { // any; a map begins anywhere
		if c.weight <= MaxCached {
			break
		}
		delete(c.programs, old)
		c.weight -= o.weight()
	}
	c.programs[source] = x
	return x
}
