package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
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
		if got, err := p.Match("conversation.status", []byte(document)); got != test.want || err != nil {
			t.Errorf("%s = %v, %v, want %v", test.source, got, err, test.want)
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
		if matched, err := p.Match("conversation", []byte(data)); !matched || err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s on %s = %v, %v, want a match with its error on one line", source, data, matched, err)
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

func TestFailedNamesTheClause(t *testing.T) {
	p, err := filter.Compile(`event contains "status" and data.status == "CLOSED" && data.priority > 5 and true`)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Failed("conversation.status", []byte(document)); got != `data.priority > 5` {
		t.Errorf("Failed = %q", got)
	}
	if got := p.Failed("conversation.status", []byte(`{"status": "CLOSED", "priority": 9}`)); got != "" {
		t.Errorf("Failed of a match = %q", got)
	}
}

func TestCache(t *testing.T) {
	var c filter.Cache
	for range 2 {
		if !c.Match(`data.status == "CLOSED"`, "conversation", []byte(document)) || c.Match(`data.status == "OPEN"`, "conversation", []byte(document)) {
			t.Error("the wrong verdict")
		}
		if !c.Match(`from a newer version`, "conversation", []byte(document)) {
			t.Error("what does not compile does not match")
		}
	}
}

// The dearest document that fits is judged in a time that does not hold anybody up.
func TestCostIsBounded(t *testing.T) {
	big := `{"list": [` + strings.Repeat("1,", 50_000) + `1], "s": "` + strings.Repeat("a", 1000) + `"}`
	clause := `count(data.list, upper(type(#)) + "" == "x") == 0`
	if _, err := filter.Compile(clause); err == nil {
		t.Error("+ inside a loop was allowed")
	}
	p, err := filter.Compile(strings.Repeat(`count(data.list, # > 1) == 0 and `, 20) + `true`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if matched, err := p.Match("conversation", []byte(big)); !matched || err != nil {
		t.Fatal(matched, err)
	}
	t.Logf("1 MB, twenty loops: %v", time.Since(start))
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
		matched, err := p.Match("conversation", []byte(data))
		if err != nil && !matched {
			t.Errorf("an error is not a match: %v", err)
		}
		again, _ := p.Match("conversation", []byte(data))
		if again != matched {
			t.Errorf("%q on %q: %v, then %v", source, data, matched, again)
		}
		p.Failed("conversation", []byte(data))
	})
}
