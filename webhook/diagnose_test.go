package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

// received is a request as a receiver has it, to be spoilt by one of the usual mistakes.
type received struct {
	verifier webhook.Verifier
	header   http.Header
	body     string
}

func (r *received) setSignature(text string) { r.header.Set("X-Atlas-Webhook-Signature", text) }
func (r *received) signature() string        { return r.header.Get("X-Atlas-Webhook-Signature") }
func (r *received) timestamp() string        { return r.header.Get("X-Atlas-Webhook-Signature-Timestamp") }

func (r *received) sign(key, message string) {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	r.setSignature(hex.EncodeToString(mac.Sum(nil)))
}

func TestDiagnoseProvesTheMistake(t *testing.T) {
	bare := strings.TrimPrefix(webhooktest.Secret, "whsec_")
	decoded, err := base64.StdEncoding.DecodeString(bare)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		delivery webhooktest.Delivery
		spoil    func(r *received)
		want     string // codes of the mistakes, space-separated
	}{
		{"newline behind the body", webhooktest.Delivery{}, func(r *received) { r.body += "\n" }, "body_newline"},
		{"CR LF behind the body", webhooktest.Delivery{}, func(r *received) { r.body += "\r\n" }, "body_newline"},
		{"white space around the body", webhooktest.Delivery{}, func(r *received) { r.body = " " + r.body + " " }, "body_whitespace"},
		{"byte order mark", webhooktest.Delivery{}, func(r *received) { r.body = "\ufeff" + r.body }, "body_bom"},
		{"body in base64", webhooktest.Delivery{}, func(r *received) { r.body = base64.StdEncoding.EncodeToString([]byte(r.body)) }, "body_base64"},
		{"printed again with spaces", webhooktest.Delivery{}, reindent, "body_reserialized"},
		{"printed again, object format", webhooktest.Delivery{Format: webhook.FormatObject}, reindent, "body_reserialized"},
		{"printed again in raw UTF-8", webhooktest.Delivery{Topic: "customer.created", Format: webhook.FormatObject}, func(r *received) {
			r.body = strings.ReplaceAll(r.body, `\u5c0f\u6797`, "小林")
		}, "body_reserialized"},
		{"members swapped", webhooktest.Delivery{}, func(r *received) {
			var members map[string]string
			_ = json.Unmarshal([]byte(r.body), &members)
			sorted, _ := json.Marshal(members) // data comes before event
			r.body = string(sorted)
		}, "body_reserialized"},
		{"data only", webhooktest.Delivery{Data: `{"id": "c"}`}, func(r *received) { r.body = `{"id": "c"}` }, "body_data_only"},

		{"newline behind the secret", webhooktest.Delivery{}, func(r *received) { r.verifier.Secrets[0] += "\n" }, "secret_whitespace"},
		{"secret in quotes", webhooktest.Delivery{}, func(r *received) { r.verifier.Secrets[0] = `"` + webhooktest.Secret + `"` }, "secret_quoted"},
		{"secret without whsec_", webhooktest.Delivery{}, func(r *received) { r.verifier.Secrets[0] = bare }, "secret_prefix_missing"},
		{"signed with the decoded secret", webhooktest.Delivery{}, func(r *received) {
			r.sign(string(decoded), r.timestamp()+"."+r.body)
		}, "secret_decoded"},
		{"signed with the secret without whsec_", webhooktest.Delivery{}, func(r *received) {
			r.sign(bare, r.timestamp()+"."+r.body)
		}, "secret_prefix_stripped"},
		{"signed with a newline behind the secret", webhooktest.Delivery{}, func(r *received) {
			r.sign(webhooktest.Secret+"\n", r.timestamp()+"."+r.body)
		}, "secret_whitespace"},

		{"base64 for hex", webhooktest.Delivery{Scheme: webhook.Base64}, func(*received) {}, "scheme_other"},
		{"base64-dotted for hex", webhooktest.Delivery{Scheme: webhook.Base64Dotted}, func(*received) {}, "scheme_other"},
		{"python-dict for hex", webhooktest.Delivery{Scheme: webhook.PythonDict}, func(*received) {}, "scheme_other"},
		{"hex for python-dict", webhooktest.Delivery{}, func(r *received) { r.verifier.Scheme = webhook.PythonDict }, "scheme_other"},
		{"hex without the dot", webhooktest.Delivery{}, func(r *received) {
			r.sign(webhooktest.Secret, r.timestamp()+r.body)
		}, "scheme_no_dot"},
		{"the body alone", webhooktest.Delivery{}, func(r *received) { r.sign(webhooktest.Secret, r.body) }, "scheme_no_timestamp"},

		{"upper case", webhooktest.Delivery{}, func(r *received) { r.setSignature(strings.ToUpper(r.signature())) }, "signature_reformatted"},
		{"prefix", webhooktest.Delivery{}, func(r *received) { r.setSignature("sha256=" + r.signature()) }, "signature_reformatted"},
		{"timestamp rounded", webhooktest.Delivery{Time: now().Truncate(time.Second)}, func(r *received) {
			r.header.Set("X-Atlas-Webhook-Signature-Timestamp", strings.TrimSuffix(r.timestamp(), ".001"))
		}, "timestamp_other_header"},
		{"timestamp padded", webhooktest.Delivery{Time: now().Truncate(time.Second).Add(250 * time.Millisecond)}, func(r *received) {
			r.header.Del("X-Atlas-Webhook-Timestamp")
			r.header.Set("X-Atlas-Webhook-Signature-Timestamp", r.timestamp()+"000")
		}, "timestamp_reformatted"},
		{"timestamp malformed", webhooktest.Delivery{}, func(r *received) {
			r.header.Set("X-Atlas-Webhook-Signature-Timestamp", "yesterday")
		}, "timestamp_other_header"},

		{"timestamp as an integer", webhooktest.Delivery{}, alter("1732363200"), "timestamp_altered"},
		{"timestamp rounded up", webhooktest.Delivery{}, alter("1732363201"), "timestamp_altered"},
		{"timestamp in milliseconds", webhooktest.Delivery{}, alter("1732363200789"), "timestamp_altered"},
		{"timestamp with two decimals", webhooktest.Delivery{}, alter("1732363200.79"), "timestamp_altered"},
		{"timestamp as a date", webhooktest.Delivery{}, alter("2024-11-23T12:00:00+00:00"), "timestamp_altered"},
		{"timestamp as a date, imported secret", webhooktest.Delivery{Secret: otherSecret[:20]}, func(r *received) {
			r.verifier.Secrets[0] = otherSecret[:20]
			alter("2024-11-23 12:00:00Z")(r)
		}, "timestamp_altered"},
		{"timestamp in milliseconds, imported secret", webhooktest.Delivery{Secret: otherSecret[:20]}, func(r *received) {
			r.verifier.Secrets[0] = otherSecret[:20]
			alter("1732363200789")(r)
		}, "timestamp_altered"},
		{"signature cut", webhooktest.Delivery{}, func(r *received) { r.setSignature(r.signature()[:40]) }, "signature_cut"},
		{"doubled backslashes", webhooktest.Delivery{}, func(r *received) { r.body = strings.ReplaceAll(r.body, `\`, `\\`) }, "body_backslashes"},
		{"printed as a text", webhooktest.Delivery{}, func(r *received) {
			quoted, _ := json.Marshal(r.body)
			r.body = string(quoted)
		}, "body_encoded_twice"},
		{"printed as Python's bytes", webhooktest.Delivery{Data: `"it's"`}, func(r *received) {
			r.body = "b'" + strings.ReplaceAll(strings.ReplaceAll(r.body, `\`, `\\`), "'", `\'`) + "'"
		}, "body_encoded_twice"},
		{"URL-encoded", webhooktest.Delivery{}, func(r *received) { r.body = url.QueryEscape(r.body) }, "body_url_encoded"},
		{"NAME=secret", webhooktest.Delivery{}, func(r *received) { r.verifier.Secrets[0] = `ATLAS_SECRET="` + webhooktest.Secret + `"` }, "secret_assignment"},
		{"secret without its padding", webhooktest.Delivery{}, func(r *received) { r.verifier.Secrets[0] = strings.TrimRight(webhooktest.Secret, "=") }, "secret_base64"},
		{"secret behind v1,", webhooktest.Delivery{}, func(r *received) { r.verifier.Secrets[0] = "v1," + webhooktest.Secret }, "secret_versioned"},

		{"two at once", webhooktest.Delivery{Scheme: webhook.Base64}, func(r *received) { r.body += "\n" }, "scheme_other body_newline"},
		{"three at once", webhooktest.Delivery{Scheme: webhook.Base64}, func(r *received) {
			r.body += "\n"
			r.verifier.Secrets[0] += "\n"
		}, "scheme_other secret_whitespace body_newline"},

		{"standard, printed again", webhooktest.Delivery{}, func(r *received) {
			r.verifier.Scheme = webhook.Standard
			reindent(r)
		}, "body_reserialized"},
		{"standard, without whsec_", webhooktest.Delivery{}, func(r *received) {
			r.verifier = webhook.Verifier{Secrets: []string{bare}, Scheme: webhook.Standard}
		}, "secret_prefix_missing"},
		{"standard, id changed", webhooktest.Delivery{}, func(r *received) {
			r.verifier.Scheme = webhook.Standard
			r.header.Set("Webhook-Id", "evt_other")
		}, "id_changed"},
		{"standard, float timestamp", webhooktest.Delivery{}, func(r *received) {
			r.verifier.Scheme = webhook.Standard
			r.header.Set("Webhook-Timestamp", r.timestamp())
		}, "timestamp_other_header"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			header, body := sign(t, test.delivery)
			r := &received{webhook.Verifier{Secrets: []string{webhooktest.Secret}}, header, string(body)}
			test.spoil(r)
			diagnosis := r.verifier.Diagnose(r.header, []byte(r.body))
			if diagnosis.Err == nil {
				t.Fatal("the spoilt request verifies")
			}
			if got := mistakeCodes(diagnosis); got != test.want || !diagnosis.Proven {
				t.Errorf("mistakes %q, proven %v (%v), want %q", got, diagnosis.Proven, diagnosis.Err, test.want)
			}
		})
	}
}

// alter signs at a fixed instant and lets another text of it arrive. What webhook-timestamp says stays.
func alter(text string) func(r *received) {
	return func(r *received) {
		secret := r.verifier.Secrets[0]
		r.header, _, _ = webhooktest.Delivery{Secret: secret, Time: time.UnixMilli(1732363200789)}.Sign()
		r.verifier.Tolerance = -1
		r.header.Set("X-Atlas-Webhook-Signature-Timestamp", text)
		r.header.Set("X-Atlas-Webhook-Timestamp", text)
	}
}

func now() time.Time { return time.Now() }

func reindent(r *received) {
	var body strings.Builder
	encoder := json.NewEncoder(&body)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(json.RawMessage(r.body))
	r.body = body.String()
}

func mistakeCodes(d webhook.Diagnosis) string {
	codes := make([]string, 0, len(d.Mistakes))
	for _, mistake := range d.Mistakes {
		codes = append(codes, mistake.Code)
	}
	return strings.Join(codes, " ")
}

func TestDiagnoseTime(t *testing.T) {
	header, body := sign(t, webhooktest.Delivery{Time: now().Add(-time.Hour)})
	v := webhook.Verifier{Secrets: []string{webhooktest.Secret}}
	if d := v.Diagnose(header, body); d.Err.Code != webhook.TimestampTooOld || mistakeCodes(d) != "clock" || !d.Proven {
		t.Errorf("an hour old: %+v", d)
	}
	header, body = sign(t, webhooktest.Delivery{Time: now().Add(time.Hour)})
	if d := v.Diagnose(header, body); d.Err.Code != webhook.TimestampTooNew || mistakeCodes(d) != "clock" || !d.Proven {
		t.Errorf("an hour ahead: %+v", d)
	}
	header, body = sign(t, webhooktest.Delivery{Time: time.Unix(now().UnixMilli(), 0)})
	if d := v.Diagnose(header, body); d.Err.Code != webhook.TimestampTooNew || mistakeCodes(d) != "timestamp_milliseconds" {
		t.Errorf("milliseconds: %+v", d)
	}
}

func TestDiagnoseSuspects(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(r *received)
		want  string
	}{
		{"another secret", func(r *received) { r.verifier.Secrets[0] = otherSecret }, ""},
		{"no headers", func(r *received) { r.header = http.Header{} }, "headers_missing"},
		{"no Atlas headers", func(r *received) { r.header.Del("X-Atlas-Webhook-Signature") }, "headers_standard_only"},
		{"headers under other names", func(r *received) {
			r.header = http.Header{"x-atlas-webhook-signature": {"00"}}
		}, "headers_not_canonical"},
		{"rotation", func(r *received) {
			r.header, _, _ = webhooktest.Delivery{Secret: otherSecret, Other: webhooktest.Secret}.Sign()
		}, "secret_rotated"},
		{"Atlas header changed beyond repair", func(r *received) { r.setSignature(strings.Repeat("0", 64)) }, "header_altered"},
		{"no timestamp", func(r *received) {
			r.header.Del("X-Atlas-Webhook-Timestamp")
			r.header.Del("X-Atlas-Webhook-Signature-Timestamp")
			r.body = "{}"
			r.header.Del("Webhook-Timestamp")
		}, "timestamp_missing"},
		{"cut body", func(r *received) {
			r.header.Set("Content-Length", strconv.Itoa(len(r.body)))
			r.body = r.body[:len(r.body)-5]
		}, "body_cut"},
		{"grown body", func(r *received) {
			r.header.Set("Content-Length", strconv.Itoa(len(r.body)))
			r.body = strings.Replace(r.body, `"event":"c`, `"event":"cc`, 1)
		}, "body_grown"},
		{"a webhook's id", func(r *received) { r.verifier.Secrets[0] = "wh_01kakqz0x8e4m9wz7q3t5v6y8b" }, "secret_is_id"},
		{"an API key", func(r *received) { r.verifier.Secrets[0] = "awc_0123456789abcdef0123456789abcdef" }, "secret_is_api_key"},
		{"masked", func(r *received) { r.verifier.Secrets[0] = "whsec_••••" }, "secret_masked"},
		{"a variable", func(r *received) { r.verifier.Secrets[0] = "${ATLAS_SECRET}" }, "secret_placeholder"},
		{"empty body", func(r *received) { r.body = "" }, "body_empty"},
		{"stringified", func(r *received) { r.body = "[object Object]" }, "body_stringified"},
		{"other spelling of the data", func(r *received) { r.body = `{ "event": "x", "data": {"a":0.1} }` }, "body_reserialized"},
		{"raw UTF-8", func(r *received) { r.body = `{"event":"x","data":"\"é\""}` }, "body_reserialized"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			header, body := sign(t, webhooktest.Delivery{})
			r := &received{webhook.Verifier{Secrets: []string{webhooktest.Secret}}, header, string(body)}
			test.spoil(r)
			if test.name == "rotation" {
				// The second signing has its own id and time; the body is the same.
				r.verifier.Tolerance = -1
			}
			d := r.verifier.Diagnose(r.header, []byte(r.body))
			if d.Err == nil || d.Proven || mistakeCodes(d) != test.want {
				t.Errorf("%+v, want %q, unproven", d, test.want)
			}
		})
	}
}

func TestDiagnoseOfAVerifiedRequestIsEmpty(t *testing.T) {
	header, body := sign(t, webhooktest.Delivery{})
	v := webhook.Verifier{Secrets: []string{webhooktest.Secret}}
	if d := v.Diagnose(header, body); d.Err != nil || d.Mistakes != nil || d.Proven {
		t.Errorf("%+v", d)
	}
}
