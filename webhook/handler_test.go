package webhook_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

func TestHandlerPassesGenuineRequestsOn(t *testing.T) {
	v := &webhook.Verifier{Secrets: []string{webhooktest.Secret}}
	var got *webhook.Event
	var body []byte
	server := httptest.NewServer(v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = webhook.FromContext(r.Context())
		body, _ = io.ReadAll(r.Body)
		if r.ContentLength != int64(len(body)) {
			t.Errorf("ContentLength %d of %d bytes", r.ContentLength, len(body))
		}
		w.WriteHeader(http.StatusNoContent)
	})))
	defer server.Close()

	request := webhooktest.Delivery{Topic: "customer.created", EventID: "evt_7"}.Request(t, server.URL)
	sent, err := request.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := io.ReadAll(sent)
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", response.StatusCode)
	}
	if got == nil || got.Topic != "customer.created" || got.ID != "evt_7" || !got.IDVerified {
		t.Errorf("event in the context: %+v", got)
	}
	if !bytes.Equal(body, want) {
		t.Errorf("the next handler read\n%s\nwant\n%s", body, want)
	}
}

func TestHandlerRefuses(t *testing.T) {
	genuine := func(t *testing.T) *http.Request { return webhooktest.Delivery{}.Request(t, "/") }
	tests := []struct {
		name     string
		request  func(t *testing.T) *http.Request
		verifier webhook.Verifier
		status   int
		code     webhook.Code
	}{
		{name: "another secret", status: 401, code: webhook.SignatureMismatch, request: func(t *testing.T) *http.Request {
			return webhooktest.Delivery{Secret: otherSecret}.Request(t, "/")
		}},
		{name: "no headers", status: 401, code: webhook.SignatureMissing, request: func(t *testing.T) *http.Request {
			r := genuine(t)
			r.Header = http.Header{}
			return r
		}},
		{name: "old", status: 401, code: webhook.TimestampTooOld, request: func(t *testing.T) *http.Request {
			return webhooktest.Delivery{Time: time.Now().Add(-time.Hour)}.Request(t, "/")
		}},
		{name: "too large", status: 413, code: webhook.BodyTooLarge, request: genuine, verifier: webhook.Verifier{MaxBody: 16}},
		{name: "larger than the default", status: 413, code: webhook.BodyTooLarge, request: func(t *testing.T) *http.Request {
			return webhooktest.Delivery{Data: `"` + strings.Repeat("x", webhook.DefaultMaxBody) + `"`}.Request(t, "/")
		}},
		{name: "cut off", status: 400, code: webhook.BodyUnreadable, request: func(t *testing.T) *http.Request {
			r := genuine(t)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"ev`), brokenReader{}))
			return r
		}},
		{name: "no event", status: 422, code: webhook.BodyMalformed, request: func(t *testing.T) *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("[]"))
			r.Header = atlasHeader(hexOf(t, time.Now(), "[]"))
			return r
		}},
		{name: "no secret", status: 500, code: webhook.SecretMissing, request: genuine, verifier: webhook.Verifier{Secrets: []string{""}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := test.verifier
			if v.Secrets == nil {
				v.Secrets = []string{webhooktest.Secret}
			}
			var told error
			v.Refused = func(_ *http.Request, err error) { told = err }
			next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the next handler was called") })
			recorder := httptest.NewRecorder()
			v.Handler(next).ServeHTTP(recorder, test.request(t))
			if recorder.Code != test.status || recorder.Body.String() != string(test.code)+"\n" {
				t.Errorf("answer %d %q, want %d %q", recorder.Code, recorder.Body, test.status, test.code)
			}
			wantCode(t, told, test.code)
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestFromContextWithoutHandler(t *testing.T) {
	if event, ok := webhook.FromContext(t.Context()); ok || event != nil {
		t.Errorf("an event out of nothing: %+v", event)
	}
}
