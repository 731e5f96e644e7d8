package topic

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic/schema"
)

func TestCheck(t *testing.T) {
	sound := hook.Topic{Name: "order.shipped", Category: "ORDER", Description: "order shipped"}
	got, wrong := Check(sound)
	if wrong != nil || got.Sample != `{"id": "1"}` {
		t.Errorf("a sound topic: %v, %v", got, wrong)
	}
	for field, spoil := range map[string]func(*hook.Topic){
		"topic: invalid_topic":                        func(t *hook.Topic) { t.Name = "Order.*" },
		"category: required":                          func(t *hook.Topic) { t.Category = "" },
		"category: invalid_category":                  func(t *hook.Topic) { t.Category = "Order" },
		"description: required":                       func(t *hook.Topic) { t.Description = "" },
		"description: too_long":                       func(t *hook.Topic) { t.Description = strings.Repeat("é", 1025) },
		"summary: too_long":                           func(t *hook.Topic) { t.Summary = strings.Repeat("x", 1025) },
		"since: too_long":                             func(t *hook.Topic) { t.Since = strings.Repeat("x", 33) },
		"sample: invalid_json":                        func(t *hook.Topic) { t.Sample = "{" },
		"sample: too_large":                           func(t *hook.Topic) { t.Sample = `"` + strings.Repeat("x", 16<<10) + `"` },
		"sample: data_already_encoded":                func(t *hook.Topic) { t.Sample = `"{\"id\": 1}"` },
		"validate: invalid_validate":                  func(t *hook.Topic) { t.Schema, t.Validate = "{}", "strict" },
		"derive.object_type: required":                func(t *hook.Topic) { t.DerivePaths = "/a" },
		"derive.object_type: invalid_object_type":     func(t *hook.Topic) { t.DeriveFrom = "Order" },
		"derive.paths: too_many":                      func(t *hook.Topic) { t.DeriveFrom, t.DerivePaths = "order", strings.Repeat("/a\n", 16)+"/a" },
		"derive.paths[1]: invalid_path":               func(t *hook.Topic) { t.DeriveFrom, t.DerivePaths = "order", "/a\nb" },
		"derive.paths[0]: invalid_path":               func(t *hook.Topic) { t.DeriveFrom, t.DerivePaths = "order", "/a~2" },
		"validate: schema_required":                   func(t *hook.Topic) { t.Validate = "warn" },
		"schema: invalid_schema":                      func(t *hook.Topic) { t.Schema = "{" },
		"schema/properties/a/pattern: invalid_schema": func(t *hook.Topic) { t.Schema = `{"properties": {"a": {"pattern": "(?=b)"}}}` },
		"sample/n: schema_violation": func(t *hook.Topic) {
			t.Sample, t.Schema = `{"n": 1}`, `{"properties": {"n": {"type": "string"}}}`
		},
		"sample/name: schema_violation (its own)": func(t *hook.Topic) { t.Schema = `{"required": ["name"]}` },
		"sample: invalid_json (too deep)":         func(t *hook.Topic) { t.Sample = strings.Repeat("[", 80) + strings.Repeat("]", 80) },
	} {
		bad := sound
		spoil(&bad)
		_, wrong := Check(bad)
		want, _, _ := strings.Cut(field, " (")
		if len(wrong) != 1 || wrong[0].Field+": "+wrong[0].Code != want {
			t.Errorf("%s: %v", field, wrong)
		}
	}
}

func file(t *testing.T, text string) ([]hook.Topic, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "topics.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadFile(path)
}

func TestReadFile(t *testing.T) {
	want := []hook.Topic{{
		Name: "order.shipped", Category: "ORDER", Description: "order shipped", Summary: "Sent when it left.", Since: "2",
		Sample: `{"id": "7", "n": 1.50, "list": [true, null, 2e3], "text": "1"}`, Schema: `{"type": ["object", "null"]}`, Validate: "reject", DeriveFrom: "order", DerivePaths: "/status\n/a~1b", Deprecated: true,
	}}
	for name, text := range map[string]string{
		"YAML": "topics:\n- topic: order.shipped\n  category: ORDER\n  description: order shipped\n  summary: Sent when it left.\n  since: 2\n  deprecated: true\n" +
			"  sample: {id: '7', n: 1.50, list: [true, null, 2e3], text: \"1\"}\n  schema: {type: [object, 'null']}\n  validate: reject\n  derive: {object_type: order, paths: [/status, /a~1b]}\n",
		"JSON": `{"topics": [{"topic": "order.shipped", "category": "ORDER", "description": "order shipped", "summary": "Sent when it left.", "since": "2", "deprecated": true,
			"sample": {"id": "7", "n": 1.50, "list": [true, null, 2e3], "text": "1"}, "schema": {"type": ["object", "null"]}, "validate": "reject", "derive": {"paths": ["/status", "/a~1b"], "object_type": "order"}}]}`,
	} {
		got, err := file(t, text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := file(t, "topics: []"); err != nil || len(got) != 0 {
		t.Errorf("no topics: %v, %v", got, err)
	}
}

// A file that is wrong is refused as a whole, and says where: file, line, entry, field.
func TestReadFileRefuses(t *testing.T) {
	const sound = "topics:\n- {topic: a.b, category: A, description: d}\n"
	for name, test := range map[string]struct{ text, want string }{
		"nothing":          {"", "must have one member, topics"},
		"no list":          {"topics: 1", "must have one member, topics"},
		"another member":   {sound + "more: 1\n", "must have one member, topics"},
		"no mapping":       {sound + "- x\n", "line 3: topics[1]: must be a mapping"},
		"unknown field":    {sound + "- {topic: b, category: A, description: d, colour: red}\n", "line 3: topics[1]: b: colour: there is no such field"},
		"no category":      {sound + "- {topic: b, description: d}\n", "line 3: topics[1]: b: category: every topic has a category"},
		"a list as text":   {sound + "- {topic: [b], category: A, description: d}\n", "topics[1]: topic: must be a text"},
		"twice":            {sound + "- {topic: a.b, category: A, description: d}\n", "topics[1]: a.b: topic: stands there twice"},
		"built in":         {sound + "- {topic: customer, category: CUSTOMER, description: d}\n", "topics[1]: customer: topic: is built in"},
		"a field twice":    {sound + "- {topic: b, topic: c, category: A, description: d}\n", "topic"},
		"odd boolean":      {sound + "- {topic: b, category: A, description: d, deprecated: maybe}\n", "deprecated: must be true or false"},
		"number not JSON":  {sound + "- {topic: b, category: A, description: d, sample: {n: 0x10}}\n", "sample: line 3: 0x10 is not written as in JSON"},
		"alias":            {sound + "- {topic: b, category: A, description: d, sample: {a: &x 1, b: *x}}\n", "aliases are not read"},
		"deep":             {sound + "- {topic: b, category: A, description: d, sample: " + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}\n", "sample: nests deeper"},
		"schema":           {sound + "- {topic: b, category: A, description: d, schema: {type: text}}\n", "line 3: topics[1]: b: schema/type: is not what a schema has there"},
		"derive a text":    {sound + "- {topic: b, category: A, description: d, derive: order}\n", "derive: must be a mapping"},
		"derive nothing":   {sound + "- {topic: b, category: A, description: d, derive: {paths: [/a]}}\n", "derive: must be a mapping"},
		"derive a list":    {sound + "- {topic: b, category: A, description: d, derive: {object_type: o, paths: [[/a]]}}\n", "derive: paths must be texts"},
		"derive oddly":     {sound + "- {topic: b, category: A, description: d, derive: {object_type: o, paths: [a]}}\n", "derive.paths[0]: must be a JSON pointer"},
		"two documents":    {sound + "---\n" + sound, "more than one document"},
		"no YAML":          {"topics: [", "topics.yaml: "},
		"larger than that": {"topics:\n#" + strings.Repeat("x", 4<<20), "is larger than"},
	} {
		got, err := file(t, test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "topics.yaml") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add("topics:\n- {topic: a.b, category: A, description: d, sample: {n: 1}}\n")
	f.Add(`{"topics": [{"topic": "x", "sample": [1, "é", null]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := read([]byte(text))
		if err != nil {
			return
		}
		for _, topic := range list {
			if again, wrong := Check(topic); wrong != nil || again != topic {
				t.Errorf("%v was read and is not sound: %v", topic, wrong)
			}
		}
	})
}

// Every topic that is built in, and each of the ready file, has a schema that its sample validates against, and
// that finds the fault of one without an id.
func TestSchemasOfTopics(t *testing.T) {
	ready, err := ReadFile("../../docs/topics.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range append(slices.Clone(hook.Topics()), ready...) {
		s, problems := schema.Compile(topic.Schema)
		if topic.Schema == "" || problems != nil {
			t.Errorf("%s: %v", topic.Name, problems)
			continue
		}
		if broken := s.Validate([]byte(topic.Sample)); broken != nil {
			t.Errorf("%s: the sample is against the schema: %v", topic.Name, broken)
		}
		if broken := s.Validate([]byte(`{"more": 1}`)); len(broken) != 1 || broken[0] != (hook.Violation{Pointer: "/id", Keyword: "required"}) {
			t.Errorf("%s: a document without an id: %v", topic.Name, broken)
		}
		described(t, topic)
	}
}

// described wants a word in the schema for each member of the sample.
func described(t *testing.T, topic hook.Topic) {
	t.Helper()
	var s struct{ Properties map[string]any }
	var sample map[string]any
	if err := errors.Join(json.Unmarshal([]byte(topic.Schema), &s), json.Unmarshal([]byte(topic.Sample), &sample)); err != nil {
		t.Fatal(err)
	}
	for name := range sample {
		if s.Properties[name] == nil {
			t.Errorf("%s: the schema says nothing of %s", topic.Name, name)
		}
	}
}
