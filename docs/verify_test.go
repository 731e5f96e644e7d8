package docs_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
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
	What    string            `json:"what"`
}

const (
	signatureHeader = "X-Atlas-Webhook-Signature"
	timestampHeader = "X-Atlas-Webhook-Signature-Timestamp"
)

// hostile is a document that is changed by whatever reads it and writes it again.
const hostile = `{"id": 7, "z": 1.0, "a": 1e2, "big": 12345678901234567890, "name": "José \"Pepe\" 😀\u0000\u2028\ufeff", ` +
	`"text": "a\nb\r\n\\n</script><!--%s{{.}}${x}$_x#{x}", "": null, "é": [[], {}, ""]}`

// deliver lets a server send a document in both formats, and makes forged requests of each.
func deliver(t *testing.T, data string) (all []delivered) {
	t.Helper()
	server := apptest.Start(t)
	got := make(chan delivered, 4)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		d := delivered{Body: string(body), Headers: map[string]string{}, Genuine: true, What: r.URL.Path}
		for name := range r.Header {
			d.Headers[name] = r.Header.Get(name)
		}
		got <- d
	}))
	defer receiver.Close()
	c := clientOf(t, server, "c1")
	secrets := map[string]string{}
	for _, format := range []string{"string", "object"} {
		w, err := c.CreateWebhook(t.Context(), client.WebhookCreate{Endpoint: receiver.URL + "/" + format, Event: "customer", DataFormat: client.DataFormat(format)})
		if err != nil {
			t.Fatal(err)
		}
		secrets["/"+format] = w.SigningSecret
	}
	if _, err := c.PublishEvent(t.Context(), client.Publish{CompanyID: "c1", Event: "customer", Data: json.RawMessage(data)}); err != nil {
		t.Fatal(err)
	}
	for range secrets {
		genuine := <-got
		genuine.Secret = secrets[genuine.What]
		all = append(append(all, genuine), forge(genuine)...)
	}
	return all
}

// forge makes requests that must not verify, and must not make a receiver stumble either.
func forge(d delivered) (all []delivered) {
	with := func(what string, change func(*delivered)) {
		forged := d
		forged.Genuine, forged.What, forged.Headers = false, d.What+" "+what, maps.Clone(d.Headers)
		change(&forged)
		all = append(all, forged)
	}
	set := func(name, value string) func(*delivered) { return func(d *delivered) { d.Headers[name] = value } }
	without := func(names ...string) func(*delivered) {
		return func(d *delivered) {
			maps.DeleteFunc(d.Headers, func(n, _ string) bool { return slices.Contains(names, n) })
		}
	}
	signature := d.Headers[signatureHeader]
	with("another body", func(d *delivered) { d.Body = strings.Replace(d.Body, "customer", "customs!", 1) })
	with("another secret", func(d *delivered) { d.Secret += "x" })
	with("another timestamp", set(timestampHeader, "1.5"))
	with("a timestamp that is no number", set(timestampHeader, "nan"))
	with("an empty timestamp", func(d *delivered) { d.Headers[timestampHeader], d.Headers["X-Atlas-Webhook-Timestamp"] = "", "" })
	with("a cut signature", set(signatureHeader, signature[:8]))
	with("a longer signature", set(signatureHeader, signature+"00"))
	with("an empty signature", set(signatureHeader, ""))
	with("a signature beyond ASCII", set(signatureHeader, "é"+signature[2:]))
	with("a signature of as many characters", set(signatureHeader, "é"+signature[1:]))
	with("no signature", without(signatureHeader))
	with("no timestamp", without(timestampHeader, "X-Atlas-Webhook-Timestamp"))
	with("neither", without(signatureHeader, timestampHeader, "X-Atlas-Webhook-Timestamp"))
	with("an old one, signed", func(d *delivered) {
		mac := hmac.New(sha256.New, []byte(d.Secret))
		io.WriteString(mac, "1700000000.5."+d.Body)
		d.Headers[timestampHeader], d.Headers[signatureHeader] = "1700000000.5", hex.EncodeToString(mac.Sum(nil))
	})
	return all
}

// lines are requests for programs that read no JSON: secret, timestamp, signature and body in base64,
// "-" where there is none, and whether the request is genuine.
func lines(requests []delivered) []byte {
	var b strings.Builder
	for _, r := range requests {
		field := func(value string, there bool) string {
			if !there {
				return "-"
			}
			return base64.StdEncoding.EncodeToString([]byte(value))
		}
		timestamp, dated := r.Headers[timestampHeader]
		signature, signed := r.Headers[signatureHeader]
		fmt.Fprintln(&b, field(r.Secret, true), field(timestamp, dated), field(signature, signed), field(r.Body, true), r.Genuine)
	}
	return []byte(b.String())
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
var types = strings.NewReplacer(
	": Headers | Record<string, string | string[] | undefined>", "",
	": Uint8Array | string", "", ": string", "", "): boolean", ")",
)

// program is how a snippet is run: a file around it, the commands that build and run it, in its
// folder, and whether it reads lines instead of JSON.
type program struct {
	language, file, text string
	commands             [][]string
	lines                bool
	beside               map[string]string // other files
}

// programs are run by default: they cost about a second each.
func programs(t *testing.T) []program {
	return []program{
		{language: "python", file: "verify.py", commands: [][]string{{"python3", "verify.py"}}, text: snippet(t, "verify.md", "python") + `
import json, sys
for r in json.load(sys.stdin):
    got = verify(r["secret"], r["headers"], r["body"].encode())
    assert got == r["genuine"], (got, r)
    undecoded = {name: value.encode().decode("ascii", "surrogateescape") for name, value in r["headers"].items()}
    assert verify(r["secret"], undecoded, r["body"].encode()) == r["genuine"], r
print("fine")
`},
		{language: "ts", file: "verify.mjs", commands: [][]string{{"node", "verify.mjs"}}, text: types.Replace(snippet(t, "verify.md", "ts")) + `
import { readFileSync } from "node:fs";
for (const r of JSON.parse(readFileSync(0))) {
  const wire = Object.entries(r.headers).map(([name, value]) => [name.toLowerCase(), Buffer.from(value).toString("latin1")]);
  for (const headers of [Object.fromEntries(wire), new Headers(wire)]) {
    for (const body of [r.body, Buffer.from(r.body), new Uint8Array(Buffer.from(r.body))]) {
      if (verify(r.secret, headers, body) !== r.genuine) throw new Error(JSON.stringify(r));
    }
  }
}
console.log("fine");
`},
		{language: "php", file: "verify.php", commands: [][]string{{"php", "-d", "error_reporting=-1", "-d", "display_errors=1", "verify.php"}}, text: "<?php\n" + snippet(t, "verify.md", "php") + `
foreach (json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR) as $r) {
    $server = [];
    foreach ($r["headers"] as $name => $value) $server["HTTP_" . strtoupper(strtr($name, "-", "_"))] = $value;
    if (verify($r["secret"], $server, $r["body"]) !== $r["genuine"]) throw new Exception(json_encode($r));
}
echo "fine\n";
`},
		{language: "ruby", file: "verify.rb", commands: [][]string{{"ruby", "-w", "verify.rb"}}, text: snippet(t, "verify.md", "ruby") + `
require "json"
JSON.parse(STDIN.read).each do |r|
  env = r["headers"].to_h { |name, value| ["HTTP_" + name.upcase.tr("-", "_"), value] }
  [env, env.transform_values(&:b)].each do |given|
    raise r.to_json unless verify(r["secret"], given, r["body"].b) == r["genuine"]
  end
end
puts "fine"
`},
		{language: "java", file: "Verify.java", lines: true, commands: [][]string{{"java", "-XX:TieredStopAtLevel=1", "Verify.java"}}, text: `
import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.*;
import java.security.*;
import java.util.*;
import java.util.function.UnaryOperator;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

class Verify {
` + snippet(t, "verify.md", "java") + `
    static byte[] field(String text) { return Base64.getDecoder().decode(text); }

    static String header(String text) { return text.equals("-") ? null : new String(field(text), UTF_8); }

    public static void main(String[] arguments) throws Exception {
        for (String line : new BufferedReader(new InputStreamReader(System.in)).lines().toList()) {
            String[] f = line.split(" ");
            var headers = new HashMap<String, String>();
            headers.put("X-Atlas-Webhook-Signature-Timestamp", header(f[1]));
            headers.put("X-Atlas-Webhook-Signature", header(f[2]));
            if (verify(new String(field(f[0]), UTF_8), headers::get, field(f[3])) != Boolean.parseBoolean(f[4])) throw new Error(line);
        }
        System.out.println("fine");
    }
}
`},
		{language: "csharp", file: "verify.cs", lines: true, commands: [][]string{{"mcs", "verify.cs"}, {"mono", "verify.exe"}}, text: `
using System;
using System.Globalization;
using System.Linq;
using System.Security.Cryptography;
using System.Text;

static class Program
{
` + snippet(t, "verify.md", "csharp") + `
    static string Field(string text) => text == "-" ? null : Encoding.UTF8.GetString(Convert.FromBase64String(text));

    static void Main()
    {
        for (string line; (line = Console.ReadLine()) != null;)
        {
            string[] f = line.Split(' ');
            Func<string, string> header = name => Field(name.EndsWith("Timestamp") ? f[1] : f[2]);
            if (Verify(Field(f[0]), header, Convert.FromBase64String(f.Length > 3 ? f[3] : "")) != bool.Parse(f[4])) throw new Exception(line);
        }
        Console.WriteLine("fine");
    }
}
`},
		{language: "go", file: "main.go", commands: [][]string{{"go", "run", "FILE"}}, text: `package main

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
		What    string
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
			panic(answer.Body.String() + r.What)
		}
	}
	os.Stdout.WriteString("fine\n")
}

func subscribe(secret string) {
` + snippet(t, "verify.md", "go") + "}\n"},
	}
}

func TestSnippets(t *testing.T) {
	requests := deliver(t, hostile)
	for _, p := range programs(t) {
		t.Run(p.language, func(t *testing.T) { p.run(t, requests) })
	}
}

// run lets a program judge requests. It is skipped where the language is not installed.
func (p program) run(t *testing.T, requests []delivered) {
	t.Helper()
	input, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	if p.lines {
		input = lines(requests)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, p.file)
	files := map[string]string{p.file: p.text}
	maps.Copy(files, p.beside)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, command := range p.commands {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Skip(command[0] + " is not installed")
		}
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir = dir
		if last := len(command) - 1; command[last] == "FILE" { // run where the module is
			cmd.Dir, cmd.Args[last] = "", file
		}
		cmd.Stdin = bytes.NewReader(input)
		cmd.WaitDelay = time.Minute
		out, err := cmd.CombinedOutput()
		if last := i == len(p.commands)-1; err != nil || last && string(out) != "fine\n" {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
}
