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
	"unicode/utf16"

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
			line = "\x1b[1m" + line + "\x1b[0m" // its cells are plain
		}
		if _, err := fmt.Fprintln(p.Stdout, line); err != nil {
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

// record writes one record as one line of JSON, in which no character stands that a terminal would
// obey: JSON itself lets DEL and the C1 controls stand for themselves.
func (p *Program) record(v any) error {
	var line strings.Builder
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(p.Stdout, harmless(line.String()))
	return err
}

// line writes a line of data. Whatever others wrote is in its arguments.
func (p *Program) line(format string, args ...any) error {
	_, err := io.WriteString(p.Stdout, harmless(fmt.Sprintf(format, args...))+"\n")
	return err
}

// harmless writes every character that a terminal would obey, or that turns what is read around, as
// \u00xx; ends of lines and tabs stay.
func harmless(text string) string {
	obeyed := func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
	}
	if strings.IndexFunc(text, obeyed) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !obeyed(r):
			b.WriteRune(r)
		case r > 0xffff: // in JSON too this must be read as one character
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// progress tells a person what goes on. Nobody is served if it fails.
func (p *Program) progress(format string, args ...any) {
	if !p.quiet {
		_, _ = io.WriteString(p.Stderr, harmless(fmt.Sprintf(format, args...))+"\n")
	}
}

// example is the text of a command's examples, indented as --help has it.
func example(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
