#!/usr/bin/env bash
# Guess: validators that check `format` agree where the grammar of the RFC decides (3339, 5321, 3986, 9562): what
#   it allows passes everywhere, and what it does not allow nowhere; they differ in exotic corners.
# Truth (ajv 8.20.0 + ajv-formats 3.0.1, santhosh-tekuri/jsonschema v6.0.3, jsonschema 4.26.0, fastjsonschema
#   2.22.3): each of the four is alone with some answer. They agree on none of these: a leap second, a time without
#   offset, a space for the T, a fraction in a duration, an address at localhost, a space in a URL, a uuid with urn:.
# Why users care: a producer checks an event by a schema with `format`, the receiver refuses it by the same schema,
#   and the delivery fails with 4xx until it is given up. Plain texts pass everywhere; what is to be exact needs
#   a pattern beside the format.
set -euo pipefail
for p in go node npm python3; do command -v $p >/dev/null || { echo "needs $p" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv && venv/bin/pip install -q --disable-pip-version-check jsonschema==4.26.0 rfc3339-validator==0.1.4 rfc3987==1.3.8 isoduration==20.11.0 fastjsonschema==2.22.3
npm install --silent --no-audit --no-fund --ignore-scripts ajv@8.20.0 ajv-formats@3.0.1
printf 'module try\n\ngo 1.24\n\nrequire github.com/santhosh-tekuri/jsonschema/v6 v6.0.3\n' >go.mod
# Each: format, text, what the RFC says of it, and then what the four say in the order of the header.
cat >cases.json <<'JSON'
[["date-time", "2026-11-29T10:00:00Z", "+", "++++"],
 ["date-time", "2016-12-31T23:59:60Z", "+", "++-+"],
 ["date-time", "2026-11-29 10:00:00Z", "-", "+---"],
 ["time", "10:00:00Z", "+", "++++"],
 ["time", "10:00:00", "-", "---+"],
 ["duration", "PT5S", "+", "++++"],
 ["duration", "PT0.5S", "-", "--+-"],
 ["email", "a@example.com", "+", "++++"],
 ["email", "a@localhost", "+", "-++-"],
 ["uri", "https://example.com/a", "+", "++++"],
 ["uri", "https://example.com/a b", "-", "-+--"],
 ["uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "+", "++++"],
 ["uuid", "urn:uuid:2eb8aa08-aa98-11ea-b4aa-73b441d16380", "-", "+---"]]
JSON
cat >try.mjs <<'JS'
import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";
const ajv = new Ajv.default();
formats.default(ajv);
console.log(JSON.parse(readFileSync("cases.json")).map(([format, text]) => (ajv.validate({ type: "string", format }, text) ? "+" : "-")).join(""));
JS
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func main() {
	var cases [][4]string
	text, err := os.ReadFile("cases.json")
	if err == nil {
		err = json.Unmarshal(text, &cases)
	}
	if err != nil {
		panic(err)
	}
	for _, c := range cases {
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		if err := compiler.AddResource("mem:one", map[string]any{"type": "string", "format": c[0]}); err != nil {
			panic(err)
		}
		if compiler.MustCompile("mem:one").Validate(c[1]) == nil {
			fmt.Print("+")
		} else {
			fmt.Print("-")
		}
	}
	fmt.Println()
}
GO
cat >try.py <<'PY'
import json, sys
import fastjsonschema, jsonschema
cases, go, ajv, bad = json.load(open("cases.json")), sys.argv[1], sys.argv[2], False
checks = jsonschema.Draft202012Validator.FORMAT_CHECKER
def fast(schema, text):
    try:
        fastjsonschema.compile(schema)(text)
        return True
    except fastjsonschema.JsonSchemaValueException:
        return False
for i, (form, text, rfc, expected) in enumerate(cases):
    schema = {"type": "string", "format": form}
    python = (jsonschema.Draft202012Validator(schema, format_checker=checks).is_valid(text), fast(schema, text))
    seen = ajv[i] + go[i] + "".join("+" if ok else "-" for ok in python)
    print(f"{form:10} {text:47} RFC {rfc}  ajv {seen[0]}  santhosh-tekuri {seen[1]}  jsonschema {seen[2]}  fastjsonschema {seen[3]}")
    bad = bad or seen != expected
sys.exit(bad)
PY
export GOFLAGS=-mod=mod; go mod tidy >/dev/null 2>&1
go version; node --version; python3 --version
venv/bin/python try.py "$(go run .)" "$(node try.mjs)"
