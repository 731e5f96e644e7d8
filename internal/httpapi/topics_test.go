package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic"
)

const ordered = `{"category":"ORDER","description":"order shipped","summary":"Sent when it left.","sample":{"id":"7","n":1.50},"since":"2"}`

// A topic of the platform's own is like the others from the moment on at which it was put.
func TestOwnTopics(t *testing.T) {
	s := newServer(t)
	publish := func(topic string) *answer {
		return s.call("POST", "/v1/events", `{"company_id":"c1","event":"`+topic+`","data":{"id":"7"}}`)
	}
	mine := s.with("X-Atlas-Company-Id", "c1")
	publish("order.shipped").problem(422, "unknown_topic", "event")
	mine.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/o","event":"order.*"}`).problem(422, "unknown_topic", "event")
	everything := s.subscribe("*")

	put := s.call("PUT", "/v1/topics/order.shipped", ordered)
	if got := put.ok(200); got["topic"] != "order.shipped" || got["built_in"] != false || !strings.Contains(put.text, `"sample":{"id":"7","n":1.50}`) {
		t.Errorf("put: %s", put.text)
	}
	if got := s.call("GET", "/v1/topics/order.shipped", ""); got.ok(200) == nil || strings.TrimSpace(got.text) != strings.TrimSpace(put.text) {
		t.Errorf("get: %s", got.text)
	}
	list := s.call("GET", "/v1/topics", "").ok(200)["data"].([]any)
	if last := list[len(list)-1].(map[string]any); len(list) != 16 || last["topic"] != "order.shipped" || last["since"] != "2" {
		t.Errorf("list: %v", list)
	}
	if _, has := list[0].(map[string]any)["since"]; has {
		t.Errorf("a built-in topic: %v", list[0])
	}
	orders := s.subscribe("order.*")
	exact := s.subscribe("order.shipped")
	event := publish("order.shipped").ok(202)
	if event["object_id"] != "7" {
		t.Errorf("published: %v", event)
	}
	id := event["id"].(string)
	if e := mine.call("GET", "/v1/events/"+id, "").ok(200); e["matched"] != float64(3) {
		t.Errorf("the event: %v", e)
	}
	mine.call("GET", "/v1/events?event=order.shipped&object_id=7", "").ok(200)
	if test := mine.call("POST", "/v1/webhooks/"+exact+"/test", ""); test.ok(200) == nil || !strings.Contains(test.text, "order.shipped") {
		t.Errorf("a test: %s", test.text)
	}
	if p := publish("order.shiped").problem(422, "unknown_topic", "event"); !strings.Contains(fmt.Sprint(p), "order.shipped") {
		t.Errorf("a misspelt one: %v", p)
	}

	// A schema is kept as it is written, and refused by pointer.
	with := strings.Replace(ordered, `{"category"`, `{"schema": {"properties": {"n": {"maximum": 2.0}}}, "category"`, 1)
	if got := s.call("PUT", "/v1/topics/order.shipped", with); got.ok(200) == nil || !strings.Contains(got.text, `"schema":{"properties":{"n":{"maximum":2.0}}}`) {
		t.Errorf("with a schema: %s", got.text)
	}
	s.call("PUT", "/v1/topics/order.shipped", strings.Replace(with, "2.0", "1e99", 1)).problem(422, "invalid_schema", "schema/properties/n/maximum")
	s.call("PUT", "/v1/topics/order.shipped", strings.Replace(with, "2.0", "1", 1)).problem(422, "schema_violation", "sample/n")

	// Another description; another category is refused.
	s.call("PUT", "/v1/topics/order.shipped", strings.Replace(ordered, "order shipped", "an order left", 1)).ok(200)
	s.call("PUT", "/v1/topics/order.shipped", strings.Replace(ordered, "ORDER", "OTHER", 1)).problem(409, "category_fixed")

	// It stays while a webhook names it. When it is gone, what matched it is as it was.
	s.call("DELETE", "/v1/topics/order.shipped", "").problem(409, "topic_in_use")
	mine.call("DELETE", "/v1/webhooks/"+exact, "").ok(204)
	s.call("DELETE", "/v1/topics/order.shipped", "").ok(204)
	s.call("DELETE", "/v1/topics/order.shipped", "").problem(404, "not_found")
	s.call("GET", "/v1/topics/order.shipped", "").problem(404, "not_found")
	publish("order.shipped").problem(422, "unknown_topic", "event")
	if e := mine.call("GET", "/v1/events/"+id, "").ok(200); e["matched"] != float64(2) {
		t.Errorf("the event, when its topic is gone: %v", e)
	}
	mine.call("GET", "/v1/events?event=order.sent", "").problem(400, "unknown_topic")
	for _, where := range []string{"/v1/events?", "/v1/webhooks/" + orders + "/deliveries?", "/v1/events?object_id=7&", "/v1/webhooks/" + orders + "/deliveries?object_id=7&"} {
		if found := mine.call("GET", where+"event=order.shipped", "").ok(200)["data"].([]any); len(found) != 1 {
			t.Errorf("%s: %v", where, found)
		}
	}
	for _, w := range []string{everything, orders} {
		if d := mine.call("GET", "/v1/webhooks/"+w+"/deliveries", "").ok(200)["data"].([]any); len(d) != 1 {
			t.Errorf("deliveries of %s: %v", w, d)
		}
	}
}

func TestTopicRefusals(t *testing.T) {
	s := newServer(t)
	for _, builtIn := range hook.Topics() {
		s.call("PUT", "/v1/topics/"+builtIn.Name, ordered).problem(409, "built_in_topic")
		s.call("DELETE", "/v1/topics/"+builtIn.Name, "").problem(409, "built_in_topic")
		if got := s.call("GET", "/v1/topics/"+builtIn.Name, "").ok(200); got["built_in"] != true || got["description"] != builtIn.Description {
			t.Errorf("%s: %v", builtIn.Name, got)
		}
	}
	write, _ := s.companyKey("c1", "write")
	s.as(write).call("PUT", "/v1/topics/order.shipped", ordered).problem(403, "operator_required")
	s.as(write).call("DELETE", "/v1/topics/order.shipped", "").problem(403, "operator_required")
	s.as(write).call("GET", "/v1/topics/customer", "").ok(200)
	s.call("PUT", "/v1/topics/Order", ordered).problem(422, "invalid_topic", "topic")
	s.call("PUT", "/v1/topics/order", `{"category":"order","description":"d"}`).problem(422, "invalid_category", "category")
	s.call("PUT", "/v1/topics/order", `{"description":"d"}`).problem(422, "required", "category")
	s.call("PUT", "/v1/topics/order", `{"category":"ORDER","description":"d","sample":"{}"}`).problem(422, "data_already_encoded", "sample")
	s.call("PUT", "/v1/topics/order", `{"category":"ORDER","description":"d","colour":1}`).problem(422, "unknown_field", "colour")
	if n := len(s.call("GET", "/v1/topics", "").ok(200)["data"].([]any)); n != 15 {
		t.Errorf("%d topics", n)
	}
}

// docs/topics.yaml holds what later revisions of the platform send.
func TestLaterTopics(t *testing.T) {
	list, err := topic.ReadFile("../../docs/topics.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	if _, err := s.store.ApplyTopics(t.Context(), list, auditOf("topics_file")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"conversation.created", "conversation.message", "conversation.custom_fields"} {
		s.subscribe(name)
		var shown struct {
			Sample json.RawMessage `json:"sample"`
		}
		a := s.call("GET", "/v1/topics/"+name, "")
		if a.ok(200); json.Unmarshal([]byte(a.text), &shown) != nil {
			t.Fatal(a.text)
		}
		s.publish(name, string(shown.Sample))
	}
}

// A company's validate is in force at once; what is found is told to operators, and of an event to its company.
func TestValidate(t *testing.T) {
	checked := make(chan *intake.Intake, 1)
	s := newServer(t, func(o *httpapi.Options) { checked <- o.Intake })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		(<-checked).Check(ctx, slog.New(slog.DiscardHandler))
		close(done)
	}()
	const wrong = `{"company_id":"c1","id":"e1","event":"conversation.status","data":{"id":"7","status":"secret","closed_by":true}}`
	linted := s.call("POST", "/v1/events?lint=true", wrong)
	if linted.ok(202); !strings.Contains(linted.text, `"warnings":[{"code":"schema_violation","pointer":"/closed_by"`) {
		t.Errorf("lint: %s", linted.text)
	}
	mine := s.with("X-Atlas-Company-Id", "c1")
	event := mine.call("GET", "/v1/events/e1", "")
	if event.ok(200); !strings.Contains(event.text, `"violations":[{"pointer":"/closed_by","keyword":"type"}]`) {
		t.Errorf("the event: %s", event.text)
	}
	if got := s.call("PATCH", "/v1/companies/c1", `{"validate":"reject"}`).ok(200); got["validate"] != "reject" {
		t.Errorf("the company: %v", got)
	}
	second := strings.Replace(wrong, "e1", "e2", 1)
	s.call("POST", "/v1/events", second).problem(422, "schema_violation", "data/closed_by")
	s.call("POST", "/v1/events/batch", "["+strings.Replace(second, "c1", "c2", 1)+","+second+"]").problem(422, "schema_violation", "[1].data/closed_by")
	mine.call("GET", "/v1/events/e2", "").problem(404, "not_found")
	s.call("PATCH", "/v1/companies/c1", `{"validate":"strict"}`).problem(422, "invalid_value", "validate")
	if got := s.call("PATCH", "/v1/companies/c1", `{"validate":null}`).ok(200); got["validate"] != nil {
		t.Errorf("the company: %v", got)
	}
	s.call("POST", "/v1/events", second).ok(202)
	s.call("PATCH", "/v1/companies/c1", `{"validate":"off"}`).ok(200)
	if event := mine.call("GET", "/v1/events/e2", ""); event.ok(200) == nil || strings.Contains(event.text, "violations") {
		t.Errorf("an event that nobody looks at: %s", event.text)
	}
	stop()
	<-done
	told := s.call("GET", "/v1/topics/conversation.status", "")
	if told.ok(200); !strings.Contains(told.text, `"rejected":2,`) || !strings.Contains(told.text, `"event_id":"e2"`) || strings.Contains(told.text, "secret") {
		t.Errorf("the topic: %s", told.text)
	}
	read, _ := s.companyKey("c1", "read")
	for _, path := range []string{"/v1/topics", "/v1/topics/conversation.status"} {
		if got := s.as(read).call("GET", path, ""); got.ok(200) == nil || strings.Contains(got.text, "checks") {
			t.Errorf("%s tells a company of all: %.200s", path, got.text)
		}
	}
	if got := s.call("GET", "/v1/topics", ""); got.ok(200) == nil || !strings.Contains(got.text, `"checks":{"checked":`) || strings.Contains(got.text, `"last"`) {
		t.Errorf("the list does not count")
	}
}

// A topic of the platform's own is derived by its rule, from the moment on at which it was put.
func TestDerivedTopics(t *testing.T) {
	s := newServer(t)
	const change = `{"company_id":"c1","object_type":"order","id":"%s","before":{"id":"7","status":"packed"},"after":{"id":"7","status":"left"}}`
	s.call("POST", "/v1/changes", fmt.Sprintf(change, "a")).problem(422, "invalid_object_type", "object_type")
	put := s.call("PUT", "/v1/topics/order.shipped", `{"category":"ORDER","description":"d","derive":{"object_type":"order","paths":["/status"]}}`)
	if put.ok(200); !strings.Contains(put.text, `"derive":{"object_type":"order","paths":["/status"]}`) {
		t.Errorf("put: %s", put.text)
	}
	got := s.call("POST", "/v1/changes", fmt.Sprintf(change, "b"))
	if got.ok(202); !strings.Contains(got.text, `"data":[{"id":"b:order.shipped","event":"order.shipped","duplicate":false,"changed":["/status"]`) {
		t.Errorf("derived: %s", got.text)
	}
	e := s.with("X-Atlas-Company-Id", "c1").call("GET", "/v1/events/b:order.shipped", "").ok(200)
	if e["object_id"] != "7" || fmt.Sprint(e["changes"]) != "map[/status:map[new:left old:packed]]" {
		t.Errorf("the event: %v", e)
	}
	s.call("PUT", "/v1/topics/order.shipped", `{"category":"ORDER","description":"d","derive":{"paths":["/status"]}}`).problem(422, "required", "derive.object_type")
	s.call("PUT", "/v1/topics/order.shipped", `{"category":"ORDER","description":"d","derive":{"object_type":"order","paths":["status"]}}`).problem(422, "invalid_path", "derive.paths[0]")
	s.call("PUT", "/v1/topics/order.shipped", `{"category":"ORDER","description":"d","derive":{"object_type":"order","paths":["/a\n/b"]}}`).problem(422, "invalid_path", "derive.paths[0]")
	for i := range 15 {
		s.call("PUT", fmt.Sprintf("/v1/topics/order.t%d", i), `{"category":"ORDER","description":"d","derive":{"object_type":"order"}}`).ok(200)
	}
	s.call("PUT", "/v1/topics/order.more", `{"category":"ORDER","description":"d","derive":{"object_type":"order"}}`).problem(409, "too_many_derived")
	s.call("PUT", "/v1/topics/order.more", `{"category":"ORDER","description":"d","derive":{"object_type":"parcel"}}`).ok(200)
}
