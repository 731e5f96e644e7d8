package webhooktest_test

import (
	"io"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

func TestEveryDeliveryVerifies(t *testing.T) {
	for _, topic := range hook.Topics() {
		for _, scheme := range []webhook.Scheme{"", webhook.Hex, webhook.Base64, webhook.Base64Dotted, webhook.PythonDict, webhook.Standard} {
			for _, format := range []webhook.Format{"", webhook.FormatString, webhook.FormatObject} {
				if scheme == webhook.PythonDict && format == webhook.FormatObject {
					continue
				}
				header, body, err := webhooktest.Delivery{Topic: topic.Name, Scheme: scheme, Format: format}.Sign()
				if err != nil {
					t.Fatal(err)
				}
				v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: scheme, Format: format}
				event, err := v.Verify(header, body)
				if err != nil || event.Topic != topic.Name || !event.IDVerified {
					t.Errorf("%s %s %s: %+v, %v", topic.Name, scheme, format, event, err)
				}
			}
		}
	}
}

func TestZeroDelivery(t *testing.T) {
	before := time.Now().Add(-time.Second)
	request := webhooktest.Delivery{}.Request(t, "/hooks")
	body, err := io.ReadAll(request.Body)
	if err != nil {
		t.Fatal(err)
	}
	event, err := webhook.Verify(request.Header, body, webhooktest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if request.Method != "POST" || request.URL.Path != "/hooks" || request.ContentLength != int64(len(body)) {
		t.Errorf("request %s %s of %d bytes", request.Method, request.URL, request.ContentLength)
	}
	if event.Topic != "conversation.status" || event.Attempt != 1 || event.Sequence != 1 || event.Test || event.Replay != "" || event.SignedAt.Before(before) {
		t.Errorf("event %+v", event)
	}
}

func TestSignRefuses(t *testing.T) {
	for name, d := range map[string]webhooktest.Delivery{
		"no JSON":                    {Data: "{"},
		"python-dict of an object":   {Scheme: webhook.PythonDict, Format: webhook.FormatObject},
		"a scheme that there is not": {Scheme: "md5"},
	} {
		if _, _, err := d.Sign(); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}
