package docs_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// TestMetrics: operations.md lists the metrics of a server, with what they say of themselves.
func TestMetrics(t *testing.T) {
	server := apptest.Start(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| metric | |\n|---|---|\n")
	for _, m := range regexp.MustCompile(`(?m)^# HELP (atlas_webhooks_\w+) (.*)$`).FindAllStringSubmatch(string(text), -1) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", m[1], m[2])
	}
	generated(t, "operations.md", "metrics", b.String(), asItIs)
}

// TestBackup does what operations.md says about backups, and finds the files that it names.
func TestBackup(t *testing.T) {
	first, err := apptest.Open()
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, first, "c1")
	w, err := c.CreateWebhook(t.Context(), client.WebhookCreate{Endpoint: "https://example.com/hooks", Event: "customer", Status: client.Paused})
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.PublishEvent(t.Context(), client.Publish{CompanyID: "c1", Event: "customer", Data: 1})
	if err != nil {
		t.Fatal(err)
	}
	page := read(t, "operations.md")
	for _, name := range []string{"atlas-webhooks.db", "master.key", "operator.key", "lock"} {
		if _, err := os.Stat(filepath.Join(first.Dir, name)); err != nil || !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s: %v", name, err)
		}
	}
	first.Stop()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(first.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second := apptest.Start(t, copied)
	if second.Key != first.Key {
		t.Error("the copy has another operator key")
	}
	c = clientOf(t, second, "c1")
	secret, err := c.Secret(t.Context(), w.ID)
	if err != nil || secret.SigningSecret != w.SigningSecret {
		t.Error("the copy has another secret", err)
	}
	if d, err := c.Delivery(t.Context(), w.ID, e.ID); err != nil || d.Status != client.Pending {
		t.Error("the copy has not the delivery", err)
	}
}

// notOurs are words of operations.md that look like settings and are none: parameters and programs of
// Postgres and its poolers, and words of our API.
var notOurs = []string{
	"full_page_writes", "synchronous_commit", "synchronous_standby_names", "remote_apply", "remote_write", "pool_max_conns", "search_path",
	"default_pool_size", "num_init_children", "pg_restore", "pg_upgrade",
	"store_busy", "missing_from", "missing_to", "went_back",
}

// TestSettingsExist: what operations.md names like a setting is one.
func TestSettingsExist(t *testing.T) {
	reference := config.Reference()
	for _, m := range regexp.MustCompile("`([a-z]+_[a-z_]+)`").FindAllStringSubmatch(read(t, "operations.md"), -1) {
		if !slices.Contains(notOurs, m[1]) && !strings.HasPrefix(m[1], "atlas_webhooks_") && !strings.Contains(reference, "### `"+m[1]+"`") {
			t.Errorf("%s is no setting", m[1])
		}
	}
}

// TestLinks: what a page links to within the repository is there.
func TestLinks(t *testing.T) {
	for _, page := range []string{"api.md", "verify.md", "operations.md", "capacity.md", "configuration.md", "../README.md", "../ARCHITECTURE.md", "../CONTRIBUTING.md"} {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

// TestArchitecture: the map shows every package.
func TestArchitecture(t *testing.T) {
	page := read(t, "../ARCHITECTURE.md")
	packages, err := os.ReadDir("../internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if files, _ := filepath.Glob("../internal/" + p.Name() + "/*.go"); len(files) > 0 && p.Name() != "zz" && !strings.Contains(page, "`internal/"+p.Name()+"`") {
			t.Errorf("ARCHITECTURE.md does not know internal/%s", p.Name())
		}
	}
}

// TestChangelog: it names every command of the command line, whose help lists them.
func TestChangelog(t *testing.T) {
	page := read(t, "../CHANGELOG.md")
	root := exec.CommandContext(t.Context(), "go", "run", "./cmd/atlas-webhooks", "--help")
	root.Dir = ".."
	out, err := root.Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(out), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z-]+)`).FindAllStringSubmatch(list, -1) {
		if m[1] != "help" && !strings.Contains(page, "`"+m[1]+"`") {
			t.Errorf("CHANGELOG.md does not name the command %s", m[1])
		}
	}
}
