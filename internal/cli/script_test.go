package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"atlas-webhooks": func() {
			self, _ := exec.LookPath(os.Args[0]) // by its name, which says what it is
			os.Exit(cli.Main(&cli.Program{
				Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Open: openFake, Self: self,
			}))
		},
	})
}

// TestScripts runs testdata/script: each is a session of a user at a shell. ATLAS_WEBHOOKS_URL and
// ATLAS_WEBHOOKS_API_KEY are those of a real server, which all of them share: each has a company of
// its own. $RECEIVER is a receiver: see newReceiver.
func TestScripts(t *testing.T) {
	server := apptest.Start(t)
	receiver := newReceiver(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ATLAS_WEBHOOKS_URL", server.URL)
			e.Setenv("ATLAS_WEBHOOKS_API_KEY", server.Key)
			e.Setenv("RECEIVER", receiver.URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "await": await, "take": take, "until": until},
		// A misspelt command line in a script must not pass for "it fails, as expected".
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// newReceiver answers by path: /ok with 204, /fails with 500, /flaky with 400 to the first attempt at
// each event and then with 200, /gone with 410, /refuses with 401, anything else with 404.
func newReceiver(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/fails", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, "\x1b[31mno")
	})
	mux.HandleFunc("/gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	mux.HandleFunc("/refuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	mux.HandleFunc("/flaky", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Atlas-Webhook-Attempt") == "1" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// take is "take VARIABLE FIELD": it sets a variable to a field of the JSON that the command before
// printed.
func take(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: take VARIABLE FIELD")
	}
	var record map[string]any
	line, _, _ := strings.Cut(ts.ReadFile("stdout"), "\n")
	ts.Check(json.Unmarshal([]byte(line), &record))
	value, ok := record[args[1]]
	if !ok {
		ts.Fatalf("no %s in %s", args[1], line)
	}
	ts.Setenv(args[0], fmt.Sprint(value))
}

// until is "until PATTERN COMMAND …": it runs a command again and again until its output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND …")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("no %s after 30 s", args[0])
}

// exits is "exits CODE COMMAND …": it runs a command and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND …")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// await is "await FILE": it waits until a file is there.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("%s is not there after 30 s", args[0])
		}
	}
}
