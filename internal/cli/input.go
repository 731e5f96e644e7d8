package cli

import (
	"fmt"
	"io"
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
