//go:build unix

package docs_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const readme = "../README.md"

// TestReadmeBegins: one sentence, one picture as soon as there is one, and exactly two commands.
func TestReadmeBegins(t *testing.T) {
	page := read(t, readme)
	all := blocks(page)
	if all[0].info != "sh" || all[0].text != "make run\nmake test\n" || all[0].line > 12 {
		t.Errorf("it begins with %q at line %d", all[0].text, all[0].line)
	}
	const picture = "docs/images/delivery.png"
	_, err := os.Stat("../" + picture)
	if there, shown := err == nil, strings.Contains(page, "]("+picture+")"); there != shown {
		t.Errorf("%s is there: %t, and shown: %t", picture, there, shown)
	}
}

// TestMakeRun does what the README says first, and sees what it says is to be seen.
func TestMakeRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the product")
	}
	shown := blocks(read(t, readme))[1]
	if shown.info != "text" {
		t.Fatalf("line %d: what the reader sees is missing", shown.line)
	}
	want := slices.DeleteFunc(strings.Split(shown.text, "\n"), func(line string) bool { return line == "" || line == "…" })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "run")
	cmd.Dir = ".."
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	interrupt := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.Cancel = interrupt
	cmd.WaitDelay = 2 * time.Minute
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		seen.WriteString(lines.Text() + "\n")
		pattern := ""
		if len(want) > 0 {
			pattern = strings.Replace(want[0], "http://localhost:8080", "http://localhost:…", 1)
		}
		if len(want) > 0 && like(pattern, lines.Text()) {
			if want = want[1:]; len(want) == 0 {
				if err := interrupt(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	err = cmd.Wait() // make itself ends by the signal
	if len(want) > 0 {
		t.Errorf("not seen: %q in\n%s%v", want, seen.String(), err)
	}
}

// TestMakeTest: the second command is what continuous integration runs, and it exists.
func TestMakeTest(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "make", "--dry-run", "test")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "go test") || !strings.Contains(string(out), "golangci-lint") {
		t.Errorf("%v\n%s", err, out)
	}
	ci, err := os.ReadFile("../.ci/run")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no continuous integration here")
	}
	if err != nil || !strings.Contains(string(ci), "make test") {
		t.Errorf("%v: continuous integration runs something else", err)
	}
}
