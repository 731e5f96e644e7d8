package httpapi_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// opened uses a link of company c1 that somebody makes, and returns its session.
func (s *server) opened(maker *server) (session, id string) {
	s.t.Helper()
	link := maker.call("POST", "/v1/companies/c1/console-links", "").ok(201)
	_, token, _ := strings.Cut(link["url"].(string), "#")
	r := httptest.NewRequestWithContext(s.t.Context(), "POST", "/", nil)
	session, _, err := s.api.Enter(r, token)
	if err != nil {
		s.t.Fatal(err)
	}
	return session, link["id"].(string)
}

// What a key or a session makes never outlives it, however long the chain.
func TestNothingOutlivesItsMaker(t *testing.T) {
	const keys = "/v1/companies/c1/keys"
	for name, end := range map[string]func(s *server, key, keyID, session, linkID string){
		"key revoked": func(s *server, _, keyID, _, _ string) { s.call("DELETE", keys+"/"+keyID, "").ok(204) },
		"key expired": func(s *server, _, _, _, _ string) { s.move(31 * time.Minute) },
		"link revoked": func(s *server, _, _, _, linkID string) {
			s.call("DELETE", "/v1/companies/c1/console-links/"+linkID, "").ok(204)
		},
		"signed out":     func(s *server, _, _, session, _ string) { _ = s.api.SignOut(s.t.Context(), session) },
		"nothing at all": func(*server, string, string, string, string) {}, // control
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			expires := s.now().Add(30 * time.Minute).UTC().Format(time.RFC3339)
			made := s.call("POST", keys, `{"scope":"write","expires_at":"`+expires+`"}`).ok(201)
			key, keyID := made["key"].(string), made["id"].(string)
			byKey := s.as(key).call("POST", keys, `{"scope":"read"}`).ok(201)
			if byKey["expires_at"] != expires {
				t.Errorf("a key made by a key expires at %v, want %s", byKey["expires_at"], expires)
			}
			session, linkID := s.opened(s.as(key))
			bySession := s.as(session).call("POST", keys, `{"scope":"read","expires_at":"2999-01-01T00:00:00Z"}`).ok(201)
			if end, _ := bySession["expires_at"].(string); end == "" || end > "2100" {
				t.Errorf("a key made by a session expires at %v", end)
			}
			second, _ := s.opened(s.as(session))
			for _, text := range []string{key, byKey["key"].(string), session, bySession["key"].(string), second} {
				s.as(text).call("GET", "/v1/webhooks", "").ok(200)
			}
			end(s, key, keyID, session, linkID)
			s.move(3 * time.Second)
			whole := strings.HasPrefix(name, "key")
			for text, ended := range map[string]bool{
				key: whole, byKey["key"].(string): whole,
				session: name != "nothing at all", bySession["key"].(string): name != "nothing at all", second: name != "nothing at all",
			} {
				want := 200
				if ended {
					want = 401
				}
				if got := s.as(text).call("GET", "/v1/webhooks", ""); got.status != want {
					t.Errorf("%.4s…: %d, want %d", text, got.status, want)
				}
			}
		})
	}
}

// What an operator makes for a company is the company's: it does not end with the operator's key or
// session. A session that began with a key is what the key is, and a session begins no other.
func TestSignIn(t *testing.T) {
	s := newServer(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
	session, who, _, err := s.api.SignIn(r, operatorKey)
	if err != nil || !who.Operator {
		t.Fatal(who, err)
	}
	made := s.as(session).call("POST", "/v1/companies/c1/keys", `{"scope":"write"}`).ok(201)
	if made["created_by"] != "operator" || made["expires_at"] != nil {
		t.Errorf("%v", made)
	}
	if _, _, _, err := s.api.SignIn(r, session); httpapi.Describe(err).Status != 401 {
		t.Errorf("a session began a session: %v", err)
	}
	if err := s.api.SignOut(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	s.as(session).call("GET", "/v1/companies", "").problem(401, "unauthorized")
	s.as(made["key"].(string)).call("GET", "/v1/webhooks", "").ok(200)
	if session, _, _, err = s.api.SignIn(r, made["key"].(string)); err != nil {
		t.Fatal(err)
	}
	s.as(session).call("GET", "/v1/webhooks", "").ok(200)
	s.call("DELETE", "/v1/companies/c1/keys/"+made["id"].(string), "").ok(204)
	s.as(session).call("GET", "/v1/webhooks", "").problem(401, "unauthorized")
}

// The answer to one key, which may hold a secret, is not given to another; and it ends after a day.
func TestIdempotentAnswersAreTheAskers(t *testing.T) {
	s := newServer(t)
	one, _ := s.companyKey("c1", "write")
	two, _ := s.companyKey("c1", "write")
	const body = `{"endpoint":"https://example.com/a","event":"customer"}`
	first := s.as(one).with("Idempotency-Key", "k").call("POST", "/v1/webhooks", body).ok(201)
	again := s.as(one).with("Idempotency-Key", "k").call("POST", "/v1/webhooks", body).ok(201)
	if first["signing_secret"] == nil || again["signing_secret"] != first["signing_secret"] {
		t.Errorf("control: %v %v", first, again)
	}
	if other := s.as(two).with("Idempotency-Key", "k").call("POST", "/v1/webhooks", body); strings.Contains(other.text, "whsec_") {
		t.Errorf("another key was told: %s", other.text)
	} else {
		other.problem(409, "idempotency_key_reused")
	}
}

// The rate is the company's, however many keys and sessions it has; another company keeps its own.
func TestRateIsTheCompanys(t *testing.T) {
	s := newServer(t, func(o *httpapi.Options) { o.Config.RateLimitCompanyKey = 10 })
	one, _ := s.companyKey("c1", "write")
	two, _ := s.companyKey("c1", "read")
	theirs, _ := s.companyKey("c2", "read")
	for range 10 {
		s.as(one).call("GET", "/v1/topics", "").ok(200)
	}
	s.as(two).call("GET", "/v1/topics", "").problem(429, "rate_limited")
	s.as(theirs).call("GET", "/v1/topics", "").ok(200)
	s.move(time.Second)
	s.as(two).call("GET", "/v1/topics", "").ok(200)
}
