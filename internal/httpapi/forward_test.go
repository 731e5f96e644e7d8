package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// node is a second API on the store of the first, whose owner of every partition is at a URL.
func (s *server) node(owner func() string) *server {
	other := s.with("X-Atlas-Company-Id", "c1")
	other.engine = &fakeEngine{now: s.now}
	other.api = httpapi.New(httpapi.Options{
		Config: config.Config{OperatorKey: operatorKey}.WithDefaults(), Version: "1.2.3", Store: s.store, Intake: intake.New(s.store, intake.Options{}),
		Engine: other.engine, Policy: &egress.Policy{}, Owner: func(hook.Partition) string { return owner() },
	})
	return other
}

// TestForward: what only the owner's memory knows comes from the owner, whichever node is asked.
func TestForward(t *testing.T) {
	owner := newServer(t)
	reason := "down"
	owner.engine.health = client.Health{State: "down", Reason: &reason, Live: true}
	id := owner.subscribe("*")
	event := owner.publish("customer", `{}`)
	running := httptest.NewServer(owner.api)
	defer running.Close()
	at := running.URL
	other := owner.node(func() string { return at })

	path := "/v1/webhooks/" + id
	direct, asked := owner.call("GET", path, ""), other.with("X-Request-Id", "mine-1").call("GET", path, "")
	if asked.text != direct.text || asked.status != direct.status || asked.header.Get("ETag") != direct.header.Get("ETag") {
		t.Errorf("through the other node: %d %v %s", asked.status, asked.header, asked.text)
	}
	for name, values := range asked.header {
		if len(values) != 1 {
			t.Errorf("%s stands there %d times: %q", name, len(values), values)
		}
	}
	if got := asked.header.Get("X-Request-Id"); got != "mine-1" {
		t.Errorf("request id %q", got)
	}
	other.call("GET", "/v1/webhooks/wh_none", "").problem(404, "not_found")
	other.as("awc_none").call("GET", path, "").problem(401, "unauthorized")

	key, _ := owner.companyKey("c1", "read")
	front := httptest.NewServer(other.api)
	defer front.Close()
	stream := watch(t, front.URL+"/v1/stream", key, "")
	owner.record(id, event, func(a *hook.Attempt, _ *store.Record) { owner.attempted(a) })
	if e := stream.event(); e["event"] != "attempt" || !strings.Contains(e["data"], event) {
		t.Errorf("through the other node: %v", e)
	}
	other.api.EndStreams()
	for e := stream.event(); e != nil; e = stream.event() {
		t.Errorf("after its end: %v", e)
	}

	// Two nodes that each take the other for the owner answer themselves.
	var first, second *server
	ends := [2]*httptest.Server{}
	first = owner.node(func() string { return ends[1].URL })
	second = owner.node(func() string { return ends[0].URL })
	ends[0], ends[1] = httptest.NewServer(first.api), httptest.NewServer(second.api)
	defer ends[0].Close()
	defer ends[1].Close()
	if h := first.call("GET", path, "").ok(200)["health"].(map[string]any); h["live"] != false {
		t.Errorf("in a circle: %v", h)
	}

	// Where the owner does not answer, or fails, the store's word must do.
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer broken.Close()
	running.Close()
	for _, at = range []string{running.URL, broken.URL} {
		w := other.call("GET", path, "").ok(200)
		if h := w["health"].(map[string]any); h["live"] != false || h["state"] != "healthy" || w["id"] != id {
			t.Errorf("with the owner gone: %v", w)
		}
	}
}
