package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// The receivers of the contract are Python and JavaScript programs. What is promised about them is
// tried on the real interpreters: one process for a batch, a line per case.
const batch = 1500

// python, node and perl print, for each line of input, what the expression makes of it (its name is x).
func python(t *testing.T, expression string, lines []string) []string {
	t.Helper()
	return interpret(t, lines, "python3", "-c", `
import json, sys
sys.stdin.reconfigure(encoding="utf-8", newline="\n")
for line in sys.stdin:
    x = line.rstrip("\n")
    print(`+expression+`)
`)
}

func node(t *testing.T, expression string, lines []string) []string {
	t.Helper()
	return interpret(t, lines, "node", "-e", `
const lines = require("fs").readFileSync(0, "utf8").split("\n").slice(0, -1)
process.stdout.write(lines.map(x => (`+expression+`) + "\n").join(""))
`)
}

func perl(t *testing.T, expression string, lines []string) []string {
	t.Helper()
	return interpret(t, lines, "perl", "-lne", "my $x = $_; print("+expression+")")
}

func interpret(t *testing.T, lines []string, name string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, &stderr)
	}
	answers := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(answers) != len(lines) {
		t.Fatalf("%s: %d answers to %d lines", name, len(answers), len(lines))
	}
	return answers
}

// documents generates JSON as producers write it, and as nobody should.
func documents() *rapid.Generator[string] {
	space := rapid.SampledFrom([]string{"", "", "", "", " ", "\n", "\r\n\t", "  "})
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			"a", "id", "O'Brien", "'", "''", `\"`, `\\`, `\/`, `\b\f\n\r\t`, `\u0000`, `\u001f`, `\u007f`, `\u00e9`, `\ud83d`, `\ude00\ud83d`,
			`\ud83d\ude00`, "José", "🔥", "\x7f", "\u0080", "\u00a0", "\u00ad", "\u2028", "\u2029", "\ufeff", "\ufffd", "\uffff", "\U0010ffff",
			"</script>", "&", "<", "{", "}", "[1,", ":", ",", "%", "\u05d0\u0301", "__proto__", "toString",
		}),
		rapid.StringMatching(`[ !#-\[\]-~]{0,12}`),
	)
	text := rapid.Custom(func(t *rapid.T) string {
		return `"` + strings.Join(rapid.SliceOfN(piece, 0, 5).Draw(t, "text"), "") + `"`
	})
	scalar := rapid.OneOf(text, rapid.SampledFrom([]string{
		"null", "true", "false", "0", "-0", "-0.0", "1.0", "1e400", "-1E-400", "1e21", "0.1", "123456789012345678901234567890", "9007199254740993",
	}), rapid.StringMatching(`-?[1-9][0-9]{0,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?`))
	var value func(depth int) *rapid.Generator[string]
	value = func(depth int) *rapid.Generator[string] {
		if depth == 0 {
			return scalar
		}
		return rapid.Custom(func(t *rapid.T) string {
			pad := func(token string) string { return space.Draw(t, "space") + token + space.Draw(t, "space") }
			kind := rapid.IntRange(0, 3).Draw(t, "kind")
			if kind == 0 {
				return scalar.Draw(t, "scalar")
			}
			opening, closing := "[", "]"
			var items []string
			for range rapid.IntRange(0, 4).Draw(t, "items") {
				item := pad(value(depth-1).Draw(t, "item"))
				if kind > 1 {
					opening, closing = "{", "}"
					item = pad(text.Draw(t, "name")) + ":" + item
				}
				items = append(items, item)
			}
			return opening + strings.Join(items, ",") + space.Draw(t, "space") + closing
		})
	}
	return value(4)
}

// examples draws from a generator with a seed that a failure prints.
func examples[T any](t *testing.T, generator *rapid.Generator[T]) []T {
	t.Helper()
	seed := rand.IntN(1 << 30)
	t.Logf("seed %d", seed)
	drawn := make([]T, batch)
	for i := range drawn {
		drawn[i] = generator.Example(seed + i)
	}
	return drawn
}

func randomBodies(t *testing.T) []string {
	t.Helper()
	topics := hook.Topics()
	bodies := make([]string, 0, batch+2*len(topics))
	for i, document := range examples(t, documents()) {
		data, err := wire.Escape([]byte(document))
		if err != nil {
			t.Fatalf("%q: %v", document, err)
		}
		bodies = append(bodies, string(wire.Body(topics[i%len(topics)].Name, data, hook.DataString)))
	}
	for _, topic := range topics {
		data, err := wire.Escape([]byte(topic.Sample))
		if err != nil {
			t.Fatalf("%s: %v", topic.Name, err)
		}
		bodies = append(bodies, string(wire.Body(topic.Name, data, hook.DataString)))
	}
	for _, v := range vectors(t) {
		bodies = append(bodies, v.Body)
	}
	return bodies
}

// The commonest mistake of a receiver, to verify a body that was parsed and printed again,
// verifies all the same.
func TestReserialisedBodyIsTheBody(t *testing.T) {
	bodies := randomBodies(t)
	for name, again := range map[string][]string{
		"python": python(t, `json.dumps(json.loads(x), separators=(",", ":"))`, bodies),
		"node":   node(t, `JSON.stringify(JSON.parse(x))`, bodies),
	} {
		for i, body := range bodies {
			if again[i] != body {
				t.Fatalf("%s:\n got %s\nwant %s", name, again[i], body)
			}
		}
	}
}

func TestPythonReprIsPythons(t *testing.T) {
	bodies := randomBodies(t)
	want := python(t, "repr(json.loads(x))", bodies)
	for i, body := range bodies {
		got, err := wire.PythonRepr([]byte(body))
		if err != nil || string(got) != want[i] {
			t.Fatalf("%s\n got %s, %v\nwant %s", body, got, err, want[i])
		}
	}
}

// TestPythonReprOfStrangersDicts goes beyond our own bodies: any names, any characters. Where
// Python's repr leaves ASCII the reference code raises, and so no signature can be right.
func TestPythonReprOfStrangersDicts(t *testing.T) {
	// Characters whose category no version of Unicode since Python 3.6 has changed.
	piece := rapid.SampledFrom([]string{
		"a", "é", "'", `\"`, `\\`, `\/`, `\n`, `\r`, `\t`, `\b`, `\f`, `\u0000`, `\u001b`, `\u007f`, `\u0080`, `\u00a0`, `\u00ad`, `\u00ff`, `\u2028`, `\ufeff`,
		`\ud83d`, `\udc00`, `\ude00\ud83d`, `\ud83d\ude00`, `\udb40\udc01`, `\ue000`, "\U000f0000", "\u3000", "\u200b", "{", ",", ": ",
	})
	text := rapid.Custom(func(t *rapid.T) string {
		return `"` + strings.Join(rapid.SliceOfN(piece, 0, 4).Draw(t, "text"), "") + `"`
	})
	lines := examples(t, rapid.Custom(func(t *rapid.T) string {
		var members []string
		for i := range rapid.IntRange(0, 3).Draw(t, "members") {
			name := text.Draw(t, "name")
			members = append(members, fmt.Sprintf(`%s%d": %s`, name[:len(name)-1], i, text.Draw(t, "value")))
		}
		return "{ " + strings.Join(members, " , ") + " }"
	}))
	refused := 0
	for i, want := range python(t, `(lambda s: s if s.isascii() else "raises")(repr(json.loads(x)))`, lines) {
		got, err := wire.PythonRepr([]byte(lines[i]))
		if want == "raises" {
			refused++
			if err == nil {
				t.Fatalf("%s\n got %s, where the reference raises", lines[i], got)
			}
			continue
		}
		if err != nil || string(got) != want {
			t.Fatalf("%s\n got %s, %v\nwant %s", lines[i], got, err, want)
		}
	}
	if refused == 0 || refused == len(lines) {
		t.Errorf("%d of %d cases raise: the test proves little", refused, len(lines))
	}
}

func TestTimestampSurvivesParsingAndPrinting(t *testing.T) {
	from, to := time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC), time.Date(2242, 1, 1, 0, 0, 0, 0, time.UTC)
	texts := []string{
		wire.Timestamp(from), wire.Timestamp(to), wire.Timestamp(time.Unix(0, 0)), wire.Timestamp(time.Time{}),
		wire.Timestamp(time.Unix(1732363200, 0)), wire.Timestamp(time.Unix(1<<31, 999_999_999)), wire.Timestamp(time.Unix(1<<32, 1_000_000)),
	}
	millis := rapid.Int64Range(from.UnixMilli(), to.UnixMilli())
	round := rapid.SampledFrom([]int64{1, 1, 1, 10, 100, 1000})
	texts = append(texts, examples(t, rapid.Custom(func(t *rapid.T) string {
		step := round.Draw(t, "step")
		return wire.Timestamp(time.UnixMilli(millis.Draw(t, "time") / step * step))
	}))...)
	for name, printed := range printedTimestamps(t, texts) {
		for i, text := range texts {
			if printed[i] != text {
				t.Errorf("%s prints %s for %s", name, printed[i], text)
			}
		}
	}
	// The control: six decimals survive shortest printing, and none of what keeps 14 or 15 digits.
	for name, printed := range printedTimestamps(t, []string{"1732363200.123457"}) {
		shortest := name == "Python" || name == "JavaScript" || name == "Go"
		if (printed[0] == "1732363200.123457") != shortest {
			t.Errorf("%s prints %s for 1732363200.123457", name, printed[0])
		}
	}
}

// printedTimestamps are texts read as a double and printed again, in the ways of several languages.
func printedTimestamps(t *testing.T, texts []string) map[string][]string {
	t.Helper()
	printed := map[string][]string{
		"Python":                 python(t, "f'{float(x)}'", texts),
		"Python in milliseconds": python(t, "f'{int(float(x) * 1000 + 0.5) / 1000}'", texts),
		"PHP and Lua (%.14g)":    python(t, "'%.14g' % float(x)", texts),
		"JavaScript":             node(t, "String(Number(x))", texts),
		"JavaScript's Date":      node(t, "String(new Date(Math.round(Number(x) * 1000)).getTime() / 1000)", texts),
		"Perl":                   perl(t, "$x + 0", texts),
	}
	for _, text := range texts {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		printed["Go"] = append(printed["Go"], strconv.FormatFloat(f, 'f', -1, 64))
	}
	return printed
}

// TestReferenceVerifier runs the documentation's code on requests whose headers we made. Its control
// is a request that was changed.
func TestReferenceVerifier(t *testing.T) {
	var lines, want []string
	add := func(mode string, body []byte, header map[string][]string, secret, answer string) {
		line, err := json.Marshal(map[string]any{"body": string(body), "headers": header, "secret": secret, "mode": mode})
		if err != nil {
			t.Fatal(err)
		}
		lines, want = append(lines, string(line)), append(want, answer)
	}
	for i, topic := range hook.Topics() {
		data, err := wire.Escape([]byte(topic.Sample))
		if err != nil {
			t.Fatal(err)
		}
		for mode, scheme := range map[string]hook.SignatureScheme{"raw": hook.SchemeHex, "dict": hook.SchemePythonDict} {
			r := wire.Request{
				Body:      wire.Body(topic.Name, data, hook.DataString),
				Timestamp: wire.Timestamp(time.Unix(1732363200+int64(i), int64(i)*100_000_000)),
				Scheme:    scheme, Secret: hook.NewSecret(), Topic: topic.Name,
			}
			header, err := r.Header()
			if err != nil {
				t.Fatal(err)
			}
			add(mode, r.Body, header, r.Secret, "ok")
			add(mode, append([]byte(" "), r.Body...), header, r.Secret, map[string]string{"raw": "mismatch", "dict": "ok"}[mode])
			add(mode, r.Body, header, r.Secret+"x", "mismatch")
		}
	}
	script, err := os.ReadFile("testdata/reference.py")
	if err != nil {
		t.Fatal(err)
	}
	for i, answer := range interpret(t, lines, "python3", "-c", string(script)) {
		if answer, _, _ = strings.Cut(answer, ":"); answer != want[i] {
			t.Errorf("%s, want %s: %s", answer, want[i], lines[i])
		}
	}
}

func TestPythonReprRefuses(t *testing.T) {
	for _, body := range []string{
		``, `[]`, `"a"`, `{"event":"x","data":{}}`, `{"event":"x","data":1}`, `{"event":"x","data":null}`,
		`{"a":"1","a":"2"}`, `{"a":"1","\u0061":"2"}`, `{"a":"é"}`, `{"a":"1"} x`, `{"a"}`,
	} {
		if got, err := wire.PythonRepr([]byte(body)); err == nil {
			t.Errorf("PythonRepr(%s) = %s", body, got)
		}
		_, err := wire.Sign(hook.SchemePythonDict, "0123456789abcdef", "1.5", []byte(body))
		if err == nil || errors.Unwrap(err) == nil {
			t.Errorf("Sign(%s): %v", body, err)
		}
	}
}
