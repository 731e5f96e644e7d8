package httpapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// TestExplainSignature: what somebody's code computed for a request is taken apart where the secret
// is, which the answer does not tell, and which is written down.
func TestExplainSignature(t *testing.T) {
	s := newServer(t)
	w := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/","events":["*"]}`).ok(201)
	id, secret := w["id"].(string), w["signing_secret"].(string)
	event, waiting := s.publish("customer", `{"n":1.0,"é":"x"}`), s.publish("customer", `{}`)
	path := "/v1/webhooks/" + id + "/deliveries/" + event + "/explain"
	s.record(id, event, func(a *hook.Attempt, r *store.Record) {
		a.Outcome = hook.OutcomeRetry
		due := r.At
		r.Items[0].Park = &hook.Parked{Webhook: a.Webhook, Kind: hook.Live, Offset: a.Offset, Sequence: 1, Attempts: 1, Step: 1, DueAt: &due, Reason: "status_5xx"}
		r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1}}
	})
	request := s.call("GET", strings.TrimSuffix(path, "/explain"), "").ok(200)["attempts"].([]any)[0].(map[string]any)["request"].(map[string]any)
	message := request["headers"].(map[string]any)["X-Atlas-Webhook-Timestamp"].(string) + "." + request["body"].(string)
	computed := func(key string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(message))
		return hex.EncodeToString(mac.Sum(nil))
	}
	for _, c := range []struct {
		computed     string
		right, found bool
		mistake      string
	}{
		{computed(secret), true, true, ""},
		{computed(strings.TrimPrefix(secret, "whsec_")), false, true, "secret_prefix_stripped"},
		{computed("another"), false, false, ""},
		{"[object Promise]", false, false, ""},
	} {
		answer := s.call("POST", path, `{"computed":"`+c.computed+`"}`)
		got := answer.ok(200)
		mistakes := got["mistakes"].([]any)
		code := ""
		if len(mistakes) > 0 {
			code = mistakes[0].(map[string]any)["code"].(string)
		}
		if got["right"] != c.right || got["found"] != c.found || code != c.mistake || got["complete"] != true || (got["formula"] != nil) != c.found || got["attempt"] != 1.0 {
			t.Errorf("%s: %v", c.computed, got)
		}
		if strings.Contains(answer.text, secret) {
			t.Errorf("the secret is told: %s", answer.text)
		}
	}
	if log := s.call("GET", "/v1/audit-log", ""); strings.Count(log.text, `"delivery.signature_explained"`) != 4 {
		t.Errorf("the audit log: %s", log.text)
	}
	s.call("POST", path, `{"computed":"00","attempt":1}`).ok(200)
	s.call("POST", path, `{"computed":"00","attempt":2}`).problem(422, "unknown_attempt", "attempt")
	s.call("POST", path, `{"computed":""}`).problem(422, "invalid_value", "computed")
	s.call("POST", path, `{"computed":"`+strings.Repeat("0", 1025)+`"}`).problem(422, "invalid_value", "computed")
	s.call("POST", strings.Replace(path, event, waiting, 1), `{"computed":"00"}`).problem(409, "not_attempted")
	s.call("POST", strings.Replace(path, event, "nothing", 1), `{"computed":"00"}`).problem(404, "not_found")
	reader, _ := s.companyKey("c1", "read")
	s.as(reader).call("POST", path, `{"computed":"00"}`).problem(403, "scope_not_allowed")
	other, _ := s.companyKey("c2", "write")
	s.as(other).call("POST", path, `{"computed":"00"}`).problem(404, "not_found")
}
