package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// What others wrote reaches the terminal as text, in every form of output, and JSON means the same.
func TestOutputIsHarmless(t *testing.T) {
	const evil = "a\x1b]0;owned\x07\x7f\u009b31m\u202eb\U000e0041"
	var out, told bytes.Buffer
	p := &Program{Stdout: &out, Stderr: &told, output: "json"}
	value := map[string]string{"description": evil}
	if err := errors.Join(p.record(value), p.line("%s", evil), p.thing(value)); err != nil {
		t.Fatal(err)
	}
	p.progress("disconnected: %v", errors.New(evil))
	p.output = "table"
	if err := errors.Join(p.thing(value, field{"description", evil}), records(p, "DESCRIPTION", []string{evil}, func(s string) []string { return []string{s} })); err != nil {
		t.Fatal(err)
	}
	var plainly bytes.Buffer // control: as encoding/json writes it
	if err := json.NewEncoder(&plainly).Encode(value); err != nil || !strings.Contains(plainly.String(), "\x7f") {
		t.Fatalf("%q %v", plainly.String(), err)
	}
	for _, text := range []string{out.String(), told.String()} {
		if i := strings.IndexAny(text, "\x1b\x07\x7f\u009b\u202e\U000e0041"); i >= 0 || !strings.Contains(text, "owned") {
			t.Errorf("%q at %d", text, i)
		}
	}
	first, _, _ := strings.Cut(out.String(), "\n")
	var back map[string]string
	if err := json.Unmarshal([]byte(first), &back); err != nil || back["description"] != evil {
		t.Errorf("%q reads as %q, %v", first, back, err)
	}
}
