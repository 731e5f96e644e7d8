package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// records writes what a command found: as a table with a heading, or one JSON object a line. row
// gives a record's cells.
func records[T any](p *Program, heading string, list []T, row func(T) []string) error {
	if p.output == "json" {
		for _, r := range list {
			if err := p.record(r); err != nil {
				return err
			}
		}
		return nil
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(strings.Fields(heading), "\t"))
	for _, r := range list {
		fmt.Fprintln(w, strings.Join(row(r), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if i == 0 && colour(p.Stdout) {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		if err := p.line("%s", line); err != nil {
			return err
		}
	}
	return nil
}

// record writes one record as one line of JSON.
func (p *Program) record(v any) error {
	e := json.NewEncoder(p.Stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// line writes a line of data.
func (p *Program) line(format string, args ...any) error {
	_, err := fmt.Fprintf(p.Stdout, format+"\n", args...)
	return err
}

// progress tells a person what goes on. Nobody is served if it fails.
func (p *Program) progress(format string, args ...any) {
	if !p.quiet {
		_, _ = fmt.Fprintf(p.Stderr, format+"\n", args...)
	}
}

// example is the text of a command's examples, indented as --help has it.
func example(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
