// Package telemetry is what an operator sees of a running server: its log, its metrics and its
// traces.
//
// Packages that do the work do not import it. They take a *slog.Logger, and for metrics they declare
// an interface of the two or three methods that they call; [Metrics] has them all. Whatever leaves
// the process here is redacted on its way out (see [Redact]), whoever wrote it: of a URL its scheme
// and host remain, of a key or secret nothing.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// LogOptions says how the log looks.
type LogOptions struct {
	Format string // "json", "text", or "auto" (or ""): text on a terminal, else JSON
	Level  string // "debug", "info" (or ""), "warn" or "error"
	Plain  bool   // no colour, even on a terminal
}

// NewLogger returns the process's logger, which writes redacted records to w. It refuses a format
// or a level that it does not know.
func NewLogger(w io.Writer, o LogOptions) (*slog.Logger, error) {
	var level slog.Level
	if o.Level != "" {
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, fmt.Errorf("log level: %w", err)
		}
	}
	terminal := isTerminal(w)
	switch o.Format {
	case "json":
	case "text":
		return slog.New(textHandler(w, level, o.Plain || !terminal)), nil
	case "auto", "":
		if terminal {
			return slog.New(textHandler(w, level, o.Plain)), nil
		}
	default:
		return nil, fmt.Errorf("log format: %q is not one of json, text, auto", o.Format)
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr})), nil
}

func textHandler(w io.Writer, level slog.Level, plain bool) slog.Handler {
	return tint.NewTextHandler(w, &tint.Options{
		Level: level, TimeFormat: time.TimeOnly, NoColor: plain, ReplaceAttr: redactAttr,
	})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
