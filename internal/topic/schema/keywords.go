package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a schema.
const (
	maxNodes    = 500 // schemas in it
	maxDepth    = 32  // levels of nesting
	maxPatterns = 32
	maxStates   = 2000 // of all patterns
	maxProblems = 20
)

// dialect is the only one.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// holds is what a keyword has for a value.
type holds int

const (
	other      holds = iota + 1
	annotation       // for people: it is not looked at
	one              // a schema
	onePlace         // a schema for the same value
	listPlace        // a list of them
	list             // a list of schemas
	named            // schemas by name
	namedPlace       // schemas by name, for the same value
)

// keywords are those that receivers' libraries agree on.
var keywords = map[string]holds{
	"$schema": other, "$ref": other, "$defs": named, "$comment": annotation, "title": annotation, "description": annotation,
	"default": annotation, "examples": annotation, "deprecated": annotation, "readOnly": annotation, "writeOnly": annotation,
	"contentEncoding": annotation, "contentMediaType": annotation,
	"type": other, "enum": other, "const": other,
	"allOf": listPlace, "anyOf": listPlace, "oneOf": listPlace, "not": onePlace, "if": onePlace, "then": onePlace, "else": onePlace,
	"dependentRequired": other, "dependentSchemas": namedPlace,
	"properties": named, "patternProperties": named, "additionalProperties": one, "propertyNames": one, "unevaluatedProperties": one,
	"required": other, "minProperties": other, "maxProperties": other,
	"items": one, "prefixItems": list, "contains": one, "minContains": other, "maxContains": other, "unevaluatedItems": one,
	"minItems": other, "maxItems": other, "uniqueItems": other,
	"minLength": other, "maxLength": other, "pattern": other, "format": other,
	"minimum": other, "maximum": other, "exclusiveMinimum": other, "exclusiveMaximum": other, "multipleOf": other,
}

// instead says what to write for keywords that many know and not all understand alike.
var instead = map[string]string{
	"nullable":        `is OpenAPI's: write "type": ["string", "null"]`,
	"dependencies":    "is of older drafts: write dependentRequired or dependentSchemas",
	"definitions":     "is of older drafts: write $defs",
	"additionalItems": "is of older drafts: write items behind prefixItems",
	"$id":             "has no place here: a schema is whole in itself",
	"$anchor":         "is not supported: refer to #/$defs/NAME",
	"$dynamicRef":     "is not supported: refer to #/$defs/NAME",
	"$dynamicAnchor":  "is not supported: refer to #/$defs/NAME",
	"$recursiveRef":   "is of an older draft: refer to #/$defs/NAME",
	"contentSchema":   "is not supported: a text is not taken apart",
	"$vocabulary":     "is for schemas of schemas",
}

// formats are those that are checked, alike everywhere.
var formats = []string{"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"}

// checker goes through a schema and collects what is wrong with it.
type checker struct {
	problems                []Problem
	nodes, patterns, states int
	defs                    map[string]any
	places                  map[string][]string // by definition, "" for the whole: the definitions that it leads to for the same value
}

func newChecker(doc any) *checker {
	c := &checker{places: map[string][]string{}}
	if top, ok := doc.(map[string]any); ok {
		c.defs, _ = top["$defs"].(map[string]any)
	}
	c.node("", doc, "", true, 0)
	if c.nodes > maxNodes {
		c.refuse("", "holds more than %d schemas", maxNodes)
	}
	if c.patterns > maxPatterns || c.states > maxStates {
		c.refuse("", "has %d patterns of %d states, at most %d of %d are allowed", c.patterns, c.states, maxPatterns, maxStates)
	}
	if len(c.problems) == 0 {
		c.cycles()
	}
	return c
}

func (c *checker) refuse(at, format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{at, fmt.Sprintf(format, args...)})
	}
}

// node checks one schema. owner is the definition that it is a part of, place says that it is about the same
// value as the whole definition.
func (c *checker) node(at string, v any, owner string, place bool, depth int) {
	if c.nodes++; c.nodes > maxNodes {
		return
	}
	if depth > maxDepth {
		c.refuse(at, "nests deeper than %d levels", maxDepth)
		return
	}
	members, ok := v.(map[string]any)
	if !ok {
		if _, ok := v.(bool); !ok {
			c.refuse(at, "must be a schema: an object, true or false")
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, here := members[name], below(at, name)
		switch keywords[name] {
		case annotation:
		case other:
			c.keyword(here, name, value, owner, place, at == "")
		case one:
			c.node(here, value, owner, false, depth+1)
		case onePlace:
			c.node(here, value, owner, place, depth+1)
		case list, listPlace:
			c.list(here, value, owner, place && keywords[name] == listPlace, depth)
		case named, namedPlace:
			if name == "$defs" && at != "" {
				c.refuse(here, "stands at the top of a schema only")
				continue
			}
			c.named(here, name, value, owner, place && keywords[name] == namedPlace, depth)
		default:
			detail := instead[name]
			if detail == "" {
				detail = "is no keyword of JSON Schema 2020-12"
			}
			c.refuse(here, "%s", detail)
		}
	}
}

func (c *checker) list(at string, v any, owner string, place bool, depth int) {
	subs, ok := v.([]any)
	if !ok || len(subs) == 0 {
		c.refuse(at, "must be a list of schemas")
	}
	for i, sub := range subs {
		c.node(at+"/"+strconv.Itoa(i), sub, owner, place, depth+1)
	}
}

func (c *checker) named(at, keyword string, v any, owner string, place bool, depth int) {
	subs, ok := v.(map[string]any)
	if !ok {
		c.refuse(at, "must hold schemas by name")
	}
	for _, name := range slices.Sorted(maps.Keys(subs)) {
		here := below(at, name)
		switch keyword {
		case "patternProperties":
			c.pattern(here, name)
		case "$defs":
			owner, place = name, true
			if strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != "" || name == "" {
				c.refuse(here, "is called by A-Z, a-z, 0-9, _, . and - only")
			}
		}
		c.node(here, subs[name], owner, place, depth+1)
	}
}

func (c *checker) keyword(at, name string, v any, owner string, place, top bool) {
	switch name {
	case "$schema":
		if v != dialect || !top {
			c.refuse(at, "must be %s, at the top, or left out", dialect)
		}
	case "$ref":
		c.ref(at, v, owner, place)
	case "pattern":
		if source, ok := v.(string); ok {
			c.pattern(at, source)
		}
	case "format":
		if format, ok := v.(string); ok && !slices.Contains(formats, format) {
			c.refuse(at, "must be one of %s; others are not checked alike everywhere", strings.Join(formats, ", "))
		}
	case "multipleOf":
		if n, ok := v.(json.Number); ok && strings.ContainsAny(string(n), ".eE") {
			c.refuse(at, "must be an integer: libraries divide fractions differently; use cents")
			return
		}
		fallthrough
	default:
		c.numbers(at, v, 0)
	}
}

// numbers refuses numbers that a double does not hold.
func (c *checker) numbers(at string, v any, depth int) {
	if depth > maxDepth {
		c.refuse(at, "nests deeper than %d levels", maxDepth)
		return
	}
	const exact = 1 << 53
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err != nil || f > exact || f < -exact || len(v) > 40 || !ordinary(string(v)) {
			c.refuse(at, "is beyond 2^53, where libraries read different numbers")
		}
	case []any:
		for i, element := range v {
			c.numbers(at+"/"+strconv.Itoa(i), element, depth+1)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			c.numbers(below(at, name), v[name], depth+1)
		}
	}
}

func (c *checker) pattern(at, source string) {
	c.patterns++
	p, err := newPattern(source)
	if err != nil {
		c.refuse(at, "%s", err)
		return
	}
	c.states += p.states
}

const localRef = "#/$defs/"

func (c *checker) ref(at string, v any, owner string, place bool) {
	text, _ := v.(string)
	name, local := strings.CutPrefix(text, localRef)
	if !local {
		c.refuse(at, "must be #/$defs/NAME: nothing is fetched from elsewhere")
		return
	}
	if _, ok := c.defs[name]; !ok {
		c.refuse(at, "refers to a definition that there is not in $defs")
		return
	}
	if place {
		c.places[owner] = append(c.places[owner], name)
	}
}

// cycles refuses definitions that lead to themselves without going into the document.
func (c *checker) cycles() {
	done := map[string]bool{}
	var visit func(name string, above []string) bool
	visit = func(name string, above []string) bool {
		if slices.Contains(above, name) {
			c.refuse("/$defs/"+escape(name), "refers to itself for the same value")
			return false
		}
		if done[name] {
			return true
		}
		for _, next := range c.places[name] {
			if !visit(next, append(above, name)) {
				return false
			}
		}
		done[name] = true
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(c.places)) {
		if !visit(name, nil) {
			return
		}
	}
}
