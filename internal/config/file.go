package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// file lays the settings of a YAML file over the defaults. It refuses keys that name no setting,
// keys that stand there twice, and values that are neither a text, a number, a boolean nor a list.
func (l *layers) file(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	root, err := document(data)
	if err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	if root == nil {
		return nil
	}
	var problems []error
	seen := map[string]bool{}
	for pair := range slices.Chunk(root.Content, 2) {
		key, value := pair[0], pair[1]
		origin := fmt.Sprintf("%s:%d", path, key.Line)
		i := slices.IndexFunc(l.fields, func(f field) bool { return f.name == key.Value })
		text, err := scalars(value)
		switch {
		case i < 0:
			err = errors.New("there is no such setting")
		case seen[key.Value]:
			err = errors.New("is set twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s (from %s): %w", key.Value, origin, err))
			continue
		}
		seen[key.Value] = true
		l.set(l.fields[i], text, origin)
	}
	return errors.Join(problems...)
}

// document is the mapping at the top of the only document of a YAML file, nil when it is empty.
func document(data []byte) (*yaml.Node, error) {
	var doc, more yaml.Node
	// Duplicate keys are left to our own message, which names the setting and its line.
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false))
	if err != nil {
		return nil, err
	}
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := loader.Load(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document in the file")
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("is not a list of settings, as listen: :8080")
	}
	return doc.Content[0], nil
}

// scalars is a value's text, as the flag of the same name would have it: a list becomes its items
// separated by commas.
func scalars(n *yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		return n.Value, nil
	case n.Kind == yaml.ScalarNode:
		return "", errors.New("has no value")
	case n.Kind != yaml.SequenceNode:
		return "", errors.New("must be a single value or a list of them")
	}
	var items []string
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			return "", errors.New("must be a list of single values")
		}
		items = append(items, item.Value)
	}
	return strings.Join(items, ","), nil
}
