package wire_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// vector is one valid entry of the shared file, which every verification library here runs.
type vector struct {
	Event         string `json:"event"`
	PublishedData string `json:"published_data"`
	Secret        string `json:"secret"`
	Timestamp     string `json:"timestamp"`
	Body          string `json:"body"`
	Hex           string `json:"hex"`
	Base64        string `json:"base64"`
	Base64Dotted  string `json:"base64-dotted"`
	PythonDict    string `json:"python-dict"`
	Repr          string `json:"python_dict_repr"`
	Standard      *struct {
		ID        string `json:"webhook-id"`
		Timestamp string `json:"webhook-timestamp"`
		Signature string `json:"webhook-signature"`
	} `json:"standard"`
	ObjectBody   string `json:"object_body"`
	ObjectHex    string `json:"object_hex"`
	ObjectBase64 string `json:"object_base64"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("../../webhook/testdata/signature.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Valid []vector }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Valid) < 7 {
		t.Fatalf("only %d valid vectors", len(file.Valid))
	}
	return file.Valid
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Event, func(t *testing.T) {
			data, err := wire.Escape([]byte(v.PublishedData))
			if err != nil {
				t.Fatal(err)
			}
			body := wire.Body(v.Event, data, hook.DataString)
			same(t, "string body", string(body), v.Body)
			objectBody := wire.Body(v.Event, data, hook.DataObject)
			same(t, "object body", string(objectBody), v.ObjectBody)
			for scheme, want := range map[hook.SignatureScheme]string{
				"":                         v.Hex,
				hook.SchemeHex:             v.Hex,
				hook.SchemeBase64:          v.Base64,
				hook.SchemeBase64Dotted:    v.Base64Dotted,
				hook.SchemePythonDict:      v.PythonDict,
				hook.SchemeHex + "-obj":    v.ObjectHex,
				hook.SchemeBase64 + "-obj": v.ObjectBase64,
			} {
				signed := body
				if want == v.ObjectHex || want == v.ObjectBase64 {
					signed, scheme = objectBody, scheme[:len(scheme)-len("-obj")]
				}
				got, err := wire.Sign(scheme, v.Secret, v.Timestamp, signed)
				if err != nil {
					t.Fatal(err)
				}
				same(t, string(scheme), got, want)
			}
			repr, err := wire.PythonRepr(body)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "repr", string(repr), v.Repr)
			key, ok := wire.StandardKey(v.Secret)
			if ok != (v.Standard != nil) {
				t.Fatalf("StandardKey(%q) is %v, the vectors say otherwise", v.Secret, ok)
			}
			if ok {
				same(t, "webhook-timestamp", wire.StandardSeconds(v.Timestamp), v.Standard.Timestamp)
				same(t, "webhook-signature", wire.SignStandard(key, v.Standard.ID, v.Standard.Timestamp, body), v.Standard.Signature)
			}
		})
	}
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}
