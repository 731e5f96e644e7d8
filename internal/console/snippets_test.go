package console_test

import (
	"context"
	"fmt"
	"html"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// program is how a snippet is run: its file and its command.
var programs = []struct {
	language, file string
	command        []string
}{
	{"Python", "receiver.py", []string{"python3", "receiver.py"}},
	{"Go", "receiver.go", []string{"go", "run", "receiver.go"}},
	{"TypeScript", "receiver.mjs", []string{"node", "receiver.mjs"}}, // see withoutTypes
}

// withoutTypes makes JavaScript of TypeScript, which Node.js 20 does not run.
func withoutTypes(code string) string { return strings.ReplaceAll(code, ": unknown", "") }

// bodyLine is where send.sh has what it sends.
var bodyLine = regexp.MustCompile(`(?m)^BODY=.*$`)

var codeBlock = regexp.MustCompile(`(?s)<pre id="code-(\d)"[^>]*>(.*?)</pre>`)

// snippetsOf takes the programs out of a page, as somebody would who copies them.
func snippetsOf(t *testing.T, page string) []string {
	t.Helper()
	var list []string
	for _, m := range codeBlock.FindAllStringSubmatch(page, -1) {
		list = append(list, html.UnescapeString(m[2]))
	}
	if len(list) != 4 {
		t.Fatalf("%d snippets", len(list))
	}
	return list
}

func needs(t *testing.T, commands ...string) {
	t.Helper()
	for _, name := range commands {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// TestSnippets: what the console gives people to copy verifies real deliveries, and refuses a
// request that somebody else signed.
func TestSnippets(t *testing.T) {
	needs(t, "python3", "node", "go", "sh", "curl", "openssl")
	s := apptest.Start(t)
	p := signedIn(t, s, s.Key)
	quoting := `it's "a" $ecret \n` + "`x`" + `«»{{.}}<b>`
	for _, c := range []struct{ scheme, format, secret string }{
		{"hex", "string", ""},
		{"hex", "object", strings.Map(func(r rune) rune {
			if r == ' ' || r > '~' {
				return -1
			}
			return r
		}, quoting)},
		{"base64", "string", ""},
		{"base64-dotted", "object", ""},
		{"python-dict", "string", ""},
	} {
		t.Run(c.scheme+" "+c.format, func(t *testing.T) {
			for i, program := range programs {
				port := freePort(t)
				page := p.post("/console/webhooks", url.Values{
					"endpoint": {fmt.Sprintf("http://127.0.0.1:%d/", port)}, "events": {"customer_notes"}, "signature_scheme": {c.scheme}, "data_format": {c.format},
					"signing_secret": {c.secret},
				}).status(200).text
				code := snippetsOf(t, page)
				id := regexp.MustCompile(`/console/webhooks/(wh_[a-z0-9]+)`).FindStringSubmatch(page)[1]
				dir := t.TempDir()
				write(t, filepath.Join(dir, program.file), withoutTypes(code[i]))
				write(t, filepath.Join(dir, "send.sh"), code[3])
				out := runReceiver(t, dir, port, program.command)
				if got := call(t, s, "POST", "/v1/webhooks/"+id+"/test", map[string]any{}); got["outcome"] != "delivered" || got["status_code"] != 204.0 {
					t.Errorf("%s does not take a real delivery: %v %s", program.language, got["error_detail"], out())
				}
				eventually(t, func() error {
					if strings.Contains(out(), "refused") || !strings.Contains(out(), "customer_notes") {
						return fmt.Errorf("%s: %s", program.language, out())
					}
					return nil
				})
				if c.scheme == "python-dict" && program.language != "Python" {
					continue // they verify the other signature, which send.sh has not
				}
				send := func(script string) string {
					cmd := exec.CommandContext(t.Context(), "sh", script, fmt.Sprintf("http://127.0.0.1:%d/", port))
					cmd.Dir = dir
					answer, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%v: %s", err, answer)
					}
					return string(answer)
				}
				if answer := send("send.sh"); !strings.Contains(answer, " 204 ") {
					t.Errorf("%s does not take what curl sends: %s %s", program.language, answer, out())
				}
				write(t, filepath.Join(dir, "forged.sh"), strings.Replace(code[3], "SECRET=", "SECRET=x", 1))
				if answer := send("forged.sh"); !strings.Contains(answer, " 401 ") {
					t.Errorf("%s takes what somebody else signed: %s", program.language, answer)
				}
				if c.scheme == "python-dict" {
					continue // nobody can sign what Python cannot read
				}
				write(t, filepath.Join(dir, "unreadable.sh"), bodyLine.ReplaceAllString(code[3], "BODY='{'"))
				if answer := send("unreadable.sh"); !strings.Contains(answer, " 400 ") {
					t.Errorf("%s: a genuine request that cannot be read: %s", program.language, answer)
				}
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// runReceiver runs a receiver until the test ends. It returns what it printed so far.
func runReceiver(t *testing.T, dir string, port int, command []string) (output func() string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("PORT=%d", port), "GOFLAGS=-mod=mod", "PYTHONUNBUFFERED=1")
	ownGroup(cmd)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait()
		log.Close()
	})
	output = func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	limit := time.Now().Add(60 * time.Second)
	for {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return output
		}
		if time.Now().After(limit) {
			t.Fatalf("%v does not listen: %v %s", command, err, output())
		}
		<-time.After(50 * time.Millisecond)
	}
}
