package intake

import (
	"context"
	"testing"
)

// However much one company compares, another one has its turn at once, and nobody is remembered who has left.
func TestTurns(t *testing.T) {
	turns := newTurns(2)
	gone, leaveNow := context.WithCancel(t.Context())
	leaveNow()
	mine, err := turns.enter(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	for range 9 {
		if _, err := turns.enter(gone, "mine"); err == nil {
			t.Fatal("a company has all turns")
		}
	}
	theirs, err := turns.enter(t.Context(), "theirs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := turns.enter(gone, "third"); err == nil {
		t.Error("three turns of two")
	}
	mine()
	third, err := turns.enter(t.Context(), "third")
	if err != nil {
		t.Fatal(err)
	}
	theirs()
	third()
	if len(turns.own)+len(turns.run) != 0 {
		t.Errorf("%d companies are remembered, %d turns taken", len(turns.own), len(turns.run))
	}
}
