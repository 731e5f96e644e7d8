package docs_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// delivered is a request that a real server sent.
type delivered struct {
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Genuine bool              `json:"genuine"`
}

// deliver lets a server send a request, and makes forged ones of it.
func deliver(t *testing.T) []delivered {
	t.Helper()
	server := apptest.Start(t)
	got := make(chan delivered, 4)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		d := delivered{Body: string(body), Headers: map[string]string{}, Genuine: true}
		for name := range r.Header {
			d.Headers[name] = r.Header.Get(name)
		}
		got <- d
	}))
	defer receiver.Close()
	c := clientOf(t, server, "c1")
	w, err := c.CreateWebhook(t.Context(), client.WebhookCreate{Endpoint: receiver.URL, Event: "customer"})
	if err != nil {
		t.Fatal(err)
	}
	data := map[string]any{"id": 7, "name": "José \"Pepe\" 😀", "text": "a\nb"}
	if _, err := c.PublishEvent(t.Context(), client.Publish{CompanyID: "c1", Event: "customer", Data: data}); err != nil {
		t.Fatal(err)
	}
	genuine := <-got
	genuine.Secret = w.SigningSecret
	return append([]delivered{genuine}, forge(genuine)...)
}

// forge makes requests that must not verify.
func forge(d delivered) (all []delivered) {
	d.Genuine = false
	body, secret, old := d, d, d
	body.Body = strings.Replace(body.Body, "customer", "customs!", 1)
	secret.Secret += "x"
	old.Headers = maps.Clone(d.Headers)
	old.Headers["X-Atlas-Webhook-Signature-Timestamp"] = "1.5"
	cut := d
	cut.Headers = maps.Clone(d.Headers)
	cut.Headers["X-Atlas-Webhook-Signature"] = d.Headers["X-Atlas-Webhook-Signature"][:8]
	return []delivered{body, secret, old, cut}
}

// snippet is the only block of a page in a language.
func snippet(t *testing.T, page, language string) string {
	t.Helper()
	all := slices.DeleteFunc(blocks(read(t, page)), func(b block) bool { return b.info != language })
	if len(all) != 1 {
		t.Fatalf("%s has %d blocks of %s", page, len(all), language)
	}
	return all[0].text
}

// TestSnippetsAreShort: six lines, as promised, imports and closing braces aside.
func TestSnippetsAreShort(t *testing.T) {
	for _, language := range []string{"python", "go", "ts"} {
		n := 0
		for line := range strings.Lines(snippet(t, "verify.md", language)) {
			if line = strings.Trim(line, "} )\n"); line != "" && !strings.HasPrefix(line, "import ") {
				n++
			}
		}
		if n > 6 {
			t.Errorf("%s: %d lines", language, n)
		}
	}
}

// TestSnippetsOfTheReadme: the README shows the same lines.
func TestSnippetsOfTheReadme(t *testing.T) {
	for _, language := range []string{"python", "go", "ts"} {
		if snippet(t, "../README.md", language) != snippet(t, "verify.md", language) {
			t.Errorf("%s: README.md and verify.md differ", language)
		}
	}
}

// types are the annotations of the TypeScript snippet, which Node.js 20 does not read.
var types = regexp.MustCompile(`: (string|boolean|Buffer|Record<string, string>)\b`)

func TestSnippets(t *testing.T) {
	requests, err := json.Marshal(deliver(t))
	if err != nil {
		t.Fatal(err)
	}
	ts := strings.NewReplacer("Record<string, string>", "any").Replace(snippet(t, "verify.md", "ts"))
	ts = regexp.MustCompile(`: any\b`).ReplaceAllString(types.ReplaceAllString(ts, ""), "")
	for _, test := range []struct{ name, file, program string }{
		{"python3", "verify.py", snippet(t, "verify.md", "python") + `
import json, sys
for r in json.load(sys.stdin):
    got = verify(r["secret"], r["headers"], r["body"].encode())
    assert got == r["genuine"], (got, r)
print("fine")
`},
		{"node", "verify.mjs", ts + `
import { readFileSync } from "node:fs";
for (const r of JSON.parse(readFileSync(0))) {
  const headers = Object.fromEntries(Object.entries(r.headers).map(([name, value]) => [name.toLowerCase(), value]));
  if (verify(r.secret, headers, Buffer.from(r.body)) !== r.genuine) throw new Error(JSON.stringify(r));
}
console.log("fine");
`},
		{"go", "main.go", `package main

import (
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

func main() {
	var requests []struct {
		Secret  string
		Headers map[string]string
		Body    string
		Genuine bool
	}
	log.SetOutput(io.Discard)
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		panic(err)
	}
	for _, r := range requests {
		http.DefaultServeMux = http.NewServeMux()
		subscribe(r.Secret)
		request := httptest.NewRequest("POST", "/hooks", strings.NewReader(r.Body))
		for name, value := range maps.All(r.Headers) {
			request.Header.Set(name, value)
		}
		answer := httptest.NewRecorder()
		http.DefaultServeMux.ServeHTTP(answer, request)
		if (answer.Code == 200) != r.Genuine {
			panic(answer.Body.String() + r.Body)
		}
	}
	os.Stdout.WriteString("fine\n")
}

func subscribe(secret string) {
` + snippet(t, "verify.md", "go") + "}\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), test.file)
			if err := os.WriteFile(file, []byte(test.program), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{file}
			if test.name == "go" {
				args = []string{"run", file}
			}
			cmd := exec.CommandContext(t.Context(), test.name, args...)
			cmd.Stdin = strings.NewReader(string(requests))
			cmd.WaitDelay = time.Minute
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "fine\n" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
