package change

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// own adds an event of a topic of the platform's own.
func (c *change) own(r Rule) {
	if len(r.Paths) == 0 {
		c.general(r.Topic)
		return
	}
	if !c.updated() {
		return
	}
	var all differ
	for _, pointer := range r.Paths {
		d := c.at(pointer)
		for _, p := range d.found {
			if !slices.ContainsFunc(all.found, func(q place) bool { return p.at == q.at }) {
				all.tell(p.at, p.before, p.after)
			}
		}
		for _, f := range d.fields {
			if !slices.ContainsFunc(all.fields, func(q place) bool { return f.at == q.at }) {
				all.fields = append(all.fields, f)
			}
		}
		all.more = all.more || d.more
	}
	if len(all.found) > 0 {
		c.add(r.Topic, all)
	}
}

// at is what differs in what a pointer points to; it is looked for once, however many rules ask.
func (c *change) at(pointer string) differ {
	if d, ok := c.seen[pointer]; ok {
		return d
	}
	var d differ
	names := slices.Collect(jsontext.Pointer(pointer).Tokens())
	for _, m := range c.pairs {
		if plain(m.name) != plain(names[0]) {
			continue
		}
		at, before, after := "/"+escape(m.name), m.before, m.after
		for _, name := range names[1:] {
			b, _ := before.(object)
			a, _ := after.(object)
			at, before, after = at+"/"+escape(name), b[name], a[name]
		}
		if d.walk(at, before, after); len(d.found) > 0 {
			d.fields = []place{{"/" + escape(m.name), m.before, m.after}}
		}
		break
	}
	if c.seen == nil {
		c.seen = map[string]differ{}
	}
	c.seen[pointer] = d
	return d
}
