// Package receiving writes the types that a receiver reads documents with, in Go, TypeScript or Python, from the
// schemas of topics.
//
// A type says no more than a receiver may rely on: what a schema does not demand may be absent, more members may
// come, and where a schema allows several kinds of value, or combines schemas, the type is any value.
package receiving

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Languages are those that types are written in.
func Languages() []string { return []string{"go", "ts", "python"} }

// Types writes the types of topics; those without a schema have any document.
func Types(language string, topics []hook.Topic) ([]byte, error) {
	m, err := newModel(topics)
	if err != nil {
		return nil, err
	}
	switch language {
	case "go":
		return m.golang()
	case "ts":
		return m.typescript(), nil
	case "python":
		return m.python(), nil
	}
	return nil, fmt.Errorf("types are written in %s", strings.Join(Languages(), ", "))
}

// kind is what a value is.
type kind int

const (
	anything kind = iota
	boolean
	integer
	number
	text
	words // one of some texts
	list
	byName // an object whose members are of one kind
	named  // an object with a type of its own
)

// shape is what a type says of a value.
type shape struct {
	kind     kind
	nullable bool
	of       *shape   // of a list's elements, or an object's members
	words    []string // of words
	name     string   // of a named type
}

// member is one of an object.
type member struct {
	name, description string
	required          bool
	shape             shape
}

// object is a type with a name.
type object struct {
	name, description string
	members           []member
}

// topicType is what a topic's documents are.
type topicType struct {
	topic hook.Topic
	name  string // of its type
	shape shape
}

// model is everything that there is to write.
type model struct {
	topics  []topicType
	objects []*object
	names   map[string]string // of types, by the text of what they are made of
	taken   map[string]bool
}

// node is what of a schema makes a type.
type node struct {
	Ref         string                     `json:"$ref"`
	Type        json.RawMessage            `json:"type"`
	Enum        []json.RawMessage          `json:"enum"`
	Const       json.RawMessage            `json:"const"`
	Properties  map[string]json.RawMessage `json:"properties"`
	More        json.RawMessage            `json:"additionalProperties"`
	Required    []string                   `json:"required"`
	Items       json.RawMessage            `json:"items"`
	Prefix      json.RawMessage            `json:"prefixItems"`
	Description string                     `json:"description"`
	Defs        map[string]json.RawMessage `json:"$defs"`
	AllOf       json.RawMessage            `json:"allOf"`
	AnyOf       json.RawMessage            `json:"anyOf"`
	OneOf       json.RawMessage            `json:"oneOf"`
}

// reserved are names that mean something in one of the languages, or in what is written.
var reserved = []string{
	"Topics", "Event", "Decode", "Any", "Dict", "List", "Literal", "Optional", "TypedDict", "Union", "None", "True", "False", "Array", "Record",
}

func newModel(topics []hook.Topic) (*model, error) {
	m := &model{names: map[string]string{}, taken: map[string]bool{}}
	for _, name := range reserved {
		m.taken[name] = true
	}
	own := make([]string, len(topics)) // which come before those of parts
	for i, t := range topics {
		own[i] = m.free(pascal(t.Name))
		m.taken[own[i]] = true
	}
	for i, t := range topics {
		n, err := read([]byte(cmp.Or(t.Schema, "{}")))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		r := reader{m: m, defs: n.Defs}
		r.text = string(definitions(n.Defs))
		s, err := r.shape([]byte(cmp.Or(t.Schema, "{}")), own[i], true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		m.topics = append(m.topics, topicType{t, own[i], s})
	}
	return m, nil
}

func read(text []byte) (n node, err error) {
	if b := bytes.TrimSpace(text); len(b) > 0 && b[0] != '{' { // true or false
		return n, nil
	}
	err = json.Unmarshal(text, &n)
	return n, err
}

// definitions are all of a schema, as a text that tells two of the same name apart.
func definitions(defs map[string]json.RawMessage) (all []byte) {
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		all = append(append(append(all, name...), 0), defs[name]...)
	}
	return all
}

// reader reads one topic's schema.
type reader struct {
	m    *model
	defs map[string]json.RawMessage
	text string // of all definitions
}

// shape reads a schema. An object with members gets a type of the name, or of one like it where that is taken;
// own says that the name is its own in any case.
func (r *reader) shape(schema []byte, name string, own bool) (shape, error) {
	n, err := read(schema)
	if err != nil {
		return shape{}, err
	}
	if def, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
		if alone(n) {
			return r.shape(r.defs[def], pascal(def), false)
		}
		return shape{}, nil
	}
	kinds := kindsOf(n)
	s := shape{nullable: slices.Contains(kinds, "null")}
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "null" })
	if n.AllOf != nil || n.AnyOf != nil || n.OneOf != nil || len(kinds) != 1 {
		return shape{}, nil
	}
	switch kinds[0] {
	case "boolean":
		s.kind = boolean
	case "integer":
		s.kind = integer
	case "number":
		s.kind = number
	case "string":
		s.kind = text
		if s.words = textsOf(n); s.words != nil {
			s.kind = words
		}
	case "array":
		s.kind, s.of = list, &shape{}
		if n.Prefix == nil && n.Items != nil {
			*s.of, err = r.shape(n.Items, name+"Item", false)
		}
	case "object":
		if len(n.Properties) > 0 {
			s.kind = named
			s.name, err = r.object(schema, n, name, own)
			break
		}
		s.kind, s.of = byName, &shape{}
		if n.More != nil {
			*s.of, err = r.shape(n.More, name+"Value", false)
		}
	}
	return s, err
}

// alone reports whether a reference says nothing of its own that would change the type.
func alone(n node) bool {
	return n.Type == nil && n.Enum == nil && n.Const == nil && n.Properties == nil && n.Items == nil && n.More == nil && n.Required == nil &&
		n.AllOf == nil && n.AnyOf == nil && n.OneOf == nil
}

// kindsOf are the kinds that a schema allows; nil for any.
func kindsOf(n node) (kinds []string) {
	var one string
	if n.Type != nil && json.Unmarshal(n.Type, &one) == nil {
		return []string{one}
	}
	_ = json.Unmarshal(n.Type, &kinds) // a compiled schema has a list there, or nothing
	if n.Type == nil && (n.Enum != nil || n.Const != nil) && textsOf(n) != nil {
		kinds = []string{"string"}
		if slices.ContainsFunc(n.Enum, func(v json.RawMessage) bool { return string(v) == "null" }) {
			kinds = append(kinds, "null")
		}
	}
	if n.Type == nil && n.Properties != nil {
		// It may be anything else, of which the schema says nothing; receivers want the object.
		kinds = []string{"object"}
	}
	return kinds
}

// textsOf are the values of an enum or const where all are texts; nil else. null beside them does not count.
func textsOf(n node) (texts []string) {
	values := n.Enum
	if n.Const != nil {
		values = []json.RawMessage{n.Const}
	}
	for _, v := range values {
		var s *string
		if json.Unmarshal(v, &s) != nil {
			return nil
		}
		if s != nil && !slices.Contains(texts, *s) {
			texts = append(texts, *s)
		}
	}
	return texts
}

// object makes a type, once for all that are the same.
func (r *reader) object(schema []byte, n node, name string, own bool) (string, error) {
	key := name + "\x00" + string(schema) + "\x00" + r.text
	if known, ok := r.m.names[key]; ok {
		return known, nil
	}
	if !own {
		name = r.m.free(name)
	}
	r.m.taken[name], r.m.names[key] = true, name
	o := &object{name: name, description: n.Description}
	r.m.objects = append(r.m.objects, o)
	for _, m := range slices.Sorted(maps.Keys(n.Properties)) {
		s, err := r.shape(n.Properties[m], name+pascal(m), false)
		if err != nil {
			return "", err
		}
		described, err := read(n.Properties[m])
		if err != nil {
			return "", err
		}
		o.members = append(o.members, member{m, described.Description, slices.Contains(n.Required, m), s})
	}
	return name, nil
}

// free is a name that no type has yet.
func (m *model) free(name string) string {
	for n, free := 2, name; ; n++ {
		if !m.taken[free] {
			return free
		}
		free = fmt.Sprint(name, n)
	}
}

// pascal makes a name of a topic's, a definition's or a member's: conversation.custom_field is
// ConversationCustomField.
func pascal(name string) string {
	var b strings.Builder
	up := true
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z' && up:
			b.WriteRune(c - 'a' + 'A')
			up = false
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			b.WriteRune(c)
			up = false
		default:
			up = true
		}
	}
	if s := b.String(); s != "" && (s[0] < '0' || s[0] > '9') {
		return s
	}
	return "X" + b.String()
}

// line is a description on one line, that ends no comment.
func line(description string) string {
	text := strings.Join(strings.Fields(description), " ")
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "*/", "* /"), "")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == 0x2028 || c == 0x2029 {
			return -1
		}
		return c
	}, text)
}

// quote writes a text as JSON has it, which TypeScript and Python read alike.
func quote(s string) string {
	quoted, _ := json.Marshal(s) // a text
	return string(quoted)
}
