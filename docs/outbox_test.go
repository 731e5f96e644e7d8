package docs_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// TestOutbox runs the commands of outbox.md, on a Postgres.
func TestOutbox(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the product")
	}
	if _, err := exec.LookPath("psql"); err != nil || !postgrestest.Installed() {
		if os.Getenv("CI") != "" { //nolint:forbidigo // a test may ask where it runs
			t.Fatal("this needs Postgres")
		}
		t.Skip("no Postgres; make postgres installs one")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "atlas-webhooks")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/atlas-webhooks").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, err := postgrestest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	server := apptest.StartLogging(t, slog.New(slog.DiscardHandler), func(s *config.Config) { s.OutboxURL = config.SecretURLs{config.SecretURL(c.URL("postgres"))} })
	s := &session{t: t, page: "outbox.md", replace: strings.NewReplacer("atlas-webhooks outbox", program+" outbox", "atlas-webhooks events", program+" events"), environ: map[string]string{
		"ATLAS_WEBHOOKS_URL": server.URL, "ATLAS_WEBHOOKS_API_KEY": server.Key, "SHOP": c.URL("postgres"),
	}}
	s.run()
}
