package receiving

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic/schema"
)

// odd is a topic whose schema has whatever could break a generator.
const odd = `{"type": "object", "required": ["id", "self", "list"], "description": "ends */ here\n// and there",
	"properties": {
		"id": {"type": "string", "description": "a \"quoted\" */ text\nof two lines"}, "self": {"$ref": "#/$defs/None"}, "list": {"type": "array", "items": {"$ref": "#/$defs/None"}},
		"class": {"type": "integer"}, "a-b": {"type": "number"}, "a_b": {"type": "boolean"}, "with\"quote": {"type": "string"}, "with` + "`" + `tick": {"type": "string"}, "é, ü": {"type": "string"}, "": {"type": "string"},
		"state": {"enum": ["open", "it's \"shut\"\\", null]}, "fixed": {"const": "x"}, "codes": {"enum": [1, 2]}, "either": {"type": ["string", "number"]}, "any": true, "union": {"anyOf": [{"type": "string"}]},
		"map": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}}, "deep": {"type": "object", "properties": {"deeper": {"type": "object", "properties": {"n": {"type": "integer"}}}}},
		"pair": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}},
	"$defs": {"None": {"type": ["object", "null"], "properties": {"next": {"$ref": "#/$defs/None"}, "all": {"type": "array", "items": {"$ref": "#/$defs/Array"}}}}, "Array": {"type": "object", "properties": {"x": {"type": "string"}}}}}`

const oddSample = `{"id": "1", "self": {"next": {"next": null}}, "list": [{"all": [{"x": "y"}]}], "state": "open", "fixed": "x", "class": 1, "a-b": 1.5, "a_b": true, "either": 7, "map": {"k": 1}, "deep": {"deeper": {"n": 2}}, "more": 1}`

// topics are the built-in ones, those of the ready file, and odd ones.
func topics(t *testing.T) []hook.Topic {
	t.Helper()
	ready, err := topic.ReadFile("../../../docs/topics.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := append(append([]hook.Topic{}, hook.Topics()...), ready...)
	all = append(all,
		hook.Topic{Name: "odd.one", Description: "odd", Schema: odd, Sample: oddSample},
		hook.Topic{Name: "odd_one", Description: "called almost the same", Schema: `{"type": "array", "items": {"type": "integer"}}`, Sample: `[1]`},
		hook.Topic{Name: "none", Description: "no schema", Sample: `{"x": 1}`},
		hook.Topic{Name: "7up", Description: "true", Schema: `true`, Sample: `1`},
	)
	for _, t2 := range all {
		if t2.Schema == "" {
			continue
		}
		if s, problems := schema.Compile(t2.Schema); problems != nil || s.Validate([]byte(t2.Sample)) != nil {
			t.Fatalf("%s: %v", t2.Name, problems)
		}
	}
	return all
}

func written(t *testing.T, language string) string {
	t.Helper()
	code, err := Types(language, topics(t))
	if err != nil {
		t.Fatalf("%s: %v\n%s", language, err, code)
	}
	return string(code)
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Go's types pass vet, and read the sample of each topic, of which they lose nothing that they know.
func TestGo(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "go.mod", "module receiver\n\ngo 1.24\n")
	put(t, dir, "topics/topics.go", written(t, "go"))
	var samples strings.Builder
	for _, topic := range topics(t) {
		fmt.Fprintf(&samples, "\t\t%q: %q,\n", topic.Name, topic.Sample)
	}
	put(t, dir, "main.go", `package main

import (
	"fmt"
	"log"

	"receiver/topics"
)

func main() {
	for topic, sample := range map[string]string{
`+samples.String()+`	} {
		if _, err := topics.Decode(topic, []byte(sample)); err != nil {
			log.Fatal(err)
		}
	}
	v, err := topics.Decode("conversation.status", []byte(`+"`{\"id\": \"7\", \"status\": \"CLOSED\", \"number\": 4812, \"more\": 1}`"+`))
	s := v.(*topics.ConversationStatus)
	fmt.Println(*s.Status, s.Subject == nil, s.ID, err)
	_, err = topics.Decode("nothing", nil)
	fmt.Println(err)
}
`)
	if out, err := run(t, dir, "go", "vet", "./..."); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := run(t, dir, "go", "run", ".")
	if want := "CLOSED true 7 <nil>\nthere is no type of topic \"nothing\"\n"; err != nil || out != want {
		t.Errorf("%v\n%s", err, out)
	}
}

// TypeScript's compile at their strictest with each sample as data; the control is a sample that is none.
func TestTypeScript(t *testing.T) {
	modules, err := filepath.Abs("../../../sdk/typescript/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	compiler := filepath.Join(modules, ".bin", "tsc")
	if _, err := os.Stat(compiler); err != nil {
		t.Skip("no TypeScript; 'make sdk-typescript' installs it where there is npm: the types in it are not tested")
	}
	dir := t.TempDir()
	put(t, dir, "topics.ts", written(t, "ts"))
	var use strings.Builder
	use.WriteString("import type { Event, Topics } from \"./topics.js\";\n")
	for i, topic := range topics(t) {
		fmt.Fprintf(&use, "export const s%d: Topics[%q] = %s;\n", i, topic.Name, topic.Sample)
	}
	use.WriteString("export function status(e: Event): string | null | undefined {\n  return e.event === \"conversation.status\" ? e.data.status : undefined;\n}\n")
	put(t, dir, "use.ts", use.String())
	put(t, dir, "wrong.ts", "import type { Topics } from \"./topics.js\";\nexport const s: Topics[\"conversation\"] = { id: 1, subject: 7 };\n")
	args := []string{"--noEmit", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--types", ""}
	if out, err := run(t, dir, compiler, append(args, "use.ts")...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, dir, compiler, append(args, "wrong.ts")...); err == nil || !strings.Contains(out, "not assignable") {
		t.Errorf("control: %v\n%s", err, out)
	}
}

// Python's pass mypy at its strictest with each sample as data; the control is a sample that is none.
func TestPython(t *testing.T) {
	mypy, err := filepath.Abs("../../../bin/sdk/python/bin/mypy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mypy); err != nil {
		t.Skip("no mypy; 'make sdk-python' installs it where there is a registry: the types in Python are not tested")
	}
	dir := t.TempDir()
	put(t, dir, "topics.py", written(t, "python"))
	literal := strings.NewReplacer(": null", ": None", ": true", ": True", ": false", ": False")
	var use strings.Builder
	use.WriteString("import topics\n\n")
	for i, topic := range topics(t) {
		fmt.Fprintf(&use, "s%d: topics.Topics = {%q: %s}\n", i, topic.Name, literal.Replace(strings.ReplaceAll(topic.Sample, `, "more": 1`, "")))
	}
	put(t, dir, "use.py", use.String())
	put(t, dir, "wrong.py", "import topics\n\ns: topics.Conversation = {\"id\": 1, \"subject\": 7}\n")
	if out, err := run(t, dir, mypy, "--strict", "--cache-dir", filepath.Join(dir, "cache"), "use.py"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, dir, mypy, "--strict", "--cache-dir", filepath.Join(dir, "cache"), "wrong.py"); err == nil || !strings.Contains(out, "Incompatible types") {
		t.Errorf("control: %v\n%s", err, out)
	}
	if out, err := run(t, dir, "python3", "use.py"); err != nil {
		t.Errorf("python3: %v\n%s", err, out)
	}
}

func TestLanguages(t *testing.T) {
	if _, err := Types("cobol", hook.Topics()); err == nil || !strings.Contains(err.Error(), "go, ts, python") {
		t.Errorf("%v", err)
	}
	for _, language := range Languages() {
		if first := written(t, language); written(t, language) != first {
			t.Errorf("%s: written twice it differs", language)
		}
	}
}
