package filter

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"
)

// shapes are documents of many shapes, of about so many bytes.
func shapes(bytes int) map[string]string {
	fill := func(part string, per int) string { return strings.Repeat(part, bytes/per) }
	var keys strings.Builder
	for i := range bytes / 24 {
		fmt.Fprintf(&keys, `"k%08d": %d, `, i, i)
	}
	return map[string]string{
		"numbers":  `{"l": [` + fill("1,", 2) + `1], "s": "x", "n": 3, "o": {}}`,
		"texts":    `{"l": [` + fill(`"ab",`, 5) + `"a"], "s": "` + strings.Repeat("a", 500) + `", "n": 2.5, "o": {"a": 1}}`,
		"one text": `{"s": "` + fill("a", 1) + `", "l": [], "n": 9007199254740993, "o": {"s": null}}`,
		"escapes":  `{"s": "` + fill(`\u00e9\"`, 8) + `", "l": ["` + fill(`\n`, 4) + `"], "n": -1, "o": {}}`,
		"nested":   `{"l": [` + fill("[[1]],", 6) + `[]], "s": "", "n": 0, "o": {}}`,
		"objects":  `{"l": [` + fill(`{"n":1},`, 8) + `{}], "s": "b", "n": 1, "o": {"n": 1}}`,
		"keys":     `{"o": {` + keys.String() + `"z": 1}, "l": [{"n": 1}], "s": "k00000001", "n": 1}`,
		"deep":     `{"l": ` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `, "s": "a", "n": 1, "o": {}}`,
	}
}

// author writes expressions: legal ones, for the most part, and as dear as the language allows.
type author struct{ *rand.Rand }

func (a author) pick(of ...string) string { return of[a.IntN(len(of))] }

// expression is of a kind: b(ool), n(umber), s (text), l(ist), a(nything).
func (a author) expression(kind byte, depth int, element bool) string {
	root := "data"
	if element {
		root = "#"
	}
	sub := func(kind byte) string { return a.expression(kind, depth-1, element) }
	if depth <= 0 {
		switch kind {
		case 'b':
			return a.pick("true", "false", root+".n == 1", root+" == 1", root+".s == 'a'")
		case 'n':
			return a.pick("1", "0", "-3", "2.5", "9007199254740993", root+".n", "len("+root+".s)")
		case 's':
			return a.pick("'a'", "''", "'ab'", root+".s", "event")
		case 'l':
			return a.pick("[1, 'a', nil]", root+".l", root+".o")
		}
		return a.pick(root, root+".o", root+".l", "nil", root+".missing?.x")
	}
	loop := func(name string) string {
		if element {
			return sub('b')
		}
		return name + "(" + sub('l') + ", " + a.expression('b', depth-1, true) + ")"
	}
	switch kind {
	case 'b':
		return a.pick(
			"("+sub('b')+" and "+sub('b')+")", "("+sub('b')+" or "+sub('b')+")", "not ("+sub('b')+")", "("+sub('a')+" == "+sub('a')+")",
			"("+sub('n')+" < "+sub('n')+")", "("+sub('s')+" contains "+sub('s')+")", "("+sub('a')+" in "+sub('l')+")",
			"("+sub('s')+" matches '"+a.pick("a+b", "^a*$", "(a|b)*c", "a{50}b?", "[^a]+é")+"')", "("+sub('s')+" startsWith "+sub('s')+")",
			"("+sub('l')+" == "+sub('l')+")", loop("any"), loop("all"), loop("none"), loop("one"))
	case 'n':
		return a.pick("("+sub('n')+" "+a.pick("-", "*", "/", "%")+" "+sub('n')+")", "len("+sub('l')+")", "len("+sub('s')+")", "int("+sub('a')+")",
			"indexOf("+sub('s')+", "+sub('s')+")", "max("+sub('l')+")", "min("+sub('n')+", "+sub('n')+")", "abs("+sub('n')+")", "sum("+sub('l')+")", "lastIndexOf("+sub('s')+", "+sub('s')+")")
	case 's':
		return a.pick("lower("+sub('s')+")", "upper("+sub('s')+")", "trim("+sub('s')+", "+sub('s')+")", "type("+sub('a')+")", sub('s')+"[1:"+sub('n')+"]", "trimPrefix("+sub('s')+", "+sub('s')+")")
	case 'l':
		return a.pick("split("+sub('s')+", "+sub('s')+")", "("+sub('l')+")[1:]", loop("filter"), "["+sub('a')+", "+sub('a')+"]")
	}
	return a.pick(sub('b'), sub('n'), sub('s'), sub('l'), "first("+sub('l')+")", "last("+sub('l')+")", "("+sub('a')+" ?? "+sub('a')+")", "get("+sub('a')+", "+sub('s')+")", "("+sub('l')+")["+sub('n')+"]", "find("+sub('l')+", true)")
}

// TestStepsBoundWork writes expressions and looks whether the steps bound what they do: memory in
// bytes, which nothing else bounds, and time, generously. The control is that without the budget they
// do many times as much.
func TestStepsBoundWork(t *testing.T) {
	const most = 150 // expressions
	a := author{rand.New(rand.NewPCG(1, 2))}
	docs := map[string]*Document{}
	for name, text := range shapes(100_000) {
		d, err := Decode([]byte(text))
		if err != nil {
			t.Fatal(name, err)
		}
		for object := range d.nodes { // what is made once for all filters is not one's own
			switch d.text[d.nodes[object].at] {
			case '{':
				d.index(uint32(object))
			case '"':
				d.string(uint32(object))
			}
		}
		docs[name] = d
	}
	over, compiled, dearest, slowest, unbounded := 0, 0, uint64(0), time.Duration(0), 0
	for range most {
		source := a.expression('b', 1+a.IntN(5), false)
		p, err := Compile(source)
		if err != nil {
			continue
		}
		compiled++
		for name, d := range docs {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			j, steps, err := p.match("conversation.status", d, &pace{ctx: t.Context(), left: breather})
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if err != nil || j.Problem != "" && !j.Matched {
				t.Errorf("%s on %s: %+v, %v", source, name, j, err)
			}
			if j.Problem == ErrBudget.Error() {
				over++
			} else if steps > MaxSteps {
				t.Errorf("%s on %s took %d steps", source, name, steps)
			}
			bytes := after.TotalAlloc - before.TotalAlloc
			if dearest = max(dearest, bytes); bytes > 256*MaxSteps {
				t.Errorf("%s on %s: %d bytes", source, name, bytes)
			}
			if slowest = max(slowest, took); took > 2*time.Second {
				t.Errorf("%s on %s: %v", source, name, took)
			}
			if again, same, _ := p.match("conversation.status", d, &pace{ctx: t.Context(), left: breather}); again != j || same != steps {
				t.Errorf("%s on %s: %+v in %d steps, then %+v in %d", source, name, j, steps, again, same)
			}
			if j.Problem != ErrBudget.Error() {
				continue
			}
			r := newRun(d, "conversation.status", 20*MaxSteps, &pace{ctx: t.Context()})
			if _, _ = p.clauses[0].eval(&r); 20*MaxSteps-r.left > 10*MaxSteps {
				unbounded++
			}
		}
	}
	t.Logf("%d of %d expressions compiled; %d evaluations over the budget, %d of ten times as much without one; at most %d bytes, %v", compiled, most, over, unbounded, dearest, slowest)
	if compiled < most/4 || over == 0 || unbounded == 0 {
		t.Error("the expressions are not dear enough to show anything")
	}
}

// TestTheSameAsTheLanguage compares with the virtual machine of expr-lang, on documents without
// integers beyond the doubles: whoever saved a filter must find that it says what it said.
func TestTheSameAsTheLanguage(t *testing.T) {
	a := author{rand.New(rand.NewPCG(3, 4))}
	docs := []string{
		document, `{"l": [1, 2, "a", null], "s": "abc", "n": 1, "o": {"a": 1, "b": [1]}}`, `{"l": ["a", "ab"], "s": "a", "n": 2.5, "o": {"s": "ab"}}`,
		`{"l": [], "s": "", "n": -3, "o": {}}`, `{"l": [{"n": 1, "s": "a", "l": [1]}, {"n": 1}], "s": "aab", "n": 0, "o": {"n": 1}}`, `{}`, `[1]`, `"a"`, `null`,
	}
	compared, sound := 0, 0
	for range 3000 {
		source := a.expression('b', 1+a.IntN(3), false)
		if strings.Contains(source, "9007199254740993") || strings.Contains(source, "type(") || strings.Contains(source, "%") {
			continue // what differs, on purpose
		}
		p, err := Compile(source)
		if err != nil {
			continue
		}
		machine, err := expr.Compile(source, expr.Env(env{}), expr.AsBool(), expr.Optimize(false))
		if err != nil {
			t.Fatal(source, err)
		}
		for _, text := range docs {
			var data any
			if err := json.Unmarshal([]byte(text), &data); err != nil {
				t.Fatal(err)
			}
			out, err := expr.Run(machine, env{"conversation", data})
			want, ok := out.(bool)
			got := p.Match("conversation", []byte(text))
			compared++
			if err != nil || !ok || strings.HasSuffix(got.Problem, "is for lists, not for map") {
				continue // an error of theirs may well be an answer of ours, and they loop over objects while nobody looks at the elements
			}
			sound++
			if got.Problem != "" || got.Matched != want {
				t.Errorf("%s on %s = %+v, want %v", source, text, got, want)
			}
		}
	}
	t.Logf("%d compared, %d without an error", compared, sound)
	if sound < 1000 {
		t.Error("too few")
	}
}

const document = `{"s": "CLOSED", "n": 3, "l": ["refund", "vip"], "o": {"plan": "pro", "seats": 12}}`

// BenchmarkMatch is what ordinary filters cost, and what the decoding before them does.
func BenchmarkMatch(b *testing.B) {
	d, err := Decode([]byte(`{"id":"7","status":"CLOSED","priority":3,"tags":["refund","vip"],"pad":"` + strings.Repeat("x", 400) + `"}`))
	if err != nil {
		b.Fatal(err)
	}
	p, err := Compile(`data.status == "CLOSED" && event startsWith "conv" && any(data.tags, # in ["refund","vip"])`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if j, _, _ := p.match("conversation.status", d, &pace{ctx: context.Background(), left: breather}); !j.Matched || j.Problem != "" {
			b.Fatal(j)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, text := range shapes(1 << 20) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode([]byte(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStep is what a step takes where it takes long.
func BenchmarkStep(b *testing.B) {
	docs := shapes(100_000)
	for _, x := range [][2]string{
		{"one text", `data.s matches "(a|aa|aaa)*(b|ab|aab)*c"`},
		{"one text", `data.s matches "a{60}b"`},
		{"one text", `data.s contains "aaaab"`},
		{"one text", `lastIndexOf(data.s, "ab") > 0`},
		{"numbers", `any(data.l, # == 2)`},
		{"texts", `any(data.l, # == "z")`},
		{"objects", `any(data.l, .n == 2)`},
		{"nested", `data.l == data.l`},
		{"keys", `len(data.o) == 1`},
		{"one text", `len(split(data.s[:9000], "")) == 0`},
		{"escapes", `lower(data.s) == ""`},
		{"one text", `trim(data.s[:9000], "ab") == "x"`},
		{"numbers", `len(filter(data.l, true)) == 1`},
		{"numbers", `data.l[-1] == 1`},
		{"numbers", `sum(data.l, # * 9007199254740993) == 1`},
	} {
		b.Run(x[1], func(b *testing.B) {
			d, err := Decode([]byte(docs[x[0]]))
			if err != nil {
				b.Fatal(err)
			}
			p, err := Compile(x[1])
			if err != nil {
				b.Fatal(err)
			}
			r := run{}
			used := 0
			for b.Loop() {
				r = newRun(d, "conversation", 1<<40, &pace{ctx: b.Context(), left: breather})
				_, _ = p.clauses[0].eval(&r)
				used = 1<<40 - r.left
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(used), "ns/step")
			b.ReportMetric(float64(used), "steps")
		})
	}
}
