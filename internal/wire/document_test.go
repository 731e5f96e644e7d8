package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func TestEscapeKeepsTheText(t *testing.T) {
	for _, document := range []string{
		`null`, `true`, `false`, `0`, `-0`, `-0.0`, `1e400`, `1E+2`, `1.10e-05`, `123456789012345678901234567890`, `""`, `"/"`, `"\/"`,
		`{}`, `{ }`, `[]`, "[\n]", `[1 , 2]`, "{\t\"a\" :\r\n1 }",
		`{"a":1,"a":2}`, `{"":{"":[]}}`,
		`"\u0000\u001f\ud83d\udd25\uD83D \udd25\u00E9"`, // escapes stay as they are written, lone surrogates too
		`"\"\\\/\b\f\n\r\t"`,
		`"</script> & ~"`,
	} {
		got, err := wire.Escape([]byte(document))
		if err != nil || string(got) != document {
			t.Errorf("Escape(%s) = %s, %v", document, got, err)
		}
	}
}

func TestEscapeRewritesToASCII(t *testing.T) {
	for document, want := range map[string]string{
		`"é"`:                           `"\u00e9"`,
		"\"\x7f\"":                      `"\u007f"`,
		"\"\u0080\uffff\ufeff\"":        `"\u0080\uffff\ufeff"`, // a byte order mark within a string is a character
		`"🔥"`:                           `"\ud83d\udd25"`,
		"\"\U00010000\U0010ffff\"":      `"\ud800\udc00\udbff\udfff"`,
		"\"\ufffd\"":                    `"\ufffd"`,
		"{\"José\": [\"a\u2028b\", 1]}": `{"Jos\u00e9": ["a\u2028b", 1]}`,
		`"\u00E9é"`:                     `"\u00E9\u00e9"`,
		`"abcdefghijklmné"`:             `"abcdefghijklmn\u00e9"`,
	} {
		if got, err := wire.Escape([]byte(document)); err != nil || string(got) != want {
			t.Errorf("Escape(%s) = %s, %v, want %s", document, got, err, want)
		}
	}
}

func TestEscapeLeavesOutSpaceAround(t *testing.T) {
	for _, document := range []string{`{"a": 1}`, `7`, `"é"`} {
		want, _ := wire.Escape([]byte(document))
		got, err := wire.Escape([]byte(" \t\r\n" + document + "\n \r\t"))
		if err != nil || string(got) != string(want) {
			t.Errorf("%q in white space: %q, %v", document, got, err)
		}
	}
}

// Every byte at every place within eight, since strings are read eight bytes at a time.
func TestEscapeSeesEveryByteAtEveryPlace(t *testing.T) {
	for place := range 18 {
		for c := range 256 {
			text := bytes.Repeat([]byte("x"), 20)
			text[place] = byte(c)
			document := append(append([]byte{'"'}, text...), '"')
			got, err := wire.Escape(document)
			valid := json.Valid(document) && utf8.Valid(document)
			if (err == nil) != valid {
				t.Fatalf("byte %#x at %d: %v", c, place, err)
			}
			if valid && c != 0x7f && !bytes.Equal(got, document) {
				t.Fatalf("byte %#x at %d: %q", c, place, got)
			}
		}
	}
}

func TestEscapeRefuses(t *testing.T) {
	for document, detail := range map[string]string{
		``:                     "ends where a value is expected, at byte 0",
		"  \n":                 "ends where a value is expected, at byte 3",
		"\xef\xbb\xbf{}":       "a byte order mark at byte 0",
		`{} x`:                 "more bytes after the document at byte 3",
		`{}{}`:                 "more bytes",
		"{}\x00":               "more bytes",
		`nul`:                  "a value is expected",
		`nulL`:                 "a value is expected",
		`True`:                 `"T" where a value is expected`,
		`NaN`:                  "a value is expected",
		`-`:                    "a digit is expected",
		`+1`:                   "a value is expected",
		`.5`:                   "a value is expected",
		`01`:                   "more bytes after the document at byte 1",
		`1.`:                   "a digit is expected",
		`1.e5`:                 "a digit is expected",
		`1e`:                   "a digit is expected",
		`1e+`:                  "a digit is expected",
		`0x10`:                 "more bytes",
		`'a'`:                  "a value is expected",
		`"a`:                   "ends within a string, at byte 2",
		`"\`:                   "ends within an escape, at byte 1",
		`"\x41"`:               "no escape of JSON",
		`"\u12"`:               "no escape of JSON",
		`"\u12g4"`:             "no escape of JSON",
		`"\u`:                  "no escape of JSON",
		"\"a\nb\"":             "a raw control character U+000A in a string at byte 2",
		"\"\x00\"":             "a raw control character U+0000",
		"\"\xff\"":             "invalid UTF-8 at byte 1",
		"\"\xc3\"":             "invalid UTF-8",
		"\"\xed\xa0\xbd\"":     "invalid UTF-8", // a surrogate in UTF-8
		"\"\xc0\x80\"":         "invalid UTF-8", // an overlong NUL
		"\"\xf4\x90\x80\x80\"": "invalid UTF-8", // beyond U+10FFFF
		`{`:                    "a member's name is expected",
		`{"a"`:                 "':' is expected",
		`{"a":`:                "a value is expected",
		`{"a":1`:               "',' or '}' is expected",
		`{"a":1,}`:             "a member's name is expected",
		`{"a":1]`:              `"]" where ',' or '}' is expected`,
		`{a:1}`:                "a member's name is expected",
		`{1:1}`:                "a member's name is expected",
		`[`:                    "a value is expected",
		`[1`:                   "',' or ']' is expected",
		`[1,]`:                 "a value is expected",
		`[1}`:                  "',' or ']' is expected",
		`[,]`:                  "a value is expected",
		`]`:                    "a value is expected",
		"[1\u00a02]":           "',' or ']' is expected",
		"{\"a\":1\v}":          "',' or '}' is expected",
		`/**/{}`:               "a value is expected",
	} {
		got, err := wire.Escape([]byte(document))
		var refused *hook.Error
		if !errors.As(err, &refused) || got != nil {
			t.Errorf("Escape(%q) = %q, %v", document, got, err)
			continue
		}
		if refused.Kind != hook.KindMalformed || refused.Code != "invalid_json" || !strings.Contains(refused.Detail, detail) {
			t.Errorf("Escape(%q): %s %s %q, want %q", document, refused.Kind, refused.Code, refused.Detail, detail)
		}
	}
}

func TestEscapeBoundsDepth(t *testing.T) {
	nested := func(opening, middle, closing string, depth int) string {
		return strings.Repeat(opening, depth) + middle + strings.Repeat(closing, depth)
	}
	for _, shape := range [][3]string{{"[", "", "]"}, {"[", "1", "]"}, {`{"a":`, "null", "}"}, {`[[],{"a":`, "[]", "}]"}} {
		per := strings.Count(shape[0], "[") + strings.Count(shape[0], "{") - strings.Count(shape[0], "]")
		most := wire.MaxDepth / per
		if strings.Contains(shape[1], "[") {
			most-- // the one in the middle
		}
		if _, err := wire.Escape([]byte(nested(shape[0], shape[1], shape[2], most))); err != nil {
			t.Errorf("%d × %s: %v", most, shape[0], err)
		}
		_, err := wire.Escape([]byte(nested(shape[0], shape[1], shape[2], most+1)))
		var refused *hook.Error
		if !errors.As(err, &refused) || refused.Kind != hook.KindMalformed || refused.Code != "too_deep" {
			t.Errorf("%d × %s: %v, want too_deep", most+1, shape[0], err)
		}
	}
	siblings := "[" + strings.TrimSuffix(strings.Repeat(`[{"a":[]}],`, 1000), ",") + "]"
	if _, err := wire.Escape([]byte(siblings)); err != nil {
		t.Errorf("siblings count as depth: %v", err)
	}
}

// Bombs are refused, or read, in time that grows with their length only (K3).
func TestEscapeIsLinear(t *testing.T) {
	var keys strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&keys, `"k%d":"é",`, i)
	}
	for name, document := range map[string]string{
		"a million brackets":      strings.Repeat("[", 1_000_000),
		"a hundred thousand keys": "{" + strings.TrimSuffix(keys.String(), ",") + "}",
		"a million escapes":       `"` + strings.Repeat(`\u0000`, 1_000_000) + `"`,
		"ids":                     "{" + strings.TrimSuffix(strings.Repeat(`"\u0069d":1,`, 100_000), ",") + "}",
	} {
		start := time.Now()
		_, _ = wire.Parse([]byte(document))
		if took := time.Since(start); took > time.Second { // some ms; the bound allows for the race detector on a busy machine
			t.Errorf("%s: %v", name, took)
		}
	}
}

func TestParseAllocatesOnlyToRewrite(t *testing.T) {
	ascii := []byte(` {"id": "c_1", "n": [1, 2.5, {"a": "\u00e9"}], "long": "` + strings.Repeat("x", 500) + `"} `)
	if n := testing.AllocsPerRun(100, func() { _, _ = wire.Parse(ascii) }); n != 0 {
		t.Errorf("ASCII: %v allocations", n)
	}
	names := []byte(`{"a": "José", "b": "Zoë", "c": "小林"}`)
	if n := testing.AllocsPerRun(100, func() { _, _ = wire.Parse(names) }); n > 1 {
		t.Errorf("a few names: %v allocations", n)
	}
}

func TestDocumentID(t *testing.T) {
	for _, test := range []struct {
		document, id string
		ok           bool
	}{
		{`{"id":"c_1"}`, "c_1", true},
		{`{"a":{"id":"no"},"b":["id"], "id" : "c_1" ,"c":{"id":"no"}}`, "c_1", true},
		{`{"id":42}`, "42", true},
		{`{"id":-7}`, "-7", true},
		{`{"id":123456789012345678901234567890}`, "123456789012345678901234567890", true},
		{`{"id":""}`, "", true},
		{`{"id":"Jos\u00e9 \"\ud83d\udd25\""}`, `José "🔥"`, true},
		{`{"id":"José"}`, "José", true},
		{`{"\u0069d":"escaped"}`, "escaped", true},
		{`{"\u0069\u0064":"escaped"}`, "escaped", true},
		{`{"id":"first","id":"last"}`, "last", true},
		{`{"id":"first","id":null}`, "", false}, // the last one counts, whatever it is
		{`{"id":1.5}`, "", false},
		{`{"id":1e3}`, "", false},
		{`{"id":true}`, "", false},
		{`{"id":null}`, "", false},
		{`{"id":{"id":"no"}}`, "", false},
		{`{"id":["no"]}`, "", false},
		{`{"ID":"no","i":"no","idd":"no"," id":"no","\u0069":"no"}`, "", false},
		{`{"a":{"id":"no"}}`, "", false},
		{`[{"id":"no"}]`, "", false},
		{`["id","no"]`, "", false},
		{`"id"`, "", false},
		{`7`, "", false},
		{`{}`, "", false},
	} {
		doc, err := wire.Parse([]byte(" " + test.document + "\n"))
		if err != nil {
			t.Errorf("%s: %v", test.document, err)
			continue
		}
		if id, ok := doc.ID(); id != test.id || ok != test.ok {
			t.Errorf("id of %s = %q, %v, want %q, %v", test.document, id, ok, test.id, test.ok)
		}
	}
}

func TestDocumentEncoded(t *testing.T) {
	for document, want := range map[string]bool{
		`"{}"`:                  true,
		`"[]"`:                  true,
		`" \n {\"id\": 1} \t"`:  true,
		`"\u007b\u007d"`:        true,
		`"{\"name\":\"José\"}"`: true,
		`"[1, \"\\ud83d\"]"`:    true,
		`{}`:                    false,
		`["{}"]`:                false,
		`""`:                    false,
		`"a plain string"`:      false,
		`"{"`:                   false,
		`"{} x"`:                false,
		`"{id: 1}"`:             false,
		`"[see above]"`:         false,
		`"1"`:                   false, // a scalar in a string is a string
		`"null"`:                false,
		`"\"{}\""`:              false, // a string in a string: not an object
		`"{\"a\":\"\n\"}"`:      false, // the inner text has a raw newline in its string
		`7`:                     false,
	} {
		doc, err := wire.Parse([]byte(document))
		if err != nil {
			t.Errorf("%s: %v", document, err)
			continue
		}
		if got := doc.Encoded(); got != want {
			t.Errorf("Encoded of %s = %v", document, got)
		}
	}
}
