package schema

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func compiled(t testing.TB, text string) *Schema {
	t.Helper()
	s, problems := Compile(text)
	if problems != nil {
		t.Fatalf("%.200s: %v", text, problems)
	}
	return s
}

func TestValidate(t *testing.T) {
	const order = `{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["id", "lines"],
		"properties": {
			"id": {"type": "string", "pattern": "^o-[0-9]+$"}, "placed_at": {"type": "string", "format": "date-time"},
			"state": {"enum": ["open", "sent"]}, "total": {"type": "integer", "minimum": 0, "multipleOf": 5},
			"lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
			"to": {"oneOf": [{"type": "string"}, {"type": "object", "required": ["street"]}]}, "old": false},
		"patternProperties": {"^x_": {"type": "string"}}, "propertyNames": {"maxLength": 10},
		"$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}, "additionalProperties": false}}}`
	s := compiled(t, order)
	for document, want := range map[string][]hook.Violation{
		`{"id": "o-1", "lines": [{"sku": "a"}], "more": 1}`:               nil,
		`{"id": "o-1", "lines": [{"sku": "a"}], "total": 1e1, "x_a": ""}`: nil,
		`[]`:                                 {{Pointer: "", Keyword: "type"}},
		`{}`:                                 {{Pointer: "/id", Keyword: "required"}, {Pointer: "/lines", Keyword: "required"}},
		`{"id": "7", "lines": [], "old": 1}`: {{Pointer: "/id", Keyword: "pattern"}, {Pointer: "/lines", Keyword: "minItems"}, {Pointer: "/old", Keyword: "false"}},
		`{"id": "o-1", "lines": [{"sku": "a"}, {"a/b~": 1}]}`: {{Pointer: "/lines/1/a~1b~0", Keyword: "additionalProperties"}, {Pointer: "/lines/1/sku", Keyword: "required"}},
		`{"id": "o-1", "lines": [{"sku": "a"}], "total": 7}`:  {{Pointer: "/total", Keyword: "multipleOf"}},
		`{"id": "o-1", "lines": [{"sku": "a"}], "total": -5}`: {{Pointer: "/total", Keyword: "minimum"}},
		`{"id": "o-1", "lines": [{"sku": "a"}], "state": "s", "placed_at": "2026-13-01T00:00:00Z"}`: {
			{Pointer: "/placed_at", Keyword: "format"}, {Pointer: "/state", Keyword: "enum"},
		},
		`{"id": "o-1", "lines": [{"sku": "a"}], "to": {}}`:                              {{Pointer: "/to", Keyword: "oneOf"}},
		`{"id": "o-1", "lines": [{"sku": "a"}], "x_a": 1}`:                              {{Pointer: "/x_a", Keyword: "type"}},
		`{"id": "o-1", "lines": [{"sku": "a"}], "abcdefghijk": 1}`:                      {{Pointer: "/abcdefghijk", Keyword: "propertyNames"}},
		`{"id": "o-1", "lines": [{"sku": "a"}], "n": [0, 1e401]}`:                       {{Pointer: "/n/1", Keyword: TooLong}},
		`{"id": "o-1", "lines": [{"sku": "a"}], "n": ` + strings.Repeat("1", 401) + `}`: {{Pointer: "/n", Keyword: TooLong}},
	} {
		if diff := cmp.Diff(want, s.Validate([]byte(document))); diff != "" {
			t.Errorf("%.100s: %s", document, diff)
		}
	}
	many := `{"id": "o-1", "lines": [` + strings.Repeat(`{},`, 20) + `{}]}`
	if got := s.Validate([]byte(many)); len(got) != MaxViolations {
		t.Errorf("%d violations are told: %v", len(got), got)
	}
}

// What is told of a violation never has a value of the document in it.
// TestLongNames: a name as long as a document, above as many values as fit beside it, is not written once for
// each of these.
func TestLongNames(t *testing.T) {
	name, list := strings.Repeat("né~", 75_000), strings.Repeat("1,", 100_000)
	s := compiled(t, `{"additionalProperties": {"items": {"type": "string"}}, "properties": {"a": false, "z": false}}`)
	for last, want := range map[string][]string{
		"1":     {"/a", "/né~0", "/z"},
		"1e500": {"/né~0"},
	} {
		document := []byte(`{"z": 1, "` + name + `": [` + list + last + `], "a": 1}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := s.Validate(document)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 256<<20 {
			t.Errorf("%s: took %d MiB", last, took>>20)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d violations: %.2000v", last, len(got), got)
		}
		for i, v := range got {
			if long := len(want[i]) > 2; !strings.HasPrefix(v.Pointer, want[i]) || len(v.Pointer) > MaxPointer || long != strings.HasSuffix(v.Pointer, "…") || !utf8.ValidString(v.Pointer) {
				t.Errorf("%s: %q", last, v.Pointer)
			}
		}
	}
	// Of many, those are told that are the first in their order, whatever the order in which they are found.
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `"m%03d": [1], `, i)
	}
	got := s.Validate([]byte(`{` + many.String() + `"z": 1}`))
	if len(got) != MaxViolations || got[0].Pointer != "/m000/0" || got[MaxViolations-1].Pointer != "/m009/0" {
		t.Errorf("of many: %v", got)
	}
}

func TestViolationsHoldNoValues(t *testing.T) {
	s := compiled(t, `{"properties": {"a": {"const": 1}, "b": {"enum": ["x"]}, "c": {"pattern": "^a$"}, "d": {"format": "email"}, "e": {"maximum": 1}, "f": {"maxLength": 1}, "g": {"not": {}}, "h": {"uniqueItems": true}, "i": {"type": "null"}}}`)
	got := s.Validate([]byte(`{"a": "secret", "b": "secret", "c": "secret", "d": "secret", "e": 1.5e300, "f": "secret", "g": "secret", "h": ["secret", "secret"], "i": "secret"}`))
	if len(got) != 9 || strings.Contains(fmt.Sprint(got), "secret") || strings.Contains(fmt.Sprint(got), "300") {
		t.Errorf("%v", got)
	}
}

func TestCompileRefuses(t *testing.T) {
	nested := strings.Repeat(`{"not": `, 40) + "{}" + strings.Repeat("}", 40)
	for text, want := range map[string]string{
		``:                                 ": not JSON: the document ends too early",
		`{"type": 1`:                       ": not JSON: the document ends too early",
		`{"a": 1} 2`:                       ": something follows the end",
		`{"type": "null", "type": "null"}`: "/type: not JSON at byte",
		`1`:                                ": must be a schema",
		`"` + strings.Repeat("x", MaxBytes) + `"`: ": has 32770 bytes, at most 32768",
		nested: strings.Repeat("/not", 33) + ": nests deeper than 32 levels",
		`{"anyOf": [` + strings.Repeat("true,", 500) + `true]}`:  ": holds more than 500 schemas",
		`{"properties": {"a": {"nullable": true}}}`:              `/properties/a/nullable: is OpenAPI's`,
		`{"dependencies": {}}`:                                   "/dependencies: is of older drafts",
		`{"definitions": {}}`:                                    "/definitions: is of older drafts",
		`{"colour": 1}`:                                          "/colour: is no keyword",
		`{"$id": "https://example.com/s"}`:                       "/$id: has no place here",
		`{"$schema": "http://json-schema.org/draft-07/schema#"}`: "/$schema: must be https://json-schema.org/draft/2020-12/schema",
		`{"$ref": "https://example.com/s"}`:                      "/$ref: must be #/$defs/NAME",
		`{"$ref": "file:///etc/passwd"}`:                         "/$ref: must be #/$defs/NAME",
		`{"$ref": "#"}`:                                          "/$ref: must be #/$defs/NAME",
		`{"$ref": "#/$defs/a"}`:                                  "/$ref: refers to a definition that there is not",
		`{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}`: "/$defs/a: refers to itself for the same value",
		`{"not": {"$defs": {"a": {}}}}`:                   "/not/$defs: stands at the top",
		`{"properties": {"a": {"multipleOf": 0.01}}}`:     "/properties/a/multipleOf: must be an integer",
		`{"maximum": 9007199254740993000}`:                "/maximum: is beyond 2^53",
		`{"minimum": -1e300}`:                             "/minimum: is beyond 2^53",
		`{"minimum": 1e-9999999}`:                         "/minimum: is beyond 2^53",
		`{"enum": [[1e99]]}`:                              "/enum/0/0: is beyond 2^53",
		`{"maxLength": 1e99}`:                             "/maxLength: is beyond 2^53",
		`{"format": "regex"}`:                             "/format: must be one of date, ",
		`{"pattern": "(?i)a"}`:                            "/pattern: not every library reads this pattern",
		`{"patternProperties": {"a{": true}}`:             "/patternProperties/a{: not every library",
		`{"patternProperties": {"(a{900}){2}": true}}`:    "/patternProperties/(a{900}){2}: the pattern is wrong",
		`{"pattern": "` + strings.Repeat("a", 600) + `"}`: "/pattern: the pattern has 600 bytes",
		`{"type": "text"}`:                                "/type: is not what a schema has there",
		`{"required": "id"}`:                              "/required: is not what a schema has there",
		`{"minLength": -1}`:                               "/minLength: is not what a schema has there",
		`{"anyOf": []}`:                                   "/anyOf: must be a list of schemas",
		`{"properties": []}`:                              "/properties: must hold schemas by name",
		`{"items": [{}]}`:                                 "/items: must be a schema",
		`{"$defs": {"a b": {}}}`:                          "/$defs/a b: is called by",
	} {
		_, problems := Compile(text)
		if len(problems) == 0 || !strings.HasPrefix(problems[0].String(), want) {
			t.Errorf("%.80s: %v, want %s", text, problems, want)
		}
	}
	var many strings.Builder
	for i := range 40 {
		fmt.Fprintf(&many, `,"p%d": {"pattern": "a"}`, i)
	}
	if _, problems := Compile(`{"properties": {` + many.String()[1:] + `}}`); len(problems) != 1 || !strings.Contains(problems[0].Detail, "40 patterns") {
		t.Errorf("40 patterns: %v", problems)
	}
	// Names of members are no keywords.
	compiled(t, `{"properties": {"nullable": true, "$ref": {"type": "string"}}, "$defs": {"dependencies": {}}}`)
}

func TestPatterns(t *testing.T) {
	for _, sound := range []string{
		``, `^a$`, `a*b+?c{2,}d{1,3}?`, `[a-z_.$-]`, `[\w.-]`, `(?:a|b)+`, `\^\$\\\.\*\+\?\(\)\[\]\{\}\|\/`, `\t\n\r\f\v\x41`, `[a\]]`, `\bé\B`, `[-a]`, `a{0}`, `[\[]`, `[a-c-]`,
	} {
		if _, err := newPattern(sound); err != nil {
			t.Errorf("%s: %v", sound, err)
		}
	}
	for _, odd := range []string{
		`(?=a)`, `(?!a)`, `(?<=a)b`, `(?<n>a)`, `(?P<n>a)`, `(?i)a`, `\p{L}`, `\P{L}`, `\u00e9`, `\u{e9}`, `\-`, `\@`, `[\-]`, `[\w-.]`, `[a-\d]`, `a{1001}`, `a{1,1001}`, `a{,3}`, `{`, `a}`, `]`, `a{`,
		`[]`, `[^]`, `[]a]`, `[[:alpha:]]`, `[a[b]`, `[a`, `\A`, `\z`, `\Q`, `\C`, `\1`, `\k<a>`, `\cA`, `\0`, `\a`, `\x{41}`, `\x4`, `\`, `a**`, `a*+`, `^*`, `\b+`, `(*)`, `|*`, `[\b]`, `(`, `)`, `[z-a]`, `a{2,1}`, `a{+1}`,
	} {
		if _, err := newPattern(odd); err == nil {
			t.Errorf("%s is let pass", odd)
		}
	}
}

// A schema and a document made to be dear together cost bounded steps, and so bounded time; the control is the
// same pair with as many steps as it takes.
func TestStepsAreBounded(t *testing.T) {
	fan := func(name string) string {
		ref := `{"$ref": "#/$defs/` + name + `"}`
		return `{"allOf": [` + ref + `, ` + ref + `]}`
	}
	var wide strings.Builder
	for i := range 24 {
		fmt.Fprintf(&wide, `"d%d": %s, `, i, fan(fmt.Sprintf("d%d", i+1)))
	}
	for name, test := range map[string]struct{ schema, document string }{
		"fans for one value":     {`{"$ref": "#/$defs/d0", "$defs": {` + wide.String() + `"d24": {"type": "null"}}}`, `null`},
		"fans for each level":    {`{"$ref": "#/$defs/a", "$defs": {"a": {"items": ` + fan("a") + `}}}`, strings.Repeat("[", 60) + strings.Repeat("]", 60)},
		"a pattern for each":     {`{"items": {"pattern": "(a?){400}b"}}`, `["` + strings.Repeat(strings.Repeat("a", 300)+`","`, 1000) + `"]`},
		"all elements compared":  {`{"items": {"uniqueItems": true}}`, `[[` + strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("x", 5000)+`",`, 20), ",") + `]]`},
		"a long enum of numbers": {`{"items": {"enum": [` + strings.Repeat("1.5,", 5000) + `1.5]}}`, `[` + strings.Repeat(strings.Repeat("7", 390)+",", 200) + `7]`},
	} {
		s, problems := Compile(test.schema)
		if problems != nil {
			t.Fatalf("%s: %v", name, problems)
		}
		began := time.Now()
		got := s.Validate([]byte(test.document))
		if name != "all elements compared" && (len(got) != 1 || got[0].Keyword != TooCostly) {
			t.Errorf("%s: %v", name, got)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	control := compiled(t, `{"$ref": "#/$defs/d20", "$defs": {`+wide.String()+`"d24": {"type": "null"}}}`)
	if got := control.Validate([]byte(`null`)); got != nil {
		t.Errorf("a small fan is not checked: %v", got)
	}
}

// What is counted is no less than what the library does: a schema that goes every way takes time by its steps.
func TestOrdinaryDocumentsAreChecked(t *testing.T) {
	s := compiled(t, `{"type": "object", "properties": {"list": {"items": {"type": "object", "properties": {"n": {"type": "integer"}, "t": {"type": ["string", "null"], "format": "date-time"}}}}}}`)
	large := `{"list": [` + strings.Repeat(`{"n": 12, "t": "2026-03-02T09:14:07.512Z"},`, 20000) + `{"n": 1.5}]}`
	if got := s.Validate([]byte(large)); len(got) != 1 || got[0].Pointer != "/list/20000/n" {
		t.Errorf("a large document: %v", got)
	}
}

func TestCache(t *testing.T) {
	var c Cache
	if first := c.Get(`{"type": "null"}`); first == nil || c.Get(`{"type": "null"}`) != first {
		t.Error("a schema is compiled twice")
	}
	if c.Get(`{"type": 1}`) != nil {
		t.Error("what is no schema was compiled")
	}
	for i := range 200 {
		c.Get(fmt.Sprintf(`{"const": %d, "anyOf": [%strue]}`, i, strings.Repeat("true,", 100)))
	}
	if c.weight > MaxCached || len(c.schemas) < 20 {
		t.Errorf("%d schemas weigh %d", len(c.schemas), c.weight)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(`{"type": "object", "properties": {"a": {"pattern": "^[a-z]{1,3}$"}}}`, `{"a": "abc"}`)
	f.Add(`{"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}`, `[[[]]]`)
	f.Fuzz(func(t *testing.T, text, document string) {
		s, problems := Compile(text)
		if problems == nil {
			_ = s.Validate([]byte(document))
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	for _, name := range []string{"conversation", "customer_notes"} {
		topic, _ := hook.LookupTopic(name)
		s, _ := Compile(topic.Schema)
		data := []byte(topic.Sample)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s.Validate(data) != nil {
					b.Fatal("the sample is not sound")
				}
			}
		})
	}
}
