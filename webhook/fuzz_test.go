package webhook_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

// FuzzVerify throws strangers' headers and bodies at every scheme. Nothing that was not signed
// with the secret may verify, and every refusal has a code.
func FuzzVerify(f *testing.F) {
	header, body := sign(f, webhooktest.Delivery{Secret: otherSecret})
	f.Add(header.Get("X-Atlas-Webhook-Signature"), header.Get("X-Atlas-Webhook-Timestamp"), header.Get("Webhook-Id"), body)
	f.Add("v1,AAAA v1,", "1732363200", "evt_1", []byte(`{"event":"conversation","data":"{}"}`))
	f.Add("sha256=00", "1e9", "", []byte("\xef\xbb\xbf[]"))
	f.Add("", "", "\x00", []byte(`{"event":"\ud83d","data":"\\"}`))
	f.Fuzz(func(t *testing.T, signature, timestamp, id string, body []byte) {
		header := http.Header{}
		for _, name := range []string{"X-Atlas-Webhook-Signature", "Webhook-Signature"} {
			header.Set(name, signature)
		}
		for _, name := range []string{"X-Atlas-Webhook-Signature-Timestamp", "Webhook-Timestamp"} {
			header.Set(name, timestamp)
		}
		header.Set("Webhook-Id", id)
		for _, scheme := range []webhook.Scheme{webhook.Hex, webhook.Base64, webhook.Base64Dotted, webhook.PythonDict, webhook.Standard} {
			v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: scheme, Tolerance: -1}
			event, err := v.Verify(header, body)
			var e *webhook.Error
			if event != nil || !errors.As(err, &e) || e.Code == "" {
				t.Fatalf("%s: %+v, %v", scheme, event, err)
			}
		}
	})
}

// FuzzDiagnose wants no panic out of the many readings of a broken request.
func FuzzDiagnose(f *testing.F) {
	f.Add("00", "1.5", "whsec_", []byte(`{"event":"x","data":"{}"}`))
	f.Add("v1,", "1732363200,5", "\"'", []byte(`{"event":"x","data":`))
	f.Add("=", "NaN", "a b", []byte(`"\ud800"`))
	f.Fuzz(func(t *testing.T, signature, timestamp, secret string, body []byte) {
		for _, scheme := range []webhook.Scheme{webhook.Hex, webhook.Standard} {
			header := atlasHeader(signature, timestamp)
			header.Set("Webhook-Signature", signature)
			header.Set("Webhook-Timestamp", timestamp)
			header.Set("Webhook-Id", "evt_1")
			v := webhook.Verifier{Secrets: []string{secret}, Scheme: scheme, Tolerance: -1}
			if d := v.Diagnose(header, body); d.Err == nil {
				t.Fatalf("%s verifies", scheme)
			}
		}
	})
}
