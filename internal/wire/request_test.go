package wire_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

const (
	current  = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="
	previous = "whsec_cHJldmlvdXNwcmV2aW91c3ByZXZpb3VzcHJldmlvdXM="
	imported = "0123456789abcdef"
)

// example is the first attempt of the shared vectors' second entry.
func example() wire.Request {
	return wire.Request{
		Body:      []byte(`{"event":"conversation.status","data":"{\"id\":\"conv_1\",\"status\":\"CLOSED\",\"subject\":\"Caf\\u00e9 \\u2014 it's \\\"urgent\\\" \\ud83d\\udd25\"}"}`),
		Timestamp: "1732363200.5", Topic: "conversation.status",
		EventID: "evt_0193a5f2c0de7abc8def0123456789ab", Object: "conv_1", WebhookID: "wh_1", Attempt: 1, Sequence: 7,
		Scheme: hook.SchemeHex, Secret: current, UserAgent: wire.UserAgent("1.2.3"),
	}
}

func header(t *testing.T, r wire.Request) http.Header {
	t.Helper()
	h, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeader(t *testing.T) {
	want := http.Header{
		"Content-Type":                        {"application/json"},
		"User-Agent":                          {"Atlas-Webhooks/1.2.3"},
		"X-Atlas-Webhook-Signature":           {"cf4215f95bed3876cebab6151419ccf865a67015467d1c9fe910fcd8fa7713ad"},
		"X-Atlas-Webhook-Signature-Timestamp": {"1732363200.5"},
		"X-Atlas-Webhook-Timestamp":           {"1732363200.5"},
		"X-Atlas-Webhook-Event-Id":            {"evt_0193a5f2c0de7abc8def0123456789ab"},
		"X-Atlas-Webhook-Subscription-Id":     {"wh_1"},
		"X-Atlas-Webhook-Topic":               {"conversation.status"},
		"X-Atlas-Webhook-Object-Id":           {"conv_1"},
		"X-Atlas-Webhook-Attempt":             {"1"},
		"X-Atlas-Webhook-Sequence":            {"7"},
		"Webhook-Id":                          {"evt_0193a5f2c0de7abc8def0123456789ab"},
		"Webhook-Timestamp":                   {"1732363200"},
		"Webhook-Signature":                   {"v1,etfYcIoFH8cIIq9bJTMOPOl0OO+tjFRulzhrnjN2T+g="},
	}
	if diff := cmp.Diff(want, header(t, example())); diff != "" {
		t.Error(diff)
	}
	for name := range header(t, example()) {
		if canonical := http.CanonicalHeaderKey(name); canonical != name {
			t.Errorf("%s is not canonical: http.Header would not find it", name)
		}
	}
}

func TestHeaderOfTestsReplaysAndCustom(t *testing.T) {
	r := example()
	r.Attempt, r.Sequence, r.Test, r.Replay = 12, 0, true, "rpl_1"
	r.Custom = []hook.Header{{Name: "authorization", Value: "Bearer x"}, {Name: "X-TEAM", Value: "a b"}}
	got := header(t, r)
	for name, want := range map[string]string{
		"X-Atlas-Webhook-Attempt": "12", "X-Atlas-Webhook-Test": "true", "X-Atlas-Webhook-Replay": "rpl_1",
		"Authorization": "Bearer x", "X-Team": "a b",
	} {
		if values := got[name]; len(values) != 1 || values[0] != want {
			t.Errorf("%s: %q, want %q", name, values, want)
		}
	}
	if values, ok := got["X-Atlas-Webhook-Sequence"]; ok {
		t.Errorf("a sequence where there is none: %q", values)
	}
}

func TestHeaderLinesCannotBeInjected(t *testing.T) {
	r := example()
	r.Custom = []hook.Header{{Name: "X", Value: "a\r\nEvil: 1\n\x00b"}}
	text, err := r.AppendHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "X: aEvil: 1b\r\n") || strings.Contains(string(text), "\nEvil") {
		t.Errorf("%q", text)
	}
}

// What the header says is what the object's id is, once it is decoded.
func TestHeaderOfTheObject(t *testing.T) {
	for id, want := range map[string]string{
		"":                 "",
		"conv_1":           "conv_1",
		`a "b" +c/%2f`:     `a "b" +c/%252f`,
		" 7 ":              "%207%20",
		" ":                "%20",
		"José":             "Jos%C3%A9",
		"a\r\nEvil: 1\x00": "a%0D%0AEvil: 1%00",
	} {
		r := example()
		r.Object = id
		got := header(t, r)
		if _, there := got["X-Atlas-Webhook-Object-Id"]; there != (id != "") || got.Get("X-Atlas-Webhook-Object-Id") != want {
			t.Errorf("%q: %q, want %q", id, got["X-Atlas-Webhook-Object-Id"], want)
		}
		if back, err := url.PathUnescape(got.Get("X-Atlas-Webhook-Object-Id")); err != nil || back != id {
			t.Errorf("%q comes back as %q, %v", id, back, err)
		}
	}
}

// The lines go into memory that is used again, and stand in the same order each time.
func TestAppendHeader(t *testing.T) {
	r := example()
	first, err := r.AppendHeader([]byte("before|"))
	if err != nil {
		t.Fatal(err)
	}
	want := "before|Content-Type: application/json\r\nUser-Agent: Atlas-Webhooks/1.2.3\r\nX-Atlas-Webhook-Signature: cf42"
	if !strings.HasPrefix(string(first), want) || !strings.HasSuffix(string(first), "\r\nWebhook-Signature: v1,etfYcIoFH8cIIq9bJTMOPOl0OO+tjFRulzhrnjN2T+g=\r\n") {
		t.Errorf("%q", first)
	}
	r.Scheme = "md5"
	if kept, err := r.AppendHeader([]byte("kept")); err == nil || string(kept) != "kept" {
		t.Errorf("%q, %v", kept, err)
	}
}

func TestHeaderDuringARotation(t *testing.T) {
	sum := func(secret string) string {
		key, ok := wire.StandardKey(secret)
		if !ok {
			return ""
		}
		r := example()
		return wire.SignStandard(key, r.EventID, "1732363200", r.Body)
	}
	for _, test := range []struct{ secret, other, want string }{
		{current, "", sum(current)},
		{previous, current, sum(previous) + " " + sum(current)},
		{imported, "", ""},
		{imported, current, sum(current)}, // moving from an imported secret to one of ours
		{current, imported, sum(current)},
	} {
		r := example()
		r.Secret, r.Other = test.secret, test.other
		got := header(t, r)
		if got.Get("Webhook-Signature") != test.want {
			t.Errorf("%s and %q: webhook-signature %q, want %q", test.secret, test.other, got.Get("Webhook-Signature"), test.want)
		}
		for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
			if _, ok := got[name]; ok != (test.want != "") {
				t.Errorf("%s and %q: %s is there: %v", test.secret, test.other, name, ok)
			}
		}
		atlas, _ := wire.Sign(hook.SchemeHex, test.secret, r.Timestamp, r.Body)
		same(t, "the Atlas header is by Secret alone", got.Get("X-Atlas-Webhook-Signature"), atlas)
	}
}

func TestHeaderRefusesWhatCannotBeSigned(t *testing.T) {
	r := example()
	r.Scheme, r.Body = hook.SchemePythonDict, []byte(`{"event":"customer","data":{}}`)
	if h, err := r.Header(); err == nil {
		t.Errorf("python-dict of an object: %v", h)
	}
	r.Scheme = "md5"
	if h, err := r.Header(); err == nil {
		t.Errorf("md5: %v", h)
	}
}

// Every secret that has no key has a reason, and only such a secret.
func TestWhyNoStandardKey(t *testing.T) {
	of := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n)) }
	urlSafe := strings.NewReplacer("+", "-", "/", "_")
	for secret, want := range map[string]string{
		of(24): "", of(32): "", of(64): "", current: "",
		"v1," + of(24):                 "v1,",
		of(32)[:len(of(32))-1]:         "padding",
		of(32) + "=":                   "padding",
		urlSafe.Replace(of(24)):        "url-safe",
		urlSafe.Replace(of(32))[:49]:   "url-safe",
		of(23):                         "holds 23 bytes",
		of(65):                         "holds 65 bytes",
		"whsec_":                       "holds 0 bytes",
		"whsec_" + "not base64 at all": "not base64",
		of(32)[:len(of(32))-2] + "B=":  "not base64",
		imported:                       "does not begin with whsec_",
		"WHSEC_" + of(32)[6:]:          "does not begin with whsec_",
	} {
		got := wire.WhyNoStandardKey(secret)
		if _, ok := wire.StandardKey(secret); ok != (got == "") || !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q: %q, want %q", secret, got, want)
		}
	}
}

func TestStandardKey(t *testing.T) {
	of := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for secret, want := range map[string]int{
		of(24): 24, of(25): 25, of(32): 32, of(64): 64, current: 32,
		of(23): 0, of(65): 0, of(0): 0,
		imported:                             0,
		strings.TrimPrefix(of(32), "whsec_"): 0,
		"WHSEC_" + of(32)[6:]:                0,
		of(32) + "=":                         0,
		of(32)[:len(of(32))-1]:               0, // without its padding
		of(32)[:len(of(32))-2] + "B=":        0, // not canonical: bits behind the last byte
		of(32)[:20] + "\n" + of(32)[20:]:     0,
		"whsec_" + strings.Repeat("_-", 16):  0, // the other alphabet
	} {
		if key, ok := wire.StandardKey(secret); len(key) != want || ok != (want > 0) {
			t.Errorf("StandardKey(%q) has %d bytes, %v, want %d", secret, len(key), ok, want)
		}
	}
}
