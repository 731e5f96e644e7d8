package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxInput bounds what a command reads from a file or from standard input.
const maxInput = 64 << 20

// content resolves the value of a flag that takes content: @file is a file's bytes, @- standard
// input's, anything else itself. Nothing is trimmed: a newline at the end may be the very mistake.
func (p *Program) content(flag, value string) ([]byte, error) {
	name, file := strings.CutPrefix(value, "@")
	if !file {
		return []byte(value), nil
	}
	r := p.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("--%s: %w", flag, err)
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	if len(data) > maxInput {
		return nil, usage("--%s: %s has more than %d bytes", flag, name, maxInput)
	}
	return data, nil
}

// parseHeaders reads the headers of a request as people have them at hand: "Name: value" lines
// (with or without a request line, or copied from curl -v), or a JSON object.
func parseHeaders(data []byte) (http.Header, error) {
	if text := bytes.TrimSpace(data); bytes.HasPrefix(text, []byte("{")) {
		return jsonHeaders(text)
	}
	header := http.Header{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "> "))
		name, value, ok := strings.Cut(line, ":")
		switch {
		case line == "" || !ok && strings.Contains(line, " HTTP/"):
		case !ok || strings.ContainsAny(name, " \t"):
			return nil, fmt.Errorf("line %d is not a header, as Name: value", n)
		default:
			header.Add(name, strings.TrimSpace(value))
		}
	}
	return header, lines.Err()
}

func jsonHeaders(data []byte) (http.Header, error) {
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, err
	}
	header := http.Header{}
	for name, value := range object {
		values, list := value.([]any)
		if !list {
			values = []any{value}
		}
		for _, v := range values {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("the value of %s is not a string", name)
			}
			header.Add(name, text)
		}
	}
	return header, nil
}
