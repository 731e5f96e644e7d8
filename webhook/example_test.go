package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

// A whole receiver. Handler answers 401 to requests that are not genuine, so the inner handler
// has only to read its event. It answers before it works on it.
func ExampleVerifier_Handler() {
	const secret = "whsec_…" // from the App Config, by way of your own configuration
	work := make(chan *webhook.Event, 1000)
	v := &webhook.Verifier{
		Secrets: []string{secret},
		Refused: func(r *http.Request, err error) { log.Println(r.RemoteAddr, err) },
	}
	mux := http.NewServeMux()
	mux.Handle("POST /atlas", v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, _ := webhook.FromContext(r.Context())
		select {
		case work <- event:
			w.WriteHeader(http.StatusNoContent)
		default: // Atlas waits, and sends it again
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})))
}

// Where requests do not come through net/http, Verify takes headers and raw body.
func ExampleVerify() {
	header := http.Header{}
	header.Set("X-Atlas-Webhook-Signature", "5ba8028cd85fa1226adf003a09825c29ea5cd51edb3cc4cc16bb4d6cc27ddc25")
	header.Set("X-Atlas-Webhook-Signature-Timestamp", "1700000000.000001")
	body := []byte(`{"event":"conversation","data":"{}"}`)

	_, err := webhook.Verify(header, body, "0123456789abcdef")
	fmt.Println(errors.Is(err, webhook.TimestampTooOld)) // it was signed in 2023

	v := webhook.Verifier{
		Secrets: []string{"0123456789abcdef"},
		Now:     func() time.Time { return time.Unix(1_700_000_060, 0) },
	}
	event, err := v.Verify(header, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(event.Topic, string(event.Data))
	// Output:
	// true
	// conversation {}
}

// Data is a JSON document of the topic's own shape; Decode fills a struct with what is of interest.
func ExampleEvent_Decode() {
	header, body, _ := webhooktest.Delivery{Data: `{"id": "conv_1", "status": "CLOSED", "number": 4812}`}.Sign()
	event, err := webhook.Verify(header, body, webhooktest.Secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	var conversation struct{ ID, Status string }
	if err := event.Decode(&conversation); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(event.Topic, conversation.ID, conversation.Status)
	// Output: conversation.status conv_1 CLOSED
}

// The same event can arrive more than once: keep the ids that were dealt with. Where the id is
// not authenticated (an imported secret), a stranger could repeat a request under another id for
// five minutes; the signature tells such a repetition.
func ExampleEvent_seen() {
	seen := map[string]bool{}
	header, body, _ := webhooktest.Delivery{EventID: "evt_1"}.Sign()
	for range 2 {
		event, err := webhook.Verify(header, body, webhooktest.Secret)
		if err != nil {
			fmt.Println(err)
			return
		}
		if seen[event.ID] || !event.IDVerified && seen[event.Signature] {
			fmt.Println("seen", event.ID)
			continue
		}
		seen[event.ID], seen[event.Signature] = true, true
		fmt.Println("new", event.ID)
	}
	// Output:
	// new evt_1
	// seen evt_1
}

// While a secret is rotated both are given. A receiver can also verify by the Standard Webhooks
// headers, as any library for them does; then the id is always authenticated.
func ExampleVerifier_Verify_rotation() {
	const previous = "whsec_cHJldmlvdXNwcmV2aW91c3ByZXZpb3VzcHJldmlvdXM="
	header, body, _ := webhooktest.Delivery{Secret: previous, Other: webhooktest.Secret}.Sign()

	both := webhook.Verifier{Secrets: []string{webhooktest.Secret, previous}}
	_, err := both.Verify(header, body)
	fmt.Println(err)

	standard := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: webhook.Standard}
	event, err := standard.Verify(header, body)
	fmt.Println(event.IDVerified, err)
	// Output:
	// <nil>
	// true <nil>
}

// Diagnose is for the day on which nothing verifies.
func ExampleVerifier_Diagnose() {
	header, body, _ := webhooktest.Delivery{}.Sign()
	body = append(body, '\n') // somebody's editor

	v := webhook.Verifier{Secrets: []string{webhooktest.Secret}}
	diagnosis := v.Diagnose(header, body)
	fmt.Println(diagnosis.Err.Code)
	for _, mistake := range diagnosis.Mistakes {
		fmt.Println(mistake.Code+":", mistake.Detail)
	}
	// Output:
	// signature_mismatch
	// body_newline: a newline was added behind the body
}

// A receiver's own test: the request is signed as Atlas does it.
func Example_test() {
	v := &webhook.Verifier{Secrets: []string{webhooktest.Secret}}
	receiver := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, _ := webhook.FromContext(r.Context())
		fmt.Println("received", event.Topic)
	}))
	send := func(d webhooktest.Delivery) int {
		header, body, _ := d.Sign() // in a test: d.Request(t, "/atlas")
		recorder := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/atlas", bytes.NewReader(body))
		request.Header = header
		receiver.ServeHTTP(recorder, request)
		return recorder.Code
	}
	fmt.Println(send(webhooktest.Delivery{Topic: "customer_notes.deleted"}))
	fmt.Println(send(webhooktest.Delivery{Time: time.Now().Add(-time.Hour)}))
	// Output:
	// received customer_notes.deleted
	// 200
	// 401
}
