package intake_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestLint(t *testing.T) {
	for data, want := range map[string]string{
		`{"id":1,"a":[true,null,"José \ud83d\ude00 \u0001"],"n":-0.5e10,"__Proto__":{},"prototype":1}`: "",
		`"text"`: "", `0`: "", `9007199254740992`: "", `-9007199254740992`: "", `1e308`: "",
		nested(31):                  "",
		`{"a":{"b":1},"b":{"b":1}}`: "", // the same name in different objects
		`["__proto__", "constructor", "\\u0000"]`:          "", // no names, no escapes
		`{"constructor":1,"x":{"prototype":2}}`:            "",
		`{"constructor":[{"prototype":2}]}`:                "",
		`{"a":` + nested(31) + `}`:                         "deep_nesting /a" + strings.Repeat("/0", 30),
		nested(64):                                         "deep_nesting " + strings.Repeat("/0", 31),
		`{"a":["x","\ud83d "]}`:                            "lone_surrogate /a/1",
		`["\ude00\ud83d"]`:                                 "lone_surrogate /0 2",
		`{"\ud800":1}`:                                     "lone_surrogate /\ufffd",
		`"\ud83d\ud83d\ude00"`:                             "lone_surrogate ",
		`{"a/b":"\u0000"}`:                                 "nul_character /a~1b",
		`{"a":{"id":1,"x":2,"\u0069d":3}}`:                 "duplicate_name /a/id",
		`{"a":{"__proto__":null}}`:                         "proto_name /a/__proto__",
		`{"\u005f_proto__":null}`:                          "proto_name /__proto__",
		`{"a":{"constructor":{"prototype":{}}}}`:           "proto_name /a/constructor/prototype",
		`[1,9007199254740993]`:                             "integer_beyond_double /1",
		`-123456789012345678901234567890`:                  "integer_beyond_double ",
		`{"n":1e400}`:                                      "number_beyond_double /n",
		`[0.` + strings.Repeat("1", 1000) + `]`:            "number_long /0",
		`{"a":"\u0000","b":9007199254740993,"b":"\udc00"}`: "lone_surrogate /b nul_character /a duplicate_name /b integer_beyond_double /b",
	} {
		got := ""
		for _, f := range intake.Lint([]byte(data)) {
			got += " " + f.Code + " " + f.Pointer
			if _, n, many := strings.Cut(f.Detail, " ("); many && strings.HasSuffix(n, " places)") {
				got += " " + strings.TrimSuffix(n, " places)")
			}
		}
		if got = strings.TrimPrefix(got, " "); got != want {
			t.Errorf("%.80s: %q, want %q", data, got, want)
		}
	}
}

// Whatever may be published can be looked at, and pointers stay within the document.
func FuzzLint(f *testing.F) {
	for _, seed := range []string{`{"a":{"__proto__":"\ud800"}}`, `[1e999,{"":{"":1,"":2}}]`, nested(40), `"\u0000\\u0000"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		document, err := wire.Escape(data)
		if err != nil {
			return
		}
		found := intake.Lint(document)
		if len(found) > 8 {
			t.Fatalf("%s: %+v", data, found)
		}
		if text, err := json.Marshal(found); err != nil || fmt.Sprint(found) == "" {
			t.Fatalf("%s: %v", text, err)
		}
	})
}
