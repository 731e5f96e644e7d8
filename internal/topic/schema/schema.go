// Package schema is the JSON Schema (2020-12) of a topic: what it may be, and what it finds in a document.
//
// Receivers and producers check the same schema with other libraries, in other languages, so it is kept to what
// those agree on: references to #/$defs/… alone, formats and keywords that all know, patterns in the part of the
// syntax that RE2 and ECMAScript share, numbers that a double holds. [Compile] says by pointer what is outside.
//
// Checking a document costs a bounded number of steps, which are counted before the library runs: a schema may
// ask for the same value again and again, at each level of a document. What would take more is not checked, and
// is told as a violation of its own.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// MaxBytes bounds the text of a schema.
const MaxBytes = 32 << 10

// Problem is what is wrong at one place of a schema.
type Problem struct {
	Pointer string // RFC 6901
	Detail  string
}

func (p Problem) String() string { return p.Pointer + ": " + p.Detail }

// Schema is a compiled schema. It is safe for concurrent use.
type Schema struct {
	root   *jsonschema.Schema
	enums  map[*jsonschema.Schema]int // what comparing with the values of enum and const takes, in steps
	weight int                        // bytes that it holds, about
}

// address is that of the one document that a schema is compiled of; nothing is ever loaded from it.
const address = "atlas:schema"

// refusing is the loader: a schema is whole in itself.
type refusing struct{}

func (refusing) Load(string) (any, error) {
	return nil, errors.New("only #/$defs/… can be referred to")
}

// Compile checks a schema and compiles it, or says everything that is wrong with it.
func Compile(text string) (*Schema, []Problem) {
	if len(text) > MaxBytes {
		return nil, []Problem{{"", "has " + strconv.Itoa(len(text)) + " bytes, at most " + strconv.Itoa(MaxBytes) + " are allowed"}}
	}
	if problem := valid(text); problem != nil {
		return nil, []Problem{*problem}
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, []Problem{{"", "is not JSON"}}
	}
	c := newChecker(doc)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(refusing{})
	compiler.UseRegexpEngine(func(source string) (jsonschema.Regexp, error) { return newPattern(source) })
	if err := compiler.AddResource(address, doc); err != nil {
		return nil, []Problem{{"", err.Error()}}
	}
	root, err := compiler.Compile(address)
	if err != nil {
		return nil, refused(err)
	}
	s := &Schema{root: root, enums: map[*jsonschema.Schema]int{}, weight: 2000 + 4*len(text) + 1500*c.nodes + 200*c.states}
	s.weigh(root, map[*jsonschema.Schema]bool{})
	return s, nil
}

// valid refuses what is no JSON text, or has a name twice.
func valid(text string) *Problem {
	dec := jsontext.NewDecoder(strings.NewReader(text))
	err := dec.SkipValue()
	if err == nil {
		_, end := dec.ReadToken()
		if end == nil {
			return &Problem{"", "something follows the end of the document"}
		}
		return nil
	}
	at, ok := errors.AsType[*jsontext.SyntacticError](err)
	if ok && !errors.Is(err, io.ErrUnexpectedEOF) {
		return &Problem{string(at.JSONPointer), fmt.Sprintf("not JSON at byte %d: %s", at.ByteOffset, at.Err)}
	}
	return &Problem{"", "not JSON: the document ends too early"}
}

// refused turns the library's error into problems: what breaks the schema of schemas, each with its pointer.
func refused(err error) []Problem {
	var invalid *jsonschema.SchemaValidationError
	var broken *jsonschema.ValidationError
	if !errors.As(err, &invalid) || !errors.As(invalid.Err, &broken) {
		return []Problem{{"", err.Error()}}
	}
	var problems []Problem
	for _, v := range violations(broken, 1000) {
		problems = append(problems, Problem{v.Pointer, "is not what a schema has there (" + v.Keyword + ")"})
	}
	return problems
}

// MaxViolations is how many violations of one document are told.
const MaxViolations = 10

// MaxPointer is how many bytes of a pointer are told: names are as long as a producer makes them. One that is
// longer ends with an ellipsis.
const MaxPointer = 512

// What cannot be checked is a violation of one of these, which are no keywords.
const (
	TooCostly = "steps"  // the check would take more steps than a document of this size may
	TooLong   = "number" // a number is too long for exact arithmetic
)

// Validate says what of a document, which is JSON, the schema forbids: at most [MaxViolations], in the order of
// their pointers, of which each has at most [MaxPointer] bytes. They name places and keywords, never values.
func (s *Schema) Validate(data []byte) []hook.Violation {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return []hook.Violation{{Keyword: "json"}}
	}
	if path, ok := longNumber(doc); ok {
		slices.Reverse(path)
		return []hook.Violation{{Pointer: string(clip(pointer(nil, path))), Keyword: TooLong}}
	}
	m := meter{left: steps(len(data)), enums: s.enums}
	if !m.visit(s.root, doc, 0) {
		return []hook.Violation{{Keyword: TooCostly}}
	}
	var broken *jsonschema.ValidationError
	if !errors.As(s.root.Validate(doc), &broken) {
		return nil
	}
	return violations(broken, MaxViolations)
}

// violations are the innermost errors, but for alternatives: of those the choice is told and not what was wrong
// with each. They are the first in their order, at most so many.
func violations(e *jsonschema.ValidationError, limit int) []hook.Violation {
	f := found{limit: limit}
	f.leaves(e)
	return slices.Clip(f.list)
}

// found holds the first violations in the order of their pointers, and no more than its limit: a document may
// have as many as it has values, each with a name above it that is nearly as long as the document.
type found struct {
	list  []hook.Violation
	limit int
	at    []byte // a pointer, for a moment
}

func (f *found) leaves(e *jsonschema.ValidationError) {
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.AllOf, *kind.Reference:
		for _, cause := range e.Causes {
			f.leaves(cause)
		}
	case *kind.Required:
		f.members(e, k.Missing, "required")
	case *kind.DependentRequired:
		f.members(e, k.Missing, "dependentRequired")
	case *kind.AdditionalProperties:
		f.members(e, k.Properties, "additionalProperties")
	case *kind.PropertyNames:
		f.members(e, []string{k.Property}, "propertyNames")
	case *kind.Not:
		f.value(e, "not")
	case *kind.FalseSchema:
		f.value(e, "false")
	default:
		keyword := "schema"
		if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
			keyword = path[0]
		}
		f.value(e, keyword)
	}
}

func (f *found) value(e *jsonschema.ValidationError, keyword string) {
	f.at = pointer(f.at[:0], e.InstanceLocation)
	f.add(keyword)
}

// members names members of an object by their own pointers.
func (f *found) members(e *jsonschema.ValidationError, names []string, keyword string) {
	f.at = pointer(f.at[:0], e.InstanceLocation)
	above := len(f.at)
	for i := range names {
		f.at = pointer(f.at[:above], names[i:i+1])
		f.add(keyword)
	}
}

// add takes in what is wrong at f.at, which may be one byte or two too long.
func (f *found) add(keyword string) {
	at := f.at
	if len(at) > MaxPointer {
		at = clip(slices.Clone(at))
	}
	i, has := slices.BinarySearchFunc(f.list, keyword, func(v hook.Violation, keyword string) int {
		switch {
		case v.Pointer < string(at):
			return -1
		case v.Pointer > string(at):
			return 1
		}
		return strings.Compare(v.Keyword, keyword)
	})
	if has || i >= f.limit {
		return
	}
	if len(f.list) == f.limit {
		f.list = f.list[:f.limit-1]
	}
	f.list = slices.Insert(f.list, i, hook.Violation{Pointer: string(at), Keyword: keyword})
}

// pointer writes the pointer to a value below another, until it is too long.
func pointer(at []byte, path []string) []byte {
	for _, name := range path {
		if len(at) > MaxPointer {
			break
		}
		at = append(at, '/')
		for i := 0; i < len(name) && len(at) <= MaxPointer; i++ {
			switch name[i] {
			case '~':
				at = append(at, "~0"...)
			case '/':
				at = append(at, "~1"...)
			default:
				at = append(at, name[i])
			}
		}
	}
	return at
}

// clip cuts a pointer that is too long, between characters.
func clip(at []byte) []byte {
	const ellipsis = "…"
	if len(at) <= MaxPointer {
		return at
	}
	n := MaxPointer - len(ellipsis)
	for n > 0 && (!utf8.RuneStart(at[n]) || at[n-1] == '~') {
		n--
	}
	return append(at[:n], ellipsis...)
}

// below is the pointer to a member.
func below(at, name string) string { return at + "/" + escape(name) }

var escaper = strings.NewReplacer("~", "~0", "/", "~1")

// escape writes a name into a JSON pointer.
func escape(name string) string { return escaper.Replace(name) }

// Bounds of a number that exact arithmetic is done with.
const (
	maxNumber   = 400 // characters
	maxExponent = 400
)

// longNumber finds a number beyond these bounds: the names that lead to it, the innermost first. They are put
// together on the way back alone, as what every value is called would take more than reading the document did.
func longNumber(v any) (path []string, found bool) {
	switch v := v.(type) {
	case json.Number:
		return nil, !ordinary(string(v))
	case map[string]any:
		for name, member := range v {
			if path, found := longNumber(member); found {
				return append(path, name), true
			}
		}
	case []any:
		for i, element := range v {
			if path, found := longNumber(element); found {
				return append(path, strconv.Itoa(i)), true
			}
		}
	}
	return nil, false
}

func ordinary(number string) bool {
	if len(number) > maxNumber {
		return false
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	n, err := strconv.Atoi(number[i+1:])
	return err == nil && n <= maxExponent && n >= -maxExponent
}
