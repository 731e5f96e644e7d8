package httpapi_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
)

func TestKeys(t *testing.T) {
	s := newServer(t)
	write, _ := s.companyKey("c1", "write")
	read, _ := s.companyKey("c1", "read")
	other, _ := s.companyKey("c2", "write")
	id := s.subscribe("*")
	path := "/v1/webhooks/" + id

	s.as(write).call("GET", path, "").ok(200)
	s.as(read).call("GET", path, "").ok(200)
	s.as(other).call("GET", path, "").problem(404, "not_found")
	s.as(operatorKey).call("GET", path, "").problem(400, "company_required")
	s.with("X-Atlas-Company-Id", "no good").call("GET", path, "").problem(400, "invalid_company_id")
	s.as(write).with("X-Atlas-Company-Id", "c2").call("GET", path, "").problem(403, "other_company")
	s.as(read).call("PATCH", path, `{}`).problem(403, "scope_not_allowed")
	s.as(read).call("GET", path+"/secret", "").problem(403, "scope_not_allowed")
	s.as(write).call("GET", path+"/secret", "").ok(200)
	s.as(write).call("POST", "/v1/events", `{}`).problem(403, "operator_required")
	s.as(write).call("GET", "/v1/companies", "").problem(403, "operator_required")
	s.as(write).call("GET", "/v1/nodes", "").problem(403, "operator_required")

	s.as(read).call("GET", "/v1/caller?name=x", "").problem(400, "unknown_parameter")
	if a := s.as(read).call("GET", "/v1/caller", "").ok(200); a["company_id"] != "c1" || a["scope"] != "read" {
		t.Errorf("the caller with a company's key: %v", a)
	}
	if a := s.as(operatorKey).call("GET", "/v1/caller", "").ok(200); a["company_id"] != nil || a["scope"] != "operator" {
		t.Errorf("the caller with the operator's: %v", a)
	}

	for _, bad := range []string{"", "awo_" + strings.Repeat("x", 40), "awc_unknown", "nonsense", strings.Repeat("x", 300)} {
		a := s.as(bad).call("GET", path, "")
		a.problem(401, "unauthorized")
		if a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%q: no WWW-Authenticate", bad)
		}
	}
	s.as("").with("Authorization", "Basic "+operatorKey).call("GET", path, "").problem(401, "unauthorized")
}

func TestKeyLife(t *testing.T) {
	s := newServer(t)
	write, _ := s.companyKey("c1", "write")
	mine := s.as(write)
	made := mine.call("POST", "/v1/companies/c1/keys", `{"name":"desk","scope":"read"}`).ok(201)
	text, id := made["key"].(string), made["id"].(string)
	if !strings.HasPrefix(text, "awc_") || len(text) < 40 || made["name"] != "desk" || made["hint"] != text[len(text)-4:] {
		t.Errorf("made: %v", made)
	}
	s.as(text).call("GET", "/v1/webhooks", "").ok(200)
	list := mine.call("GET", "/v1/companies/c1/keys", "")
	if strings.Contains(list.text, text) || len(list.ok(200)["data"].([]any)) != 2 {
		t.Errorf("list: %s", list.text)
	}
	mine.call("POST", "/v1/companies/c1/keys", `{"scope":"write"}`).problem(403, "operator_required")
	mine.call("POST", "/v1/companies/c2/keys", `{"scope":"read"}`).problem(404, "not_found")
	mine.call("GET", "/v1/companies/c2/keys", "").problem(404, "not_found")
	mine.call("GET", "/v1/companies/nobody/keys", "").problem(404, "not_found")
	s.as(text).call("GET", "/v1/companies/c1/keys", "").problem(403, "scope_not_allowed")
	s.call("POST", "/v1/companies/c1/keys", `{"scope":"operator"}`).problem(422, "invalid_value", "scope")
	s.call("POST", "/v1/companies/c1/keys", `{}`).problem(422, "required", "scope")
	s.call("POST", "/v1/companies/c1/keys", `{"scope":"read","expires_at":"2020-01-01T00:00:00Z"}`).problem(422, "invalid_time", "expires_at")
	s.call("POST", "/v1/companies/c1/keys", `{"scope":"read","expires_at":"soon"}`).problem(422, "invalid_value", "expires_at")
	s.call("POST", "/v1/companies/a%20b/keys", `{"scope":"read"}`).problem(404, "not_found")

	mine.call("DELETE", "/v1/companies/c1/keys/"+id, "").ok(204)
	s.as(text).call("GET", "/v1/webhooks", "").problem(401, "unauthorized")
	mine.call("DELETE", "/v1/companies/c1/keys/"+id, "").problem(404, "not_found")
	mine.call("DELETE", "/v1/companies/c1/keys/key_nothing", "").problem(404, "not_found")
}

// A key revoked on another node is believed for at most two seconds here, and an expired one not
// at all.
func TestRevocationAndExpiry(t *testing.T) {
	s := newServer(t)
	text, id := s.companyKey("c1", "write")
	s.as(text).call("GET", "/v1/webhooks", "").ok(200)
	company, err := s.store.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.RevokeKey(t.Context(), company.Key, id, auditOf("elsewhere")); err != nil {
		t.Fatal(err)
	}
	s.move(2 * time.Second)
	s.as(text).call("GET", "/v1/webhooks", "").problem(401, "unauthorized")

	made := s.call("POST", "/v1/companies/c1/keys", `{"scope":"read","expires_at":"`+s.now().Add(time.Minute).Format(time.RFC3339Nano)+`"}`).ok(201)
	soon := s.as(made["key"].(string))
	soon.call("GET", "/v1/webhooks", "").ok(200)
	s.move(time.Minute)
	soon.call("GET", "/v1/webhooks", "").problem(401, "unauthorized")
}

func TestRateLimit(t *testing.T) {
	s := newServer(t, func(o *httpapi.Options) { o.Config.RateLimitCompanyKey = 5 })
	text, _ := s.companyKey("c1", "read")
	mine := s.as(text)
	allowed, limited := 0, 0
	for range 20 {
		a := mine.call("GET", "/v1/topics", "")
		if a.header.Get("RateLimit-Limit") != "5" || a.header.Get("RateLimit-Remaining") == "" || a.header.Get("RateLimit-Reset") == "" {
			t.Fatalf("headers: %v", a.header)
		}
		if a.status == 200 {
			allowed++
			continue
		}
		a.problem(429, "rate_limited")
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After: %v", a.header)
		}
		limited++
	}
	if allowed != 5 || limited != 15 {
		t.Errorf("%d allowed, %d limited", allowed, limited)
	}
	s.move(time.Second)
	mine.call("GET", "/v1/topics", "").ok(200)
	if h := s.call("GET", "/v1/topics", "").header; h.Get("RateLimit-Limit") != "" {
		t.Errorf("an operator key has a limit: %v", h)
	}
}

// Whoever tries keys that do not exist is slowed down, by address, and nobody else is.
func TestBadKeysAreSlowedDown(t *testing.T) {
	s := newServer(t)
	good, _ := s.companyKey("c1", "read")
	s.as(good).call("GET", "/v1/topics", "").ok(200)
	limited := 0
	for i := range 200 {
		if a := s.as("awc_guess"+strings.Repeat("x", i)).call("GET", "/v1/topics", ""); a.status == http.StatusTooManyRequests {
			limited++
		}
	}
	// A valid key that was never seen before is let in from the very same address.
	fresh, _ := s.companyKey("c1", "read")
	s.as(fresh).call("GET", "/v1/topics", "").ok(200)
	if limited < 100 {
		t.Errorf("of 200 guesses %d were limited", limited)
	}
	s.as(good).call("GET", "/v1/topics", "").ok(200)
}

func TestRequestIDAndRoutes(t *testing.T) {
	s := newServer(t)
	if got := s.with("X-Request-Id", "mine-1").call("GET", "/v1/topics", "").header.Get("X-Request-Id"); got != "mine-1" {
		t.Errorf("X-Request-Id = %q", got)
	}
	if got := s.with("X-Request-Id", "not\nmine").call("GET", "/v1/topics", "").header.Get("X-Request-Id"); !strings.HasPrefix(got, "req_") {
		t.Errorf("X-Request-Id = %q", got)
	}
	s.call("GET", "/v2/topics", "").problem(404, "no_such_route")
	a := s.call("PUT", "/v1/topics", `{}`)
	a.problem(405, "method_not_allowed")
	if !strings.Contains(a.header.Get("Allow"), "GET") {
		t.Errorf("Allow: %v", a.header)
	}
	s.with("Content-Type", "text/plain").call("POST", "/v1/webhooks", `{"endpoint":"https://example.com","event":"customer"}`).problem(415, "unsupported_media_type")
	s.with("Content-Encoding", "gzip").call("POST", "/v1/events", `{}`).problem(415, "unsupported_media_type")
	s.with("Content-Encoding", "gzip").call("POST", "/v1/webhooks", `{}`).problem(415, "unsupported_media_type")
	s.with("Content-Type", "text/plain").call("POST", "/v1/events", `{}`).problem(415, "unsupported_media_type")
	s.with("Content-Type", "application/x-ndjson").call("POST", "/v1/events", `{}`).problem(415, "unsupported_media_type")
	s.with("Content-Type", "application/json; charset=utf-8").call("POST", "/v1/webhooks", `{"endpoint":"https://example.com","event":"customer"}`).ok(201)
}

func TestOpenRoutes(t *testing.T) {
	var ready error
	s := newServer(t, func(o *httpapi.Options) { o.Ready = func(context.Context) error { return ready } })
	nobody := s.as("")
	nobody.call("GET", "/healthz", "").ok(200)
	nobody.call("GET", "/readyz", "").ok(200)
	ready = errDisk
	a := nobody.call("GET", "/readyz", "")
	a.problem(503, "not_ready")
	if a.header.Get("Retry-After") == "" || strings.Contains(a.text, "fire") || !strings.Contains(s.log.String(), "fire") {
		t.Errorf("unready: %v %s", a.header, a.text)
	}
	for path, want := range map[string]string{"/docs": "create-webhook", "/openapi.json": `"3.1.0"`, "/openapi.yaml": "openapi: 3.1.0"} {
		a := nobody.call("GET", path, "")
		if a.status != 200 || !strings.Contains(a.text, want) {
			t.Errorf("%s: %d without %q", path, a.status, want)
		}
		if strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			if strings.Contains(a.text, "<script") || strings.Contains(a.text, "http-equiv") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s is not self-contained", path)
			}
		}
	}
}

func TestErrorsOfOursSayNothing(t *testing.T) {
	s := newServer(t)
	s.engine.test = failing
	id := s.subscribe("*")
	a := s.call("POST", "/v1/webhooks/"+id+"/test", "")
	a.problem(500, "internal_error")
	if strings.Contains(a.text, "fire") || !strings.Contains(s.log.String(), "fire") || !strings.Contains(s.log.String(), a.header.Get("X-Request-Id")) {
		t.Errorf("answer %s, log %s", a.text, s.log)
	}
	s.engine.test = panicking
	s.move(time.Second)
	a = s.call("POST", "/v1/webhooks/"+id+"/test", "")
	a.problem(500, "internal_error")
	if !strings.Contains(s.log.String(), "panic: on fire") {
		t.Errorf("log %s", s.log)
	}
}

// counted are the statuses that a meter is told.
type counted []int

func (c *counted) Request(_, _ string, status int, _ time.Duration) { *c = append(*c, status) }

// Who went away before the answer is no fault of ours, in the log or in the metrics. A store that does
// not answer is one.
func TestClientWentAway(t *testing.T) {
	var statuses counted
	s := newServer(t, func(o *httpapi.Options) { o.Meter = &statuses })
	s.subscribe("*")
	gone, leave := context.WithCancel(t.Context())
	leave()
	ask := func(ctx context.Context, method, path, body string) int {
		r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+s.key)
		r.Header.Set("Content-Type", "application/json")
		maps.Copy(r.Header, s.header)
		s.api.ServeHTTP(httptest.NewRecorder(), r)
		return statuses[len(statuses)-1]
	}
	event := `{"company_id":"c1","event":"customer","data":{}}`
	for _, status := range []int{ask(gone, "GET", "/v1/webhooks", ""), ask(gone, "POST", "/v1/events", event)} {
		if status != 499 || s.log.Len() > 0 {
			t.Errorf("%d, log %s", status, s.log)
		}
	}
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	for n, status := range []int{ask(t.Context(), "GET", "/v1/webhooks", ""), ask(t.Context(), "POST", "/v1/events", event)} {
		if status != 503 || strings.Count(s.log.String(), "request failed") <= n {
			t.Errorf("control: %d, log %s", status, s.log)
		}
	}
}

// A publish key publishes for its company and does nothing else: neither what the document lists, nor the
// console.
func TestPublishKeys(t *testing.T) {
	s := newServer(t)
	made := s.call("POST", "/v1/companies/c1/keys", `{"scope":"publish"}`).ok(201)
	text := made["key"].(string)
	if !strings.HasPrefix(text, "awp_") || made["topic_prefix"] != nil {
		t.Errorf("made: %v", made)
	}
	producer := s.as(text)
	const event = `{"event":"customer","data":{"id":"1"}}`
	if a := producer.call("POST", "/v1/events", event).ok(202); a["company_id"] != "c1" {
		t.Errorf("an event that names no company: %v", a)
	}
	producer.call("POST", "/v1/events", `{"company_id":"c1","event":"customer","data":{"id":"1"}}`).ok(202)
	producer.call("POST", "/v1/events/batch", "["+event+"]").ok(202)
	producer.call("POST", "/v1/changes", `{"object_type":"customer","before":null,"after":{"id":1}}`).ok(202)
	s.call("POST", "/v1/events", event).problem(422, "required", "company_id")

	const other = `{"company_id":"c2","event":"customer","data":{"id":"1"}}`
	producer.call("POST", "/v1/events", other).problem(403, "other_company")
	if p := producer.call("POST", "/v1/events/batch", "["+event+","+other+"]").problem(403, "other_company"); !strings.HasPrefix(p["detail"].(string), "[1]: ") {
		t.Errorf("a batch: %v", p)
	}
	producer.call("POST", "/v1/changes", `{"company_id":"c2","object_type":"customer","before":null,"after":{"id":1}}`).problem(403, "other_company")

	ids := strings.NewReplacer("{company_id}", "c1", "{id}", "x", "{event_id}", "x", "{replay_id}", "x", "{key_id}", made["id"].(string))
	refused := 0
	for path, methods := range s.document().Paths {
		for method, op := range methods {
			if slices.Contains([]string{"publish-event", "publish-batch", "publish-change"}, op.OperationID) {
				continue
			}
			producer.call(strings.ToUpper(method), ids.Replace(path), sampleBodies[op.OperationID]).problem(403, "scope_not_allowed")
			refused++
		}
	}
	if refused < 40 {
		t.Errorf("%d operations were tried", refused)
	}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/console/sign-in", nil)
	if _, _, _, err := s.api.SignIn(r, text); !hook.IsKind(err, hook.KindForbidden) {
		t.Errorf("signing in to the console: %v", err)
	}

	write, _ := s.companyKey("c1", "write")
	s.as(write).call("POST", "/v1/companies/c1/keys", `{"scope":"publish"}`).problem(403, "operator_required")
	s.call("DELETE", "/v1/companies/c1/keys/"+made["id"].(string), "").ok(204)
	producer.call("POST", "/v1/events", event).problem(401, "unauthorized")
}

func TestPublishKeysOfTopics(t *testing.T) {
	s := newServer(t)
	made := s.call("POST", "/v1/companies/c1/keys", `{"scope":"publish","topic_prefix":"customer"}`).ok(201)
	producer := s.as(made["key"].(string))
	publish := func(topic string) *answer {
		return producer.call("POST", "/v1/events", `{"event":"`+topic+`","data":{"id":"1"}}`)
	}
	publish("customer").ok(202)
	publish("customer.created").ok(202)
	publish("customer_notes").problem(403, "topic_not_allowed")
	publish("conversation").problem(403, "topic_not_allowed")
	publish("nothing").problem(422, "unknown_topic", "event")
	producer.call("POST", "/v1/events/batch", `[{"event":"customer","data":1},{"event":"conversation","data":1}]`).problem(403, "topic_not_allowed")
	producer.call("POST", "/v1/changes", `{"object_type":"customer","before":null,"after":{"id":1}}`).ok(202)
	producer.call("POST", "/v1/changes", `{"object_type":"account","before":null,"after":{"id":1,"customers":[{"id":2}]}}`).problem(403, "topic_not_allowed")
	if n := len(s.with("X-Atlas-Company-Id", "c1").call("GET", "/v1/events?event=account.customer.linked", "").ok(200)["data"].([]any)); n != 0 {
		t.Errorf("%d events of a change that was refused", n)
	}

	for _, bad := range []string{"customer.", "customer.*", "Customer", ".", "a b", strings.Repeat("x", 65)} {
		s.call("POST", "/v1/companies/c1/keys", `{"scope":"publish","topic_prefix":"`+bad+`"}`).problem(422, "invalid_topic_prefix", "topic_prefix")
	}
	s.call("POST", "/v1/companies/c1/keys", `{"scope":"write","topic_prefix":"customer"}`).problem(422, "invalid_topic_prefix", "topic_prefix")
}

// Publishing is not counted by the rate of a company's keys: the intake has bounds of its own.
func TestPublishKeysHaveNoRate(t *testing.T) {
	s := newServer(t, func(o *httpapi.Options) { o.Config.RateLimitCompanyKey = 1 })
	text, _ := s.companyKey("c1", "publish")
	for range 5 {
		s.as(text).call("POST", "/v1/events", `{"event":"customer","data":{"id":"1"}}`).ok(202)
	}
}

// Two operator keys open everything while one is replaced. Without the old one, what it made has ended.
func TestTwoOperatorKeys(t *testing.T) {
	const next = "awo_1123456789abcdef0123456789abcdef"
	s := newServer(t, func(o *httpapi.Options) {
		o.Config.OperatorKeyPrevious, o.Config.OperatorKey = o.Config.OperatorKey, next
	})
	for _, key := range []string{operatorKey, next} {
		s.as(key).call("GET", "/v1/companies", "").ok(200)
	}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/console/sign-in", nil)
	before, _, _, err := s.api.SignIn(r, operatorKey)
	if err != nil {
		t.Fatal(err)
	}
	s.as(before).call("GET", "/v1/companies", "").ok(200)

	s.api = httpapi.New(httpapi.Options{
		Config: config.Config{OperatorKey: next}.WithDefaults(), Version: "1.2.3", Store: s.store, Intake: intake.New(s.store, intake.Options{}), Now: s.now, Policy: &egress.Policy{},
	})
	s.as(next).call("GET", "/v1/companies", "").ok(200)
	s.as(operatorKey).call("GET", "/v1/companies", "").problem(401, "unauthorized")
	s.as(before).call("GET", "/v1/companies", "").problem(401, "unauthorized")
}
