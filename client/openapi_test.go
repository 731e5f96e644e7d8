package client_test

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/atlas-webhooks/atlas-webhooks/client" // these start the server, which knows this package
)

// document is the part of the server's OpenAPI document that a client must agree with.
type document struct {
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	ID         string `json:"operationId"`
	Parameters []struct {
		Name string `json:"name"`
		In   string `json:"in"`
	} `json:"parameters"`
	Body      media            `json:"requestBody"`
	Responses map[string]media `json:"responses"`
}

type media struct {
	Content map[string]struct {
		Schema schema `json:"schema"`
	} `json:"content"`
}

type schema struct {
	Type       any               `json:"type"` // text, or a list of texts
	Enum       []string          `json:"enum"`
	ReadOnly   bool              `json:"readOnly"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Ref        string            `json:"$ref"`
}

// takes reports whether a value may stand where the schema is.
func (s schema) takes(value json.RawMessage) bool {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return false
	}
	var kinds []string
	switch v := v.(type) {
	case string:
		kinds = []string{"string"}
	case float64:
		kinds = []string{"number", "integer"}
		if v != float64(int64(v)) {
			kinds = kinds[:1]
		}
	case bool:
		kinds = []string{"boolean"}
	case []any:
		kinds = []string{"array"}
	case map[string]any:
		kinds = []string{"object"}
	case nil:
		kinds = []string{"null"}
	}
	switch t := s.Type.(type) {
	case string:
		return slices.Contains(kinds, t)
	case []any:
		return slices.ContainsFunc(t, func(one any) bool { return slices.Contains(kinds, one.(string)) })
	}
	return true
}

func readDocument(t *testing.T) document {
	t.Helper()
	text, err := at(t, "").OpenAPI(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// methods calls the method of each operation with everything that can be given.
var methods = map[string]func(ctx context.Context, c *Client) error{
	"publish-event": func(ctx context.Context, c *Client) error {
		return second(c.PublishEvent(ctx, Publish{CompanyID: "c1", Event: "conversation", Data: 1, DeliverAt: new(time.Time), ExpiresAt: new(time.Time), AllowStringData: true, Lint: true}))
	},
	"publish-change": func(ctx context.Context, c *Client) error {
		return second(c.PublishChange(ctx, ObjectChange{CompanyID: "c1", ObjectType: "customer", OccurredAt: new(time.Time), ExpiresAt: new(time.Time), Before: 1, After: 2, Lint: true}))
	},
	"probe-webhook": func(ctx context.Context, c *Client) error { return second(c.ProbeWebhook(ctx, "a/b")) },
	"publish-batch": func(ctx context.Context, c *Client) error {
		return second(c.PublishBatch(ctx, []Publish{{CompanyID: "c1", Event: "conversation", DeliverAt: new(time.Time), ExpiresAt: new(time.Time), AllowStringData: true, Lint: true}, {}}))
	},
	"get-topic": func(ctx context.Context, c *Client) error { return second(c.Topic(ctx, "a/b")) },
	"put-topic": func(ctx context.Context, c *Client) error {
		return second(c.PutTopic(ctx, "a/b", TopicPut{Category: "C", Description: "d", Summary: "s", Sample: json.RawMessage("1"), Schema: json.RawMessage("true"), Validate: "warn", Derive: &TopicRule{ObjectType: "o", Paths: []string{"/a"}}, Since: "2", Deprecated: true}))
	},
	"delete-topic":       func(ctx context.Context, c *Client) error { return c.DeleteTopic(ctx, "a/b") },
	"list-topics":        func(ctx context.Context, c *Client) error { return second(c.Topics(ctx)) },
	"list-events":        func(ctx context.Context, c *Client) error { return last(c.Events(ctx, full[EventFilter]())) },
	"get-event":          func(ctx context.Context, c *Client) error { return second(c.Event(ctx, "a/b")) },
	"cancel-event":       func(ctx context.Context, c *Client) error { return c.CancelEvent(ctx, "a/b") },
	"list-signing-keys":  func(ctx context.Context, c *Client) error { return second(c.SigningKeys(ctx, "a/b")) },
	"rotate-signing-key": func(ctx context.Context, c *Client) error { return second(c.RotateSigningKey(ctx, "a/b")) },
	"explain-event":      func(ctx context.Context, c *Client) error { return last(c.ExplainEvent(ctx, "a/b")) },
	"report-on-rule":     func(ctx context.Context, c *Client) error { return second(c.ReportOnRule(ctx, "a/b")) },
	"preview-filter":     func(ctx context.Context, c *Client) error { return second(c.PreviewFilter(ctx, full[FilterPreview]())) },

	"create-webhook":      func(ctx context.Context, c *Client) error { return second(c.CreateWebhook(ctx, full[WebhookCreate]())) },
	"list-webhooks":       func(ctx context.Context, c *Client) error { return last(c.Webhooks(ctx, full[WebhookFilter]())) },
	"get-webhook-summary": func(ctx context.Context, c *Client) error { return second(c.WebhookSummary(ctx)) },
	"get-webhook":         func(ctx context.Context, c *Client) error { return second(c.Webhook(ctx, "a/b")) },
	"update-webhook": func(ctx context.Context, c *Client) error {
		return second(c.UpdateWebhook(ctx, "a/b", full[WebhookUpdate]()))
	},
	"delete-webhook":  func(ctx context.Context, c *Client) error { return c.DeleteWebhook(ctx, "a/b", `"1"`) },
	"get-secret":      func(ctx context.Context, c *Client) error { return second(c.Secret(ctx, "a/b")) },
	"rotate-secret":   func(ctx context.Context, c *Client) error { return second(c.RotateSecret(ctx, "a/b", full[Rotate]())) },
	"activate-secret": func(ctx context.Context, c *Client) error { return second(c.ActivateSecret(ctx, "a/b")) },
	"cancel-rotation": func(ctx context.Context, c *Client) error { return second(c.CancelRotation(ctx, "a/b")) },
	"test-webhook": func(ctx context.Context, c *Client) error {
		return second(c.TestWebhook(ctx, "a/b", full[TestRequest]()))
	},
	"preflight": func(ctx context.Context, c *Client) error { return second(c.Preflight(ctx, full[PreflightRequest]())) },

	"list-deliveries": func(ctx context.Context, c *Client) error {
		return last(c.Deliveries(ctx, "a/b", full[DeliveryFilter]()))
	},
	"get-delivery":   func(ctx context.Context, c *Client) error { return second(c.Delivery(ctx, "a/b", "a/b")) },
	"retry-delivery": func(ctx context.Context, c *Client) error { return second(c.RetryDelivery(ctx, "a/b", "a/b")) },
	"sign-curl":      func(ctx context.Context, c *Client) error { return second(c.SignCurl(ctx, "a/b", "a/b")) },
	"explain-signature": func(ctx context.Context, c *Client) error {
		return second(c.ExplainSignature(ctx, "a/b", "a/b", full[SignatureComputed]()))
	},
	"export-deliveries": func(ctx context.Context, c *Client) error {
		return c.ExportDeliveries(ctx, "wh_1", CSV, full[DeliveryFilter](), io.Discard)
	},
	"pull-events": func(ctx context.Context, c *Client) error { return last(c.PullEvents(ctx, "a/b", 7)) },

	"create-replay": func(ctx context.Context, c *Client) error {
		return second(c.CreateReplay(ctx, "a/b", full[ReplayCreate]()))
	},
	"list-replays":  func(ctx context.Context, c *Client) error { return last(c.Replays(ctx, "a/b")) },
	"get-replay":    func(ctx context.Context, c *Client) error { return second(c.Replay(ctx, "a/b", "a/b")) },
	"cancel-replay": func(ctx context.Context, c *Client) error { return c.CancelReplay(ctx, "a/b", "a/b") },

	"get-stats":          func(ctx context.Context, c *Client) error { return second(c.Stats(ctx, Week)) },
	"get-webhook-stats":  func(ctx context.Context, c *Client) error { return second(c.WebhookStats(ctx, "a/b", Week)) },
	"stream-attempts":    func(ctx context.Context, c *Client) error { return last(c.StreamAttempts(ctx, "wh_1")) },
	"list-audit-log":     func(ctx context.Context, c *Client) error { return last(c.AuditLog(ctx)) },
	"list-notices":       func(ctx context.Context, c *Client) error { return last(c.Notices(ctx)) },
	"check-conservation": func(ctx context.Context, c *Client) error { return last(c.CheckConservation(ctx, true)) },

	"backup":              func(ctx context.Context, c *Client) error { return c.Backup(ctx, io.Discard) },
	"list-sources":        func(ctx context.Context, c *Client) error { return last(c.Sources(ctx)) },
	"list-dead-letters":   func(ctx context.Context, c *Client) error { return last(c.DeadLetters(ctx, "a b")) },
	"get-dead-letter":     func(ctx context.Context, c *Client) error { return second(c.DeadLetter(ctx, "a/b")) },
	"retry-dead-letter":   func(ctx context.Context, c *Client) error { return second(c.RetryDeadLetter(ctx, "a/b")) },
	"discard-dead-letter": func(ctx context.Context, c *Client) error { return c.DiscardDeadLetter(ctx, "a/b") },
	"list-eras":           func(ctx context.Context, c *Client) error { return last(c.Eras(ctx)) },
	"list-nodes":          func(ctx context.Context, c *Client) error { return last(c.Nodes(ctx)) },
	"list-companies":      func(ctx context.Context, c *Client) error { return last(c.Companies(ctx)) },
	"get-company":         func(ctx context.Context, c *Client) error { return second(c.Company(ctx, "a/b")) },
	"update-company": func(ctx context.Context, c *Client) error {
		return second(c.UpdateCompany(ctx, "a/b", full[CompanyUpdate]()))
	},
	"create-key": func(ctx context.Context, c *Client) error { return second(c.CreateKey(ctx, "a/b", full[KeyCreate]())) },
	"get-caller": func(ctx context.Context, c *Client) error { return second(c.Caller(ctx)) },
	"list-keys":  func(ctx context.Context, c *Client) error { return last(c.Keys(ctx, "a/b")) },
	"revoke-key": func(ctx context.Context, c *Client) error { return c.RevokeKey(ctx, "a/b", "a/b") },
	"create-console-link": func(ctx context.Context, c *Client) error {
		return second(c.CreateConsoleLink(ctx, "a/b", full[ConsoleLinkCreate]()))
	},
	"list-console-links":  func(ctx context.Context, c *Client) error { return last(c.ConsoleLinks(ctx, "a/b")) },
	"revoke-console-link": func(ctx context.Context, c *Client) error { return c.RevokeConsoleLink(ctx, "a/b", "a/b") },
}

// without are operations that have no method, with the reason.
var without = map[string]string{"patch-webhook": "UpdateWebhook does the same"}

func second[T any](_ T, err error) error { return err }

func last[T any](list iter.Seq2[T, error]) (err error) {
	for _, err = range list {
	}
	return err
}

// full is a T whose fields all have a value.
func full[T any]() (v T) {
	fillValue(reflect.ValueOf(&v).Elem())
	return v
}

// fillValue sets whatever v is to something that is not its zero value.
func fillValue(v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage("{}")))
		return
	case Change[string], Change[float64], Change[int], Change[SignatureScheme], Change[DataFormat]:
		cleared := reflect.New(v.Type()).Elem()
		*(*bool)(cleared.Field(0).Addr().UnsafePointer()) = true
		v.Set(cleared)
		return
	}
	switch v.Kind() { //nolint:exhaustive // what the client's types are made of
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Interface:
		v.Set(reflect.ValueOf("x"))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillValue(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		item := reflect.New(v.Type().Elem()).Elem()
		fillValue(item)
		v.SetMapIndex(reflect.ValueOf("x"), item)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fillValue(field)
		}
	}
}

// recorder is a server that notes the first request and refuses it.
type recorder struct {
	request *http.Request
	body    []byte
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.request == nil {
		r.request = req
		if req.Body != nil {
			r.body, _ = io.ReadAll(req.Body)
		}
	}
	return &http.Response{StatusCode: http.StatusTeapot, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// TestEveryOperation: each operation of the document has a method, which sends what the document
// says, all of it and nothing else; and no method is about an operation that is not there.
func TestEveryOperation(t *testing.T) {
	d := readDocument(t)
	known := map[string]bool{}
	for path, item := range d.Paths {
		for method, op := range item {
			known[op.ID] = true
			if without[op.ID] == "" {
				t.Run(op.ID, func(t *testing.T) { checkOperation(t, d, strings.ToUpper(method), path, op) })
			}
		}
	}
	for id := range methods {
		if !known[id] {
			t.Errorf("the document has no operation %s", id)
		}
	}
}

func checkOperation(t *testing.T, d document, method, path string, op operation) {
	call := methods[op.ID]
	if call == nil {
		t.Fatal("has no method in this package, or no line in methods")
	}
	if name := methodName(op.ID); !reflect.ValueOf(&Client{}).MethodByName(name).IsValid() {
		t.Errorf("its method should be called %s", name)
	}
	seen := &recorder{}
	c, err := New(Config{URL: "http://test/", Key: "k", Company: "c1", Transport: seen})
	if err != nil {
		t.Fatal(err)
	}
	if err := call(t.Context(), c); err == nil || seen.request == nil {
		t.Fatalf("no request was made: %v", err)
	}
	want := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "a%2Fb")
	if got := seen.request.URL.EscapedPath(); got != want || seen.request.Method != method {
		t.Errorf("%s %s, want %s %s", seen.request.Method, got, method, want)
	}
	checkParameters(t, op, seen.request)
	if content := op.Body.Content["application/json"]; op.Body.Content != nil {
		checkSent(t, d, content.Schema, seen.body)
	} else if len(seen.body) > 0 {
		t.Errorf("sends a body: %s", seen.body)
	}
}

// methodName is the name that an operation's method has by rule.
func methodName(id string) string {
	for _, verb := range []string{"get-", "list-"} {
		id = strings.TrimPrefix(id, verb)
	}
	var name strings.Builder
	for word := range strings.SplitSeq(id, "-") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String()
}

// paging is what lists send as far as they need it.
var paging = []string{"limit", "cursor", "Last-Event-ID"}

// publishing are the operations that need no Idempotency-Key: each event has its id before it is sent.
var publishing = []string{"publish-event", "publish-batch", "publish-change"}

func checkParameters(t *testing.T, op operation, r *http.Request) {
	documented := map[string]bool{}
	for _, p := range op.Parameters {
		documented[p.Name] = true
		sent := true
		switch p.In {
		case "query":
			sent = r.URL.Query().Has(p.Name)
		case "header":
			sent = r.Header.Get(p.Name) != ""
		}
		if !sent && !slices.Contains(paging, p.Name) && (!slices.Contains(publishing, op.ID) || p.Name != "Idempotency-Key") {
			t.Errorf("cannot send %s %s", p.In, p.Name)
		}
	}
	for name := range r.URL.Query() {
		if !documented[name] {
			t.Errorf("sends parameter %s, which the document does not know", name)
		}
	}
	if r.Header.Get("Idempotency-Key") != "" && !documented["Idempotency-Key"] {
		t.Error("sends an Idempotency-Key, which the document does not know")
	}
}

// checkSent: a body with everything in it has exactly the properties of its schema, of their kinds.
func checkSent(t *testing.T, d document, s schema, body []byte) {
	if s.Items != nil {
		s = *s.Items
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err != nil || len(list) == 0 {
			t.Fatalf("%v in %s", err, body)
		}
		body = list[0]
	}
	for _, wrong := range differences(d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")], body) {
		t.Errorf("%s: %s", s.Ref, wrong)
	}
}

// elsewhere are properties that no method about the same operation sends, with the reason.
var elsewhere = map[string]string{"dry_run": "MeasureReplay sends it", "object_id": "what the tests publish has none", "occurred_at": "as object_id"}

// differences are what a body has and its schema has not, and the other way round.
func differences(s schema, body []byte) (found []string) {
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(body, &sent); err != nil {
		return []string{err.Error()}
	}
	for name, value := range sent {
		if property, ok := s.Properties[name]; !ok {
			found = append(found, "has not "+name+", which is sent")
		} else if !property.takes(value) {
			found = append(found, name+" is sent as "+string(value))
		}
	}
	for name, property := range s.Properties {
		if sent[name] == nil && !property.ReadOnly && elsewhere[name] == "" {
			found = append(found, name+" is not sent")
		}
	}
	return found
}

// TestEveryOperationControl: a comparison that finds nothing proves nothing.
func TestEveryOperationControl(t *testing.T) {
	s := readDocument(t).Components.Schemas["KeyCreate"]
	for body, want := range map[string]int{
		`{"name":"n","scope":"read","topic_prefix":"t","expires_at":"2026-01-02T03:04:05Z"}`:       0,
		`{"name":"n","topic_prefix":"t","expires_at":"2026-01-02T03:04:05Z"}`:                      1,
		`{"name":"n","scope":"read","topic_prefix":"t","expires_at":"2026-01-02T03:04:05Z","x":1}`: 1,
		`{"name":"n","scope":["read"],"topic_prefix":"t","expires_at":"2026-01-02T03:04:05Z"}`:     1,
		`{"name":null,"scope":"read","topic_prefix":"t","expires_at":1}`:                           2,
	} {
		if found := differences(s, []byte(body)); len(found) != want {
			t.Errorf("%s: %q", body, found)
		}
	}
}

// TestEveryWord: the constants of this package are the words of the document.
func TestEveryWord(t *testing.T) {
	schemas := readDocument(t).Components.Schemas
	for _, w := range []struct {
		schema, property string
		words            any
	}{
		{"Webhook", "status", []Status{Active, Paused, Inactive}},
		{"Delivery", "status", []DeliveryStatus{Pending, Retrying, Held, Delivered, Failed, Skipped}},
		{"Attempt", "outcome", []Outcome{OutcomeDelivered, OutcomeRetry, OutcomeThrottled, OutcomeFailed, OutcomeGone}},
		{"Attempt", "kind", []Kind{Live, Manual, KindOfReplay, KindOfTest}},
		{"Webhook", "signature_scheme", []SignatureScheme{Hex, Base64, Base64Dotted, PythonDict}},
		{"Webhook", "data_format", []DataFormat{DataString, DataObject}},
		{"Webhook", "ordering", []Ordering{Relaxed, PerObject, PerWebhook}},
		{"WebhookUpdate", "resume", []Resume{ResumeNow, ResumeBacklog}},
		{"KeyCreate", "scope", []Scope{Read, Write, PublishOnly}},
		{"Caller", "scope", []Scope{Operator, Read, Write}},
		{"Health", "state", []State{Healthy, Failing, Down}},
		{"Match", "verdict", []Verdict{Matched, TopicNotSubscribed, FilterFailed, CreatedAfter}},
		{"ReplayCreate", "only", []Extent{All, OnlyFailed, OnlyUndelivered}},
		{"ReplayCreate", "rules", []Rules{RulesThen, RulesCurrent}},
		{"Replay", "status", []ReplayStatus{ReplayRunning, ReplayDone, ReplayCancelled}},
		{"Stats", "window", []Window{Hour, Day, Week, Month}},
	} {
		want := schemas[w.schema].Properties[w.property].Enum
		words := reflect.ValueOf(w.words)
		var got []string
		for i := range words.Len() {
			got = append(got, words.Index(i).String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s.%s: %q here and %q there", w.schema, w.property, got, want)
		}
	}
}
