package filter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

const document = `{"id": "7", "status": "CLOSED", "priority": 3, "tags": ["refund", "vip"],
	"customer": {"plan": "pro", "seats": 12}, "lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": 0}], "none": null}`

func TestMatch(t *testing.T) {
	tests := []struct {
		source string
		want   bool
	}{
		{`true`, true},
		{`event == "conversation.status"`, true},
		{`event startsWith "customer"`, false},
		{`data.status == "CLOSED"`, true},
		{`data.status == "closed"`, false},
		{`lower(data.status) == "closed"`, true},
		{`data.status in ["OPEN", "SNOOZED"]`, false},
		{`"vip" in data.tags`, true},
		{`any(data.tags, # == "refund")`, true},
		{`all(data.lines, .n > 0)`, false},
		{`count(data.lines, .n > 0) == 1`, true},
		{`len(filter(data.lines, .sku == "b")) == 1`, true},
		{`data.customer.seats > 10 and data.customer.plan != "free"`, true},
		{`data.customer?.region == nil`, true},
		{`data["status"] == "CLOSED"`, true},
		{`data.missing == nil`, true},
		{`(data.missing ?? "x") == "x"`, true},
		{`data.status matches "^CLO"`, true},
		{`not (data.priority >= 3)`, false},
		{`data.priority + 1 == 4`, true},
		{`data.priority > 2 ? event contains "status" : false`, true},
	}
	for _, test := range tests {
		p, err := filter.Compile(test.source)
		if err != nil {
			t.Errorf("%s: %v", test.source, err)
			continue
		}
		if got := p.Match("conversation.status", []byte(document)); got.Matched != test.want || got.Problem != "" {
			t.Errorf("%s = %+v, want %v", test.source, got, test.want)
		}
	}
}

func TestAnErrorIsAMatch(t *testing.T) {
	for source, data := range map[string]string{
		`data.customer.plan == "pro"`: `{}`,
		`data.status`:                 `{"status": "CLOSED"}`,
		`data.n > 3`:                  `{"n": "many"}`,
		`any(data.tags, # == 1)`:      `{"tags": 5}`,
		`data.n == 1`:                 `{"n": 1e400}`,
		`data.a == 1`:                 `"text"`,
	} {
		p, err := filter.Compile(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if got := p.Match("conversation", []byte(data)); !got.Matched || got.Problem == "" || strings.Contains(got.Problem, "\n") {
			t.Errorf("%s on %s = %+v, want a match with its problem on one line", source, data, got)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for source, says := range map[string]string{
		``:                               "empty",
		`data.`:                          "character",
		`1 + 1`:                          "bool",
		`"text"`:                         "bool",
		`datum.x == 1`:                   "datum is unknown",
		`now() > 1`:                      "now is not a function",
		`any(data.a, any(data.b, true))`: "cannot stand inside",
		`any(data.a, # == data.b)`:       "only the element",
		`map(data.a, 1) == []`:           "map is not a function",
		`keys(data)[0] == "a"`:           "keys is not a function",
		`repeat("a", 9) == ""`:           "repeat is not a function",
		`let a = data; a == 1`:           "not supported",
		`1..9 == []`:                     "..",
		`data.s matches data.p`:          "in quotes",
		`data.s ** 9 == 1`:               "**",
		`data.f(1)`:                      "not a function",
		`$env.data == 1`:                 "unknown",
		strings.Repeat(`data.s + `, 9) + `"" == ""`:      "+ may stand",
		strings.Repeat(`data.a == 1 and `, 200) + `true`: "bytes",
		`data.a in [` + strings.Repeat("1,", 300) + `1]`: "nodes",
	} {
		if _, err := filter.Compile(source); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Compile(%.40s) = %v, want one line with %q", source, err, says)
		}
	}
}

func TestTheClauseThatSaidNo(t *testing.T) {
	p, err := filter.Compile(`event contains "status" and data.status == "CLOSED" && data.priority > 5 and true`)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Match("conversation.status", []byte(document)); got.Matched || got.Clause != `data.priority > 5` {
		t.Errorf("%+v", got)
	}
	if got := p.Match("conversation.status", []byte(`{"status": "CLOSED", "priority": 9}`)); !got.Matched || got.Clause != "" {
		t.Errorf("of a match: %+v", got)
	}
}

// TestIntegers: those of 64 bits are exact, floats stay floats, and both compare as numbers do.
func TestIntegers(t *testing.T) {
	const ids = `{"id": 7615917337495251231, "five": 5, "point": 5.0, "half": 0.5, "top": 18446744073709551615, "least": -9223372036854775808,
		"ids": [7615917337495251231], "n": 6, "big": 9007199254740993, "double": 9007199254740992.0}`
	for source, want := range map[string]bool{
		`data.id == 7615917337495251231`:             true,
		`data.id == 7615917337495251230`:             false,
		`data.id != 7615917337495251230`:             true,
		`data.id < 7615917337495251232`:              true,
		`data.id <= 7615917337495251230`:             false,
		`data.id in [7615917337495251230]`:           false,
		`7615917337495251231 in data.ids`:            true,
		`7615917337495251230 in data.ids`:            false,
		`data.five == 5.0`:                           true,
		`data.point == 5`:                            true,
		`data.five == data.point`:                    true,
		`data.half == 0.5`:                           true,
		`data.half < 1`:                              true,
		`data.n % 2 == 0`:                            true,
		`data.id % 2 == 1`:                           true,
		`data.top % 10 == 5`:                         true,
		`data.top > data.id`:                         true,
		`data.top == data.top - 1 + 1`:               true,
		`data.least < -9223372036854775807`:          true,
		`data.big == data.double`:                    false,
		`data.big > data.double`:                     true,
		`data.n / 4 == 1.5`:                          true,
		`type(data.five) == "int"`:                   true,
		`type(data.point) == "float"`:                true,
		`data.id + 1 == 7615917337495251232`:         true,
		`-data.five == -5`:                           true,
		`max(data.id, 5) - 1 == 7615917337495251230`: true,
		`sum(data.ids) == 7615917337495251231`:       true,
	} {
		p, err := filter.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := p.Match("conversation", []byte(ids)); got.Matched != want || got.Problem != "" {
			t.Errorf("%s = %+v, want %v", source, got, want)
		}
	}
	for _, source := range []string{`data.point % 2 == 0`, `data.five % 0 == 1`, `data.id * data.id == 1`, `data.top + 1 == 0`} {
		p, err := filter.Compile(source)
		if err != nil {
			t.Fatal(source, err)
		}
		if got := p.Match("conversation", []byte(ids)); !got.Matched || got.Problem == "" {
			t.Errorf("%s = %+v, want a match with its problem", source, got)
		}
	}
}

// TestPatternsAreBounded: by the machine that a pattern compiles to, without compiling it.
func TestPatternsAreBounded(t *testing.T) {
	for _, pattern := range []string{
		strings.Repeat("a{1000}", 200), "((a{30}){30}){30}", "(a|b|c){400}", "[a-f]{999}[a-f]{999}", "(((x?){9}){9}){9}y{500}",
		strings.Repeat(`\\pL`, 100) + strings.Repeat(`.?`, 300), "a{1,1000}b{1,999}", "(?:(?:a*){100}){10}",
	} {
		began := time.Now()
		_, err := filter.Compile(`data.s matches "` + pattern + `"`)
		if err == nil || !strings.Contains(err.Error(), "pattern") {
			t.Errorf("%.30s: %v, want a refusal that names the pattern", pattern, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%.30s was refused after %v", pattern, took)
		}
	}
	for _, pattern := range []string{"^CLO", `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`, "(?i)refund|cancel|complaint", `^[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,100}$`} {
		if _, err := filter.Compile("data.s matches `" + pattern + "`"); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	var clauses []string
	for i := range 6 {
		clauses = append(clauses, fmt.Sprintf(`data.s matches "a{200}%d"`, i))
	}
	if _, err := filter.Compile(strings.Join(clauses, " or ")); err == nil {
		t.Error("what the patterns of an expression come to together is not bounded")
	}
}

func TestJudgesShareAndBound(t *testing.T) {
	var c filter.Cache
	j := filter.NewJudges(&c, filter.NewHands(), true)
	e := &hook.Event{Topic: "conversation", Data: []byte(document)}
	for range 2 {
		got, err := j.Judge(t.Context(), 1, e, []string{`data.status == "CLOSED"`, `data.status == "OPEN"`, `from a newer version`})
		if err != nil || !got[0].Matched || got[1].Matched || !got[2].Matched || got[2].Problem == "" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	e.Data = []byte(`{"l": [` + strings.Repeat("1,", 20_000) + `1]}`)
	if _, err := j.Judge(ended, 1, e, []string{`count(data.l, # == 2) == 1`}); !errors.Is(err, context.Canceled) {
		t.Errorf("for somebody who has gone: %v", err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, source := range []string{`data.status == "CLOSED"`, `any(data.tags, # in ["a"])`, `event matches "^c"`, `data?.a ?? 1 > 0`, `all(data.l, .n > 0)`} {
		f.Add(source, document)
	}
	f.Fuzz(func(t *testing.T, source, data string) {
		p, err := filter.Compile(source)
		if err != nil {
			return
		}
		got := p.Match("conversation", []byte(data))
		if got.Problem != "" && !got.Matched {
			t.Errorf("an error is not a match: %+v", got)
		}
		if again := p.Match("conversation", []byte(data)); again != got {
			t.Errorf("%q on %q: %+v, then %+v", source, data, got, again)
		}
	})
}
