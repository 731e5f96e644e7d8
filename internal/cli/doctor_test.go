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

// TestAils: what needs attention is said with the cause and the command, and what does not is not.
func TestAils(t *testing.T) {
	now := time.Now()
	before := now.Add(-time.Minute)
	gone, failed := "gone", &client.LastError{At: now}
	for _, c := range []struct {
		name, want string
		w          client.Webhook
	}{
		{"healthy", "", client.Webhook{Status: client.Active, Health: &client.Health{State: client.Healthy, LastSuccessAt: &now, LastError: &client.LastError{At: before}}}},
		{"its last attempt failed", "S. Mended? 'atlas-webhooks webhooks test wh_1'", client.Webhook{ID: "wh_1", Status: client.Active, Health: &client.Health{State: client.Healthy, LastSuccessAt: &before, LastError: failed, Sentence: "S."}}},
		{"it never took one", "S. Mended? 'atlas-webhooks webhooks test wh_1'", client.Webhook{ID: "wh_1", Status: client.Active, Health: &client.Health{State: client.Healthy, LastError: failed, Sentence: "S."}}},
		{"it refuses all", "S. Mended? 'atlas-webhooks webhooks test wh_1'", client.Webhook{ID: "wh_1", Status: client.Active, Health: &client.Health{State: client.Healthy, LastSuccessAt: &now, RefusesSince: &before, Sentence: "S."}}},
		{"down", "S. Mended? 'atlas-webhooks webhooks probe wh_1'", client.Webhook{ID: "wh_1", Status: client.Active, Health: &client.Health{State: client.Down, Sentence: "S."}}},
		{"disabled by the server", "S. Mended? 'atlas-webhooks webhooks resume wh_1'", client.Webhook{ID: "wh_1", Status: client.Inactive, StatusReason: &gone, Health: &client.Health{State: client.Healthy, Sentence: "S."}}},
		{"switched off", "", client.Webhook{Status: client.Inactive, Health: &client.Health{State: client.Healthy, LastError: failed}}},
		{"paused", "", client.Webhook{Status: client.Paused, Health: &client.Health{State: client.Healthy, LastError: failed}}},
	} {
		if got := ails(&c.w); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
