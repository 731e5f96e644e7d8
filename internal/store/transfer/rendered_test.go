package transfer

import (
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log/logtest"
)

// TestRenderedCopy holds the inserts of a copy to what they were.
func TestRenderedCopy(t *testing.T) {
	var s logtest.Script
	for i := range tables {
		s.Add(insertCopied(&tables[i], 2))
	}
	logtest.Golden(t, "copy.sql", s.String())
}
