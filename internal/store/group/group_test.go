package group

import (
	"testing"
	"time"
)

// Who was alone in the last commit waits for nobody; many wait a part of a commit for each other.
func TestLinger(t *testing.T) {
	w := NewLine()
	one, two := []*Work{{}}, []*Work{{}, {}}
	w.Committed(time.Now().Add(-time.Hour), two)
	if got := w.linger(); got != maxLinger {
		t.Errorf("many wait %v", got)
	}
	w.Committed(time.Now().Add(-time.Hour), one)
	if got := w.linger(); got != 0 {
		t.Errorf("one waits %v", got)
	}
}
