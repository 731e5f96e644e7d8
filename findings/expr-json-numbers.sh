#!/usr/bin/env bash
# Guess: where ids are larger than 2^53, json's UseNumber mends a filter in expr-lang: the digits stay, and what
#   compared before compares as before. And string() of a whole number is its digits, as fmt and strconv say them.
# Truth (expr-lang/expr v1.17.8): with json.Number `data.id == 5` and `data.id in [5, 6]` are false for 5, without
#   an error, and `data.id > 4` is one. Without it 7615917337495251231 equals 7615917337495251230, `%` is an error
#   for every number of a document, and "order-" + string(data.id) is "order-1e+06" for 1000000.
# Why users care: a filter that is silently false drops every event. What reads documents for such filters needs
#   int for whole numbers and float64 for the others. Our filters take only expr's grammar and compute themselves:
#   exact integers of 64 bits, and `%` on them.
set -euo pipefail
command -v go >/dev/null || { echo "needs Go 1.24 or later" >&2; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
printf 'module try\n\ngo 1.24\n\nrequire github.com/expr-lang/expr v1.17.8\n' >go.mod
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/expr-lang/expr"
)

func run(document, expression string, use bool) string {
	d := json.NewDecoder(strings.NewReader(document))
	if use {
		d.UseNumber()
	}
	var data any
	if err := d.Decode(&data); err != nil {
		return err.Error()
	}
	p, err := expr.Compile(expression)
	if err != nil {
		return err.Error()
	}
	out, err := expr.Run(p, map[string]any{"data": data})
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), " (1:")
		return "error: " + first
	}
	return fmt.Sprint(out)
}

func main() {
	code := 0
	for _, c := range []struct{ document, expression, float, number string }{
		{`{"id": 5}`, `data.id == 5`, "true", "false"},
		{`{"id": 5}`, `data.id in [5, 6]`, "true", "false"},
		{`{"id": 5}`, `data.id > 4`, "true", "error: invalid operation: json.Number > int"},
		{`{"id": 7615917337495251231}`, `data.id == 7615917337495251230`, "true", "false"},
		{`{"id": 7615917337495251230}`, `data.id == 7615917337495251230`, "true", "false"},
		{`{"id": 5}`, `data.id % 2 == 1`, "error: invalid operation: float64 % int", "error: invalid operation: json.Number % int"},
		{`{"id": 1000000}`, `"order-" + string(data.id)`, "order-1e+06", "order-1000000"},
	} {
		float, number := run(c.document, c.expression, false), run(c.document, c.expression, true)
		fmt.Printf("%s   %s\n    decoded as usual: %s\n    with UseNumber:   %s\n", c.document, c.expression, float, number)
		if float != c.float || number != c.number {
			code = 1
		}
	}
	os.Exit(code)
}
GO
export GOFLAGS=-mod=mod; go mod tidy >/dev/null 2>&1
go version; grep expr-lang go.mod
go run .
