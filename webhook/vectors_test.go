package webhook_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

type valid struct {
	Event         string            `json:"event"`
	PublishedData string            `json:"published_data"`
	Secret        string            `json:"secret"`
	Timestamp     string            `json:"timestamp"`
	Body          string            `json:"body"`
	Hex           string            `json:"hex"`
	Base64        string            `json:"base64"`
	Base64Dotted  string            `json:"base64-dotted"`
	PythonDict    string            `json:"python-dict"`
	Standard      map[string]string `json:"standard"`
	ObjectBody    string            `json:"object_body"`
	ObjectHex     string            `json:"object_hex"`
	ObjectBase64  string            `json:"object_base64"`
}

type invalid struct {
	Why       string         `json:"why"`
	Code      webhook.Code   `json:"error"`
	Secret    string         `json:"secret"`
	Timestamp string         `json:"timestamp"`
	Body      string         `json:"body"`
	Signature string         `json:"signature"`
	Scheme    webhook.Scheme `json:"scheme"`
	Now       *float64       `json:"now"` // null: at the timestamp
}

// readVectors reads the file that every verification library of the project runs.
func readVectors(t *testing.T) (file struct {
	Valid   []valid
	Invalid []invalid
},
) {
	t.Helper()
	text, err := os.ReadFile("testdata/signature.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Valid) < 7 || len(file.Invalid) < 15 {
		t.Fatalf("only %d valid and %d invalid vectors", len(file.Valid), len(file.Invalid))
	}
	return file
}

func at(seconds float64) func() time.Time {
	whole, fraction := math.Modf(seconds)
	return func() time.Time { return time.Unix(int64(whole), int64(fraction*1e9)) }
}

// atlasHeader is what the reference code sends.
func atlasHeader(signature, timestamp string) http.Header {
	header := http.Header{}
	header.Set("X-Atlas-Webhook-Signature", signature)
	header.Set("X-Atlas-Webhook-Signature-Timestamp", timestamp)
	return header
}

func TestValidVectors(t *testing.T) {
	for _, vector := range readVectors(t).Valid {
		var seconds float64
		if err := json.Unmarshal([]byte(vector.Timestamp), &seconds); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			scheme          webhook.Scheme
			format          webhook.Format
			body, signature string
		}{
			{"", webhook.FormatString, vector.Body, vector.Hex},
			{webhook.Hex, webhook.FormatString, vector.Body, vector.Hex},
			{webhook.Base64, webhook.FormatString, vector.Body, vector.Base64},
			{webhook.Base64Dotted, webhook.FormatString, vector.Body, vector.Base64Dotted},
			{webhook.PythonDict, webhook.FormatString, vector.Body, vector.PythonDict},
			{webhook.Hex, webhook.FormatObject, vector.ObjectBody, vector.ObjectHex},
			{webhook.Base64, webhook.FormatObject, vector.ObjectBody, vector.ObjectBase64},
		} {
			v := webhook.Verifier{Secrets: []string{vector.Secret}, Scheme: test.scheme, Format: test.format, Now: at(seconds)}
			event, err := v.Verify(atlasHeader(test.signature, vector.Timestamp), []byte(test.body))
			if err != nil {
				t.Errorf("%s %s %s: %v", vector.Event, test.scheme, test.format, err)
				continue
			}
			checkPublished(t, event, vector)
			if event.IDVerified || event.Signature != test.signature {
				t.Errorf("%s: IDVerified %v, Signature %q", vector.Event, event.IDVerified, event.Signature)
			}
		}
		if vector.Standard == nil {
			continue
		}
		header := http.Header{}
		for name, value := range vector.Standard {
			header.Set(name, value)
		}
		v := webhook.Verifier{Secrets: []string{vector.Secret}, Scheme: webhook.Standard, Now: at(seconds)}
		event, err := v.Verify(header, []byte(vector.Body))
		if err != nil {
			t.Errorf("%s standard: %v", vector.Event, err)
			continue
		}
		checkPublished(t, event, vector)
		if !event.IDVerified || event.ID != vector.Standard["webhook-id"] {
			t.Errorf("%s: ID %q, verified %v", vector.Event, event.ID, event.IDVerified)
		}
	}
}

// checkPublished wants the event to hold the document that was published. (As a value: its text
// is escaped. How exactly is a test of the wire package.)
func checkPublished(t *testing.T, event *webhook.Event, vector valid) {
	t.Helper()
	if event.Topic != vector.Event {
		t.Errorf("topic %q, want %q", event.Topic, vector.Event)
	}
	var got, want any
	if err := event.Decode(&got); err != nil {
		t.Errorf("%s: %v", vector.Event, err)
	}
	if err := json.Unmarshal([]byte(vector.PublishedData), &want); err != nil {
		t.Fatal(err)
	}
	gotText, _ := json.Marshal(got)
	wantText, _ := json.Marshal(want)
	if string(gotText) != string(wantText) {
		t.Errorf("%s: data\n got %s\nwant %s", vector.Event, gotText, wantText)
	}
}

func TestInvalidVectors(t *testing.T) {
	for _, vector := range readVectors(t).Invalid {
		v := webhook.Verifier{Secrets: []string{vector.Secret}, Scheme: vector.Scheme, Tolerance: -1}
		if vector.Now != nil {
			v.Now, v.Tolerance = at(*vector.Now), 0
		}
		event, err := v.Verify(atlasHeader(vector.Signature, vector.Timestamp), []byte(vector.Body))
		if event != nil || !errors.Is(err, vector.Code) {
			t.Errorf("%s (timestamp %q): %v, want %s", vector.Why, vector.Timestamp, err, vector.Code)
		}
		var e *webhook.Error
		if !errors.As(err, &e) || e.Code != vector.Code {
			t.Errorf("%s: the error is %#v, want code %s", vector.Why, err, vector.Code)
		}
	}
}
