package webhook_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Receivers import this package into their own programs: it may bring nothing along but the
// standard library and the contract that it shares with the sender.
func TestImportsStandardLibraryOnly(t *testing.T) {
	const module = "github.com/atlas-webhooks/atlas-webhooks/"
	want := []string{module + "internal/hook", module + "internal/wire", module + "webhook"}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if want = append(want, module+"webhook/webhooktest"); !slices.Equal(got, want) {
		t.Errorf("imported outside the standard library:\n got %s\nwant %s", got, want)
	}
}
