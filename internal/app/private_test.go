package app_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// Nobody but its owner can read what lies in the data directory, also where an earlier version made it,
// or somebody opened it.
func TestDataIsPrivate(t *testing.T) {
	dir := t.TempDir()
	apptest.Start(t, dir).Stop()
	wantPrivate(t, dir)
	for _, name := range []string{"atlas-webhooks.db", "operator.key", "master.key"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil { //nolint:gosec // what is to be mended
			t.Fatal(err)
		}
	}
	if len(open(t, dir)) != 3 {
		t.Error("control: opened files are not seen")
	}
	apptest.Start(t, dir)
	wantPrivate(t, dir)
}

func wantPrivate(t *testing.T, dir string) {
	t.Helper()
	for name, mode := range open(t, dir) {
		t.Errorf("%s is %v", name, mode)
	}
}

// open are the files that others than their owner may do something with.
func open(t *testing.T, dir string) map[string]os.FileMode {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) < 4 {
		t.Fatal(list, err)
	}
	found := map[string]os.FileMode{}
	for _, entry := range list {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			found[entry.Name()] = info.Mode()
		}
	}
	return found
}
