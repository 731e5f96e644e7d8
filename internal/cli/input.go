package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
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

// confirm asks before something is done that cannot be undone. Where nobody can be asked it takes --yes.
func (p *Program) confirm(yes bool, question string, args ...any) error {
	if yes {
		return nil
	}
	f, ok := p.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return usage("there is nobody to ask; give --yes")
	}
	fmt.Fprintf(p.Stderr, "%s [y/N] ", harmless(fmt.Sprintf(question, args...)))
	answer, err := bufio.NewReader(p.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	if err != nil {
		fmt.Fprintln(p.Stderr) // the line was not ended
	}
	return errors.New("nothing was done")
}
