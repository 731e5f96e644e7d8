package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

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
		cells := row(r)
		for i := range cells {
			cells[i] = plain(cells[i])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
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

// field is one line of what is known about a thing.
type field struct{ name, value string }

// thing writes one thing: its fields, a line each, or one JSON object.
func (p *Program) thing(v any, fields ...field) error {
	if p.output == "json" {
		return p.record(v)
	}
	width := 0
	for _, f := range fields {
		width = max(width, len(f.name))
	}
	for _, f := range fields {
		if err := p.line("%-*s  %s", width, f.name, plain(f.value)); err != nil {
			return err
		}
	}
	return nil
}

// plain is a cell of a table: one line with nothing that a terminal would obey, whoever wrote it,
// and a dash for nothing.
func plain(cell string) string {
	if cell == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, cell)
}

// show is a value that may be missing, as a cell.
func show[T any](v *T) string {
	if v == nil {
		return ""
	}
	switch v := any(*v).(type) {
	case time.Time:
		return when(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// when is a time as a cell.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

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
