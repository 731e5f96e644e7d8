package log_test

import (
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log/logtest"
)

// TestRenderedSQL holds a record written one item after another, and the inserts of many rows, to what they
// were.
func TestRenderedSQL(t *testing.T) {
	var steps, many logtest.Script
	if _, err := log.Write(t.Context(), &steps, logtest.Everything()); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		many.Add(log.Events.Insert(n))
		many.Add(log.Attempts.Insert(n))
	}
	logtest.Golden(t, "steps.sql", steps.String())
	logtest.Golden(t, "many.sql", many.String())
}
