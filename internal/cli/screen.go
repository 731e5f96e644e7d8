package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// screen is a terminal whose last lines are drawn again and again. What else is written to it stands
// above them.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	drawn int // lines that the next ones replace
}

// Write writes a text in the place of what was drawn, which comes again below it.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	return s.w.Write(b)
}

// draw replaces what was drawn before. Nobody is served if it fails.
func (s *screen) draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	_, _ = io.WriteString(s.w, strings.Join(lines, "\n")+"\n")
	s.drawn = len(lines)
}

// erase goes back to the first line drawn and clears from there.
func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}
