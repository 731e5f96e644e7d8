// Package webhooktest signs requests as Atlas does, for the tests of a receiver.
//
//	request := webhooktest.Delivery{Topic: "conversation.status"}.Request(t, "/atlas")
//	recorder := httptest.NewRecorder()
//	receiver.ServeHTTP(recorder, request)
//
// The receiver under test verifies with [Secret]. A test of its refusals changes the request, or
// signs with another secret, or at another time.
package webhooktest

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// Secret signs a delivery that names no other. It is public: never accept it outside tests.
const Secret = "whsec_d2ViaG9va3Rlc3QgaXMgZm9yIHRlc3RzIG9ubHkhISE="

// Delivery is one request of Atlas. Its zero value is the first attempt of a conversation.status
// event with the catalogue's sample as data, signed by [Secret] now.
type Delivery struct {
	Topic     string         // "" is conversation.status
	Data      string         // the published JSON document; "" is the topic's sample
	Secret    string         // "" is [Secret]
	Other     string         // during a rotation, the other secret of webhook-signature
	Scheme    webhook.Scheme // "" and Standard are Hex: the webhook-* headers are always there if the secret allows
	Format    webhook.Format // "" is FormatString
	EventID   string         // "" is a new one
	ObjectID  string         // "" is what the data's id says, if it says one
	WebhookID string         // "" is a new one
	Attempt   int            // 0 is 1
	Sequence  int64          // 0 is 1, below 0 leaves the header out
	Test      bool
	Replay    string    // rpl_…, "" for none
	Time      time.Time // zero is now
}

// Sign returns the headers and the body. It fails if Data is no JSON, or cannot be signed by the
// scheme (python-dict with FormatObject).
func (d Delivery) Sign() (http.Header, []byte, error) {
	d.setDefaults()
	document, err := wire.Parse([]byte(d.Data))
	if err != nil {
		return nil, nil, fmt.Errorf("sign delivery: %w", err)
	}
	if id, ok := document.ID(); ok && d.ObjectID == "" && hook.ValidObjectID(id) {
		d.ObjectID = id
	}
	body := wire.Body(d.Topic, document.Text, hook.DataFormat(d.Format))
	request := wire.Request{
		Body: body, Timestamp: wire.Timestamp(d.Time), Topic: d.Topic,
		EventID: d.EventID, Object: d.ObjectID, WebhookID: d.WebhookID,
		Attempt: d.Attempt, Sequence: d.Sequence, Test: d.Test, Replay: d.Replay,
		Scheme: hook.SignatureScheme(d.Scheme), Secret: d.Secret, Other: d.Other,
		UserAgent: wire.UserAgent("test"),
	}
	header, err := request.Header()
	if err != nil {
		return nil, nil, fmt.Errorf("sign delivery: %w", err)
	}
	return header, body, nil
}

// Request returns the delivery as a POST to url, for a handler's ServeHTTP or a client's Do. It
// fails the test if there is none.
func (d Delivery) Request(t testing.TB, url string) *http.Request {
	t.Helper()
	header, body, err := d.Sign()
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	return request
}

func (d *Delivery) setDefaults() {
	if d.Topic == "" {
		d.Topic = "conversation.status"
	}
	if d.Data == "" {
		topic, _ := hook.LookupTopic(d.Topic)
		d.Data = topic.Sample
	}
	if d.Secret == "" {
		d.Secret = Secret
	}
	if d.Scheme == webhook.Standard {
		d.Scheme = webhook.Hex
	}
	if d.Time.IsZero() {
		d.Time = time.Now()
	}
	if d.EventID == "" {
		d.EventID = hook.NewID(hook.EventPrefix, d.Time)
	}
	if d.WebhookID == "" {
		d.WebhookID = hook.NewID(hook.WebhookPrefix, d.Time)
	}
	if d.Attempt == 0 {
		d.Attempt = 1
	}
	if d.Sequence == 0 {
		d.Sequence = 1
	}
}
