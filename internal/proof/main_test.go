package proof_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// build makes the binary once for all tests, as users get it: without the race detector.
var build = sync.OnceValues(func() (string, error) { return compile("atlas-webhooks") })

func compile(name string, flags ...string) (string, error) {
	path := filepath.Join(buildDir, name)
	args := append(append([]string{"build", "-trimpath", "-o", path}, flags...), "../../cmd/atlas-webhooks")
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return path, nil
}

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "atlas-webhooks-proof-")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	goleak.VerifyTestMain(tests{m}, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// tests end what they share before it is asked whether they left anything.
type tests struct{ *testing.M }

func (m tests) Run() int {
	defer stopShared()
	return m.M.Run()
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips a test that the machine cannot run. Continuous integration insists on every test: there
// it fails.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") != "": //nolint:forbidigo // a test may ask where it runs
		t.Fatal("this needs ", what)
	default:
		t.Skipf("needs %s; CI insists on it", what)
	}
}

// pause waits, and reports whether nothing ended it before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		if !pause(t.Context(), 50*time.Millisecond) {
			t.Fatal(t.Context().Err())
		}
	}
	return time.Since(began)
}
