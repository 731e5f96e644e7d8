package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// sampleBodies are bodies that pass the input's checks, by operation.
var sampleBodies = map[string]string{
	"publish-event": `{"company_id":"c2","event":"customer","data":{}}`, "publish-batch": `[{"company_id":"c2","event":"customer","data":{}}]`,
	"publish-change": `{"company_id":"c2","object_type":"customer","before":null,"after":{"id":1}}`,
	"create-webhook": `{"endpoint":"https://example.com/isolated","event":"customer"}`, "update-webhook": `{"description":"mine now"}`,
	"patch-webhook": `{"description":"mine now"}`, "create-key": `{"scope":"read"}`, "update-company": `{"max_webhooks":5}`, "put-topic": `{"category":"ORDER","description":"d"}`,
	"preflight": `{"endpoint":"https://example.com"}`, "create-replay": `{"from":"2020-01-01T00:00:00Z"}`, "preview-filter": `{"filter":"true"}`,
}

// Every route, with every id it takes belonging to another company, by every kind of caller: no
// foreign byte, and a foreign id answers like an unknown one. The routes are those of the document,
// so that a new one is in the test from its first day (K8).
func TestIsolation(t *testing.T) {
	s := newServer(t)
	const canary = "canary-of-c1"
	w := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/`+canary+`","events":["*"],"description":"`+canary+`"}`).ok(201)["id"].(string)
	event := s.call("POST", "/v1/events", `{"company_id":"c1","event":"customer","data":{"id":"`+canary+`"}}`).ok(202)["id"].(string)
	s.record(w, event, func(a *hook.Attempt, r *store.Record) {
		r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1, Delivered: 1}}
	})
	replay := s.call("POST", "/v1/webhooks/"+w+"/replays", `{"from":"2020-01-01T00:00:00Z"}`).ok(202)["id"].(string)
	_, keyID := s.companyKey("c1", "read")

	write, _ := s.companyKey("c2", "write")
	read, _ := s.companyKey("c2", "read")
	publish, _ := s.companyKey("c2", "publish")
	revoked, revokedID := s.companyKey("c2", "write")
	s.call("DELETE", "/v1/companies/c2/keys/"+revokedID, "").ok(204)
	expired := s.call("POST", "/v1/companies/c2/keys", `{"scope":"write","expires_at":"`+s.now().Add(time.Second).Format(time.RFC3339Nano)+`"}`).ok(201)["key"].(string)
	s.move(2 * time.Second)

	foreign := strings.NewReplacer("{id}", w, "{event_id}", event, "{replay_id}", replay, "{key_id}", keyID, "{company_id}", "c1")
	unknown := strings.NewReplacer("{id}", "wh_unknown", "{event_id}", "evt_unknown", "{replay_id}", "rpl_unknown", "{key_id}", "key_unknown", "{company_id}", "unknown")
	callers := map[string]*server{
		"nobody": s.as(""), "revoked": s.as(revoked), "expired": s.as(expired), "read": s.as(read), "write": s.as(write), "publish": s.as(publish),
		"operator for c2": s.as(operatorKey).with("X-Atlas-Company-Id", "c2"),
	}
	checked := 0
	for path, methods := range s.document().Paths {
		for method, op := range methods {
			for name, caller := range callers {
				if strings.Contains(path, "{company_id}") && name == "operator for c2" {
					continue // there the path names the company, and an operator may
				}
				query := ""
				if op.OperationID == "export-deliveries" || op.OperationID == "stream-attempts" {
					query = "?webhook_id=" + w
				}
				what := fmt.Sprintf("%s: %s %s", name, method, path)
				a := caller.call(strings.ToUpper(method), foreign.Replace(path)+query, sampleBodies[op.OperationID])
				b := caller.call(strings.ToUpper(method), unknown.Replace(path)+strings.ReplaceAll(query, w, "wh_unknown"), sampleBodies[op.OperationID])
				checked++
				if strings.Contains(a.text, canary) {
					t.Errorf("%s shows what belongs to another company: %s", what, cut(a.text))
				}
				if strings.Contains(path, "{") || query != "" {
					if a.status < 400 || plain(a) != plain(b) {
						t.Errorf("%s: a foreign id answers %d %s, an unknown one %d %s", what, a.status, cut(a.text), b.status, cut(b.text))
					}
				}
				if anonymous := name == "nobody" || name == "revoked" || name == "expired"; anonymous && a.status != 401 {
					t.Errorf("%s: %d", what, a.status)
				}
			}
		}
	}
	t.Logf("%d calls", checked)
	after := s.call("GET", "/v1/webhooks/"+w, "")
	if after.ok(200)["description"] != canary {
		t.Errorf("changed by others: %s", after.text)
	}
	if keys := s.call("GET", "/v1/companies/c1/keys", "").ok(200)["data"].([]any); keys[0].(map[string]any)["revoked_at"] != nil {
		t.Errorf("revoked by others: %v", keys)
	}
}

// plain is an answer without its request id, which differs.
func plain(a *answer) string {
	return strings.ReplaceAll(a.text, a.header.Get("X-Request-Id"), "")
}

// A read key never sees a secret, a fresh signature or the value of a custom header.
func TestReadKeysSeeNoSecret(t *testing.T) {
	s := newServer(t)
	w := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com","event":"*","signing_secret":"canary-secret-0123","headers":{"Authorization":"canary-header"}}`).ok(201)["id"].(string)
	event := s.publish("customer", `{"id":"8"}`)
	read, _ := s.companyKey("c1", "read")
	reader := s.as(read)
	replace := strings.NewReplacer("{id}", w, "{event_id}", event, "{replay_id}", "x", "{key_id}", "x", "{company_id}", "c1")
	for path, methods := range s.document().Paths {
		for method, op := range methods {
			if op.OperationID == "stream-attempts" {
				continue // it would not end
			}
			a := reader.call(strings.ToUpper(method), replace.Replace(path), sampleBodies[op.OperationID])
			if strings.Contains(a.text, "canary") {
				t.Errorf("%s %s: %s", method, path, a.text)
			}
			if method != "get" && a.status < 400 && op.OperationID != "preview-filter" {
				t.Errorf("%s %s: %d by a read key", method, path, a.status)
			}
		}
	}
}
