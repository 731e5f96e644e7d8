package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

const secret = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="

// startReceiver runs the command and returns the address it prints, and what ends it.
func startReceiver(t *testing.T, stdout io.Writer, args ...string) (url string, stop func() (code int, stderr string)) {
	t.Helper()
	r, w := io.Pipe()
	p := &Program{Stdout: stdout, Stderr: w}
	root := p.root()
	root.SetArgs(append([]string{"receiver", "--listen", "127.0.0.1:0"}, args...))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		w.Close()
		ended <- err
	}()
	lines := bufio.NewReader(r)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err, <-ended)
	}
	url, _ = strings.CutPrefix(strings.TrimSpace(first), "listening on ")
	return url, func() (int, string) {
		cancel()
		rest, _ := io.ReadAll(lines)
		if err := <-ended; err != nil {
			return p.exitCode(err), string(rest)
		}
		return exitOK, string(rest)
	}
}

// send makes the request and returns the answer's status.
func send(t *testing.T, r *http.Request) int {
	t.Helper()
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func TestReceiver(t *testing.T) {
	var out bytes.Buffer
	url, stop := startReceiver(t, &out, "--secret", secret, "--fail", "503:1", "--behave", "status 202:1")
	d := webhooktest.Delivery{Secret: secret, Topic: "customer", Data: `{"id":"7"}`, EventID: "evt_1"}
	for i, want := range []int{503, 202, 200} {
		if got := send(t, d.Request(t, url)); got != want {
			t.Errorf("request %d is answered %d, want %d", i, got, want)
		}
	}
	forged := d.Request(t, url)
	forged.Body = io.NopCloser(strings.NewReader(`{"event":"customer","data":"{}"}` + "\n"))
	forged.ContentLength = -1
	forged.Header.Set("X-Atlas-Webhook-Topic", "\u202ered")
	_ = send(t, forged)
	code, stderr := stop()
	if code != exitOK || !strings.Contains(stderr, "4 requests, 1 of them") {
		t.Error(code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatal(out.String())
	}
	for i, want := range []string{
		"customer evt_1 attempt 1 <- 503, verified", "customer evt_1 attempt 1 <- 202, verified",
		"customer evt_1 attempt 1 <- 200, verified", `\u202ered evt_1 attempt 1 <- 200, NOT VERIFIED: `,
	} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
}

func TestReceiverJSON(t *testing.T) {
	var out bytes.Buffer
	url, stop := startReceiver(t, &out, "--output", "json", "--quiet=false")
	d := webhooktest.Delivery{Secret: secret, Topic: "customer", Data: `{"id":"7"}`, EventID: "evt_1"}
	_ = send(t, d.Request(t, url))
	if code, _ := stop(); code != exitOK {
		t.Error(code)
	}
	for _, want := range []string{`"event":"customer"`, `"verified":null`, `"answer":"200"`, `"body":"{\"event\":`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

func TestReceiverRefusesOddScripts(t *testing.T) {
	for _, args := range []string{"--fail 9", "--fail now", "--slow long", "--behave dance", "--secret short", "--listen"} {
		var stderr bytes.Buffer
		p := &Program{Args: append([]string{"receiver"}, strings.Fields(args)...), Stdout: io.Discard, Stderr: &stderr}
		if code := Main(p); code != exitUsage {
			t.Errorf("%s: %d, %s", args, code, stderr.String())
		}
	}
	p := &Program{Args: []string{"receiver", "--listen", "256.0.0.1:0"}, Stdout: io.Discard, Stderr: io.Discard}
	if code := Main(p); code != exitFailure {
		t.Error(fmt.Sprint(code))
	}
}
