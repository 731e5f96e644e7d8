package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// published serves a set of keys, and counts who asks.
type published struct {
	*httptest.Server
	keys  atomic.Pointer[map[string]ed25519.PublicKey]
	asked atomic.Int32
	away  atomic.Bool
}

func publish(t *testing.T) *published {
	p := &published{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		if p.away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		keys := []map[string]string{{"kty": "RSA", "kid": "other"}}
		for kid, key := range *p.keys.Load() {
			keys = append(keys, map[string]string{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": base64.RawURLEncoding.EncodeToString(key)})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	}))
	t.Cleanup(p.Close)
	return p
}

func signedByKey(t *testing.T, kid string, private ed25519.PrivateKey, at time.Time, body []byte) http.Header {
	t.Helper()
	r := wire.Request{
		Body: body, Timestamp: wire.Timestamp(at), Topic: "conversation", EventID: "evt_1", WebhookID: "wh_1", Attempt: 1, Secret: "no standard key at all",
		Key: &hook.SigningKey{ID: kid, Private: private}, Ed25519: true,
	}
	header, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	return header
}

// A receiver that knows no secret verifies by the published key: a new one is fetched once, an unknown one is
// refused without asking again and again, and a set that cannot be had is no reason to refuse what is known.
func TestEd25519(t *testing.T) {
	p := publish(t)
	public, private, _ := ed25519.GenerateKey(nil)
	next, nextPrivate, _ := ed25519.GenerateKey(nil)
	p.keys.Store(&map[string]ed25519.PublicKey{"k1": public})
	now := time.Now()
	v := webhook.Verifier{Scheme: webhook.Ed25519, Keys: &webhook.KeySet{URL: p.URL}, Now: func() time.Time { return now }}
	body := []byte(`{"event":"conversation","data":"{}"}`)
	verify := func(header http.Header, body []byte, want webhook.Code) {
		t.Helper()
		event, err := v.Verify(header, body)
		switch {
		case want == "" && (err != nil || event.ID != "evt_1" || !event.IDVerified):
			t.Errorf("%v: %+v", err, event)
		case want != "" && !errors.Is(err, want):
			t.Errorf("%v, want %s", err, want)
		}
	}
	for range 3 {
		verify(signedByKey(t, "k1", private, now, body), body, "")
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
	verify(signedByKey(t, "k1", nextPrivate, now, body), body, webhook.SignatureMismatch)
	verify(signedByKey(t, "k1", private, now, body), append([]byte(" "), body...), webhook.SignatureMismatch)
	verify(signedByKey(t, "k1", private, now.Add(-time.Hour), body), body, webhook.TimestampTooOld)
	other := signedByKey(t, "k1", private, now, body)
	other.Set(wire.HeaderStandardID, "evt_2")
	verify(other, body, webhook.SignatureMismatch)
	other.Del(wire.HeaderKeyID)
	verify(other, body, webhook.KeyMissing)
	other.Set(wire.HeaderStandardSignature, "v1,AAAA")
	verify(other, body, webhook.SignatureMissing)

	now = now.Add(time.Minute)
	p.keys.Store(&map[string]ed25519.PublicKey{"k1": public, "k2": next})
	verify(signedByKey(t, "k2", nextPrivate, now, body), body, "")
	for range 5 {
		verify(signedByKey(t, "k3", private, now, body), body, webhook.KeyUnknown)
	}
	if n := p.asked.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
	now = now.Add(2 * time.Hour)
	p.away.Store(true)
	verify(signedByKey(t, "k1", private, now, body), body, "")
	now = now.Add(time.Minute)
	verify(signedByKey(t, "k3", private, now, body), body, webhook.KeysUnavailable)
	v.Keys = nil
	verify(signedByKey(t, "k1", private, now, body), body, webhook.KeysMissing)
}
