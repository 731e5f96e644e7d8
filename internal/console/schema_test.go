package console

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func TestSchema(t *testing.T) {
	for sample, want := range map[string]string{
		`{"id": "9d0f6f0b-3c0c-4a55-8f0e-2a1f0d6b7c11", "n": 1, "x": 1.5, "ok": true, "none": null, "at": "2026-03-02T09:14:07.512Z"}`: `{"type":"object","properties":{"id":{"type":"string","format":"uuid"},"n":{"type":"integer"},"x":{"type":"number"},"ok":{"type":"boolean"},"none":{},"at":{"type":"string","format":"date-time"}}}`,
		`{"b": {"a\"": []}, "list": [{"z": 1}, {"y": 2}]}`: `{"type":"object","properties":{"b":{"type":"object","properties":{"a\"":{"type":"array"}}},"list":{"type":"array","items":{"type":"object","properties":{"z":{"type":"integer"}}}}}}`,
		`"text"`: `{"type":"string"}`,
	} {
		got := strings.Join(strings.Fields(schema(sample)), "")
		want = strings.Replace(want, "{", `{"$schema":"https://json-schema.org/draft/2020-12/schema",`, 1)
		if got != want {
			t.Errorf("%s:\n%s, want\n%s", sample, got, want)
		}
	}
	if got := schema(`{"a": `); got != "" {
		t.Errorf("of no document: %s", got)
	}
	for _, topic := range hook.Topics() {
		if text := schema(topic.Sample); !json.Valid([]byte(text)) || !strings.Contains(text, `"id"`) {
			t.Errorf("%s: %s", topic.Name, text)
		}
	}
}
