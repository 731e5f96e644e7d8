package topic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

const maxFile = 4 << 20

// ReadFile reads a file of topics, YAML or JSON: a member "topics", a list of entries with the members of a
// topic. What is wrong is named by file, line, entry and field, all of it at once.
func ReadFile(path string) ([]hook.Topic, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: is larger than %d bytes", path, maxFile)
	}
	list, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

func read(data []byte) ([]hook.Topic, error) {
	var doc, more yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false))
	if err != nil {
		return nil, err
	}
	if err := loader.Load(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := loader.Load(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document in the file")
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode || len(doc.Content[0].Content) != 2 ||
		doc.Content[0].Content[0].Value != "topics" || doc.Content[0].Content[1].Kind != yaml.SequenceNode {
		return nil, errors.New("must have one member, topics, which is a list")
	}
	var list []hook.Topic
	var wrong []error
	seen := map[string]bool{}
	for i, n := range doc.Content[0].Content[1].Content {
		t, fields := entry(n)
		if seen[t.Name] && t.Name != "" {
			fields = append(fields, hook.FieldError{Field: "topic", Detail: "stands there twice"})
		}
		if _, builtIn := hook.LookupTopic(t.Name); builtIn {
			fields = append(fields, hook.FieldError{Field: "topic", Detail: "is built in, and cannot be changed"})
		}
		seen[t.Name] = true
		for _, f := range fields {
			where := []string{fmt.Sprintf("line %d: topics[%d]", n.Line, i), t.Name, f.Field, f.Detail}
			where = slices.DeleteFunc(where, func(part string) bool { return part == "" })
			wrong = append(wrong, errors.New(strings.Join(where, ": ")))
		}
		list = append(list, t)
	}
	return list, errors.Join(wrong...)
}

// entry reads one topic, and checks it where it can be read.
func entry(n *yaml.Node) (t hook.Topic, wrong []hook.FieldError) {
	refuse := func(field, detail string) {
		wrong = append(wrong, hook.FieldError{Field: field, Detail: detail})
	}
	if n.Kind != yaml.MappingNode {
		refuse("", "must be a mapping, as topic: conversation.created")
		return t, wrong
	}
	var validate string
	texts := map[string]*string{"topic": &t.Name, "category": &t.Category, "description": &t.Description, "summary": &t.Summary, "since": &t.Since, "validate": &validate}
	seen := map[string]bool{}
	documents := map[string]*string{"sample": &t.Sample, "schema": &t.Schema}
	for i := 0; i+1 < len(n.Content); i += 2 {
		field, value := n.Content[i].Value, n.Content[i+1]
		switch {
		case seen[field]:
			refuse(field, "stands there twice")
		case texts[field] != nil && value.Kind == yaml.ScalarNode && value.Tag != "!!null":
			*texts[field] = value.Value
		case texts[field] != nil:
			refuse(field, "must be a text")
		case documents[field] != nil:
			text, err := appendJSON(nil, value, 0)
			if err != nil {
				refuse(field, err.Error())
			}
			*documents[field] = string(text)
		case field == "derive":
			if detail := derive(value, &t); detail != "" {
				refuse(field, detail)
			}
		case field == "deprecated" && (value.Value == "true" || value.Value == "false"):
			t.Deprecated = value.Value == "true"
		case field == "deprecated":
			refuse(field, "must be true or false")
		default:
			refuse(field, "there is no such field")
		}
		seen[field] = true
	}
	t.Validate = hook.Validation(validate)
	if wrong == nil {
		t, wrong = Check(t)
	}
	return t, wrong
}

// derive reads the rule by which a topic is derived; what is wrong with its form is in words.
func derive(n *yaml.Node, t *hook.Topic) (wrong string) {
	const form = "must be a mapping of object_type and paths, as {object_type: order, paths: [/status]}"
	if n.Kind != yaml.MappingNode {
		return form
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		field, value := n.Content[i].Value, n.Content[i+1]
		switch {
		case seen[field]:
			return field + " stands there twice"
		case field == "object_type" && value.Kind == yaml.ScalarNode:
			t.DeriveFrom = value.Value
		case field == "paths" && value.Kind == yaml.SequenceNode:
			paths := make([]string, len(value.Content))
			for i, p := range value.Content {
				if p.Kind != yaml.ScalarNode || strings.ContainsAny(p.Value, "\n") || p.Value == "" {
					return "paths must be texts, as /status"
				}
				paths[i] = p.Value
			}
			t.DerivePaths = strings.Join(paths, "\n")
		default:
			return form
		}
		seen[field] = true
	}
	if t.DeriveFrom == "" {
		return form
	}
	return ""
}

// appendJSON writes a YAML value as JSON: names in their order, numbers with their own text.
func appendJSON(b []byte, n *yaml.Node, depth int) ([]byte, error) {
	if depth > 64 {
		return nil, errors.New("nests deeper than 64 levels")
	}
	var err error
	switch n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: a name must be a text", n.Content[i].Line)
			}
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendText(b, n.Content[i].Value), ": "...)
			if b, err = appendJSON(b, n.Content[i+1], depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, item := range n.Content {
			if i > 0 {
				b = append(b, ", "...)
			}
			if b, err = appendJSON(b, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return append(b, "null"...), nil
		case "!!bool", "!!int", "!!float":
			if !json.Valid([]byte(n.Value)) {
				return nil, fmt.Errorf("line %d: %s is not written as in JSON; quote it if it is a text", n.Line, n.Value)
			}
			return append(b, n.Value...), nil
		}
		return appendText(b, n.Value), nil
	case yaml.DocumentNode, yaml.AliasNode, yaml.StreamNode:
	}
	return nil, fmt.Errorf("line %d: aliases are not read", n.Line)
}

func appendText(b []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // a text
	return append(b, quoted...)
}
