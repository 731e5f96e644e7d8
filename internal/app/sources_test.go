package app

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
)

// TestDocumentedSources: each example of docs/sources.md can be read as it stands there, but for the files that
// it names.
func TestDocumentedSources(t *testing.T) {
	page, err := os.ReadFile("../../docs/sources.md")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, m := range regexp.MustCompile("(?s)```yaml\n(sources:.*?)```").FindAllStringSubmatch(string(page), -1) {
		text := regexp.MustCompile(`(?m)^ *(password_file|credentials_file): .*\n`).ReplaceAllString(m[1], "")
		text = regexp.MustCompile(`tls: \{[^}]*\}`).ReplaceAllString(text, "tls: {}")
		list, err := source.Parse([]byte(text), sourceKinds)
		if err != nil && !strings.Contains(err.Error(), "kind: must be one of") {
			t.Errorf("%v in\n%s", err, m[1])
		}
		for _, d := range list {
			kinds = append(kinds, d.Kind)
		}
	}
	for kind := range sourceKinds {
		if !slices.Contains(kinds, kind) {
			t.Errorf("there is no example of %s", kind)
		}
	}
}

// TestSourcesFile: what is wrong is named by line and field, all of it at once.
func TestSourcesFile(t *testing.T) {
	_, err := source.Parse([]byte(`sources:
- name: Orders
  kind: kafka
- name: a
  kind: nothing
- name: b
  kind: nats
  stream: S
  url: http://u:hunter2@h
- name: c
  kind: kafka
  brokers: [h:1]
  topics: [t]
  company_id: "a b"
- {name: d, kind: kafka, brokers: [h:1], topics: [t], brokerz: 1}
- {name: e, kind: kafka, brokers: [h:1], topics: [t]}
- {name: e, kind: kafka, brokers: [h:1], topics: [t]}
- 7
`), sourceKinds)
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		"line 2: sources[0] Orders: name: ", "line 4: sources[1] a: kind: must be one of kafka, nats", "line 6: sources[2] b: url: must be nats:// or tls://", "line 10: sources[3] c: company_id: ",
		"sources[4] d: ", "brokerz", "sources[6] e: name: stands there twice", "sources[7] : must be a mapping",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	for text, want := range map[string]string{"": "must have one member", "source: []": "source", "sources: []\n---\nsources: []": "more than one document", "sources: 7": "must be a list", "{}": "must be a list"} {
		if _, err := source.Parse([]byte(text), sourceKinds); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
