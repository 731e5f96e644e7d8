// Package docs_test keeps the pages for people true: their commands run against a real server, their
// snippets on a real request, and what is generated is compared with what would be generated now.
package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is generated into the pages")

// block is a fenced block of a page.
type block struct {
	info string // after the fence: the language, and what else stands there
	text string
	line int
}

// read returns a page.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks are the fenced blocks of a page, in order.
func blocks(page string) (all []block) {
	var open *block
	for n, line := range strings.Split(page, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case !fence && open != nil:
			open.text += line + "\n"
		case fence && open != nil:
			all = append(all, *open)
			open = nil
		case fence:
			open = &block{info: info, line: n + 1}
		}
	}
	return all
}

// session runs the commands of a page, one after the other, as its reader would.
type session struct {
	t       *testing.T
	page    string
	environ map[string]string
	replace *strings.Replacer // addresses on the page, by those of the test
	output  []byte            // of the last command
}

// run runs all blocks "sh" and compares what follows each: "http" with the answer that curl -i shows,
// "text" and "json" with all of its output.
func (s *session) run() {
	all := blocks(read(s.t, s.page))
	ran := 0
	for i, b := range all {
		if b.info != "sh" {
			continue
		}
		if s.set(b) {
			continue
		}
		var want *block
		if i+1 < len(all) && slices.Contains([]string{"http", "text", "json"}, all[i+1].info) {
			want = &all[i+1]
		}
		s.command(b, want)
		ran++
	}
	if ran == 0 {
		s.t.Errorf("%s has no commands", s.page)
	}
}

var assignment = regexp.MustCompile(`^([A-Z_]+)=\S+  # the (\w+) in the answer\n$`)

// set takes a value from the last answer, as a reader would by copying it.
func (s *session) set(b block) bool {
	m := assignment.FindStringSubmatch(b.text)
	if m == nil {
		return false
	}
	_, body, _ := strings.Cut(string(s.output), "\r\n\r\n")
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer[m[2]] == nil {
		s.t.Fatalf("%s:%d: the answer has no %s: %s", s.page, b.line, m[2], s.output)
	}
	s.environ[m[1]] = fmt.Sprint(answer[m[2]])
	return true
}

// command runs a block. One that only reads is run again until it shows what is expected, since
// deliveries take a moment.
func (s *session) command(b block, want *block) {
	reads := !strings.Contains(b.text, "-X ") && !strings.Contains(b.text, "--json") && !strings.Contains(b.text, "--data")
	deadline := time.Now().Add(10 * time.Second)
	for {
		found := s.once(b, want)
		if found == "" {
			return
		}
		if !reads || time.Now().After(deadline) {
			s.t.Errorf("%s:%d: %s\n%s\nshows\n%s", s.page, b.line, found, b.text, s.output)
			return
		}
	}
}

func (s *session) once(b block, want *block) (found string) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", s.replace.Replace(b.text))
	for name, value := range s.environ {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "HOME="+s.t.TempDir()) //nolint:forbidigo // the commands of a page are the machine's own
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var err error
	if s.output, err = cmd.Output(); err != nil {
		return fmt.Sprintf("%v: %s", err, stderr.String())
	}
	if want == nil {
		return ""
	}
	shown := s.replace.Replace(want.text)
	switch want.info {
	case "http":
		return compareAnswer(shown, string(s.output))
	case "json":
		return compareJSON(shown, string(s.output))
	default:
		return compareText(shown, string(s.output))
	}
}

// compareAnswer compares what a page shows of an answer with the answer: its first line, the headers
// that are shown, and the fields of the body that are shown.
func compareAnswer(want, got string) string {
	wantHead, wantBody, _ := strings.Cut(want, "\n\n")
	gotHead, gotBody, _ := strings.Cut(got, "\r\n\r\n")
	wantLines, gotLines := strings.Split(strings.TrimSpace(wantHead), "\n"), strings.Split(gotHead, "\r\n")
	if wantLines[0] != gotLines[0] {
		return "the status is " + gotLines[0]
	}
	for _, header := range wantLines[1:] {
		if !slices.ContainsFunc(gotLines[1:], func(line string) bool { return strings.EqualFold(line, header) }) {
			return "there is no header " + header
		}
	}
	if wantBody == "" {
		return ""
	}
	return compareJSON(wantBody, gotBody)
}

func compareJSON(want, got string) string {
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		return "what is shown is not JSON: " + err.Error()
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		return "the answer is not JSON: " + err.Error()
	}
	return compareValue("", w, g)
}

// compareValue: objects have at least the fields that are shown, lists at least the elements, texts
// are equal but for "…".
func compareValue(path string, want, got any) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return path + " is no object"
		}
		for _, name := range slices.Sorted(maps.Keys(w)) {
			value, ok := g[name]
			if !ok {
				return path + "." + name + " is not there"
			}
			if found := compareValue(path+"."+name, w[name], value); found != "" {
				return found
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) < len(w) {
			return path + " has fewer elements"
		}
		for i := range w {
			if found := compareValue(fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); found != "" {
				return found
			}
		}
		return ""
	case string:
		if g, ok := got.(string); !ok || !like(w, g) {
			return fmt.Sprintf("%s is %q", path, got)
		}
		return ""
	default:
		if want != got {
			return fmt.Sprintf("%s is %v", path, got)
		}
		return ""
	}
}

// like reports whether text is the pattern, in which … stands for anything.
func like(pattern, text string) bool {
	parts := strings.Split(pattern, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(parts, ".*") + `$`).MatchString(text)
}

func compareText(want, got string) string {
	if !like(strings.TrimSpace(want), strings.TrimSpace(got)) {
		return "the output is another"
	}
	return ""
}

// TestComparisonControl: a comparison that finds nothing proves nothing.
func TestComparisonControl(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\n\r\n{\"a\":\"x-17\",\"n\":[1,2],\"o\":{\"p\":null}}\n"
	if found := compareAnswer("HTTP/1.1 200 OK\netag: \"1\"\n\n{\"a\": \"x-…\", \"n\": [1], \"o\": {\"p\": null}}", answer); found != "" {
		t.Error(found)
	}
	for _, want := range []string{
		"HTTP/1.1 201 Created", "HTTP/1.1 200 OK\nETag: \"2\"", "HTTP/1.1 200 OK\n\n{\"b\": 1}", "HTTP/1.1 200 OK\n\n{\"a\": \"y-…\"}",
		"HTTP/1.1 200 OK\n\n{\"n\": [2]}", "HTTP/1.1 200 OK\n\n{\"n\": [1, 2, 3]}", "HTTP/1.1 200 OK\n\n{\"o\": {\"p\": 1}}", "HTTP/1.1 200 OK\n\n{\"o\": []}",
		"HTTP/1.1 200 OK\n\n{…}",
	} {
		if compareAnswer(want, answer) == "" {
			t.Errorf("%q passes for the answer", want)
		}
	}
}

// generated compares, or with -update writes, what stands between <!-- generated: name --> and
// <!-- end -->. normal takes out what differs each time.
func generated(t *testing.T, page, name, text string, normal func(string) string) {
	t.Helper()
	before, rest, ok := strings.Cut(read(t, page), "<!-- generated: "+name+" -->\n")
	old, after, closed := strings.Cut(rest, "<!-- end -->")
	if !ok || !closed {
		t.Fatalf("%s has no place for %s", page, name)
	}
	if diff := cmp.Diff(normal(old), normal(text)); diff == "" {
		return
	} else if !*update {
		t.Fatalf("%s, %s: stale, run `make generate`:\n%s", page, name, diff)
	}
	if err := os.WriteFile(page, []byte(before+"<!-- generated: "+name+" -->\n"+text+"<!-- end -->"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func asItIs(text string) string { return text }
