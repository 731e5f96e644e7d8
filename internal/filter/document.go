package filter

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Document is a published document, taken apart once for all the filters that look at it. Apart from
// the text itself it takes at most six bytes a byte of it, whatever the shape, and indexes of large
// objects as they are asked for. It belongs to one goroutine.
type Document struct {
	text  string
	nodes []node
	// names index the objects with many members, by node; strings are those that had escapes.
	names   map[uint32]map[string]uint32
	strings map[uint32]string
}

// node is a value of the document, or the name of a member before its value. The first byte of its
// text says what it is.
type node struct {
	at   uint32 // where its text begins
	size uint32 // bytes of a scalar's text; elements or members of a container
	next uint32 // the node behind it and all that it holds
}

// Limits of a document. Those of publishing are lower.
const (
	maxDocument = 1 << 30
	maxDepth    = 1000
)

// Decode takes a document apart.
func Decode(data []byte) (*Document, error) {
	if len(data) > maxDocument {
		return nil, errors.New("the data cannot be read by filters: it is too large")
	}
	text := string(data)
	most := 1
	for _, c := range ",:[{" {
		most += strings.Count(text, string(c))
	}
	r := reader{text: text, nodes: make([]node, 0, min(most, len(text)/2+1))}
	r.space()
	if !r.value(0) {
		return nil, errors.New("the data cannot be read by filters: it is not JSON")
	}
	if r.space(); r.at != len(text) {
		return nil, errors.New("the data cannot be read by filters: more follows the document")
	}
	return &Document{text: text, nodes: r.nodes}, nil
}

// reader takes a text apart, front to back. What stands between brackets is checked, what scalars
// look like is seen when somebody asks for them.
type reader struct {
	text  string
	at    int
	nodes []node
}

func (r *reader) space() {
	for r.at < len(r.text) && (r.text[r.at] == ' ' || r.text[r.at] == '\n' || r.text[r.at] == '\t' || r.text[r.at] == '\r') {
		r.at++
	}
}

func (r *reader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

// value reads one value and reports whether there was one.
func (r *reader) value(depth int) bool {
	switch c := r.peek(); {
	case c == '{' || c == '[':
		return depth < maxDepth && r.container(c, depth)
	case c == '"':
		return r.string()
	case c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z':
		return r.scalar()
	}
	return false
}

func (r *reader) container(open byte, depth int) bool {
	self := len(r.nodes)
	r.nodes = append(r.nodes, node{at: uint32(r.at)})
	r.at++
	r.space()
	size := uint32(0)
	for r.peek() != open+2 { // { and }, [ and ] are two apart
		if size > 0 {
			if r.peek() != ',' {
				return false
			}
			r.at++
			r.space()
		}
		if open == '{' {
			if r.peek() != '"' || !r.string() {
				return false
			}
			r.space()
			if r.peek() != ':' {
				return false
			}
			r.at++
			r.space()
		}
		if !r.value(depth + 1) {
			return false
		}
		r.space()
		size++
	}
	r.at++
	r.nodes[self].size, r.nodes[self].next = size, uint32(len(r.nodes))
	return true
}

func (r *reader) string() bool {
	start := r.at
	r.at++
	rest := r.text[r.at:]
	quote := strings.IndexByte(rest, '"')
	if quote < 0 {
		return false
	}
	escape := strings.IndexByte(rest[:quote], '\\')
	if escape < 0 { // as most are
		r.at += quote + 1
		r.leaf(start)
		return true
	}
	r.at += escape
	for ; r.at < len(r.text); r.at++ {
		switch r.text[r.at] {
		case '\\':
			r.at++
		case '"':
			r.at++
			r.leaf(start)
			return true
		}
	}
	return false
}

func (r *reader) scalar() bool {
	start := r.at
	for ; r.at < len(r.text); r.at++ {
		switch r.text[r.at] {
		case ',', ':', ']', '}', ' ', '\n', '\t', '\r':
			r.leaf(start)
			return true
		}
	}
	r.leaf(start)
	return true
}

func (r *reader) leaf(start int) {
	r.nodes = append(r.nodes, node{at: uint32(start), size: uint32(r.at - start), next: uint32(len(r.nodes) + 1)})
}

// indexed is the number of members from which an object gets an index of names.
const indexed = 8

// member finds the value of a name, and of names that stand twice the last, as the parsers of Python
// and JavaScript do.
func (d *Document) member(object uint32, name string) (value uint32, ok bool) {
	if d.nodes[object].size > indexed {
		value, ok = d.index(object)[name]
		return value, ok
	}
	for at := object + 1; at < d.nodes[object].next; at = d.nodes[at+1].next {
		if d.string(at) == name {
			value, ok = at+1, true
		}
	}
	return value, ok
}

// index is an object's members by name.
func (d *Document) index(object uint32) map[string]uint32 {
	if names, ok := d.names[object]; ok {
		return names
	}
	names := make(map[string]uint32, d.nodes[object].size)
	for at := object + 1; at < d.nodes[object].next; at = d.nodes[at+1].next {
		names[d.string(at)] = at + 1
	}
	if d.names == nil {
		d.names = map[uint32]map[string]uint32{}
	}
	d.names[object] = names
	return names
}

// string is the text of a string, or of a name.
func (d *Document) string(at uint32) string {
	n := d.nodes[at]
	raw := d.text[n.at+1 : n.at+n.size-1]
	if strings.IndexByte(raw, '\\') < 0 {
		return raw
	}
	if s, ok := d.strings[at]; ok {
		return s
	}
	plain, _ := jsontext.AppendUnquote(nil, d.text[n.at:n.at+n.size]) // half a surrogate pair is U+FFFD
	if d.strings == nil {
		d.strings = map[uint32]string{}
	}
	d.strings[at] = string(plain)
	return d.strings[at]
}
