package app_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// TestSharedKeysAreConfigured: with a database no node makes keys of its own, which the others would
// not know.
func TestSharedKeysAreConfigured(t *testing.T) {
	operator := config.Secret("awo_" + strings.Repeat("k", 32))
	for want, c := range map[string]config.Config{
		"operator_key: must be set with database_url": {},
		"master_key: must be set with database_url":   {OperatorKey: operator},
		"master_key: is not the base64 of 32 bytes":   {OperatorKey: operator, MasterKey: "short"},
	} {
		c.Listen, c.DataDir, c.DatabaseURL = "127.0.0.1:0", t.TempDir(), "postgres://nobody@127.0.0.1:1/none"
		_, err := app.Open(t.Context(), app.Options{Config: c, Log: slog.New(slog.DiscardHandler), Terminal: io.Discard})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
