package wire_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// What changed stands behind data, in string format at the end of the document; every other byte is as without.
func TestBodyWithChanges(t *testing.T) {
	const changes = `{"/a":{"old":"\u00e9","new":1}}`
	for _, test := range []struct{ data, object, text string }{
		{`{"a": 1 }`, `{"event":"t","data":{"a": 1 },"changes":` + changes + `}`, `{"event":"t","data":"{\"a\": 1 ,\"changes\":{\"/a\":{\"old\":\"\\u00e9\",\"new\":1}}}"}`},
		{`{ }`, `{"event":"t","data":{ },"changes":` + changes + `}`, `{"event":"t","data":"{ \"changes\":{\"/a\":{\"old\":\"\\u00e9\",\"new\":1}}}"}`},
		{"{\"a\":{}}\n", "{\"event\":\"t\",\"data\":{\"a\":{}}\n,\"changes\":" + changes + `}`, `{"event":"t","data":"{\"a\":{},\"changes\":{\"/a\":{\"old\":\"\\u00e9\",\"new\":1}}}\n"}`},
	} {
		for format, want := range map[hook.DataFormat]string{hook.DataObject: test.object, hook.DataString: test.text} {
			if got := string(wire.BodyWithChanges("t", []byte(test.data), []byte(changes), format)); got != want {
				t.Errorf("%s as %s:\n%s, want\n%s", test.data, format, got, want)
			}
			if got, want := wire.BodyWithChanges("t", []byte(test.data), nil, format), wire.Body("t", []byte(test.data), format); string(got) != string(want) {
				t.Errorf("%s as %s without changes: %s", test.data, format, got)
			}
		}
	}
}

// Whatever the document is, a receiver finds the document and the changes in it.
func TestBodyWithChangesIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		document := map[string]string{}
		for _, name := range rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "names") {
			if name != "changes" {
				document[name] = rapid.String().Draw(t, "value")
			}
		}
		text, _ := json.MarshalIndent(document, "", rapid.SampledFrom([]string{"", " "}).Draw(t, "indent"))
		claims, _ := json.Marshal(map[string]any{rapid.String().Draw(t, "at"): map[string]string{"old": rapid.String().Draw(t, "old"), "new": "x"}})
		doc, err := wire.Parse(text)
		changes, also := wire.Parse(claims)
		if err != nil || also != nil {
			t.Skip("no text")
		}
		var outer struct {
			Data    json.RawMessage
			Changes json.RawMessage
		}
		body := wire.BodyWithChanges("t", doc.Text, changes.Text, hook.DataObject)
		if err := json.Unmarshal(body, &outer); err != nil || string(outer.Data) != string(doc.Text) || string(outer.Changes) != string(changes.Text) {
			t.Fatalf("%s: %v", body, err)
		}
		var encoded struct{ Data string }
		body = wire.BodyWithChanges("t", doc.Text, changes.Text, hook.DataString)
		var inner map[string]json.RawMessage
		if err := json.Unmarshal(body, &encoded); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if err := json.Unmarshal([]byte(encoded.Data), &inner); err != nil || string(inner["changes"]) != string(changes.Text) || len(inner) != len(document)+1 {
			t.Fatalf("%s: %v", body, err)
		}
	})
}
