package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestStaysCompatible reports what a change of the committed document takes away from clients that
// exist. The document before is that of the last commit, or, when that is the same, of the one
// before it. A commit that means it says why in a line "Incompatible: …".
func TestStaysCompatible(t *testing.T) {
	now, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	before, err := committed("HEAD")
	if err == nil && string(before) == string(now) {
		if message, err := git("log", "-1", "--format=%B"); err != nil || strings.Contains(string(message), "\nIncompatible: ") {
			t.Skip("the last commit says why")
		}
		before, err = committed("HEAD~1")
	}
	if err != nil {
		t.Skip("there is no document to compare with")
	}
	for _, broken := range incompatibilities(tree(t, before), tree(t, now)) {
		t.Error(broken)
	}
}

func git(args ...string) ([]byte, error) { return exec.Command("git", args...).Output() }

func committed(revision string) ([]byte, error) { return git("show", revision+":./"+goldenFile) }

func tree(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// incompatibilities are the ways in which a client written for one document may fail with another:
// something it uses is gone, something new is demanded, or something is of another kind.
func incompatibilities(before, now map[string]any) (found []string) {
	paths := at(now, "paths")
	for path, item := range each(at(before, "paths")) {
		for method := range each(item) {
			name := strings.ToUpper(method) + " " + path
			old, fresh := at(item, method), at(paths, path, method)
			if fresh == nil {
				found = append(found, name+" is gone")
				continue
			}
			found = append(found, parameters(name, old, fresh)...)
			for status := range each(at(old, "responses")) {
				if status < "300" && at(fresh, "responses", status) == nil {
					found = append(found, name+" does not answer "+status+" any more")
				}
			}
		}
	}
	sent := requests(now)
	for name, old := range each(at(before, "components", "schemas")) {
		if fresh := at(now, "components", "schemas", name); fresh != nil {
			found = append(found, schema(name, old, fresh, sent[name])...)
		}
	}
	return found
}

func parameters(name string, old, fresh map[string]any) (found []string) {
	byName := func(op map[string]any) map[string]map[string]any {
		all := map[string]map[string]any{}
		list, _ := op["parameters"].([]any)
		for _, p := range list {
			p := p.(map[string]any)
			all[fmt.Sprint(p["in"], " ", p["name"])] = p
		}
		return all
	}
	had, has := byName(old), byName(fresh)
	for _, p := range slices.Sorted(maps.Keys(had)) {
		if has[p] == nil {
			found = append(found, name+" does not take "+p+" any more")
		}
	}
	for _, p := range slices.Sorted(maps.Keys(has)) {
		if has[p]["required"] == true && (had[p] == nil || had[p]["required"] != true) {
			found = append(found, name+" demands "+p)
		}
	}
	return found
}

// schema compares two versions of a schema; sent says that clients send it.
func schema(name string, old, fresh map[string]any, sent bool) (found []string) {
	for property, was := range each(at(old, "properties")) {
		is := at(fresh, "properties", property)
		switch {
		case is == nil:
			found = append(found, name+"."+property+" is gone")
		case fmt.Sprint(was["type"], was["$ref"], was["format"]) != fmt.Sprint(is["type"], is["$ref"], is["format"]):
			found = append(found, name+"."+property+" is of another kind")
		}
		if is == nil || !sent {
			continue
		}
		words, _ := was["enum"].([]any)
		allowed, _ := is["enum"].([]any)
		for _, w := range words {
			if !slices.Contains(allowed, w) && allowed != nil {
				found = append(found, fmt.Sprint(name, ".", property, " may not be ", w, " any more"))
			}
		}
	}
	had, _ := old["required"].([]any)
	has, _ := fresh["required"].([]any)
	for _, property := range has {
		if sent && !slices.Contains(had, property) {
			found = append(found, fmt.Sprint(name, " demands ", property))
		}
	}
	for _, property := range had {
		if !sent && !slices.Contains(has, property) {
			found = append(found, fmt.Sprint(name, ".", property, " may be missing now"))
		}
	}
	return found
}

// requests are the schemas that clients send.
func requests(document map[string]any) map[string]bool {
	sent := map[string]bool{}
	for _, item := range each(at(document, "paths")) {
		for method := range each(item) {
			for _, content := range each(at(item, method, "requestBody", "content")) {
				for _, body := range []map[string]any{at(content, "schema"), at(content, "schema", "items")} {
					ref, _ := body["$ref"].(string)
					sent[path.Base(ref)] = true
				}
			}
		}
	}
	return sent
}

// at goes down a tree of objects; nil where there is none.
func at(v map[string]any, path ...string) map[string]any {
	for _, name := range path {
		v, _ = v[name].(map[string]any)
	}
	return v
}

// each goes over the objects in an object, in order.
func each(v map[string]any) func(func(string, map[string]any) bool) {
	return func(yield func(string, map[string]any) bool) {
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if object, ok := v[name].(map[string]any); ok && !yield(name, object) {
				return
			}
		}
	}
}

// TestIncompatibilities: what is taken away is found, and what is added is not.
func TestIncompatibilities(t *testing.T) {
	const base = `{"paths":{"/a":{"post":{"parameters":[{"in":"query","name":"q"}],"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/In"}}}},
		"responses":{"200":{},"400":{}}}}},"components":{"schemas":{
		"In":{"properties":{"x":{"type":"string","enum":["a","b"]},"y":{"type":"integer"}},"required":["x"]},
		"Out":{"properties":{"z":{"type":"string"}},"required":["z"]}}}}`
	for _, change := range []struct{ old, fresh, want string }{
		{`"/a"`, `"/b"`, "POST /a is gone"},
		{`"name":"q"`, `"name":"q","required":true`, "POST /a demands query q"},
		{`"name":"q"`, `"name":"r"`, "POST /a does not take query q any more"},
		{`"200":{},`, `"201":{},`, "POST /a does not answer 200 any more"},
		{`"y":{"type":"integer"}`, `"y":{"type":"number"}`, "In.y is of another kind"},
		{`"enum":["a","b"]`, `"enum":["a"]`, "In.x may not be b any more"},
		{`"required":["x"]`, `"required":["x","y"]`, "In demands y"},
		{`"z":{"type":"string"}`, `"zz":{"type":"string"}`, "Out.z is gone"},
		{`"required":["z"]`, `"required":[]`, "Out.z may be missing now"},
		{`"400":{}`, `"422":{}`, ""},
		{`"enum":["a","b"]`, `"enum":["a","b","c"]`, ""},
		{`"required":["x"]`, `"required":[]`, ""},
		{`"z":{"type":"string"}`, `"z":{"type":"string"},"more":{"type":"string"}`, ""},
		{`"responses"`, `"summary":"new","responses"`, ""},
	} {
		changed := strings.Replace(base, change.old, change.fresh, 1)
		got := strings.Join(incompatibilities(tree(t, []byte(base)), tree(t, []byte(changed))), "; ")
		if got != change.want {
			t.Errorf("%s: %q, want %q", change.fresh, got, change.want)
		}
	}
}
