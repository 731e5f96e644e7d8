package schema

import (
	"encoding/json"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// steps is how many a document of so many bytes may take: a schema that asks for each value a few times takes
// less than one a byte. A step is some 100 ns of the library's work at most.
func steps(bytes int) int { return 10_000 + bytes }

// meter counts what the library will do at most, by going the ways it goes.
type meter struct {
	left  int
	enums map[*jsonschema.Schema]int
}

func (m *meter) spend(n int) bool {
	m.left -= n
	return m.left >= 0
}

// visit counts one value by one schema, and whatever that leads to; false says that the steps are used up.
// inPlace is how many schemas that are about this value lead here: the library looks for a cycle among them.
func (m *meter) visit(s *jsonschema.Schema, v any, inPlace int) bool {
	if !m.spend(1+inPlace) || s.Bool != nil {
		return m.left >= 0
	}
	if (s.Enum != nil || s.Const != nil) && !m.spend(m.enums[s]*numbers(v)) {
		return false
	}
	ok := true
	switch v := v.(type) {
	case map[string]any:
		ok = m.object(s, v)
	case []any:
		ok = m.array(s, v)
	case string:
		ok = m.text(s, v)
	case json.Number:
		ok = m.spend(1 + len(v)/8)
	}
	if !ok {
		return false
	}
	for _, sub := range [...]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else} {
		if sub != nil && !m.visit(sub, v, inPlace+1) {
			return false
		}
	}
	for _, list := range [...][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for _, sub := range list {
			if !m.visit(sub, v, inPlace+1) {
				return false
			}
		}
	}
	for _, sub := range s.DependentSchemas {
		if !m.visit(sub, v, inPlace+1) {
			return false
		}
	}
	return true
}

// numbers is what comparing a number again and again takes beside that of another value.
func numbers(v any) int {
	n, _ := v.(json.Number)
	return 1 + len(n)/16
}

func (m *meter) object(s *jsonschema.Schema, v map[string]any) bool {
	if !m.spend(len(v) + len(s.Required) + len(s.DependentRequired)) {
		return false
	}
	for name, member := range v {
		if !m.member(s, name, member) {
			return false
		}
	}
	return true
}

func (m *meter) member(s *jsonschema.Schema, name string, v any) bool {
	known := false
	if sub := s.Properties[name]; sub != nil {
		known = true
		if !m.visit(sub, v, 0) {
			return false
		}
	}
	for re, sub := range s.PatternProperties {
		if !m.match(re, name) {
			return false
		}
		known = true // perhaps
		if !m.visit(sub, v, 0) {
			return false
		}
	}
	if s.PropertyNames != nil && !m.visit(s.PropertyNames, name, 0) {
		return false
	}
	if sub, ok := s.AdditionalProperties.(*jsonschema.Schema); ok && (!known || s.PatternProperties != nil) && !m.visit(sub, v, 0) {
		return false
	}
	return s.UnevaluatedProperties == nil || m.visit(s.UnevaluatedProperties, v, 0)
}

func (m *meter) array(s *jsonschema.Schema, v []any) bool {
	if !m.spend(len(v)) {
		return false
	}
	if s.UniqueItems {
		if n := m.size(v); n < 0 || !m.spend(n*min(len(v), 20)) {
			return false
		}
	}
	for i, element := range v {
		var subs []*jsonschema.Schema
		switch {
		case i < len(s.PrefixItems):
			subs = append(subs, s.PrefixItems[i])
		case s.Items2020 != nil:
			subs = append(subs, s.Items2020)
		}
		for _, sub := range append(subs, s.Contains, s.UnevaluatedItems) {
			if sub != nil && !m.visit(sub, element, 0) {
				return false
			}
		}
	}
	return true
}

func (m *meter) text(s *jsonschema.Schema, v string) bool {
	cost := len(v) / 64
	if s.Format != nil {
		cost = 1 + len(v)/8
	}
	return m.spend(cost) && (s.Pattern == nil || m.match(s.Pattern, v))
}

// match counts looking for a pattern in a text.
func (m *meter) match(re jsonschema.Regexp, text string) bool {
	p, ok := re.(*pattern)
	return ok && m.spend(1+(len(text)+1)*p.states/8)
}

// size is how many steps it takes to look at every part of a value, which it spends; −1 where they do not
// suffice.
func (m *meter) size(v any) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) / 64
	case json.Number:
		n += len(v) / 8
	case map[string]any:
		for name, member := range v {
			part := m.size(member)
			if part < 0 {
				return -1
			}
			n += 1 + len(name)/64 + part
		}
	case []any:
		for _, element := range v {
			part := m.size(element)
			if part < 0 {
				return -1
			}
			n += part
		}
	}
	if !m.spend(1) {
		return -1
	}
	return n
}

// weigh finds what comparing with the values of each enum and const takes.
func (s *Schema) weigh(of *jsonschema.Schema, seen map[*jsonschema.Schema]bool) {
	if of == nil || seen[of] {
		return
	}
	seen[of] = true
	all := meter{left: 1 << 30}
	if of.Enum != nil {
		s.enums[of] += all.size(of.Enum.Values)
	}
	if of.Const != nil {
		s.enums[of] += all.size(*of.Const)
	}
	for _, sub := range under(of) {
		s.weigh(sub, seen)
	}
}

// under are the schemas that one leads to.
func under(s *jsonschema.Schema) []*jsonschema.Schema {
	list := []*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else, s.PropertyNames, s.UnevaluatedProperties, s.Items2020, s.Contains, s.UnevaluatedItems}
	for _, more := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems} {
		list = append(list, more...)
	}
	for _, more := range []map[string]*jsonschema.Schema{s.Properties, s.DependentSchemas} {
		for _, sub := range more {
			list = append(list, sub)
		}
	}
	for _, sub := range s.PatternProperties {
		list = append(list, sub)
	}
	if sub, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		list = append(list, sub)
	}
	return list
}
