package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func TestBody(t *testing.T) {
	for _, test := range []struct{ data, asString, asObject string }{
		{`{}`, `{"event":"customer","data":"{}"}`, `{"event":"customer","data":{}}`},
		{`{"a": "b"}`, `{"event":"customer","data":"{\"a\": \"b\"}"}`, `{"event":"customer","data":{"a": "b"}}`},
		{"[\n\r\t1]", `{"event":"customer","data":"[\n\r\t1]"}`, "{\"event\":\"customer\",\"data\":[\n\r\t1]}"},
		{`"\\\" </ \ud83d"`, `{"event":"customer","data":"\"\\\\\\\" </ \\ud83d\""}`, `{"event":"customer","data":"\\\" </ \ud83d"}`},
	} {
		same(t, "string", string(wire.Body("customer", []byte(test.data), hook.DataString)), test.asString)
		same(t, "by default", string(wire.Body("customer", []byte(test.data), "")), test.asString)
		same(t, "object", string(wire.Body("customer", []byte(test.data), hook.DataObject)), test.asObject)
	}
}

// A document of the largest size, made of what grows most, still gives its text back.
func TestBodyHoldsTheDocument(t *testing.T) {
	document := []byte(`["` + strings.Repeat("\x7f\U0001f525é\\\"", 100_000) + `"]`)
	data, err := wire.Escape(document)
	if err != nil {
		t.Fatal(err)
	}
	body := wire.Body("customer", data, hook.DataString)
	if cap(body) != len(body) {
		t.Errorf("the body has %d bytes and room for %d", len(body), cap(body))
	}
	var envelope struct{ Event, Data string }
	if err := json.Unmarshal(body, &envelope); err != nil {
		t.Fatal(err)
	}
	if envelope.Event != "customer" || envelope.Data != string(data) {
		t.Error("the document in the body is another")
	}
}
