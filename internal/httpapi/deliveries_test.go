package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func TestDeliveries(t *testing.T) {
	s := newServer(t)
	id := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/it's","events":["*"],"headers":{"X-Api-Key":"canary-value","X-It's":"v"}}`).ok(201)["id"].(string)
	path := "/v1/webhooks/" + id + "/deliveries"
	first := s.publish("conversation.status", `{"id":"7","name":"José 'quoted'"}`)
	second := s.publish("customer", `{"id":"8"}`)
	s.record(id, first, func(a *hook.Attempt, r *store.Record) {
		a.Outcome, a.StatusCode, a.ErrorClass, a.ErrorDetail = hook.OutcomeRetry, 500, hook.ErrServerStatus, "500 from the receiver"
		a.AnswerHeader, a.AnswerBody = []byte("HTTP/1.1 500 Oops\r\nX: y\r\n"), []byte("bad \xff\x00 body")
		due := r.At.Add(time.Minute)
		r.Items[0].Park = &hook.Parked{Webhook: a.Webhook, Kind: hook.Live, Offset: a.Offset, Sequence: 1, Attempts: 1, Step: 1, DueAt: &due, Reason: "status_5xx", ObjectKey: "CONVERSATION:7"}
		r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1}}
	})

	list := s.call("GET", path, "").ok(200)["data"].([]any)
	if len(list) != 2 {
		t.Fatalf("list: %v", list)
	}
	pending, retrying := list[0].(map[string]any), list[1].(map[string]any)
	if pending["event_id"] != second || pending["status"] != "pending" || pending["attempts"] != 0.0 || pending["last_status_code"] != nil || pending["event"] != "customer" {
		t.Errorf("pending: %v", pending)
	}
	if retrying["event_id"] != first || retrying["status"] != "retrying" || retrying["attempts"] != 1.0 || retrying["last_status_code"] != 500.0 ||
		retrying["last_duration_ms"] != 12.345 || retrying["next_attempt_at"] == nil || retrying["sequence"] != 1.0 || retrying["object_id"] != "7" {
		t.Errorf("retrying: %v", retrying)
	}
	for query, want := range map[string]int{
		"?status=pending": 1, "?status=delivered": 0, "?event=customer": 1, "?object_id=7": 1, "?status_code=500": 1, "?status_code=404": 0,
		"?from=" + s.now().Add(time.Hour).UTC().Format(time.RFC3339): 0, "?to=" + s.now().Add(time.Hour).UTC().Format(time.RFC3339): 2,
	} {
		if got := len(s.call("GET", path+query, "").ok(200)["data"].([]any)); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	for query, code := range map[string]string{
		"?status=open": "invalid_parameter", "?event=x": "unknown_topic", "?from=yesterday": "invalid_parameter", "?limit=1000": "invalid_parameter",
		"?cursor=abc": "invalid_cursor", "?cursor=" + base64.RawURLEncoding.EncodeToString([]byte("o-1")): "invalid_cursor", "?stauts=x": "unknown_parameter",
	} {
		s.call("GET", path+query, "").problem(400, code)
	}
	page := s.call("GET", path+"?limit=1", "").ok(200)
	s.publish("customer", `{}`) // an insert does not move the next page
	rest := s.call("GET", path+"?limit=1&cursor="+page["next_cursor"].(string), "").ok(200)
	if rest["data"].([]any)[0].(map[string]any)["event_id"] != first || rest["next_cursor"] != nil || rest["cursor"] != page["next_cursor"] {
		t.Errorf("second page: %v", rest)
	}

	a := s.call("GET", path+"/"+first, "")
	one := a.ok(200)
	if strings.Contains(a.text, "canary-value") || strings.Contains(a.text, "whsec_") {
		t.Errorf("a secret is shown: %s", a.text)
	}
	if one["last_status_code"] != 500.0 || one["last_duration_ms"] != 12.345 || one["next_attempt_at"] == nil || one["status"] != "retrying" {
		t.Errorf("delivery: %v", one)
	}
	attempt := one["attempts"].([]any)[0].(map[string]any)
	request := attempt["request"].(map[string]any)
	headers := request["headers"].(map[string]any)
	if request["body"] != `{"event":"conversation.status","data":"{\"id\":\"7\",\"name\":\"Jos\\u00e9 'quoted'\"}"}` ||
		headers["X-Atlas-Webhook-Signature"] != "<signature>" || headers["X-Api-Key"] != "••••" || headers["X-Atlas-Webhook-Event-Id"] != first ||
		headers["X-Atlas-Webhook-Sequence"] != "1" || headers["User-Agent"] != "Atlas-Webhooks/1.2.3" || request["settings_changed"] != false {
		t.Errorf("request: %v", request)
	}
	response := attempt["response"].(map[string]any)
	if !strings.Contains(response["headers"].(string), "X: y") || !strings.HasPrefix(response["body"].(string), "bad �") || attempt["advice"] == nil || attempt["error_class"] != "status_5xx" {
		t.Errorf("attempt: %v", attempt)
	}
	checkCurl(t, one["curl"].(string), "<signature>")

	signed := s.call("POST", path+"/"+first+"/curl", "").ok(200)
	checkCurl(t, signed["curl"].(string), "")
	if fmt.Sprint(signed["variables"]) != "[HEADER_X_API_KEY HEADER_X_IT_S]" {
		t.Errorf("variables: %v", signed["variables"])
	}
	s.call("GET", path+"/nothing", "").problem(404, "not_found")
	s.call("POST", path+"/nothing/curl", "").problem(404, "not_found")
	s.call("GET", "/v1/webhooks/wh_x/deliveries/"+first, "").problem(404, "not_found")
}

// checkCurl runs the command with a curl that prints its arguments.
func checkCurl(t *testing.T, command, signature string) {
	t.Helper()
	if !strings.Contains(command, "--globoff --path-as-is") || !strings.Contains(command, "--data-raw") || strings.Contains(command, "canary-value") {
		t.Errorf("curl: %s", command)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "curl() { printf '%s\\0' \"$@\"; }\nHEADER_X_API_KEY='from outside'\nHEADER_X_IT_S=v\n"+command).Output()
	if err != nil {
		t.Fatalf("sh: %v", err)
	}
	args := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	body := args[len(args)-1]
	if body != `{"event":"conversation.status","data":"{\"id\":\"7\",\"name\":\"Jos\\u00e9 'quoted'\"}"}` {
		t.Errorf("body of the command: %s", body)
	}
	all := strings.Join(args, "\n")
	if !strings.Contains(all, "\nhttps://example.com/it's\n") || !strings.Contains(all, "\nX-Api-Key: from outside\n") || !strings.Contains(all, "X-It's: v\n") {
		t.Errorf("arguments: %s", all)
	}
	if got := strings.Contains(all, "X-Atlas-Webhook-Signature: <signature>"); got != (signature != "") {
		t.Errorf("signature: %s", all)
	}
}

func TestRetry(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	path := "/v1/webhooks/" + id + "/deliveries/"
	event := s.publish("customer", `{"id":"8"}`)
	s.call("POST", path+event+"/retry", "").problem(409, "pending")
	s.record(id, event, func(a *hook.Attempt, r *store.Record) {
		r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1, Delivered: 1}}
	})
	if d := s.call("GET", path+event, "").ok(200); d["status"] != "delivered" {
		t.Errorf("delivery: %v", d)
	}
	s.call("POST", path+event+"/retry", "").ok(202)
	s.call("POST", path+"nothing/retry", "").problem(404, "not_found")
	s.call("PATCH", "/v1/webhooks/"+id, `{"status":"INACTIVE"}`).ok(200)
	s.call("POST", path+event+"/retry", "").problem(409, "webhook_inactive")
	if balanced := s.call("GET", "/v1/conservation", "").ok(200)["balanced"]; balanced != true {
		t.Errorf("conservation: %v", balanced)
	}
	deep := s.call("GET", "/v1/conservation?deep=true", "").ok(200)
	if one := deep["data"].([]any)[0].(map[string]any); deep["balanced"] != true || one["delivered"] != 1.0 || one["since"] == nil {
		t.Errorf("deep: %v", deep)
	}
}

func TestTestDelivery(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("customer.*")
	path := "/v1/webhooks/" + id + "/test"
	var sent *hook.Event
	s.engine.test = func(w *hook.Webhook, e *hook.Event) (*hook.Attempt, error) {
		sent = e
		return &hook.Attempt{
			Webhook: w.Key, Number: 1, Kind: hook.Test, TimestampText: "1.5", Format: w.Format, StartedAt: s.now(), Version: w.Version,
			Outcome: hook.OutcomeRetry, ErrorClass: hook.ErrConnect, ErrorDetail: "connect: connection refused",
		}, nil
	}
	a := s.call("POST", path, "").ok(200)
	if sent.Topic != "customer.identify" || a["outcome"] != "retry" || a["kind"] != "test" || !strings.Contains(a["advice"].(string), "Nothing listens") {
		t.Errorf("test of %s: %v", sent.Topic, a)
	}
	if h := a["request"].(map[string]any)["headers"].(map[string]any); h["X-Atlas-Webhook-Test"] != "true" || h["X-Atlas-Webhook-Object-Id"] != sent.ObjectID() || sent.ObjectID() == "" {
		t.Errorf("headers: %v", h)
	}
	limited := s.call("POST", path, "")
	limited.problem(429, "rate_limited")
	if limited.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.move(time.Second)
	s.call("POST", path, `{"event":"customer","data":{"name":"José"}}`).ok(200)
	if sent.Topic != "customer" || string(sent.Data) != `{"name":"Jos\u00e9"}` || sent.ObjectID() != "" {
		t.Errorf("sent: %s %s", sent.Topic, sent.Data)
	}
	s.call("POST", path, `{"event":"nothing"}`).problem(422, "unknown_topic", "event")
	s.call("POST", path, `{"topic":"customer"}`).problem(422, "unknown_field", "topic")
	s.call("POST", "/v1/webhooks/wh_x/test", "").problem(404, "not_found")
}

func TestSecrets(t *testing.T) {
	s := newServer(t)
	w := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com","event":"*","signing_secret":"0123456789abcdef"}`).ok(201)
	path := "/v1/webhooks/" + w["id"].(string) + "/secret"
	if got := s.call("GET", path, "").ok(200); got["signing_secret"] != "0123456789abcdef" || len(got) != 1 {
		t.Errorf("secret: %v", got)
	}
	// What the webhook itself says of it, to whoever may read.
	rotation := func() any {
		t.Helper()
		got := s.call("GET", strings.TrimSuffix(path, "/secret"), "").ok(200)["secret_rotation"]
		listed := s.call("GET", "/v1/webhooks", "").ok(200)["data"].([]any)[0].(map[string]any)["secret_rotation"]
		if fmt.Sprint(got) != fmt.Sprint(listed) {
			t.Errorf("rotation: %v, in the list %v", got, listed)
		}
		return got
	}
	if got := rotation(); got != nil {
		t.Errorf("rotation: %v", got)
	}
	s.call("POST", path+"/activate", "").problem(409, "no_rotation")
	s.call("DELETE", path+"/rotate", "").problem(409, "no_rotation")
	rotated := s.call("POST", path+"/rotate", `{"overlap_seconds":60}`).ok(200)
	previous := rotated["previous"].(map[string]any)
	if previous["signing_secret"] != "0123456789abcdef" || rotated["active_from"] != previous["expires_at"] || !strings.HasPrefix(rotated["signing_secret"].(string), "whsec_") {
		t.Errorf("rotated: %v", rotated)
	}
	if got := rotation(); fmt.Sprint(got) != fmt.Sprint(map[string]any{"activated": false, "ends_at": previous["expires_at"]}) {
		t.Errorf("rotation: %v", got)
	}
	s.call("POST", path+"/rotate", "").problem(409, "rotation_in_progress")
	s.call("POST", path+"/rotate", `{"signing_secret":"x"}`).problem(422, "invalid_secret", "signing_secret")
	s.call("POST", path+"/rotate", `{"overlap_seconds":604801}`).problem(422, "invalid_value", "overlap_seconds")
	active := s.call("POST", path+"/activate", "").ok(200)
	if active["active_from"] == previous["expires_at"] {
		t.Errorf("active: %v", active)
	}
	if got := rotation(); fmt.Sprint(got) != fmt.Sprint(map[string]any{"activated": true, "ends_at": previous["expires_at"]}) {
		t.Errorf("rotation: %v", got)
	}
	s.call("POST", path+"/rotate", `{"force":true,"overlap_seconds":0,"signing_secret":"fedcba9876543210"}`).ok(200)
	if got := s.call("GET", path, "").ok(200); got["signing_secret"] != "fedcba9876543210" || len(got) != 1 {
		t.Errorf("after: %v", got)
	}
	s.call("POST", path+"/rotate", "").ok(200)
	if got := s.call("DELETE", path+"/rotate", "").ok(200); got["signing_secret"] != "fedcba9876543210" || len(got) != 1 {
		t.Errorf("cancelled: %v", got)
	}
	s.call("POST", path+"/rotate", `{"overlap_seconds":60}`).ok(200)
	s.move(time.Minute)
	if got := s.call("GET", path, "").ok(200); len(got) != 1 || got["signing_secret"] == "fedcba9876543210" {
		t.Errorf("after the overlap: %v", got)
	}
	if got := rotation(); got != nil {
		t.Errorf("rotation after the overlap: %v", got)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := newServer(t)
	keyed := s.with("Idempotency-Key", "k1")
	const body = `{"endpoint":"https://example.com/a","event":"customer"}`
	first := keyed.call("POST", "/v1/webhooks", body)
	again := keyed.call("POST", "/v1/webhooks", body)
	if first.ok(201)["id"] != again.ok(201)["id"] || first.text != again.text || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("first %s, again %s", first.text, again.text)
	}
	keyed.call("POST", "/v1/webhooks", strings.Replace(body, "/a", "/b", 1)).problem(409, "idempotency_key_reused")
	s.with("Idempotency-Key", "a b").call("POST", "/v1/webhooks", body).problem(400, "invalid_idempotency_key")
	refused := s.with("Idempotency-Key", "k2")
	refused.call("POST", "/v1/webhooks", `{"endpoint":"x","event":"customer"}`).problem(422, "invalid_url")
	refused.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/c","event":"customer"}`).ok(201)
	s.move(25 * time.Hour)
	keyed.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/d","event":"customer"}`).ok(201)
	key := s.with("Idempotency-Key", "k3").call("POST", "/v1/companies/c1/keys", `{"scope":"read"}`).text
	if again := s.with("Idempotency-Key", "k3").call("POST", "/v1/companies/c1/keys", `{"scope":"read"}`).text; again != key {
		t.Errorf("keys: %s, %s", key, again)
	}
}

func TestEvents(t *testing.T) {
	s := newServer(t)
	all := s.subscribe("*")
	some := s.subscribe("customer.*")
	filtered := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/f","event":"*","filter":"event == \"customer\" and data.vip == true"}`).ok(201)["id"].(string)
	const data = `{"id" : "8", "n": 1.0e2, "n": 2, "s":"\ud800\u0000"}`
	event := s.publish("customer", data)
	late := s.subscribe("*")

	e := s.call("GET", "/v1/events/"+event, "")
	if e.ok(200); !strings.Contains(e.text, `"data":{"id":"8","n":1.0e2,"n":2,"s":"\ud800\u0000"}`) || !strings.Contains(e.text, `"matched":1`) {
		t.Errorf("event: %s", e.text)
	}
	s.call("GET", "/v1/events/nothing", "").problem(404, "not_found")
	s.publish("conversation", `{"id":"9"}`)
	for query, want := range map[string]int{"": 2, "?event=customer": 1, "?object_id=9": 1, "?event=customer&object_id=9": 0, "?limit=1": 1} {
		if got := len(s.call("GET", "/v1/events"+query, "").ok(200)["data"].([]any)); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	s.call("GET", "/v1/events?event=x", "").problem(400, "unknown_topic")
	s.call("GET", "/v1/events?cursor=x", "").problem(400, "invalid_cursor")

	verdicts := map[string]map[string]any{}
	for _, m := range s.call("GET", "/v1/events/"+event+"/matches", "").ok(200)["data"].([]any) {
		verdicts[m.(map[string]any)["webhook_id"].(string)] = m.(map[string]any)
	}
	for id, want := range map[string][3]string{
		all: {"matched", "pending", "waits for its turn"}, some: {"topic_not_subscribed", "", "customer"},
		filtered: {"filter_failed", "", "data.vip == true"}, late: {"created_after", "", "later events"},
	} {
		m := verdicts[id]
		if status, _ := m["status"].(string); m["verdict"] != want[0] || status != want[1] || !strings.Contains(m["reason"].(string), want[2]) {
			t.Errorf("%s: %v, want %v", id, m, want)
		}
	}
	s.call("GET", "/v1/events/nothing/matches", "").problem(404, "not_found")
	fed := s.call("GET", "/v1/webhooks/"+all+"/events?limit=1", "").ok(200)
	if one := fed["data"].([]any)[0].(map[string]any); one["event_id"] != event || one["sequence"] != 1.0 || fed["next_after"] != 1.0 {
		t.Errorf("feed: %v", fed)
	}
	if fed = s.call("GET", "/v1/webhooks/"+all+"/events?after=2", "").ok(200); len(fed["data"].([]any)) != 0 || fed["next_after"] != 2.0 {
		t.Errorf("end of the feed: %v", fed)
	}
	s.call("GET", "/v1/webhooks/"+all+"/events?after=-1", "").problem(400, "invalid_parameter")
	s.call("GET", "/v1/webhooks/wh_x/events", "").problem(404, "not_found")
}

func TestRuleReport(t *testing.T) {
	s := newServer(t)
	made := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/x","event":"customer","filter":"data.vip == true"}`).ok(201)["id"].(string)
	report := func() string {
		got := s.call("GET", "/v1/webhooks/"+made+"/rule", "").ok(200)
		return fmt.Sprintf("%v %v %v %v %v %v", got["events"], got["of_topics"], got["excluded"], got["missed"], got["exact"], got["sentence"])
	}
	check := func(want string) {
		t.Helper()
		if got := report(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	check("0 0 0 0 true <nil>")
	s.publish("conversation", `{}`)
	check("1 0 0 0 true None of its topics among 1 event in 24 h.")
	s.publish("customer", `{"vip":false}`)
	s.publish("customer", `{"vip":false}`)
	check("3 2 2 0 true 2 events of its topics in 24 h, all excluded by the filter: data.vip == true is not true.")
	s.call("POST", "/v1/webhooks/"+made, `{"filter":"data.vip == false"}`).ok(200)
	check("3 2 0 2 true 2 events that it wants now never matched in 24 h: its rule was another one then.")
	s.publish("customer", `{"vip":true}`)
	check("4 3 1 2 true 2 events that it wants now never matched in 24 h: its rule was another one then.")
	s.call("GET", "/v1/webhooks/wh_x/rule", "").problem(404, "not_found")
}

func TestFilterPreview(t *testing.T) {
	s := newServer(t)
	vip := s.publish("customer", `{"vip":true}`)
	plain := s.publish("customer", `{"vip":false}`)
	s.publish("conversation", `{}`)
	got := s.call("POST", "/v1/filters/preview", `{"filter":"event == \"customer\" and data.vip","events":["customer"]}`).ok(200)
	if fmt.Sprint(got["compiled"]) != "true" || fmt.Sprint(got["data"]) != fmt.Sprintf(
		"[map[error:<nil> event:customer event_id:%s failed:data.vip matched:false] map[error:<nil> event:customer event_id:%s failed:<nil> matched:true]]", plain, vip) {
		t.Errorf("preview: %v", got)
	}
	if got = s.call("POST", "/v1/filters/preview", `{"filter":"now() > 1"}`).ok(200); got["compiled"] != false || !strings.Contains(got["error"].(string), "now") {
		t.Errorf("refused: %v", got)
	}
	s.call("POST", "/v1/filters/preview", `{"filter":"true","events":["x"]}`).problem(422, "unknown_topic", "events")
	s.call("POST", "/v1/filters/preview", `{}`).problem(422, "required", "filter")
	s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com","event":"*","filter":"now() > 1"}`).problem(422, "invalid_filter", "filter")
}

func TestReplays(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	path := "/v1/webhooks/" + id + "/replays"
	event := s.publish("customer", `{"id":"8"}`)
	s.record(id, event, func(a *hook.Attempt, r *store.Record) {
		a.Outcome, a.StatusCode = hook.OutcomeFailed, 400
		r.Cursors = []store.CursorMove{{Webhook: a.Webhook, Detached: true, Offset: a.Offset, Sequence: 1, Failed: 1}}
	})
	const body = `{"from":"2020-01-01T00:00:00Z","only":"failed","event":"customer","rate_per_second":5}`
	if got := s.call("POST", path, strings.TrimSuffix(body, "}")+`,"dry_run":true}`).ok(200); got["count"] != 1.0 || got["exact"] != true || got["bytes"] != 10.0 {
		t.Errorf("dry run: %v", got)
	}
	r := s.call("POST", path, body).ok(202)
	if r["status"] != "running" || r["progress"] != 0.0 || r["only"] != "failed" || r["event"] != "customer" || r["rate_per_second"] != 5.0 || r["webhook_id"] != id {
		t.Errorf("replay: %v", r)
	}
	s.call("POST", path, body).problem(409, "replay_running")
	one := path + "/" + r["id"].(string)
	if got := s.call("GET", one, "").ok(200); got["id"] != r["id"] {
		t.Errorf("one: %v", got)
	}
	if got := s.call("GET", path, "").ok(200)["data"].([]any); len(got) != 1 {
		t.Errorf("list: %v", got)
	}
	s.call("DELETE", one, "").ok(204)
	if got := s.call("GET", one, "").ok(200); got["status"] != "cancelled" || got["finished_at"] == nil {
		t.Errorf("cancelled: %v", got)
	}
	s.call("GET", path+"/rpl_x", "").problem(404, "not_found")
	s.call("DELETE", path+"/rpl_x", "").problem(404, "not_found")
	s.call("POST", path, `{}`).problem(422, "required", "from")
	s.call("POST", path, `{"from":"2020-01-01T00:00:00Z","to":"2019-01-01T00:00:00Z"}`).problem(422, "invalid_time", "to")
	s.call("POST", path, `{"from":"2020-01-01T00:00:00Z","event":"x"}`).problem(422, "unknown_topic", "event")
	s.call("POST", path, `{"from":"2020-01-01T00:00:00Z","only":"some"}`).problem(422, "invalid_value", "only")
	s.call("POST", "/v1/webhooks/wh_x/replays", body).problem(404, "not_found")
}

func TestExport(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	for i := range 300 {
		s.publish("customer", fmt.Sprintf(`{"id":"=%d"}`, i))
	}
	lines := strings.Split(strings.TrimSpace(s.call("GET", "/v1/deliveries/export?webhook_id="+id, "").text), "\n")
	if len(lines) != 300 {
		t.Errorf("%d lines", len(lines))
	}
	var d map[string]any
	if err := json.Unmarshal([]byte(lines[299]), &d); err != nil || d["object_id"] != "=0" || d["status"] != "pending" {
		t.Errorf("last line: %v %v", d, err)
	}
	a := s.call("GET", "/v1/deliveries/export?format=csv&status=pending&webhook_id="+id, "")
	if rows := strings.Split(strings.TrimSpace(a.text), "\n"); len(rows) != 301 || !strings.Contains(rows[300], ",'=0,") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") {
		t.Errorf("csv: %d rows, %s", len(rows), cut(a.text))
	}
	s.call("POST", "/v1/events", `{"company_id":"c1","event":"customer","id":"-2-3","data":{}}`).ok(202)
	if a := s.call("GET", "/v1/deliveries/export?format=csv&webhook_id="+id, ""); !strings.Contains(a.text, "\n'-2-3,customer,") {
		t.Errorf("an event's id can be a formula: %s", cut(a.text))
	}
	s.call("GET", "/v1/deliveries/export", "").problem(400, "invalid_parameter", "webhook_id")
	s.call("GET", "/v1/deliveries/export?webhook_id=wh_x", "").problem(404, "not_found")
	s.call("GET", "/v1/deliveries/export?format=xml&webhook_id="+id, "").problem(400, "invalid_parameter")
}

func TestStats(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	event := s.publish("customer", `{}`)
	s.record(id, event, func(a *hook.Attempt, r *store.Record) {
		stat := store.Stat{Webhook: a.Webhook, Bucket: r.At.Unix() / 60, Delivered: 3, Failed: 1, Retried: 2}
		for range 4 {
			stat.Latency.Add(20 * time.Millisecond)
		}
		r.Stats = []store.Stat{stat}
	})
	for _, path := range []string{"/v1/stats", "/v1/webhooks/" + id + "/stats?window=1h", "/v1/stats?window=7d", "/v1/stats?window=30d"} {
		got := s.call("GET", path, "").ok(200)
		total := got["total"].(map[string]any)
		p50 := total["latency_ms"].(map[string]any)["p50"].(float64)
		if total["delivered"] != 3.0 || total["failed"] != 1.0 || total["retried"] != 2.0 || p50 < 16 || p50 > 24 ||
			total["accept_to_delivered_ms"].(map[string]any)["p50"] != nil || len(got["data"].([]any)) != 1 {
			t.Errorf("%s: %v", path, got)
		}
	}
	s.call("GET", "/v1/stats?window=2h", "").problem(400, "invalid_parameter")
	s.call("GET", "/v1/webhooks/wh_x/stats", "").problem(404, "not_found")
}

func TestEveryErrorClassHasAdvice(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	for _, class := range []hook.ErrorClass{
		hook.ErrDNS, hook.ErrAddress, hook.ErrConnect, hook.ErrTLS, hook.ErrTimeout, hook.ErrReset, hook.ErrProtocol, hook.ErrRedirect,
		hook.ErrClientStatus, hook.ErrServerStatus, hook.ErrOtherStatus, hook.ErrThrottled, hook.ErrGone, hook.ErrOwnFault, hook.ErrUnrecordable, hook.ErrInternal,
	} {
		s.engine.test = func(w *hook.Webhook, _ *hook.Event) (*hook.Attempt, error) {
			return &hook.Attempt{Webhook: w.Key, Number: 1, Kind: hook.Test, TimestampText: "1.5", Format: w.Format, Outcome: hook.OutcomeRetry, ErrorClass: class}, nil
		}
		s.move(time.Second)
		if a := s.call("POST", "/v1/webhooks/"+id+"/test", "").ok(200); a["advice"] == nil || a["error_class"] != string(class) {
			t.Errorf("%s: no advice", class)
		}
		if words := httpapi.InWords(string(class)); strings.Contains(words, "_") || strings.HasPrefix(words, "status ") {
			t.Errorf("%s: in words it is %q", class, words)
		}
	}
	s.engine.test = func(*hook.Webhook, *hook.Event) (*hook.Attempt, error) {
		return nil, &hook.Error{Kind: hook.KindUnavailable, Code: "stopping", Err: errors.New("x")}
	}
	s.move(time.Second)
	s.call("POST", "/v1/webhooks/"+id+"/test", "").problem(503, "stopping")
}
