package proof_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// TestStartGuards is D14 of the test plan: a server does not start where it could lose what was
// acknowledged, says why, and leaves what it found as it was.
func TestStartGuards(t *testing.T) {
	for name, guard := range map[string]struct {
		prepare func(t *testing.T, r *rig)
		says    string
	}{
		"a second process": {
			func(t *testing.T, r *rig) {
				r.start()
				t.Cleanup(r.stop)
			},
			"another process has this data directory open",
		},
		"no master key": {
			func(t *testing.T, r *rig) { remove(t, r.options.Dir, "master.key") },
			"master_key",
		},
		"another master key": {
			func(t *testing.T, r *rig) {
				text := []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
				if err := os.WriteFile(filepath.Join(r.options.Dir, "master.key"), text, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			"master",
		},
		"a newer schema": {
			func(t *testing.T, r *rig) {
				r.outsider().exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (999999, 1)`)
			},
			"newer version",
		},
		"another file instead of the store": {
			func(t *testing.T, r *rig) {
				remove(t, r.options.Dir, "atlas-webhooks.db-wal")
				if err := os.WriteFile(filepath.Join(r.options.Dir, "atlas-webhooks.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			"atlas-webhooks.db",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}})
			r.stop()
			guard.prepare(t, r)
			server, err := process.Start(context.WithoutCancel(t.Context()), process.Options{Binary: r.options.Binary, Dir: r.options.Dir, Ready: 10 * time.Second})
			if err == nil {
				server.Kill()
				t.Fatal("the server started")
			}
			if !strings.Contains(err.Error(), guard.says) || strings.Contains(err.Error(), "panic") {
				t.Errorf("it does not say %q: %v", guard.says, err)
			}
		})
	}
}

// TestStartControl: nothing of that is wrong, and the server starts.
func TestStartControl(t *testing.T) {
	r := newRig(t)
	r.start()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}})
	r.stop()
	r.start()
	r.ask(http.MethodGet, "/readyz", "", "", nil)
	r.stop()
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
