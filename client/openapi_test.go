package client

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
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
	Format     string            `json:"format"`
	Enum       []string          `json:"enum"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	Ref        string            `json:"$ref"`
	Additional any               `json:"additionalProperties"`
	ReadOnly   bool              `json:"readOnly"`
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
		return second(c.PublishEvent(ctx, Publish{CompanyID: "c1", Event: "conversation", Data: 1, AllowStringData: true, Lint: true}))
	},
	"publish-batch": func(ctx context.Context, c *Client) error {
		return second(c.PublishBatch(ctx, []Publish{{CompanyID: "c1", Event: "conversation", AllowStringData: true, Lint: true}, {}}))
	},
	"list-topics":    func(ctx context.Context, c *Client) error { return second(c.Topics(ctx)) },
	"list-events":    func(ctx context.Context, c *Client) error { return last(c.Events(ctx, full[EventFilter]())) },
	"get-event":      func(ctx context.Context, c *Client) error { return second(c.Event(ctx, "a/b")) },
	"explain-event":  func(ctx context.Context, c *Client) error { return last(c.ExplainEvent(ctx, "a/b")) },
	"preview-filter": func(ctx context.Context, c *Client) error { return second(c.PreviewFilter(ctx, full[FilterPreview]())) },

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

	"backup":         func(ctx context.Context, c *Client) error { return c.Backup(ctx, io.Discard) },
	"list-eras":      func(ctx context.Context, c *Client) error { return last(c.Eras(ctx)) },
	"list-nodes":     func(ctx context.Context, c *Client) error { return last(c.Nodes(ctx)) },
	"list-companies": func(ctx context.Context, c *Client) error { return last(c.Companies(ctx)) },
	"get-company":    func(ctx context.Context, c *Client) error { return second(c.Company(ctx, "a/b")) },
	"update-company": func(ctx context.Context, c *Client) error {
		return second(c.UpdateCompany(ctx, "a/b", full[CompanyUpdate]()))
	},
	"create-key": func(ctx context.Context, c *Client) error { return second(c.CreateKey(ctx, "a/b", full[KeyCreate]())) },
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
var publishing = []string{"publish-event", "publish-batch"}

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

// checkSent: a body with everything in it has exactly the properties of its schema.
func checkSent(t *testing.T, d document, s schema, body []byte) {
	if s.Items != nil {
		s = *s.Items
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err != nil || len(list) == 0 {
			t.Fatalf("%v in %s", err, body)
		}
		body = list[0]
	}
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(body, &sent); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	schema := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	for name := range sent {
		if _, ok := schema.Properties[name]; !ok {
			t.Errorf("sends %s, which %s has not", name, s.Ref)
		}
	}
	for _, name := range schema.Required {
		if sent[name] == nil {
			t.Errorf("does not send %s, which %s requires", name, s.Ref)
		}
	}
}

// shapes are the types of this package by the names of their schemas.
var shapes = map[string]reflect.Type{
	"Attempt": reflect.TypeFor[Attempt](), "AttemptAnswer": reflect.TypeFor[AttemptAnswer](), "AttemptRequest": reflect.TypeFor[AttemptRequest](),
	"AuditEntry": reflect.TypeFor[AuditEntry](), "Backlog": reflect.TypeFor[Backlog](), "Balance": reflect.TypeFor[Balance](),
	"BatchItem": reflect.TypeFor[BatchItem](), "Bucket": reflect.TypeFor[Bucket](), "Company": reflect.TypeFor[Company](),
	"Era": reflect.TypeFor[Era](), "ListEra": reflect.TypeFor[page[Era]](),
	"Node": reflect.TypeFor[Node](), "NodePartition": reflect.TypeFor[NodePartition](), "ListNode": reflect.TypeFor[page[Node]](),
	"ConsoleLink": reflect.TypeFor[ConsoleLink](), "ConsoleLinkCreate": reflect.TypeFor[ConsoleLinkCreate](), "ListConsoleLink": reflect.TypeFor[page[ConsoleLink]](),
	"CompanyUpdate": reflect.TypeFor[CompanyUpdate](), "Conservation": reflect.TypeFor[conservation](), "Delivery": reflect.TypeFor[Delivery](),
	"DeliveryDetail": reflect.TypeFor[DeliveryDetail](), "Event": reflect.TypeFor[Event](), "FedEvent": reflect.TypeFor[FedEvent](),
	"Feed": reflect.TypeFor[feed](), "FieldError": reflect.TypeFor[FieldError](), "Figures": reflect.TypeFor[Figures](),
	"FilterPreview": reflect.TypeFor[FilterPreview](), "FilterVerdict": reflect.TypeFor[FilterVerdict](), "FilteredItem": reflect.TypeFor[FilteredItem](), "Finding": reflect.TypeFor[Finding](), "Warning": reflect.TypeFor[Warning](),
	"Health": reflect.TypeFor[Health](), "Key": reflect.TypeFor[Key](), "KeyCreate": reflect.TypeFor[KeyCreate](),
	"ListAuditEntry": reflect.TypeFor[page[AuditEntry]](), "ListCompany": reflect.TypeFor[page[Company]](), "ListDelivery": reflect.TypeFor[page[Delivery]](),
	"ListEvent": reflect.TypeFor[page[Event]](), "ListKey": reflect.TypeFor[page[Key]](), "ListMatch": reflect.TypeFor[page[Match]](),
	"ListNotice": reflect.TypeFor[page[Notice]](), "ListReplay": reflect.TypeFor[page[Replay]](), "Match": reflect.TypeFor[Match](),
	"Notice": reflect.TypeFor[Notice](), "Percentiles": reflect.TypeFor[Percentiles](), "Preflight": reflect.TypeFor[Preflight](),
	"NodeAuthorities": reflect.TypeFor[NodeAuthorities](), "PreflightAddress": reflect.TypeFor[PreflightAddress](), "PreflightCertificate": reflect.TypeFor[PreflightCertificate](), "PreflightFailure": reflect.TypeFor[PreflightFailure](),
	"PreflightRequest": reflect.TypeFor[PreflightRequest](), "PreflightTLS": reflect.TypeFor[PreflightTLS](),
	"PreviousSecret": reflect.TypeFor[PreviousSecret](), "Problem": reflect.TypeFor[Problem](), "Publish": reflect.TypeFor[Publish](),
	"Published": reflect.TypeFor[Published](), "PublishedBatch": reflect.TypeFor[PublishedBatch](), "Replay": reflect.TypeFor[Replay](),
	"ReplayCreate": reflect.TypeFor[replayRequest](), "ReplayExtent": reflect.TypeFor[ReplayExtent](), "Rotate": reflect.TypeFor[Rotate](),
	"Secret": reflect.TypeFor[Secret](), "SecretRotation": reflect.TypeFor[SecretRotation](), "SignatureComputed": reflect.TypeFor[SignatureComputed](), "SignatureExplained": reflect.TypeFor[SignatureExplained](), "Mistake": reflect.TypeFor[Mistake](), "SignedCurl": reflect.TypeFor[SignedCurl](), "Stats": reflect.TypeFor[Stats](),
	"StreamEvent": reflect.TypeFor[StreamEvent](), "TestRequest": reflect.TypeFor[TestRequest](), "Timing": reflect.TypeFor[Timing](),
	"Topic": reflect.TypeFor[Topic](), "TopicList": reflect.TypeFor[topicList](), "Webhook": reflect.TypeFor[Webhook](),
	"WebhookCreate": reflect.TypeFor[WebhookCreate](), "WebhookList": reflect.TypeFor[webhookList](), "WebhookSummary": reflect.TypeFor[WebhookSummary](), "WebhookUpdate": reflect.TypeFor[WebhookUpdate](),
}

// TestEverySchema: each schema has a type with the same names and kinds, and none has more.
func TestEverySchema(t *testing.T) {
	schemas := readDocument(t).Components.Schemas
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		shape, ok := shapes[name]
		if !ok {
			t.Errorf("schema %s has no type in this package, or no line in shapes", name)
			continue
		}
		for _, wrong := range compare(schemas[name], shape) {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	for name := range shapes {
		if _, ok := schemas[name]; !ok {
			t.Errorf("the document has no schema %s", name)
		}
	}
}

// TestEverySchemaControl: a comparison that finds nothing proves nothing.
func TestEverySchemaControl(t *testing.T) {
	schemas := readDocument(t).Components.Schemas
	type missing struct {
		Count int64 `json:"count"`
		Bytes int64 `json:"bytes"`
	}
	type wrong struct {
		missing
		Exact string `json:"exact"`
	}
	type more struct {
		ReplayExtent
		More bool `json:"more"`
	}
	type nullable struct {
		missing
		Exact *bool `json:"exact"`
	}
	for _, shape := range []reflect.Type{reflect.TypeFor[missing](), reflect.TypeFor[wrong](), reflect.TypeFor[more](), reflect.TypeFor[nullable]()} {
		if found := compare(schemas["ReplayExtent"], shape); len(found) != 1 {
			t.Errorf("%s: %q", shape.Name(), found)
		}
	}
}

func compare(s schema, shape reflect.Type) (found []string) {
	fields := fieldsOf(shape)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f, ok := fields[name]
		if !ok && s.Properties[name].ReadOnly {
			continue // of a change: it may be sent back, and a client need not
		}
		if !ok {
			found = append(found, "has no field for "+name)
			continue
		}
		optional := !slices.Contains(s.Required, name)
		want, got := kindOf(s.Properties[name], optional), kindOfField(f, optional)
		if text := f.Type == reflect.TypeFor[json.RawMessage]() && want == "object"; want != got && !text {
			found = append(found, name+" is "+got+" here and "+want+" there")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if _, ok := s.Properties[name]; !ok {
			found = append(found, "has a field "+name+", which the document does not know")
		}
	}
	return found
}

// fieldsOf are a struct's fields by their names in JSON, those of embedded structs among them.
func fieldsOf(shape reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(shape) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = f
		}
	}
	return fields
}

// kindOf is a schema in a word. What may be left out may as well be null.
func kindOf(s schema, optional bool) string {
	if s.Ref != "" {
		return "object" + star(false, optional)
	}
	var types []string
	switch t := s.Type.(type) {
	case string:
		types = []string{t}
	case []any:
		for _, one := range t {
			types = append(types, one.(string))
		}
	}
	null := slices.Contains(types, "null")
	types = slices.DeleteFunc(types, func(t string) bool { return t == "null" })
	if len(types) == 0 {
		return "any"
	}
	kind := types[0]
	if s.Format == "date-time" {
		kind = "time"
	}
	if s.Items != nil {
		kind += " of " + kindOf(*s.Items, false)
	}
	return kind + star(null, optional)
}

func star(null, optional bool) string {
	if null && !optional {
		return " or null"
	}
	return ""
}

func kindOfField(f reflect.StructField, optional bool) string {
	t := f.Type
	// A required object that may be null has no mark in the document: the pointer is this side's.
	null := t.Kind() == reflect.Pointer && !(t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[time.Time]())
	return kindOfType(t) + star(null, optional)
}

func kindOfType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[json.RawMessage]():
		return "any"
	}
	if strings.HasPrefix(t.Name(), "Change[") {
		value, _ := t.FieldByName("value")
		return kindOfType(value.Type)
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "boolean"
	case reflect.Interface:
		return "any"
	case reflect.Pointer:
		return kindOfType(t.Elem())
	case reflect.Slice:
		return "array of " + kindOfType(t.Elem())
	default:
		return "object"
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
		{"KeyCreate", "scope", []Scope{Read, Write}},
		{"Health", "state", []State{Healthy, Failing, Down}},
		{"Match", "verdict", []Verdict{Matched, TopicNotSubscribed, FilterFailed, CreatedAfter}},
		{"ReplayCreate", "only", []Extent{All, OnlyFailed, OnlyUndelivered}},
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
