package webhook_test

import (
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

const otherSecret = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyISE="

// sign is a delivery's headers and body; it fails the test if there are none.
func sign(t testing.TB, d webhooktest.Delivery) (http.Header, []byte) {
	t.Helper()
	header, body, err := d.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return header, body
}

func wantCode(t *testing.T, err error, code webhook.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("error %v, want %s", err, code)
	}
}

func TestEventHoldsWhatTheRequestSays(t *testing.T) {
	signed := time.Date(2026, 3, 2, 9, 0, 0, 123456789, time.UTC)
	header, body := sign(t, webhooktest.Delivery{
		Topic: "customer.created", Data: `{"id":"c_1","name":"José"}`, EventID: "evt_1", WebhookID: "wh_1",
		ObjectID: "50% a", Attempt: 3, Sequence: 42, Test: true, Replay: "rpl_1", Time: signed,
	})
	v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Now: func() time.Time { return signed }}
	event, err := v.Verify(header, body)
	if err != nil {
		t.Fatal(err)
	}
	want := webhook.Event{
		Topic: "customer.created", Data: []byte(`{"id":"c_1","name":"Jos\u00e9"}`), SignedAt: signed.Truncate(time.Millisecond),
		ID: "evt_1", IDVerified: true, Signature: header.Get("X-Atlas-Webhook-Signature"),
		WebhookID: "wh_1", ObjectID: "50% a", Attempt: 3, Sequence: 42, Test: true, Replay: "rpl_1",
	}
	if string(event.Data) != string(want.Data) {
		t.Errorf("Data %s, want %s", event.Data, want.Data)
	}
	event.Data, want.Data = nil, nil
	if event.Topic != want.Topic || !event.SignedAt.Equal(want.SignedAt) || event.ID != want.ID ||
		event.IDVerified != want.IDVerified || event.Signature != want.Signature || event.WebhookID != want.WebhookID || event.ObjectID != want.ObjectID ||
		event.Attempt != want.Attempt || event.Sequence != want.Sequence || event.Test != want.Test || event.Replay != want.Replay {
		t.Errorf("event\n got %+v\nwant %+v", *event, want)
	}
}

func TestDataIsTheDocumentInBothFormats(t *testing.T) {
	for _, test := range []struct{ data, asObject string }{
		{`{"id": 1}`, `{"id": 1}`},
		{`[1, 1.0]`, `[1, 1.0]`},
		{`"text"`, `"text"`},
		{`null`, `null`},
		{`-0.0`, `-0.0`},
		{`"{\"id\": 1}"`, `{"id": 1}`}, // encoded twice: only Format can tell
		{`"1"`, `1`},
	} {
		for _, format := range []webhook.Format{webhook.FormatString, webhook.FormatObject} {
			header, body := sign(t, webhooktest.Delivery{Data: test.data, Format: format})
			told := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Format: format}
			event, err := told.Verify(header, body)
			if err != nil || string(event.Data) != test.data {
				t.Errorf("%s as %s: %s, %v", test.data, format, event.Data, err)
			}
			want := test.data
			if format == webhook.FormatObject {
				want = test.asObject
			}
			event, err = webhook.Verify(header, body, webhooktest.Secret)
			if err != nil || string(event.Data) != want {
				t.Errorf("%s as %s, untold: %s, %v, want %s", test.data, format, event.Data, err, want)
			}
		}
	}
}

func TestAnyOfSeveralSecrets(t *testing.T) {
	header, body := sign(t, webhooktest.Delivery{})
	for _, secrets := range [][]string{
		{webhooktest.Secret, otherSecret},
		{otherSecret, webhooktest.Secret},
		{otherSecret, "0123456789abcdef", webhooktest.Secret},
	} {
		if _, err := webhook.Verify(header, body, secrets...); err != nil {
			t.Errorf("%q: %v", secrets, err)
		}
	}
	_, err := webhook.Verify(header, body, otherSecret, "0123456789abcdef")
	wantCode(t, err, webhook.SignatureMismatch)
}

func TestRotationVerifiesBothWays(t *testing.T) {
	header, body := sign(t, webhooktest.Delivery{Other: otherSecret})
	for _, secret := range []string{webhooktest.Secret, otherSecret} {
		v := webhook.Verifier{Secrets: []string{secret}, Scheme: webhook.Standard}
		if _, err := v.Verify(header, body); err != nil {
			t.Errorf("webhook-signature with %s: %v", secret, err)
		}
	}
	_, err := webhook.Verify(header, body, otherSecret)
	wantCode(t, err, webhook.SignatureMismatch) // the Atlas header carries one only
}

// An empty secret is what an unset variable gives, and what a forger would sign with.
func TestWithoutSecretNothingVerifies(t *testing.T) {
	header, body := sign(t, webhooktest.Delivery{})
	for _, secrets := range [][]string{nil, {}, {""}, {webhooktest.Secret, ""}} {
		_, err := webhook.Verify(header, body, secrets...)
		wantCode(t, err, webhook.SecretMissing)
	}
	v := webhook.Verifier{Secrets: []string{"an imported secret"}, Scheme: webhook.Standard}
	_, err := v.Verify(header, body)
	wantCode(t, err, webhook.SecretMalformed)
	v = webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: "sha1"}
	_, err = v.Verify(header, body)
	wantCode(t, err, webhook.SchemeUnknown)
}

func TestMissingHeaders(t *testing.T) {
	for _, test := range []struct {
		scheme webhook.Scheme
		remove []string
		want   webhook.Code // "" = verifies
	}{
		{webhook.Hex, []string{"X-Atlas-Webhook-Signature"}, webhook.SignatureMissing},
		{webhook.Hex, []string{"X-Atlas-Webhook-Signature-Timestamp"}, ""}, // the later revisions' name is there
		{webhook.Hex, []string{"X-Atlas-Webhook-Timestamp"}, ""},
		{webhook.Hex, []string{"X-Atlas-Webhook-Signature-Timestamp", "X-Atlas-Webhook-Timestamp"}, webhook.TimestampMissing},
		{webhook.Hex, []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"}, ""},
		{webhook.Standard, []string{"X-Atlas-Webhook-Signature"}, ""},
		{webhook.Standard, []string{"Webhook-Signature"}, webhook.SignatureMissing},
		{webhook.Standard, []string{"Webhook-Id"}, webhook.IDMissing},
		{webhook.Standard, []string{"Webhook-Timestamp"}, webhook.TimestampMissing},
	} {
		header, body := sign(t, webhooktest.Delivery{})
		for _, name := range test.remove {
			header.Del(name)
		}
		v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: test.scheme}
		switch _, err := v.Verify(header, body); {
		case test.want == "" && err != nil:
			t.Errorf("%s without %q: %v", test.scheme, test.remove, err)
		case test.want != "":
			wantCode(t, err, test.want)
		}
	}
}

func TestTolerance(t *testing.T) {
	signed := time.Date(2026, 3, 2, 9, 0, 0, 500_000_000, time.UTC)
	header, body := sign(t, webhooktest.Delivery{Time: signed})
	for _, test := range []struct {
		tolerance, age time.Duration
		want           webhook.Code
	}{
		{0, 0, ""},
		{0, 5 * time.Minute, ""},
		{0, 5*time.Minute + time.Microsecond, webhook.TimestampTooOld},
		{0, -5 * time.Minute, ""},
		{0, -5*time.Minute - time.Microsecond, webhook.TimestampTooNew},
		{time.Second, time.Second, ""},
		{time.Second, 2 * time.Second, webhook.TimestampTooOld},
		{24 * time.Hour, 23 * time.Hour, ""},
		{-1, 10_000 * time.Hour, ""},
		{-1, -10_000 * time.Hour, ""},
	} {
		v := webhook.Verifier{
			Secrets: []string{webhooktest.Secret}, Tolerance: test.tolerance,
			Now: func() time.Time { return signed.Add(test.age) },
		}
		_, err := v.Verify(header, body)
		if test.want == "" {
			if err != nil {
				t.Errorf("tolerance %v, age %v: %v", test.tolerance, test.age, err)
			}
			continue
		}
		wantCode(t, err, test.want)
		var e *webhook.Error
		if errors.As(err, &e) && e.Age != test.age {
			t.Errorf("Age %v, want %v", e.Age, test.age)
		}
	}
}

// The id is authenticated only if webhook-signature vouches for this very request.
func TestIDVerified(t *testing.T) {
	now := time.Now()
	for name, change := range map[string]func(http.Header){
		"another id":                func(h http.Header) { h.Set("Webhook-Id", "evt_forged") },
		"another signature":         func(h http.Header) { h.Set("Webhook-Signature", "v1,AAAA") },
		"no signature":              func(h http.Header) { h.Del("Webhook-Signature") },
		"of an earlier attempt":     standardOf(t, now.Add(-2*time.Second)),
		"too many signatures to do": func(h http.Header) { h.Set("Webhook-Signature", strings.Repeat(h.Get("Webhook-Signature")+" ", 17)) },
	} {
		header, body := sign(t, webhooktest.Delivery{EventID: "evt_1", Time: now})
		change(header)
		event, err := webhook.Verify(header, body, webhooktest.Secret)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if event.IDVerified || event.ID != "evt_1" {
			t.Errorf("%s: ID %q, verified %v", name, event.ID, event.IDVerified)
		}
	}
	header, body := sign(t, webhooktest.Delivery{EventID: "evt_1"})
	header.Set("X-Atlas-Webhook-Event-Id", "evt_forged")
	event, err := webhook.Verify(header, body, webhooktest.Secret)
	if err != nil || !event.IDVerified || event.ID != "evt_1" {
		t.Errorf("a forged header hides the signed id: %+v, %v", event, err)
	}
}

// standardOf puts the webhook-* headers of a genuine request with the same body, signed at another
// time for another id.
func standardOf(t *testing.T, when time.Time) func(http.Header) {
	t.Helper()
	other, _ := sign(t, webhooktest.Delivery{EventID: "evt_2", Time: when})
	return func(header http.Header) {
		for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
			header.Set(name, other.Get(name))
		}
	}
}

func TestGenuineBodyThatIsNoEvent(t *testing.T) {
	now := time.Now()
	for _, body := range []string{``, `[]`, `{}`, `{"event":"conversation"}`, `{"data":"{}"}`, `{"event":1,"data":"{}"}`, `{"event":null,"data":1}`} {
		_, err := webhook.Verify(atlasHeader(hexOf(t, now, body)), []byte(body), webhooktest.Secret)
		wantCode(t, err, webhook.BodyMalformed)
	}
	for _, body := range []string{`{"event":"conversation","data":{}}`, `{"event":"conversation","data":"no JSON"}`} {
		v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Format: webhook.FormatString}
		_, err := v.Verify(atlasHeader(hexOf(t, now, body)), []byte(body))
		wantCode(t, err, webhook.BodyMalformed)
	}
}

// TestRandomDocumentsVerify signs 1,000 documents of any text by every scheme.
func TestRandomDocumentsVerify(t *testing.T) {
	documents := rapid.MapOfN(rapid.String(), rapid.String(), 0, 8)
	seed := rand.IntN(1 << 30)
	t.Logf("seed %d", seed)
	for i := range 1000 {
		data, err := json.Marshal(documents.Example(seed + i))
		if err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []webhook.Scheme{webhook.Hex, webhook.Base64, webhook.Base64Dotted, webhook.PythonDict, webhook.Standard} {
			header, body := sign(t, webhooktest.Delivery{Data: string(data), Scheme: scheme})
			v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: scheme}
			event, err := v.Verify(header, body)
			if err != nil {
				t.Fatalf("%s %s: %v", scheme, data, err)
			}
			var got, want map[string]string
			if event.Decode(&got) != nil || json.Unmarshal(data, &want) != nil || !maps.Equal(got, want) {
				t.Fatalf("%s: received %s of %s", scheme, event.Data, data)
			}
		}
	}
}

// TestAnyFlippedBitIsRefused covers every scheme and format: one bit of body, timestamp, signature,
// id or secret.
func TestAnyFlippedBitIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scheme := rapid.SampledFrom([]webhook.Scheme{
			webhook.Hex, webhook.Base64, webhook.Base64Dotted, webhook.PythonDict, webhook.Standard,
		}).Draw(t, "scheme")
		format := rapid.SampledFrom([]webhook.Format{webhook.FormatString, webhook.FormatObject}).Draw(t, "format")
		if scheme == webhook.PythonDict {
			format = webhook.FormatString
		}
		topic := rapid.SampledFrom(hook.Topics()).Draw(t, "topic")
		header, body, err := webhooktest.Delivery{Topic: topic.Name, Scheme: scheme, Format: format}.Sign()
		if err != nil {
			t.Fatal(err)
		}
		names := []string{"X-Atlas-Webhook-Signature", "X-Atlas-Webhook-Signature-Timestamp"}
		if scheme == webhook.Standard {
			names = []string{"Webhook-Signature", "Webhook-Timestamp", "Webhook-Id"}
		}
		secret := webhooktest.Secret
		v := webhook.Verifier{Secrets: []string{secret}, Scheme: scheme, Format: format, Tolerance: -1}
		if _, err := v.Verify(header, body); err != nil {
			t.Fatalf("the control does not verify: %v", err)
		}
		switch part := rapid.IntRange(-2, len(names)-1).Draw(t, "part"); part {
		case -2:
			body = []byte(flip(t, string(body)))
		case -1:
			v.Secrets[0] = flip(t, secret)
		default:
			header[names[part]] = []string{flip(t, header.Get(names[part]))}
		}
		if event, err := v.Verify(header, body); err == nil {
			t.Fatalf("verified: %+v", event)
		}
	})
}

func flip(t *rapid.T, text string) string {
	bit := rapid.IntRange(0, len(text)*8-1).Draw(t, "bit")
	changed := []byte(text)
	changed[bit/8] ^= 1 << (bit % 8)
	return string(changed)
}
