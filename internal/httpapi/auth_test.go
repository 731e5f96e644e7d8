package httpapi_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
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
