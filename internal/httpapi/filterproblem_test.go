package httpapi_test

import (
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// TestFilterProblem: a webhook whose filter another version saved says that it cannot be used, and may be
// sent back with another one.
func TestFilterProblem(t *testing.T) {
	s := newServer(t)
	id := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/hooks","events":["conversation"],"filter":"data.n == 1"}`).ok(201)["id"].(string)
	if _, ok := s.call("GET", "/v1/webhooks/"+id, "").ok(200)["filter_problem"]; ok {
		t.Error("a filter that can be used has a problem")
	}
	company, err := s.store.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	old := func(w *hook.Webhook) error { w.Filter = `repeat(data.s, 9)`; return nil }
	if _, err := s.store.UpdateWebhook(t.Context(), company.Key, id, store.Change{Apply: old, Audit: store.Audit{Actor: "test", Action: "update"}}); err != nil {
		t.Fatal(err)
	}
	w := s.call("GET", "/v1/webhooks/"+id, "").ok(200)
	problem, _ := w["filter_problem"].(string)
	if !strings.Contains(problem, "repeat") {
		t.Errorf("the problem: %q", problem)
	}
	s.call("PATCH", "/v1/webhooks/"+id, `{"filter":"data.n == 2","filter_problem":"`+problem+`"}`).ok(200)
	if _, ok := s.call("GET", "/v1/webhooks/"+id, "").ok(200)["filter_problem"]; ok {
		t.Error("it has a problem still")
	}
}
