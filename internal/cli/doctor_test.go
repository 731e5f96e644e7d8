package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// TestJudgeEra: that something may be missing needs attention for a while, and is said afterwards.
func TestJudgeEra(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	from, to := now.Add(-time.Hour), now.Add(-time.Minute)
	for _, c := range []struct {
		name, want string
		era        client.Era
		fails      bool
	}{
		{"the first", "never went back", client.Era{Number: 1, BeganAt: now}, false},
		{"nothing is missing", "nothing is missing", client.Era{Number: 2, BeganAt: now, Cause: "a standby was promoted"}, false},
		{"something is", "may be missing", client.Era{Number: 2, BeganAt: now, Cause: "a standby was promoted", MissingFrom: &from, MissingTo: &to}, true},
		{"long ago", "may be missing", client.Era{Number: 2, BeganAt: now.Add(-eraFresh), Cause: "a standby was promoted", MissingFrom: &from, MissingTo: &to}, false},
	} {
		text, err := judgeEra(c.era, now)
		if err != nil {
			text = err.Error()
		}
		if (err != nil) != c.fails || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, %v", c.name, text, err)
		}
	}
}
