package httpapi_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

const answersFile = "testdata/answers.txt"

// changing are the parts of an answer that differ from run to run, and what stands for them.
var changing = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z`), "<time>"},
	{regexp.MustCompile(`\b1\d{9}(\.\d{1,3})?\b`), "<seconds>"},
	{regexp.MustCompile(`whsec_[A-Za-z0-9]{32}`), "<secret>"},
	{regexp.MustCompile(`aw[cl]_[A-Z2-7]{52}`), "<key>"},
	{regexp.MustCompile(`"hint":"[A-Z2-7]{4}"`), `"hint":"<hint>"`},
	{regexp.MustCompile(`[0-9a-f]{64}`), "<signature>"},
	{regexp.MustCompile(`"x":"[\w-]{43}"`), `"x":"<key>"`},
	{regexp.MustCompile(`PUBLIC KEY-----\\n[A-Za-z0-9+/=]+\\n`), `PUBLIC KEY-----\n<key>\n`},
	{regexp.MustCompile(`v1,[A-Za-z0-9+/]{43}=`), "<signature>"},
}

var ourID = regexp.MustCompile(`\b[a-z]{2,5}_[0-7][0-9a-hjkmnp-tv-z]{25}\b`)

// recording writes down what each operation answers.
type recording struct {
	*server
	companyText string // a key of the company, for the stream

	routes map[string]string // method and path by operation
	ids    map[string]string // what stands for an id
	text   strings.Builder
}

// ask asks an operation. Each id in its path is the next of those given; what else is given behind
// them is the body, or the query where it begins with a question mark.
func (r *recording) ask(operation string, status int, given ...string) map[string]any {
	r.t.Helper()
	method, path, _ := strings.Cut(r.routes[operation], " ")
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(rest, "}")
		path, given = before+given[0]+after, given[1:]
	}
	body := strings.Join(given, "")
	if strings.HasPrefix(body, "?") {
		path, body = path+body, ""
	}
	a := r.call(method, path, body)
	r.note(operation, a.status, a.header.Get("Content-Type"), a.text)
	if !strings.Contains(a.header.Get("Content-Type"), "json") || strings.HasSuffix(a.header.Get("Content-Type"), "ndjson") {
		return nil
	}
	return a.ok(status)
}

// note writes an answer down, without what changes from run to run.
func (r *recording) note(operation string, status int, kind, text string) {
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.stands)
	}
	text = ourID.ReplaceAllStringFunc(text, func(id string) string {
		if r.ids[id] == "" {
			prefix, _, _ := strings.Cut(id, "_")
			r.ids[id] = fmt.Sprintf("%s_<%d>", prefix, len(r.ids)+1)
		}
		return r.ids[id]
	})
	fmt.Fprintf(&r.text, "%s %d %s\n%s\n\n", operation, status, kind, strings.TrimSuffix(text, "\n"))
}

// id is a member of an answer that is an id.
func id(answer map[string]any) string { return answer["id"].(string) }

// What each operation answers is committed, byte for byte, so that a change of it is seen when it is
// reviewed: no name, no order and no null changes unnoticed.
func TestAnswersAreTheCommittedOnes(t *testing.T) {
	s := newServer(t, func(o *httpapi.Options) {
		o.Prober = fakeProber{egress.Report{
			Endpoint: "https://example.com/", Addresses: []egress.AddressVerdict{{Address: netip.MustParseAddr("203.0.113.9")}, {Rule: "private"}}, Protocol: "h2", Phases: hook.Phases{DNS: time.Millisecond, Total: 3 * time.Millisecond},
			TLS: &egress.TLSFacts{Version: "TLS 1.3", Names: []string{"example.com"}, Chain: []egress.CertificateFacts{{Subject: "CN=example.com", Issuer: "CN=Test"}}, Verified: true},
		}}
		o.Backup = func(context.Context) (*os.File, error) {
			path := filepath.Join(t.TempDir(), "backup")
			if err := os.WriteFile(path, []byte("the backup"), 0o600); err != nil {
				return nil, err
			}
			return os.Open(path)
		}
	})
	reason := "status_5xx"
	s.engine.health = client.Health{Live: true, State: "failing", Reason: &reason, ConsecutiveFailures: 12}
	s.header.Set("X-Request-Id", "req_1")
	text, _ := s.companyKey("c1", "read")
	r := &recording{server: s, companyText: text, routes: map[string]string{}, ids: map[string]string{}}
	for path, methods := range s.document().Paths {
		for method, op := range methods {
			r.routes[op.OperationID] = strings.ToUpper(method) + " " + path
		}
	}
	r.walk()
	for operation := range r.routes {
		if !strings.Contains(r.text.String(), "\n"+operation+" ") && !strings.HasPrefix(r.text.String(), operation+" ") {
			t.Errorf("%s is not asked", operation)
		}
	}
	compareAnswers(t, r.text.String())
}

func compareAnswers(t *testing.T, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(answersFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(answersFile)
	if err != nil {
		t.Fatal(err)
	}
	committed, now := strings.Split(string(want), "\n\n"), strings.Split(got, "\n\n")
	for i := range max(len(committed), len(now)) {
		var a, b string
		if i < len(committed) {
			a = committed[i]
		}
		if i < len(now) {
			b = now[i]
		}
		if a != b {
			t.Errorf("an answer is not the committed one; if that is meant: go test ./internal/httpapi -run TestAnswers -update\ncommitted: %s\nnow:       %s", a, b)
		}
	}
}

// walk asks every operation at least once, with something to tell.
func (r *recording) walk() {
	r.walkWebhooks()
	hook, event := r.walkEvents()
	r.walkDeliveries(hook, event)
	r.walkCompanies()
	r.ask("get-stats", 200, "?window=1h")
	r.ask("get-webhook-stats", 200, hook)
	r.ask("list-audit-log", 200)
	r.ask("list-notices", 200)
	r.ask("check-conservation", 200)
	r.ask("check-conservation", 200, "?deep=true")
	r.ask("list-nodes", 200)
	r.ask("list-eras", 200)
	r.walkDeadLetters()
	r.ask("backup", 200)
	r.ask("delete-webhook", 204, hook)
}

func (r *recording) walkDeadLetters() {
	r.ask("list-sources", 200)
	err := r.store.AddDeadLetters(r.t.Context(), []store.DeadLetter{
		{Source: "orders", MessageKey: "1", EventID: "dead1", Code: "unknown_topic", Reason: "there is no such topic", Body: []byte(`{"company_id":"c1","event":"customer","data":{"id":"7"}}`)},
		{Source: "orders", MessageKey: "2", EventID: "dead2", Code: "invalid_json", Reason: "not JSON", Body: []byte("\xff"), ContentType: "text/plain"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	list := r.ask("list-dead-letters", 200, "?source=orders&limit=2")["data"].([]any)
	broken, mended := id(list[0].(map[string]any)), id(list[1].(map[string]any))
	r.ask("get-dead-letter", 200, broken)
	r.ask("retry-dead-letter", 400, broken)
	r.ask("get-dead-letter", 200, broken)
	r.ask("discard-dead-letter", 204, broken)
	r.ask("retry-dead-letter", 202, mended)
	r.ask("retry-dead-letter", 404, mended)
}

func (r *recording) walkWebhooks() {
	r.ask("list-topics", 200)
	r.ask("put-topic", 200, "order.shipped", ordered)
	r.ask("get-topic", 200, "order.shipped")
	r.ask("delete-topic", 204, "order.shipped")
	made := id(r.ask("create-webhook", 201, `{"endpoint":"https://example.com/in","events":["customer"],"metadata":{"b": 1,  "a":"ü"},"headers":{"X_One":"1"},"rate_limit_per_second":2.5,"filter":"data.id == \"7\"","retry_schedule_seconds":[0.5,60]}`))
	r.ask("create-webhook", 409, `{"endpoint":"https://example.com/in","event":"customer"}`)
	r.ask("create-webhook", 422, `{"endpoint":"https://example.com/in","event":"custmer"}`)
	r.ask("get-webhook", 200, made)
	r.ask("update-webhook", 200, made, `{"filter":null,"rate_limit_per_second":null,"description":"d"}`)
	r.ask("patch-webhook", 200, made, `{"status":"PAUSED","signature_scheme":"base64","data_format":"object","ordering":"object","http_version":"1.1"}`)
	r.ask("list-webhooks", 200)
	r.ask("get-webhook-summary", 200)
	r.ask("patch-webhook", 200, made, `{"signature_ed25519":true,"http_signature":true}`)
	r.ask("list-signing-keys", 200, "c1")
	r.ask("rotate-signing-key", 201, "c1")
	r.ask("rotate-signing-key", 409, "c1")
	r.ask("get-secret", 200, made)
	r.ask("rotate-secret", 200, made, `{"signing_secret":"no_standard_key_but_long"}`)
	r.ask("rotate-secret", 200, made, `{"force":true}`)
	r.ask("get-webhook", 200, made)
	r.ask("activate-secret", 200, made)
	r.ask("cancel-rotation", 200, made)
	r.ask("preflight", 200, `{"endpoint":"https://example.com/"}`)
	r.ask("delete-webhook", 204, made)
}

// walkEvents leaves a webhook with one event, whose delivery failed.
func (r *recording) walkEvents() (webhook, event string) {
	webhook = id(r.ask("create-webhook", 201, `{"endpoint":"https://example.com/next","event":"customer","headers":{"X-Mine":"1"}}`))
	event = id(r.ask("publish-event", 202, `{"company_id":"c1","event":"customer","data":{"id":"7", "n": 12345678901234567890},"occurred_at":"2026-03-02T09:00:00.5Z"}`))
	r.ask("publish-event", 202, `{"company_id":"c1","event":"conversation","data":null}`)
	r.ask("publish-batch", 202, `[{"company_id":"c1","event":"customer","id":"mine","data":[1e3, "\\u0041"]},{"company_id":"c1","event":"customer","id":"mine","data":[1e3, "\\u0041"]}]`)
	r.ask("publish-change", 202, `{"company_id":"c3","object_type":"conversation","id":"chg","before":{"id":"7","status":"OPEN"},"after":{"id":"7","status":"CLOSED"}}`)
	r.ask("list-events", 200, "?limit=2")
	r.ask("get-event", 200, event)
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	r.ask("publish-event", 202, `{"company_id":"c1","event":"customer","id":"later","data":null,"deliver_at":"`+later+`","expires_at":"`+time.Now().Add(2*time.Hour).UTC().Format(time.RFC3339)+`"}`)
	r.ask("publish-batch", 202, `[{"company_id":"c1","event":"customer","id":"later","data":null,"deliver_at":"`+later+`"}]`)
	r.ask("list-events", 200, "?status=scheduled")
	r.ask("get-event", 200, "later")
	r.ask("cancel-event", 204, "later")
	r.ask("list-events", 200, "?status=cancelled")
	r.ask("explain-event", 409, "later")
	r.ask("explain-event", 200, event)
	r.ask("preview-filter", 200, `{"filter":"data.id == \"8\" and event == \"customer\""}`)
	r.ask("preview-filter", 200, `{"filter":"data.("}`)
	r.ask("report-on-rule", 200, webhook)
	r.record(webhook, event, func(a *hook.Attempt, rec *store.Record) {
		a.Outcome, a.StatusCode, a.ErrorClass, a.ErrorDetail, a.RetryAfter = hook.OutcomeFailed, 500, hook.ErrServerStatus, "500", 2*time.Second
		rec.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1, Failed: 1}}
		rec.Notices = []store.Notice{{Webhook: a.Webhook, Kind: "down", Detail: "connect: refused"}}
		rec.Answers = []store.Answer{{Webhook: a.Webhook, Offset: a.Offset, Number: 1, Header: []byte("Server: x\r\n"), Body: []byte("no\xff")}}
		stat := store.Stat{Webhook: a.Webhook, Bucket: a.StartedAt.Unix() / 60, Failed: 1}
		stat.Latency.Add(20 * time.Millisecond)
		rec.Stats = []store.Stat{stat}
		r.attempted(a)
	})
	return webhook, event
}

func (r *recording) walkDeliveries(webhook, event string) {
	r.ask("list-deliveries", 200, webhook)
	r.ask("get-delivery", 200, webhook, event)
	r.ask("export-deliveries", 200, "?webhook_id="+webhook)
	r.ask("export-deliveries", 200, "?format=csv&webhook_id="+webhook)
	r.ask("sign-curl", 200, webhook, event)
	r.ask("explain-signature", 200, webhook, event, `{"computed":"`+strings.Repeat("0", 64)+`"}`)
	r.ask("explain-signature", 422, webhook, event, `{"computed":"00","attempt":9}`)
	r.ask("pull-events", 200, webhook)
	r.ask("test-webhook", 200, webhook)
	r.ask("probe-webhook", 202, webhook)
	const replay = `{"from":"2020-01-01T00:00:00Z","only":"failed","rate_per_second":5`
	r.ask("create-replay", 200, webhook, replay+`,"dry_run":true}`)
	made := id(r.ask("create-replay", 202, webhook, replay+`}`))
	r.ask("create-replay", 409, webhook, replay+`}`)
	r.ask("list-replays", 200, webhook)
	r.ask("cancel-replay", 204, webhook, made)
	r.ask("get-replay", 200, webhook, made)
	r.ask("retry-delivery", 202, webhook, event)
	r.stream(webhook, event)
}

// stream writes down what the live stream tells of one attempt.
func (r *recording) stream(webhook, event string) {
	live := httptest.NewServer(r.api)
	defer live.Close()
	w := watch(r.t, live.URL+strings.TrimPrefix(r.routes["stream-attempts"], "GET "), r.companyText, "")
	r.record(webhook, event, func(a *hook.Attempt, _ *store.Record) {
		a.Number, a.Kind = 2, hook.Manual
		r.attempted(a)
	})
	e := w.event()
	w.stop()
	r.note("stream-attempts", 200, "text/event-stream", "event: "+e["event"]+"\ndata: "+e["data"])
}

func (r *recording) walkCompanies() {
	r.ask("list-companies", 200)
	r.ask("get-company", 200, "c1")
	r.ask("update-company", 200, "c1", `{"default_signature_scheme":"base64","default_data_format":"object","allow_networks":["10.0.0.0/8"],"max_webhooks":7}`)
	key := id(r.ask("create-key", 201, "c1", `{"scope":"read","name":"n"}`))
	r.ask("get-caller", 200)
	r.ask("list-keys", 200, "c1")
	r.ask("revoke-key", 204, "c1", key)
	link := id(r.ask("create-console-link", 201, "c1", `{"read_only":true}`))
	r.ask("list-console-links", 200, "c1")
	r.ask("revoke-console-link", 204, "c1", link)
}
