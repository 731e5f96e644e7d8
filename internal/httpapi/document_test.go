package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

const goldenFile = "testdata/openapi.json"

var update = flag.Bool("update", false, "write the golden file")

// The document is committed, so that a change of the API is seen when it is reviewed.
func TestDocumentIsTheCommittedOne(t *testing.T) {
	s := newServer(t)
	got := s.as("").call("GET", "/openapi.json", "").text
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the API's document is not the committed one; if that is meant: go test ./internal/httpapi -run TestDocument -update\n%s", cut(diff))
	}
	var fromJSON, fromYAML any
	if err := json.Unmarshal([]byte(got), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(s.as("").call("GET", "/openapi.yaml", "").text), &fromYAML); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &fromYAML); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
		t.Errorf("JSON and YAML differ: %s", cut(diff))
	}
}

// openAPI is the little of the document that tests walk over.
type openAPI struct {
	Paths map[string]map[string]struct {
		OperationID string           `json:"operationId"`
		Summary     string           `json:"summary"`
		Tags        []string         `json:"tags"`
		Security    []map[string]any `json:"security"`
		Parameters  []struct {
			Name     string `json:"name"`
			In       string `json:"in"`
			Required bool   `json:"required"`
		} `json:"parameters"`
		Responses map[string]struct {
			Content map[string]any `json:"content"`
		} `json:"responses"`
		RequestBody *struct {
			Content map[string]any `json:"content"`
		} `json:"requestBody"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]any `json:"schemas"`
	} `json:"components"`
}

func (s *server) document() openAPI {
	s.t.Helper()
	var d openAPI
	if err := json.Unmarshal([]byte(s.as("").call("GET", "/openapi.json", "").text), &d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func TestDocumentIsSound(t *testing.T) {
	s := newServer(t)
	d := s.document()
	ids := map[string]bool{}
	operations := 0
	for path, methods := range d.Paths {
		for method, op := range methods {
			operations++
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || len(op.Tags) != 1 || len(op.Security) == 0 {
				t.Errorf("%s %s: %+v", method, path, op)
			}
			ids[op.OperationID] = true
			if !slices.ContainsFunc([]string{"200", "201", "202", "204"}, func(status string) bool { _, ok := op.Responses[status]; return ok }) {
				t.Errorf("%s %s has no success", method, path)
			}
			for status, r := range op.Responses {
				if _, ok := r.Content["application/problem+json"]; status >= "400" && !ok {
					t.Errorf("%s %s: %s is not a problem", method, path, status)
				}
			}
			for name := range strings.SplitSeq(path, "{") {
				name, _, ok := strings.Cut(name, "}")
				if ok && !slices.ContainsFunc(op.Parameters, func(p struct {
					Name     string `json:"name"`
					In       string `json:"in"`
					Required bool   `json:"required"`
				},
				) bool {
					return p.Name == name && p.In == "path" && p.Required
				}) {
					t.Errorf("%s %s does not describe %s", method, path, name)
				}
			}
		}
	}
	if operations < 40 {
		t.Errorf("%d operations", operations)
	}
	golden := s.as("").call("GET", "/openapi.json", "").text
	for _, word := range []string{"$schema", "http://localhost", "NullableString", "nullable["} {
		if strings.Contains(golden, word) {
			t.Errorf("the document holds %q", word)
		}
	}
	for name := range d.Components.Schemas {
		if !bytes.Contains([]byte(golden), []byte("#/components/schemas/"+name+`"`)) {
			t.Errorf("nothing uses the schema %s", name)
		}
	}
}
