package console_test

import (
	"context"
	"errors"
	"html"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/cli"
)

// TestMain is the command line where it is called by its name: the tests run what pages print. It ends the
// browser that they share.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "atlas-webhooks" {
		os.Exit(cli.Main(&cli.Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Open: func(context.Context, cli.ServerOptions) (cli.Server, error) {
			return nil, errors.ErrUnsupported
		}}))
	}
	code := m.Run()
	endShared()
	os.Exit(code)
}

// TestFirstSteps runs the three steps of an empty console as they are printed, for a company and for an
// operator; but for the port, which others may have taken.
func TestFirstSteps(t *testing.T) {
	for _, who := range []string{"company", "operator"} {
		t.Run(who, func(t *testing.T) {
			s := apptest.Start(t)
			key := s.Key
			if who == "company" {
				key = call(t, s, "POST", "/v1/companies/c1/keys", map[string]any{"scope": "write"})["key"].(string)
			}
			port := strconv.Itoa(freePort(t))
			steps := regexp.MustCompile(`(?s)<pre id="step-\d"[^>]*>(.*?)</pre>`).FindAllStringSubmatch(signedIn(t, s, key).get("/console/").text, -1)
			if len(steps) != 3 {
				t.Fatalf("%d steps", len(steps))
			}
			run := shell(t, key)
			got := make(chan string, 1)
			receiver := run("exec " + strings.ReplaceAll(html.UnescapeString(steps[0][1])+" --listen 127.0.0.1:3000", "3000", port))
			var out strings.Builder
			receiver.Stdout = &out
			if err := receiver.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { _ = receiver.Wait(); got <- out.String() }()
			eventually(t, func() error {
				conn, err := net.Dial("tcp", "127.0.0.1:"+port)
				if err == nil {
					_ = conn.Close()
				}
				return err
			})
			for _, step := range steps[1:] {
				if text, err := run(strings.ReplaceAll(html.UnescapeString(step[1]), "3000", port)).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", step[1], err, text)
				}
			}
			if err := receiver.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if text := <-got; !strings.Contains(text, "conversation.") {
				t.Errorf("the receiver saw %s", text)
			}
		})
	}
}

// shell makes commands of a shell that has the command line, and a key.
func shell(t *testing.T, key string) func(script string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "atlas-webhooks")); err != nil {
		t.Fatal(err)
	}
	return func(script string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "HOME=" + dir, "ATLAS_WEBHOOKS_API_KEY=" + key}
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 5 * time.Second
		return cmd
	}
}
