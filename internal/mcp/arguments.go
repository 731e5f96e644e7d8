package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// kind is what an argument may be.
type kind int

const (
	text   kind = iota // not empty
	moment             // RFC 3339
	number             // of rows: 1 to maxRows
	value              // any JSON
)

// maxRows is how much of a list a tool returns at most.
const maxRows = 100

// argument is one argument of a tool: from it come its part of the schema and its check.
type argument struct {
	name     string
	kind     kind
	required bool
	choices  []string
	doc      string
}

// schema is the JSON Schema of a tool's arguments.
func schema(arguments []argument) json.RawMessage {
	type property struct {
		Type        string   `json:"type,omitempty"`
		Format      string   `json:"format,omitempty"`
		Enum        []string `json:"enum,omitempty"`
		Minimum     int      `json:"minimum,omitempty"`
		Maximum     int      `json:"maximum,omitempty"`
		MinLength   int      `json:"minLength,omitempty"`
		Description string   `json:"description"`
	}
	properties, required := map[string]property{}, []string{}
	for _, a := range arguments {
		p := property{Description: a.doc, Enum: a.choices}
		switch a.kind {
		case text:
			p.Type, p.MinLength = "string", 1
		case moment:
			p.Type, p.Format = "string", "date-time"
		case number:
			p.Type, p.Minimum, p.Maximum = "integer", 1, maxRows
		case value:
		}
		properties[a.name] = p
		if a.required {
			required = append(required, a.name)
		}
	}
	out, err := json.Marshal(map[string]any{
		"type": "object", "properties": properties, "required": required, "additionalProperties": false,
	})
	if err != nil {
		panic(err) // texts and numbers of our own
	}
	return out
}

// values are the arguments of a call, each as its kind demands. A null is one that was not given: agents
// like to name all.
type values map[string]json.RawMessage

// read checks the arguments of a call.
func read(arguments []argument, given json.RawMessage) (values, error) {
	v := values{}
	if len(given) > 0 {
		if err := json.Unmarshal(given, &v); err != nil {
			return nil, fmt.Errorf("the arguments must be a JSON object")
		}
	}
	var names []string
	for _, a := range arguments {
		names = append(names, a.name)
		if bytes.Equal(v[a.name], []byte("null")) {
			delete(v, a.name)
		}
		if _, ok := v[a.name]; !ok {
			if a.required {
				return nil, fmt.Errorf("%s is required: %s", a.name, a.doc)
			}
			continue
		}
		if err := v.check(a); err != nil {
			return nil, err
		}
	}
	for name := range v {
		if !slices.Contains(names, name) {
			mean := "it takes " + strings.Join(names, ", ")
			if near := hook.Nearest(name[:min(len(name), 64)], names); near != "" {
				mean = "did you mean " + near + "?"
			} else if len(names) == 0 {
				mean = "it takes none"
			}
			return nil, fmt.Errorf("%.64s is no argument of this tool; %s", name, mean)
		}
	}
	return v, nil
}

func (v values) check(a argument) error {
	switch a.kind {
	case text:
		s, ok := v.read(a.name)
		switch {
		case !ok || s == "":
			return fmt.Errorf("%s must be a text that is not empty", a.name)
		case a.choices != nil && !slices.Contains(a.choices, s):
			return fmt.Errorf("%s must be one of %s", a.name, strings.Join(a.choices, ", "))
		}
	case moment:
		s, ok := v.read(a.name)
		if _, err := time.Parse(time.RFC3339, s); !ok || err != nil {
			return fmt.Errorf("%s must be a time such as 2026-01-31T15:04:05Z", a.name)
		}
	case number:
		var n int
		if err := json.Unmarshal(v[a.name], &n); err != nil || n < 1 || n > maxRows {
			return fmt.Errorf("%s must be an integer from 1 to %d", a.name, maxRows)
		}
	case value:
	}
	return nil
}

func (v values) read(name string) (s string, ok bool) {
	return s, json.Unmarshal(v[name], &s) == nil
}

// text is a text argument, "" where it was not given.
func (v values) text(name string) string {
	s, _ := v.read(name)
	return s
}

// time is a moment, zero where it was not given.
func (v values) time(name string) time.Time {
	t, _ := time.Parse(time.RFC3339, v.text(name))
	return t
}

// rows is how many rows of a list were asked for.
func (v values) rows() int {
	n := 20
	_ = json.Unmarshal(v["limit"], &n) // it was checked
	return n
}
