package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// enter exchanges the token of a link's URL.
func (s *server) enter(url string) (session string, err error) {
	_, token, _ := strings.Cut(url, "#")
	session, _, err = s.api.Enter(httptest.NewRequestWithContext(s.t.Context(), http.MethodPost, "/console/enter", nil), token)
	return session, err
}

func TestConsoleLink(t *testing.T) {
	s := newServer(t)
	link := s.call("POST", "/v1/companies/c1/console-links", `{"ttl_seconds":60}`).ok(201)
	url := link["url"].(string)
	if !strings.Contains(url, "/console/enter#awl_") || strings.Contains(s.log.String(), "awl_") {
		t.Fatal(url)
	}
	session, err := s.enter(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.enter(url); err == nil {
		t.Error("it worked twice")
	}
	mine := s.as(session)
	mine.call("GET", "/v1/webhooks", "").ok(200)
	mine.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/a","event":"*"}`).ok(201)
	mine.call("GET", "/v1/companies", "").problem(403, "operator_required")
	mine.call("GET", "/v1/companies/c2/keys", "").problem(404, "not_found")
	list := s.call("GET", "/v1/companies/c1/console-links", "").ok(200)["data"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["used_at"] == nil || list[0].(map[string]any)["url"] != nil {
		t.Error(list)
	}
	s.call("DELETE", "/v1/companies/c1/console-links/"+link["id"].(string), "").ok(204)
	mine.call("GET", "/v1/webhooks", "").problem(401, "unauthorized")
}

func TestConsoleLinkReadOnly(t *testing.T) {
	s := newServer(t)
	session, err := s.enter(s.call("POST", "/v1/companies/c1/console-links", `{"read_only":true}`).ok(201)["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	mine := s.as(session)
	mine.call("GET", "/v1/webhooks", "").ok(200)
	mine.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/a","event":"*"}`).problem(403, "scope_not_allowed")
	mine.call("GET", "/v1/webhooks/"+s.subscribe("*")+"/secret", "").problem(403, "scope_not_allowed")
	mine.call("POST", "/v1/companies/c1/console-links", `{}`).problem(403, "scope_not_allowed")
}

func TestConsoleLinkEnds(t *testing.T) {
	s := newServer(t)
	late := s.call("POST", "/v1/companies/c1/console-links", `{"ttl_seconds":30}`).ok(201)["url"].(string)
	key, id := s.companyKey("c1", "write")
	byKey := s.as(key).call("POST", "/v1/companies/c1/console-links", ``).ok(201)["url"].(string)
	unused := s.as(key).call("POST", "/v1/companies/c1/console-links", `{"ttl_seconds":3600}`).ok(201)["url"].(string)
	session, err := s.enter(byKey)
	if err != nil {
		t.Fatal(err)
	}
	s.as(session).call("GET", "/v1/webhooks", "").ok(200)
	s.move(31 * time.Second)
	if _, err := s.enter(late); err == nil {
		t.Error("it worked late")
	}
	s.call("DELETE", "/v1/companies/c1/keys/"+id, "").ok(204)
	s.move(3 * time.Second)
	s.as(session).call("GET", "/v1/webhooks", "").problem(401, "unauthorized")
	if _, err := s.enter(unused); err == nil {
		t.Error("it outlived the key that made it")
	}
	last, err := s.enter(s.call("POST", "/v1/companies/c1/console-links", ``).ok(201)["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	s.move(8 * time.Hour)
	s.as(last).call("GET", "/v1/webhooks", "").problem(401, "unauthorized")
	s.call("POST", "/v1/companies/c1/console-links", `{"ttl_seconds":3601}`).problem(422, "invalid_value", "ttl_seconds")
}

// TestConsoleLinkRace: of many who have the token, one gets in.
func TestConsoleLinkRace(t *testing.T) {
	s := newServer(t)
	url := s.call("POST", "/v1/companies/c1/console-links", ``).ok(201)["url"].(string)
	var in atomic.Int32
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := s.enter(url); err == nil {
				in.Add(1)
			}
		})
	}
	group.Wait()
	if in.Load() != 1 {
		t.Error(in.Load())
	}
}
