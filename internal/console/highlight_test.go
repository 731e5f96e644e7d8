package console

import (
	"html"
	"regexp"
	"testing"
)

var markup = regexp.MustCompile(`</?span[^>]*>`)

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		`"Jos\u00e9"`: `"José"`, `"\ud83d\udc4d"`: `"👍"`, `"\ud83d"`: `"\ud83d"`, `"\\u00e9"`: `"\\u00e9"`, `"\u202e"`: `"\u202e"`, `"\u0000"`: `"\u0000"`,
		`"\u00"`: `"\u00"`, `\`: `\`, `"\ud83d\u0041"`: `"\ud83d\u0041"`, "": "",
	} {
		if got := readable(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzHighlight: colours take nothing away, and let nothing through.
func FuzzHighlight(f *testing.F) {
	for _, s := range []string{`{"a": [1, true, "x\\"], "b": null}`, `<script>`, `"unended`, `"a" : 1`, "-", "\x00\xff", `{"<b>": "&amp;"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := string(highlight(s))
		plain := markup.ReplaceAllString(got, "")
		if regexp.MustCompile(`[<>"']`).MatchString(plain) {
			t.Errorf("%q lets through %q", s, plain)
		}
		if want := html.UnescapeString(html.EscapeString(s)); want == s && html.UnescapeString(plain) != s && !regexp.MustCompile("\x00").MatchString(s) {
			t.Errorf("%q became %q", s, plain)
		}
	})
}
