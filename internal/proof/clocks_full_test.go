//go:build full

package proof_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClocksApart: three nodes, one clock ten minutes slow and one ten minutes fast, under load and
// with endpoints that fail. The work of each goes to the others. Leases are kept, retries are made in
// time, times of acceptance never go back, and nothing is lost or made early by more than its step.
func TestClocksApart(t *testing.T) {
	f := newFleet(t, 0)
	f.options.Binary = skewedBinary(t)
	join := func(seconds int) { f.join(fmt.Sprintf("CLOCK_SKEWED_SECONDS=%d", seconds)) }
	for _, seconds := range []int{0, -600, 600} {
		join(seconds)
	}
	f.balanced(3)
	dice := rand.New(rand.NewPCG(1, 14)) //nolint:gosec // a test's dice
	companies := names("company", 12)
	crowd(f.rig, dice, companies, 24)
	load := f.flow(dice, companies, 60)
	load.recovers(10*time.Second, "the start")
	for _, seconds := range []int{0, -600, 600} {
		pause(f.ctx, 4*time.Second)
		victim := f.servers[0]
		f.killNode(victim)
		killed := time.Now()
		join(seconds)
		t.Logf("taken over %s later", f.takenOver(victim, killed).Round(10*time.Millisecond))
	}
	load.end()
	f.ends(companies, 3*maxInFlight)
	back := f.query(`SELECT id FROM (
		SELECT id, accepted_at, max(accepted_at) OVER (PARTITION BY partition ORDER BY "offset" ROWS UNBOUNDED PRECEDING) AS latest FROM events
	) AS e WHERE accepted_at < latest`)
	if len(back) > 0 {
		t.Errorf("accepted before events that come before: %q", back)
	}
	// The control: the clocks were apart.
	if ahead := f.query(`SELECT id FROM nodes WHERE started_at > extract(epoch FROM now() + interval '9 minutes') * 1000000`); len(ahead) < 1 {
		t.Error("no node's clock was ten minutes fast")
	}
}

// skewedBinary builds the server with a time.Now that is off by as many seconds as the environment
// says. Nothing else of it changes, and time that passes is not touched.
func skewedBinary(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if !strings.Contains(string(source), reading) {
		t.Fatalf("time.Now does not begin with %q", reading)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for name, text := range map[string]string{
		"time.go": strings.Replace(string(source), reading, reading+"\tsec += skewed\n", 1),
		"skewed.go": `package time

import "syscall"

var skewed = func() int64 {
	text, _ := syscall.Getenv("CLOCK_SKEWED_SECONDS")
	n, _ := atoi(text)
	return int64(n)
}()
`,
	} {
		replace[filepath.Join(library, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "atlas-webhooks")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-o", path, "../../cmd/atlas-webhooks")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}
