package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// The signature of the message is over the lines that RFC 9421 section 2.5 gives for what Signature-Input names,
// in the order that it names them.
func TestMessageSignature(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	for _, x := range []struct{ endpoint, authority, path, query string }{
		{"https://Example.com:443/in%20box", "example.com", "/in%20box", ""},
		{"http://127.0.0.1:8080?a=b%20c&d", "127.0.0.1:8080", "/", "?a=b%20c&d"},
	} {
		u, err := url.Parse(x.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		r := Request{
			Body: []byte(`{"event":"customer","data":"1"}`), Timestamp: "1732363200.123", Topic: "customer", EventID: "evt_1", WebhookID: "wh_1", Attempt: 1,
			Secret: "not a standard key", Key: &hook.SigningKey{ID: "sig_1", Private: private}, URL: u,
		}
		header, err := r.Header()
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(r.Body)
		if got, want := header.Get("Content-Digest"), "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":"; got != want {
			t.Errorf("digest %s, want %s", got, want)
		}
		query, line := "", ""
		if x.query != "" {
			query, line = ` "@query"`, `"@query": `+x.query+"\n"
		}
		params := `("@method" "@authority" "@path"` + query + ` "content-digest" "content-type" "webhook-id" "webhook-timestamp");created=1732363195;alg="ed25519";keyid="sig_1"`
		if got := header.Get("Signature-Input"); got != "sig1="+params {
			t.Errorf("input %s", got)
		}
		base := `"@method": POST` + "\n" + `"@authority": ` + x.authority + "\n" + `"@path": ` + x.path + "\n" + line + `"content-digest": ` + header.Get("Content-Digest") + "\n" +
			`"content-type": application/json` + "\n" + `"webhook-id": evt_1` + "\n" + `"webhook-timestamp": 1732363200` + "\n" + `"@signature-params": ` + params
		text := strings.TrimSuffix(strings.TrimPrefix(header.Get("Signature"), "sig1=:"), ":")
		signature, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !ed25519.Verify(public, []byte(base), signature) {
			t.Errorf("%s: %v does not verify over\n%s", text, err, base)
		}
		if header.Get("Webhook-Id") != "evt_1" || header.Get("Webhook-Signature") != "" || header.Get("X-Atlas-Webhook-Key-Id") != "sig_1" {
			t.Error(header)
		}
	}
}

func BenchmarkSignEd25519(b *testing.B) {
	_, private, _ := ed25519.GenerateKey(nil)
	body := make([]byte, 1024)
	for b.Loop() {
		SignEd25519(private, "evt_1", "1732363200", body)
	}
}

func BenchmarkSignStandard(b *testing.B) {
	body, key := make([]byte, 1024), make([]byte, 24)
	for b.Loop() {
		SignStandard(key, "evt_1", "1732363200", body)
	}
}
