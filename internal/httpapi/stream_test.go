package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// watcher reads a live stream.
type watcher struct {
	t    *testing.T
	scan *bufio.Scanner
	stop func()
}

func watch(t *testing.T, url, key, lastID string) *watcher {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(r) //nolint:forbidigo // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream: %s %v", resp.Status, resp.Header)
	}
	covered.note("GET /v1/stream", resp.StatusCode)
	w := &watcher{t: t, scan: bufio.NewScanner(resp.Body), stop: func() { resp.Body.Close() }}
	w.event() // the retry line: the stream stands
	return w
}

// event reads the next one.
func (w *watcher) event() map[string]string {
	w.t.Helper()
	e := map[string]string{}
	for w.scan.Scan() {
		if w.scan.Text() == "" {
			return e
		}
		name, value, _ := strings.Cut(w.scan.Text(), ": ")
		e[name] = value
	}
	return nil
}

func TestStream(t *testing.T) {
	s := newServer(t)
	mine, _ := s.companyKey("c1", "read")
	theirs, _ := s.companyKey("c2", "read")
	first, second := s.subscribe("*"), s.subscribe("*")
	event := s.publish("customer", `{"id":"8"}`)
	live := httptest.NewServer(s.api)
	defer live.Close()
	attempt := func(webhook string) {
		s.record(webhook, event, func(a *hook.Attempt, r *store.Record) {
			a.Number = int(s.now().UnixNano() % 1e9)
			a.AnswerBody = []byte("not shown")
			s.attempted(a)
		})
	}
	one := watch(t, live.URL+"/v1/stream", mine, "")
	other := watch(t, live.URL+"/v1/stream", theirs, "")
	only := watch(t, live.URL+"/v1/stream?webhook_id="+second, mine, "")
	attempt(first)
	attempt(second)
	got := one.event()
	var data map[string]any
	if err := json.Unmarshal([]byte(got["data"]), &data); err != nil || got["event"] != "attempt" || data["webhook_id"] != first || data["event_id"] != event ||
		data["object_id"] != "8" || data["outcome"] != "delivered" || data["status_code"] != 200.0 || strings.Contains(got["data"], "not shown") {
		t.Fatalf("event: %v", got)
	}
	if next := one.event(); !strings.Contains(next["data"], second) {
		t.Errorf("next: %v", next)
	}
	if e := only.event(); !strings.Contains(e["data"], second) {
		t.Errorf("of one webhook: %v", e)
	}
	one.stop()

	resumed := watch(t, live.URL+"/v1/stream", mine, got["id"])
	if e := resumed.event(); !strings.Contains(e["data"], second) || e["event"] != "attempt" {
		t.Errorf("resumed: %v", e)
	}
	lost := watch(t, live.URL+"/v1/stream", mine, "elsewhere-7")
	if e := lost.event(); e["event"] != "gap" {
		t.Errorf("resumed elsewhere: %v", e)
	}
	s.api.EndStreams()
	for e := other.event(); e != nil; e = other.event() {
		t.Errorf("the other company saw %v", e)
	}
	s.call("GET", "/v1/stream", "").problem(503, "too_many_streams")
	s.call("GET", "/v1/stream?webhook_id=wh_x", "").problem(404, "not_found")
}

// One company's streams leave room for another's, and a stream ends with the key that opened it.
func TestStreamsAreShared(t *testing.T) {
	s := newServer(t)
	mine, id := s.companyKey("c1", "read")
	theirs, _ := s.companyKey("c2", "read")
	live := httptest.NewServer(s.api)
	t.Cleanup(live.Close) // after the watchers have gone
	var last *watcher
	for range 32 {
		last = watch(t, live.URL+"/v1/stream", mine, "")
	}
	s.as(mine).call("GET", "/v1/stream", "").problem(429, "too_many_streams")
	watch(t, live.URL+"/v1/stream", theirs, "")
	s.call("DELETE", "/v1/companies/c1/keys/"+id, "").ok(204)
	for begun := time.Now(); last.event() != nil; {
		if time.Since(begun) > 20*time.Second {
			t.Fatal("the stream outlives its key")
		}
	}
}

func TestPreflight(t *testing.T) {
	prober := &fakeProber{}
	s := newServer(t, func(o *httpapi.Options) { o.Prober = prober })
	prober.report = egress.Report{
		Endpoint: "https://example.com/", Protocol: "h2", TLS: &egress.TLSFacts{
			Version: "TLS 1.3", Chain: []egress.CertificateFacts{{Subject: "example.com"}}, Names: []string{"example.com"}, Verified: true, ClientCertificate: true,
		},
	}
	got := s.call("POST", "/v1/webhooks/preflight", `{"endpoint":"https://example.com"}`).ok(200)
	if got["ok"] != true || got["protocol"] != "h2" || got["tls"].(map[string]any)["verified"] != true || got["tls"].(map[string]any)["client_certificate"] != "requested" || got["failure"] != nil {
		t.Errorf("preflight: %v", got)
	}
	prober.report = egress.Report{Endpoint: "https://example.com/", Failure: &egress.Error{Class: hook.ErrDNS, Detail: "no such host"}}
	got = s.call("POST", "/v1/webhooks/preflight", `{"endpoint":"https://example.com"}`).ok(200)
	if failure := got["failure"].(map[string]any); got["ok"] != false || failure["error_class"] != "dns" || failure["advice"] == "" {
		t.Errorf("failure: %v", got)
	}
	prober.report.Addresses = []egress.AddressVerdict{{Address: netip.MustParseAddr("192.0.2.1")}, {Rule: "refused"}}
	got = s.call("POST", "/v1/webhooks/preflight", `{"endpoint":"https://example.com"}`).ok(200)
	if list := fmt.Sprint(got["addresses"]); list != "[map[address:192.0.2.1 rule:<nil>] map[address:<nil> rule:refused]]" {
		t.Errorf("addresses: %v", list)
	}
	s.call("POST", "/v1/webhooks/preflight", `{}`).problem(422, "required", "endpoint")
	rules := newServer(t)
	got = rules.call("POST", "/v1/webhooks/preflight", `{"endpoint":"https://10.0.0.1"}`).ok(200)
	if refused := got["refused"].([]any); got["ok"] != false || got["endpoint"] != nil || refused[0].(map[string]any)["code"] != "address_not_allowed" {
		t.Errorf("by the rules: %v", got)
	}
}

// What a person asks of an endpoint that is down happens now: a probe, a retry, and a test that was answered 2xx.
func TestProbe(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	path := "/v1/webhooks/" + id
	s.call("POST", path+"/probe", "").problem(409, "nothing_waits")
	event := s.publish("customer", `{}`)
	probed := func() int { return len(s.engine.probed) }
	if s.call("POST", path+"/probe", "").ok(202); probed() != 1 {
		t.Errorf("%d probes, want the one that was asked for", probed())
	}
	if s.call("POST", path+"/test", "").ok(200); probed() != 2 {
		t.Error("a test that was delivered starts no recovery")
	}
	s.engine.test = func(w *hook.Webhook, _ *hook.Event) (*hook.Attempt, error) {
		return &hook.Attempt{Webhook: w.Key, Number: 1, Kind: hook.Test, Format: w.Format, StartedAt: s.now(), Outcome: hook.OutcomeFailed, StatusCode: 500}, nil
	}
	s.move(time.Minute)
	if s.call("POST", path+"/test", "").ok(200); probed() != 2 {
		t.Error("a test that failed started a recovery")
	}
	s.record(id, event, func(a *hook.Attempt, r *store.Record) {
		a.Outcome, a.StatusCode = hook.OutcomeFailed, 500
		r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1, Failed: 1}}
	})
	if s.call("POST", path+"/deliveries/"+event+"/retry", "").ok(202); probed() != 3 {
		t.Error("a retry waits for the next probe")
	}
	s.call("POST", path, `{"status": "PAUSED"}`).ok(200)
	s.publish("customer", `{}`)
	s.call("POST", path+"/probe", "").problem(409, "webhook_inactive")
	if log := s.call("GET", "/v1/audit-log", "").text; strings.Count(log, "webhook.probed") != 1 {
		t.Error("the audit log does not tell of the probe: ", cut(log))
	}
}

// An endpoint that answers everything with 400 is neither failing nor down, and not well either.
func TestHealthOfWhatRefusesEverything(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	event := s.publish("customer", `{}`)
	attempts := 0
	refuse := func(n int64) map[string]any {
		s.record(id, event, func(a *hook.Attempt, r *store.Record) {
			attempts++
			a.Number, a.Outcome, a.ErrorClass, a.StatusCode, a.ErrorDetail = attempts, hook.OutcomeRetry, hook.ErrClientStatus, 400, "the receiver answered 400 Bad Request"
			r.Stats = []store.Stat{{Webhook: a.Webhook, Bucket: r.At.Unix() / 60, Failed: n}}
			r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1, Health: store.Health{LastFailureAt: &r.At}}}
		})
		return s.call("GET", "/v1/webhooks/"+id, "").ok(200)["health"].(map[string]any)
	}
	if h := refuse(9); h["refuses_since"] != nil || h["success_rate"] != 0.0 || h["last_failure_at"] == nil || strings.Contains(h["sentence"].(string), "Refuses") {
		t.Errorf("nine refusals: %v", h)
	}
	s.move(time.Minute)
	h := refuse(50)
	if h["state"] != "healthy" || h["refuses_since"] == nil || !strings.HasPrefix(h["sentence"].(string), "Refuses everything since ") || !strings.Contains(h["sentence"].(string), "400 Bad Request. The receiver calls the request malformed.") {
		t.Errorf("fifty refusals: %v", h)
	}
	if sum := s.call("GET", "/v1/webhooks/summary", "").ok(200); sum["refusing"] != 1.0 || !slices.Equal(sum["troubled"].([]any), []any{id}) {
		t.Errorf("summary: %v", sum)
	}
}

func TestHealth(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	event := s.publish("customer", `{}`)
	path := "/v1/webhooks/" + id
	h := s.call("GET", path, "").ok(200)["health"].(map[string]any)
	if h["state"] != "healthy" || h["live"] != false || h["backlog"].(map[string]any)["count"] != 1.0 || h["oldest_pending_at"] == nil || h["expires_at"] == nil {
		t.Errorf("stored: %v", h)
	}
	s.record(id, event, func(a *hook.Attempt, r *store.Record) {
		failed, until := r.At, r.At.Add(time.Hour)
		r.Gates = []store.GateMove{{Webhook: a.Webhook, Gate: hook.Gate{NotBefore: &until, Reason: "the endpoint asked us to wait", EndpointVersion: 1}}}
		a.Outcome, a.ErrorClass, a.StatusCode, a.ErrorDetail = hook.OutcomeRetry, hook.ErrClientStatus, 401, "the receiver answered 401 Unauthorized"
		r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1, Health: store.Health{
			FailingSince: &failed, LastFailureAt: &failed, ConsecutiveFailures: 10, ProbeAt: &failed,
		}}}
	})
	if h = s.call("GET", path, "").ok(200)["health"].(map[string]any); h["state"] != "down" || h["consecutive_failures"] != 10.0 || h["next_probe_at"] == nil || h["reason"] != "the endpoint asked us to wait" {
		t.Errorf("down: %v", h)
	}
	const cause = " the receiver answered 401 Unauthorized. The receiver wants credentials or rejects the signature."
	if e, _ := h["last_error"].(map[string]any); e == nil || e["class"] != "status_4xx" || e["status_code"] != 401.0 || e["at"] == nil || !strings.Contains(h["sentence"].(string), cause) {
		t.Errorf("the cause: %v, %v", h["last_error"], h["sentence"])
	}
	listed := s.call("GET", "/v1/webhooks", "").ok(200)["data"].([]any)[0].(map[string]any)["health"].(map[string]any)
	if !reflect.DeepEqual(listed["last_error"], h["last_error"]) || !strings.Contains(listed["sentence"].(string), cause) || listed["state"] != "down" {
		t.Errorf("in the list: %v", listed)
	}
	s.call("GET", "/v1/webhooks/summary?status=ACTIVE", "").problem(400, "unknown_parameter")
	sum := s.call("GET", "/v1/webhooks/summary", "").ok(200)
	if sum["total"] != 1.0 || sum["active"] != 1.0 || sum["down"] != 1.0 || sum["failing"] != 0.0 || !slices.Equal(sum["troubled"].([]any), []any{id}) {
		t.Errorf("summary: %v", sum)
	}
	if s.move(time.Hour); s.call("GET", path, "").ok(200)["health"].(map[string]any)["reason"] != nil {
		t.Error("it still waits after the time that was asked for")
	}
	reason := "connect: refused"
	s.call("POST", path, `{"endpoint": "https://example.com/moved"}`).ok(200)
	if h = s.call("GET", path, "").ok(200)["health"].(map[string]any); h["last_error"] != nil {
		t.Errorf("an error of the endpoint before is the new one's: %v", h["last_error"])
	}
	s.engine.health = client.Health{State: "failing", Reason: &reason, Live: true}
	if h = s.call("GET", path, "").ok(200)["health"].(map[string]any); h["state"] != "failing" || h["reason"] != reason || h["live"] != true {
		t.Errorf("live: %v", h)
	}
}
