//go:build full

package console_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// firefox is a real Firefox, told what to do by its own protocol (Marionette): messages of JSON, each with
// its length before it.
type firefox struct {
	*testing.T
	conn net.Conn
	in   *bufio.Reader
	n    int
}

// openFirefox starts one with a profile of its own. Without it the test is skipped.
func openFirefox(t *testing.T) *firefox {
	t.Helper()
	path, err := exec.LookPath("firefox-esr")
	if err != nil {
		t.Skip("firefox-esr is not installed")
	}
	dir, port := t.TempDir(), freePort(t)
	write(t, filepath.Join(dir, "user.js"), fmt.Sprintf("user_pref(\"marionette.port\", %d);\nuser_pref(\"app.update.enabled\", false);\nuser_pref(\"datareporting.policy.dataSubmissionEnabled\", false);\n", port))
	browser := exec.CommandContext(t.Context(), path, "--headless", "--marionette", "--no-remote", "--profile", dir)
	browser.Env = []string{"HOME=" + dir, "PATH=/usr/bin:/bin"}
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = browser.Process.Kill(); _ = browser.Wait() })
	f := &firefox{T: t}
	eventually(t, func() (err error) {
		f.conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err
	})
	t.Cleanup(func() { _ = f.conn.Close() })
	f.in = bufio.NewReader(f.conn)
	f.message() // its greeting
	f.tell("WebDriver:NewSession", map[string]any{})
	return f
}

func (f *firefox) message() []byte {
	f.Helper()
	length, err := f.in.ReadString(':')
	if err != nil {
		f.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		f.Fatal(err)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f.in, text); err != nil {
		f.Fatal(err)
	}
	return text
}

// tell gives a command and returns what came of it.
func (f *firefox) tell(command string, in map[string]any) any {
	f.Helper()
	f.n++
	text, err := json.Marshal([]any{0, f.n, command, in})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := fmt.Fprintf(f.conn, "%d:%s", len(text), text); err != nil {
		f.Fatal(err)
	}
	var out []any
	if err := json.Unmarshal(f.message(), &out); err != nil {
		f.Fatal(err)
	}
	if out[2] != nil {
		f.Fatalf("%s %v: %v", command, in, out[2])
	}
	if result, ok := out[3].(map[string]any); ok {
		return result["value"]
	}
	return out[3]
}

func (f *firefox) open(url string) {
	f.Helper()
	f.tell("WebDriver:Navigate", map[string]any{"url": url})
}

// eval is the value of a script's return.
func (f *firefox) eval(script string) any {
	f.Helper()
	return f.tell("WebDriver:ExecuteScript", map[string]any{"script": script, "args": []any{}})
}

// see waits until an element says something.
func (f *firefox) see(selector, text string) {
	f.Helper()
	eventually(f, func() error {
		got := f.eval(fmt.Sprintf(`return [...document.querySelectorAll(%q)].map((e) => e.innerText).join("\n")`, selector)).(string)
		if !strings.Contains(got, text) {
			return fmt.Errorf("%s says %q, want %q", selector, got, text)
		}
		return nil
	})
}

// element finds one, as a command names it.
func (f *firefox) element(selector string) map[string]any {
	f.Helper()
	var id string
	for _, v := range f.tell("WebDriver:FindElement", map[string]any{"using": "css selector", "value": selector}).(map[string]any) {
		id, _ = v.(string)
	}
	return map[string]any{"id": id}
}

func (f *firefox) click(selector string) {
	f.Helper()
	f.tell("WebDriver:ElementClick", f.element(selector))
}

func (f *firefox) write(selector, text string) {
	f.Helper()
	in := f.element(selector)
	in["text"] = text
	f.tell("WebDriver:ElementSendKeys", in)
}

// TestFirefox: the main flows in another browser: from a link to a webhook, a test, a delivery that comes
// in live, a chart, the palette, a dialog, and out again.
func TestFirefox(t *testing.T) {
	f := openFirefox(t)
	s := apptest.Start(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	f.open(call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{})["url"].(string))
	f.see("main", "Three steps to your first webhook")
	f.click("a[data-new]")
	f.write("#endpoint", receiver.URL+"/hooks")
	f.see("#check", "A connection came about")
	f.click(`input[value="customer.*"]`)
	f.click("form.form .btn.primary")
	f.see("#secret", "whsec_")
	f.click("form[action$='/test'] .btn")
	f.see("#result", "Delivered")
	f.click(".head .btn")
	f.see("h1", "/hooks")
	f.see("time-chart .u-legend", "Delivered")
	f.click(".tabs a[href$='/deliveries']")
	f.see("live-tail", "Live")
	(&world{Server: s}).publish(t, "customer.created", map[string]any{"id": "by-firefox"})
	f.see("#tail-rows", "by-firefox")
	f.click("#tail-rows a.main")
	f.see(".timeline", "Attempt 1")
	f.eval(`document.dispatchEvent(new KeyboardEvent("keydown", {key: "k", ctrlKey: true, bubbles: true}))`)
	f.see("#palette li", "/hooks")
	f.write("#palette input", "no such place")
	f.see("#palette li", "Nothing found")
	f.eval(`document.getElementById("palette").close()`)
	f.open(s.URL + "/console/events?object_id=nothing")
	f.see("main", "No event matches")
	f.click(".side form[action$='/sign-out'] button")
	f.see("h1", "Sign in")
}
