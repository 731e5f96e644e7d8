package httpapi_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func TestWebhookLife(t *testing.T) {
	s := newServer(t)
	created := s.call("POST", "/v1/webhooks", `{"endpoint":"HTTPS://Example.com:443/hooks","event":"conversation.status"}`)
	w := created.ok(201)
	id := w["id"].(string)
	if secret, _ := w["signing_secret"].(string); !strings.HasPrefix(id, "wh_") || !strings.HasPrefix(secret, "whsec_") || created.header.Get("ETag") != `"1"` {
		t.Errorf("created: %s", created.text)
	}
	delete(w, "signing_secret")
	delete(w, "created_at")
	delete(w, "updated_at")
	want := map[string]any{
		"id": id, "company_id": "c1", "endpoint": "https://example.com/hooks", "event": "conversation.status", "events": []any{"conversation.status"},
		"status": "ACTIVE", "status_reason": nil, "description": "", "metadata": map[string]any{}, "signature_scheme": "hex", "data_format": "string",
		"headers": map[string]any{}, "ordering": "relaxed", "max_concurrency": 64.0, "rate_limit_per_second": nil, "timeout_ms": 15000.0, "tls_compat": false, "include_changes": false, "signature_ed25519": false, "http_signature": false,
		"retry_schedule_seconds": []any{5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0}, "filter": nil, "http_version": "auto",
		"standard_webhooks": true, "standard_webhooks_reason": nil, "warnings": []any{},
	}
	if diff := cmp.Diff(want, w); diff != "" {
		t.Errorf("created: %s", diff)
	}
	one := s.call("GET", "/v1/webhooks/"+id, "").ok(200)
	if _, ok := one["signing_secret"]; ok || one["health"].(map[string]any)["state"] != "healthy" {
		t.Errorf("one: %v", one)
	}
	changed := s.call("POST", "/v1/webhooks/"+id, `{"status":"INACTIVE","description":"d","metadata":{"a":[1]},"headers":{"X-Key":"v","Authorization":"Bearer x"},
		"timeout_ms":1000,"retry_schedule_seconds":[0.5,2],"data_format":"object","signature_scheme":"base64","events":["customer.*","customer.*"]}`)
	w = changed.ok(200)
	if w["status"] != "INACTIVE" || w["description"] != "d" || fmt.Sprint(w["metadata"]) != "map[a:[1]]" || w["timeout_ms"] != 1000.0 ||
		fmt.Sprint(w["retry_schedule_seconds"]) != "[0.5 2]" || w["data_format"] != "object" || w["signature_scheme"] != "base64" ||
		fmt.Sprint(w["headers"]) != "map[Authorization:•••• X-Key:••••]" || w["event"] != "customer.*" || len(w["events"].([]any)) != 1 ||
		changed.header.Get("ETag") != `"2"` || strings.Contains(changed.text, "Bearer") {
		t.Errorf("changed: %s", changed.text)
	}
	s.call("PATCH", "/v1/webhooks/"+id, `{"headers":{"x-key":"••••"}}`).ok(200)
	s.call("DELETE", "/v1/webhooks/"+id, "").ok(204)
	for _, path := range []string{"", "/secret", "/deliveries"} {
		s.call("GET", "/v1/webhooks/"+id+path, "").problem(404, "not_found")
	}
	s.call("DELETE", "/v1/webhooks/"+id, "").problem(404, "not_found")
	if len(s.engine.kicked) < 4 {
		t.Errorf("the engine heard of %d changes", len(s.engine.kicked))
	}
	actions := []string{}
	for _, e := range s.call("GET", "/v1/audit-log", "").ok(200)["data"].([]any) {
		actions = append(actions, e.(map[string]any)["action"].(string))
	}
	if !slices.Equal(actions, []string{"webhook.deleted", "webhook.updated", "webhook.updated", "webhook.created"}) {
		t.Errorf("audit: %v", actions)
	}
}

// TestReadBack: what GET showed may be sent back, and only what cannot be changed is refused, by name.
func TestReadBack(t *testing.T) {
	s := newServer(t)
	created := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/a","events":["customer.*","conversation"],"headers":{"X-A":"b"},"filter":"true"}`)
	path := "/v1/webhooks/" + created.ok(201)["id"].(string)
	s.call("PATCH", path, created.text).ok(200) // with its secret
	s.call("POST", path+"/secret/rotate", "{}").ok(200)
	for range 2 {
		shown := s.call("GET", path, "")
		s.move(time.Second)
		if got := s.call("PATCH", path, shown.text).ok(200); got["headers"].(map[string]any)["X-A"] == nil || len(got["events"].([]any)) != 2 {
			t.Errorf("%v", got)
		}
	}
	for field, value := range map[string]string{
		"id": `"wh_x"`, "company_id": `"c2"`, "status_reason": `"gone"`, "created_at": `"2020-01-01T00:00:00Z"`, "updated_at": `null`,
		"standard_webhooks": "false", "standard_webhooks_reason": `"x"`, "secret_rotation": "null",
	} {
		s.call("PATCH", path, `{"description":"d","`+field+`":`+value+`}`).problem(422, "read_only_field", field)
	}
	s.call("PATCH", path, `{"event":"conversation","events":["customer.*","conversation"]}`).problem(422, "event_and_events", "events")
	s.call("PATCH", path, `{"signing_secret":"0123456789abcdef"}`).problem(422, "use_rotation", "signing_secret")
	s.call("POST", "/v1/webhooks", created.text).problem(422, "unknown_field")
}

// Every field that an answer shows can be set or sent back.
func TestReadBackIsComplete(t *testing.T) {
	update := map[string]bool{}
	var collect func(of reflect.Type)
	name := func(f reflect.StructField) string { n, _, _ := strings.Cut(f.Tag.Get("json"), ","); return n }
	collect = func(of reflect.Type) {
		for f := range of.Fields() {
			if f.Anonymous {
				collect(f.Type)
			} else {
				update[name(f)] = true
			}
		}
	}
	collect(reflect.TypeFor[httpapi.WebhookUpdate]())
	shown := reflect.TypeFor[client.Webhook]()
	for f := range shown.Fields() {
		if n := name(f); n != "-" && !update[n] {
			t.Errorf("%s is shown, and can neither be set nor sent back", n)
		}
	}
}

func TestIfMatchTakesAList(t *testing.T) {
	s := newServer(t)
	path := "/v1/webhooks/" + s.subscribe("customer")
	for tags, ok := range map[string]bool{`"7", "1"`: true, `W/"1"`: true, `"7","8"`: false, `"x", y`: false, "*": true} {
		a := s.with("If-Match", tags).call("PATCH", path, `{"description":""}`)
		if ok {
			a.ok(200)
			path = "/v1/webhooks/" + s.subscribe("customer", "conversation.tags")
		} else {
			a.problem(412, "version_mismatch")
		}
		s.call("DELETE", path, "").ok(204)
		path = "/v1/webhooks/" + s.subscribe("customer")
	}
	s.with("If-Match", `"3", "1"`).call("DELETE", path, "").ok(204)
}

// What a query means by a time, and what it is told where that cannot be read.
func TestQueryWords(t *testing.T) {
	s := newServer(t)
	for query, want := range map[string]string{
		"from=2026-11-29":                "2026-11-29T00:00:00Z",
		"from=2026-11-29T10:00:00+01:00": "2026-11-29T10:00:00%2B01:00",
		"to=2026-11-29T10:00:00":         "2026-11-29T10:00:00Z",
		"to=yesterday":                   "RFC 3339",
		"from=2026-11-29t10:00:00":       "offset",
	} {
		a := s.call("GET", "/v1/events?"+query, "")
		field, _, _ := strings.Cut(query, "=")
		a.problem(400, "invalid_parameter", field)
		if !strings.Contains(a.text, want) {
			t.Errorf("%s: %s, want %s", query, a.text, want)
		}
	}
	for _, query := range []string{"from=2026-11-29t10:00:00z", "to=2026-11-29t10:00:00.5%2B01:00", "from=2026-11-29T10:00:00Z"} {
		s.call("GET", "/v1/events?"+query, "").ok(200)
	}
	s.call("GET", "/v1/events?event=customer&event=conversation", "").problem(400, "repeated_parameter", "event")
	s.call("POST", "/v1/events?lint=true&lint=false", "{}").problem(400, "repeated_parameter", "lint")
	if a := s.call("POST", "/v1/events", ` [{"company_id":"c1","event":"customer","data":1}]`); !strings.Contains(a.text, "/v1/events/batch") {
		t.Error(a.text)
	}
	s.call("POST", "/v1/events", `{"company_id":"c1","event":"customer","data":1,"occurred_at":"2026-11-29t10:00:00z"}`).ok(202)
	if a := s.call("POST", "/v1/filters/preview", `{"filter":"data.status = 'x'"}`); !strings.Contains(a.text, "write == ") {
		t.Error(a.text)
	}
}

// warned lists the warnings of an answer as field: code.
func warned(answer map[string]any) (list []string) {
	for _, w := range answer["warnings"].([]any) {
		w := w.(map[string]any)
		list = append(list, w["field"].(string)+": "+w["code"].(string))
		if w["detail"].(string) == "" {
			list = append(list, "no detail")
		}
	}
	return list
}

func TestWarnings(t *testing.T) {
	s := newServer(t)
	check := func(what string, answer map[string]any, want ...string) {
		t.Helper()
		if got := warned(answer); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	const underscore, secret, shared = "headers.X_Team: header_underscore", "signing_secret: no_standard_webhooks", "endpoint: endpoint_shared"
	w := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/a","events":["customer.*"],"headers":{"X_Team":"a","X-Team":"b"},"signing_secret":"v1,whsec_QUJDQUJDQUJDQUJDQUJDQUJDQUJD"}`).ok(201)
	path := "/v1/webhooks/" + w["id"].(string)
	check("created", w, secret, underscore)
	one := s.call("GET", path, "").ok(200)
	if reason, _ := one["standard_webhooks_reason"].(string); one["standard_webhooks"] != false || !strings.Contains(reason, "v1,") || one["warnings"] != nil {
		t.Errorf("one: %v", one)
	}
	check("changed", s.call("PATCH", path, `{"headers":{}}`).ok(200), secret)

	second := s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/a","events":["customer.created","conversation"]}`).ok(201)
	check("the same endpoint, a topic in common", second, shared)
	if detail := second["warnings"].([]any)[0].(map[string]any)["detail"].(string); !strings.Contains(detail, w["id"].(string)) {
		t.Errorf("it does not name the other webhook: %s", detail)
	}
	check("the same endpoint, no topic in common", s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/a","event":"conversation.tags"}`).ok(201))
	check("another endpoint", s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/b","event":"customer.created"}`).ok(201))
	check("moved to a shared one", s.call("PATCH", path, `{"description":"x"}`).ok(200), secret, shared)
	check("inactive", s.call("PATCH", path, `{"status":"INACTIVE"}`).ok(200), secret)

	rotated := s.call("POST", path+"/secret/rotate", `{"signing_secret":"whsec_QUJDQUJDQUJDQUJDQUJD"}`).ok(200)
	check("rotated to a short one", rotated, secret)
	s.call("DELETE", path+"/secret/rotate", "").ok(200)
	check("rotated", s.call("POST", path+"/secret/rotate", `{}`).ok(200))
	if one := s.call("GET", path, "").ok(200); one["standard_webhooks"] != true {
		t.Errorf("one of the two secrets is enough: %v", one)
	}
}

func TestCreateWebhookRefuses(t *testing.T) {
	s := newServer(t, func(o *httpapi.Options) { o.Policy.AllowHTTP = false })
	const endpoint = `{"endpoint":"https://example.com/h","event":"customer",`
	tests := []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"nothing", ``, 400, "body_required", ""},
		{"not JSON", `{`, 400, "invalid_json", ""},
		{"a list", `[]`, 422, "invalid_type", ""},
		{"twice the same name", `{"endpoint":"https://example.com","endpoint":"https://example.com"}`, 400, "duplicate_field", ""},
		{"deep", `{"metadata":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, 400, "too_deep", ""},
		{"empty", `{}`, 422, "required", "endpoint"},
		{"no topic", `{"endpoint":"https://example.com"}`, 422, "required", "event"},
		{"unknown field", endpoint + `"url":"x"}`, 422, "unknown_field", "url"},
		{"other case", `{"Endpoint":"https://example.com","event":"customer"}`, 422, "unknown_field", "Endpoint"},
		{"wrong type", `{"endpoint":7,"event":"customer"}`, 422, "invalid_type", "endpoint"},
		{"null", `{"endpoint":null,"event":"customer"}`, 422, "required", "endpoint"},
		{"bad URL", `{"endpoint":"example.com","event":"customer"}`, 422, "invalid_url", "endpoint"},
		{"http", `{"endpoint":"http://example.com","event":"customer"}`, 422, "scheme_not_allowed", "endpoint"},
		{"private", `{"endpoint":"https://10.0.0.1/","event":"customer"}`, 422, "address_not_allowed", "endpoint"},
		{"loopback", `{"endpoint":"https://localhost/","event":"customer"}`, 422, "address_not_allowed", "endpoint"},
		{"port", `{"endpoint":"https://example.com:25/","event":"customer"}`, 422, "port_not_allowed", "endpoint"},
		{"userinfo", `{"endpoint":"https://a:b@example.com/","event":"customer"}`, 422, "invalid_url", "endpoint"},
		{"unknown topic", `{"endpoint":"https://example.com","event":"customers"}`, 422, "unknown_topic", "event"},
		{"unknown topics", `{"endpoint":"https://example.com","events":["*","x"]}`, 422, "unknown_topic", "events[1]"},
		{"no topics", `{"endpoint":"https://example.com","events":[]}`, 422, "invalid_value", "events"},
		{"both", `{"endpoint":"https://example.com","event":"customer","events":["customer"]}`, 422, "event_and_events", "events"},
		{"status", endpoint + `"status":"active"}`, 422, "invalid_value", "status"},
		{"secret", endpoint + `"signing_secret":"short"}`, 422, "invalid_secret", "signing_secret"},
		{"scheme", endpoint + `"signature_scheme":"rot13"}`, 422, "invalid_value", "signature_scheme"},
		{"format", endpoint + `"data_format":"xml"}`, 422, "invalid_value", "data_format"},
		{"scheme and format", endpoint + `"signature_scheme":"python-dict","data_format":"object"}`, 422, "scheme_needs_string", "signature_scheme"},
		{"reserved header", endpoint + `"headers":{"Webhook-Id":"x"}}`, 422, "reserved_header", "headers.Webhook-Id"},
		{"header injection", endpoint + `"headers":{"X-A":"b\r\nc: d"}}`, 422, "invalid_header_value", "headers.X-A"},
		{"header twice", endpoint + `"headers":{"X-A":"b","x-a":"b"}}`, 422, "duplicate_header", "headers.x-a"},
		{"masked header", endpoint + `"headers":{"X-A":"••••"}}`, 422, "invalid_header_value", "headers.X-A"},
		{"header type", endpoint + `"headers":{"X-A":1}}`, 422, "invalid_type", "headers.X-A"},
		{"timeout", endpoint + `"timeout_ms":999}`, 422, "invalid_value", "timeout_ms"},
		{"timeout type", endpoint + `"timeout_ms":"15s"}`, 422, "invalid_type", "timeout_ms"},
		{"timeout fraction", endpoint + `"timeout_ms":1500.5}`, 422, "invalid_type", "timeout_ms"},
		{"schedule", endpoint + `"retry_schedule_seconds":[5,-1]}`, 422, "invalid_value", "retry_schedule_seconds[1]"},
		{"schedule too long", endpoint + `"retry_schedule_seconds":[604800,604800,604800,604800,604800]}`, 422, "schedule_too_long", "retry_schedule_seconds"},
		{"description", endpoint + `"description":"` + strings.Repeat("x", 1025) + `"}`, 422, "invalid_value", "description"},
		{"metadata type", endpoint + `"metadata":[]}`, 422, "invalid_type", "metadata"},
		{"metadata size", endpoint + `"metadata":{"a":"` + strings.Repeat("x", 5000) + `"}}`, 422, "metadata_too_large", "metadata"},
		{"too large", `{"description":"` + strings.Repeat("x", 300_000) + `"}`, 413, "body_too_large", ""},
	}
	for _, test := range tests {
		var field []string
		if test.field != "" {
			field = []string{test.field}
		}
		a := s.call("POST", "/v1/webhooks", test.body)
		a.what = test.name
		a.problem(test.status, test.code, field...)
	}
	if total := s.call("GET", "/v1/webhooks", "").ok(200)["total"]; total != 0.0 {
		t.Errorf("%v webhooks were created", total)
	}
	p := s.call("POST", "/v1/webhooks", `{"endpoint":"x","events":["y"],"headers":{"Host":"z"}}`).problem(422, "invalid_url", "endpoint")
	if n := len(p["errors"].([]any)); n != 3 {
		t.Errorf("three mistakes, %d told", n)
	}
}

func TestWebhookConflicts(t *testing.T) {
	s := newServer(t)
	const body = `{"endpoint":"https://example.com/h","events":["conversation.tags","customer"]}`
	id := s.call("POST", "/v1/webhooks", body).ok(201)["id"]
	p := s.call("POST", "/v1/webhooks", body).problem(409, "duplicate_webhook")
	if p["existing_id"] != id {
		t.Errorf("existing_id = %v, want %v", p["existing_id"], id)
	}
	path := "/v1/webhooks/" + id.(string)
	s.with("If-Match", `"7"`).call("PATCH", path, `{"description":"x"}`).problem(412, "version_mismatch")
	s.with("If-Match", `nonsense`).call("PATCH", path, `{"description":"x"}`).problem(412, "version_mismatch")
	s.with("If-Match", `"1"`).call("PATCH", path, `{"description":"x"}`).ok(200)
	s.with("If-Match", `"1"`).call("DELETE", path, "").problem(412, "version_mismatch")
	s.call("PATCH", path, `{"signing_secret":"0123456789abcdef"}`).problem(422, "use_rotation", "signing_secret")
	s.call("PATCH", path, `{"resume":"now"}`).problem(422, "resume_needs_active", "resume")
	s.call("PATCH", path, `{"start_at":"2026-03-01T00:00:00Z"}`).problem(422, "unknown_field", "start_at")
	s.with("If-Match", `*`).call("DELETE", path, "").ok(204)
}

func TestListWebhooks(t *testing.T) {
	s := newServer(t)
	var ids []string
	for range 3 {
		ids = append(ids, s.subscribe("customer.created"))
	}
	ids = append(ids, s.subscribe("conversation.*"))
	s.call("PATCH", "/v1/webhooks/"+ids[0], `{"status":"INACTIVE"}`).ok(200)
	tests := []struct {
		query string
		total float64
		want  []string
	}{
		{"", 4, []string{ids[3], ids[2], ids[1], ids[0]}},
		{"?limit=2", 4, []string{ids[3], ids[2]}},
		{"?limit=2&cursor=2", 4, []string{ids[1], ids[0]}},
		{"?cursor=99", 4, nil},
		{"?status=INACTIVE", 1, []string{ids[0]}},
		{"?event=conversation.tags", 1, []string{ids[3]}},
		{"?event=customer.created&status=ACTIVE", 2, []string{ids[2], ids[1]}},
	}
	for _, test := range tests {
		a := s.call("GET", "/v1/webhooks"+test.query, "")
		page := a.ok(200)
		var got []string
		for _, w := range page["data"].([]any) {
			got = append(got, w.(map[string]any)["id"].(string))
		}
		if !slices.Equal(got, test.want) || page["total"] != test.total {
			t.Errorf("%s: %v of %v, want %v of %v", test.query, got, page["total"], test.want, test.total)
		}
		if strings.Contains(a.text, "signing_secret") || strings.Count(a.text, `"sentence":"Nothing was sent yet."`)+strings.Count(a.text, `"sentence":"INACTIVE`) != len(test.want) {
			t.Errorf("%s: %s", test.query, cut(a.text))
		}
	}
	for query, code := range map[string]string{
		"?limit=0": "invalid_parameter", "?limit=251": "invalid_parameter", "?limit=x": "invalid_parameter", "?cursor=-1": "invalid_parameter",
		"?status=active": "invalid_parameter", "?event=nothing": "unknown_topic", "?page=2": "unknown_parameter",
	} {
		s.call("GET", "/v1/webhooks"+query, "").problem(400, code)
	}
}

func TestCompanyDefaults(t *testing.T) {
	s := newServer(t)
	s.call("PATCH", "/v1/companies/c1", `{"default_data_format":"object","default_signature_scheme":"base64","allow_networks":["10.1.0.0/16"],"max_webhooks":2}`).ok(200)
	w := s.call("POST", "/v1/webhooks", `{"endpoint":"https://10.1.2.3/","event":"customer"}`).ok(201)
	if w["data_format"] != "object" || w["signature_scheme"] != "base64" {
		t.Errorf("webhook: %v", w)
	}
	s.call("POST", "/v1/webhooks", `{"endpoint":"https://10.2.2.3/","event":"customer"}`).problem(422, "address_not_allowed", "endpoint")
	s.subscribe("*")
	s.call("POST", "/v1/webhooks", `{"endpoint":"https://example.com/","event":"customer"}`).problem(409, "too_many_webhooks")
	c := s.call("PATCH", "/v1/companies/c1", `{"default_data_format":null,"max_webhooks":null}`).ok(200)
	if c["default_data_format"] != nil || c["default_signature_scheme"] != "base64" || c["max_webhooks"] != nil || fmt.Sprint(c["allow_networks"]) != "[10.1.0.0/16]" {
		t.Errorf("company: %v", c)
	}
	s.call("PATCH", "/v1/companies/c1", `{"default_data_format":"object","default_signature_scheme":"python-dict"}`).problem(422, "scheme_needs_string", "default_signature_scheme")
	s.call("PATCH", "/v1/companies/c1", `{"allow_networks":["10.0.0.1/8"]}`).problem(422, "invalid_network", "allow_networks")
	s.call("PATCH", "/v1/companies/c1", `{"name":"x"}`).problem(422, "unknown_field", "name")
	s.call("PATCH", "/v1/companies/a%20b", `{}`).problem(404, "not_found")
	s.call("GET", "/v1/companies/nobody", "").problem(404, "not_found")
	if c = s.call("GET", "/v1/companies/c1", "").ok(200); c["id"] != "c1" || c["default_signature_scheme"] != "base64" {
		t.Errorf("company: %v", c)
	}
	list := s.call("GET", "/v1/companies", "").ok(200)["data"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["id"] != "c1" {
		t.Errorf("companies: %v", list)
	}
}

func TestHistory(t *testing.T) {
	s := newServer(t)
	id := s.subscribe("*")
	event := s.publish("customer", `{}`)
	s.record(id, event, func(a *hook.Attempt, r *store.Record) {
		r.Notices = []store.Notice{{Webhook: a.Webhook, Kind: "down", Detail: "connect: refused"}}
	})
	notice := s.call("GET", "/v1/notices", "").ok(200)["data"].([]any)[0].(map[string]any)
	if notice["kind"] != "down" || notice["webhook_id"] != id || notice["detail"] != "connect: refused" {
		t.Errorf("notice: %v", notice)
	}
	key, keyID := s.companyKey("c1", "write")
	s.as(key).with("X-Request-Id", "mine").call("PATCH", "/v1/webhooks/"+id, `{"description":"d","headers":{"X-A":"canary"}}`).ok(200)
	a := s.call("GET", "/v1/audit-log?limit=1", "")
	page := a.ok(200)
	entry := page["data"].([]any)[0].(map[string]any)
	if entry["actor"] != keyID || entry["action"] != "webhook.updated" || entry["object"] != id || entry["request_id"] != "mine" ||
		fmt.Sprint(entry["detail"]) != "map[changed:[description headers]]" || strings.Contains(a.text, "canary") {
		t.Errorf("entry: %v", entry)
	}
	seen := 1
	for page["next_cursor"] != nil {
		page = s.call("GET", "/v1/audit-log?limit=1&cursor="+page["next_cursor"].(string), "").ok(200)
		seen += len(page["data"].([]any))
	}
	if seen != 3 {
		t.Errorf("%d entries in all", seen)
	}
	for _, path := range []string{"/v1/audit-log", "/v1/notices", "/v1/conservation", "/v1/companies", "/v1/companies/c1/keys"} {
		s.call("GET", path+"?cursor=nonsense", "").problem(400, "invalid_cursor", "cursor")
		s.call("GET", path+"?limit=0", "").problem(400, "invalid_parameter", "limit")
	}
}

// Who resumes a webhook without what waited is told how many events that skips, and the audit log is too.
func TestResumeCountsWhatItSkips(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		status, resume string
		skipped        any
	}{
		{"PAUSED", "", nil},
		{"PAUSED", `,"resume":"now"`, 3.0},
		{"INACTIVE", "", 3.0}, // by its owner
		{"INACTIVE", `,"resume":"backlog"`, nil},
	} {
		path := "/v1/webhooks/" + s.subscribe("*")
		s.call("POST", path, `{"status":"`+c.status+`"}`).ok(200)
		for range 3 {
			s.publish("customer", `{}`)
		}
		w := s.call("POST", path, `{"status":"ACTIVE"`+c.resume+`}`).ok(200)
		got, _ := w["skipped"].(map[string]any)
		detail := s.call("GET", "/v1/audit-log?limit=1", "").ok(200)["data"].([]any)[0].(map[string]any)["detail"].(map[string]any)
		if got["count"] != c.skipped || detail["skipped"] != c.skipped {
			t.Errorf("%s%s: %v skipped, the audit log says %v; want %v", c.status, c.resume, got, detail["skipped"], c.skipped)
		}
	}
}
