package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func auditOf(actor string) store.Audit { return store.Audit{Actor: actor, Action: "test"} }

func failing(*hook.Webhook, *hook.Event) (*hook.Attempt, error) { return nil, errDisk }

func panicking(*hook.Webhook, *hook.Event) (*hook.Attempt, error) { panic("on fire") }

func TestPublishEvent(t *testing.T) {
	s := newServer(t)
	const body = `{"company_id":"c1","event":"conversation.status","data":{"id":"a\"b","status":"CLOSED"}}`
	first := s.with("Idempotency-Key", "order-7").call("POST", "/v1/events", body).ok(202)
	if first["id"] != "order-7" || first["company_id"] != "c1" || first["event"] != "conversation.status" || first["object_id"] != `a"b` || first["duplicate"] != false {
		t.Errorf("first: %v", first)
	}
	again := s.with("Idempotency-Key", "order-7").call("POST", "/v1/events", body).ok(202)
	if again["duplicate"] != true || again["accepted_at"] != first["accepted_at"] || again["object_id"] != first["object_id"] || again["company_id"] != "c1" {
		t.Errorf("again: %v, first %v", again, first)
	}
	s.with("Idempotency-Key", "order-7").call("POST", "/v1/events", strings.Replace(body, "CLOSED", "OPEN", 1)).problem(409, "event_conflict")
	if got := s.call("POST", "/v1/events", `{"company_id":"c1","event":"customer","data":1}`).ok(202); got["object_id"] != nil || !strings.HasPrefix(got["id"].(string), "evt_") {
		t.Errorf("without an object: %v", got)
	}
}

// What some receivers cannot read is accepted, and told to whoever asks.
func TestPublishLint(t *testing.T) {
	s := newServer(t)
	const hard = `{"company_id":"c1","event":"customer","id":"hard","data":{"id":"\u0000","n":9007199254740993}}`
	findings := func(of map[string]any) (list []string) {
		for _, f := range of["warnings"].([]any) {
			f := f.(map[string]any)
			list = append(list, f["code"].(string)+" "+f["pointer"].(string))
		}
		return list
	}
	const want = "[nul_character /id integer_beyond_double /n]"
	for range 2 { // the second is a duplicate
		if got := fmt.Sprint(findings(s.call("POST", "/v1/events?lint=true", hard).ok(202))); got != want {
			t.Errorf("warnings %s", got)
		}
	}
	if got := fmt.Sprint(findings(s.call("GET", "/v1/events/hard", "").ok(200))); got != want {
		t.Errorf("the event's warnings: %s", got)
	}
	if got := s.call("POST", "/v1/events", hard).ok(202); got["warnings"] != nil {
		t.Errorf("nobody asked: %v", got)
	}
	const plain = `{"company_id":"c1","event":"customer","id":"plain","data":{"id":7}}`
	if got := findings(s.call("POST", "/v1/events?lint=true", plain).ok(202)); got != nil {
		t.Errorf("plain: %v", got)
	}
	batch := s.call("POST", "/v1/events/batch?lint=true", "["+plain+","+hard+"]").ok(202)["data"].([]any)
	if a, b := findings(batch[0].(map[string]any)), fmt.Sprint(findings(batch[1].(map[string]any))); a != nil || b != want {
		t.Errorf("batch: %v, %v", a, b)
	}
	s.call("POST", "/v1/events?lint=perhaps", plain).problem(400, "invalid_parameter", "lint")
}

func TestPublishRefuses(t *testing.T) {
	s := newServer(t)
	post := func(query, body string) *answer { return s.call("POST", "/v1/events"+query, body) }
	post("", ``).problem(400, "invalid_json")
	post("", `{"company_id":"c1","event":"customer","event":"customer","data":{}}`).problem(400, "duplicate_field")
	post("", `{"company_id":"c1","event":"customer","data":{},"url":1}`).problem(422, "unknown_field", "url")
	post("", `{"company_id":"c1","event":"conversation.state","data":{}}`).problem(422, "unknown_topic", "event")
	post("", `{"company_id":"c1","event":"customer","data":"{}"}`).problem(422, "data_already_encoded", "data")
	post("?allow_string_data=true", `{"company_id":"c1","event":"customer","data":"{}"}`).ok(202)
	post("?allow_string_data=maybe", `{}`).problem(400, "invalid_parameter", "allow_string_data")
	post("?allow=1", `{}`).problem(400, "unknown_parameter", "allow")
	post("?%zz", `{}`).problem(400, "invalid_parameter")
	post("", `{"company_id":"c1","event":"customer","data":"`+strings.Repeat("x", 2<<20)+`"}`).problem(413, "body_too_large")
	post("", `{"company_id":"c1","event":"customer","data":"`+strings.Repeat("x", 1<<20)+`"}`).problem(413, "event_too_large")
	s.with("Idempotency-Key", "a.b").call("POST", "/v1/events", `{"company_id":"c1","event":"customer","data":{}}`).problem(422, "invalid_event_id", "Idempotency-Key")
}

func TestPublishBatch(t *testing.T) {
	s := newServer(t)
	const one = `{"company_id":"c1","event":"customer","id":"a","data":{"id":1}}`
	got := s.call("POST", "/v1/events/batch", "["+one+","+one+`,{"company_id":"c2","event":"customer","id":"b","data":{}}]`).ok(202)
	if got["accepted"] != 2.0 || got["duplicates"] != 1.0 || fmt.Sprint(got["data"]) != "[map[duplicate:false id:a] map[duplicate:true id:a] map[duplicate:false id:b]]" {
		t.Errorf("batch: %v", got)
	}
	lines := s.with("Content-Type", "application/x-ndjson; charset=utf-8")
	got = lines.call("POST", "/v1/events/batch", one+"\n\n"+strings.Replace(one, `"a"`, `"c"`, 1)+"\n").ok(202)
	if got["accepted"] != 1.0 || got["duplicates"] != 1.0 {
		t.Errorf("lines: %v", got)
	}
	s.call("POST", "/v1/events/batch", `[]`).problem(422, "empty_batch")
	s.call("POST", "/v1/events/batch", `[`+one+`,{"company_id":"c1","event":"x","data":1}]`).problem(422, "unknown_topic", "[1].event")
	s.call("POST", "/v1/events/batch", `[{"company_id":"c1","event":"customer","id":"new","data":1},`+strings.Replace(one, `"id":1`, `"id":2`, 1)+`]`).problem(409, "event_conflict", "[1].id")
	s.call("GET", "/v1/events/new", "").problem(404, "not_found")
	s.call("POST", "/v1/events/batch", `[`+strings.Repeat(one+",", 1000)+one+`]`).problem(413, "too_many_events")
	lines.call("POST", "/v1/events/batch", strings.Repeat("\n", 9<<20)).problem(413, "body_too_large")
}

func TestPublishChange(t *testing.T) {
	s := newServer(t)
	const body = `{"company_id":"c1","object_type":"conversation","id":"chg-1","before":{"id":"conv-1","status":"OPEN","tags":["a"]},"after":{"id":"conv-1","status":"CLOSED","tags":["a"]}}`
	const want = "[map[changed:[/status] duplicate:%[1]v event:conversation id:chg-1:conversation] map[changed:[/status] duplicate:%[1]v event:conversation.status id:chg-1:conversation.status]]"
	for _, duplicate := range []bool{false, true} {
		if got := fmt.Sprint(s.call("POST", "/v1/changes", body).ok(202)["data"]); got != fmt.Sprintf(want, duplicate) {
			t.Errorf("got %s", got)
		}
	}
	e := s.call("GET", "/v1/events/chg-1:conversation.status", "").ok(200)
	if got := fmt.Sprint(e["object_id"], " ", e["data"]); got != "conv-1 map[id:conv-1 status:CLOSED tags:[a]]" {
		t.Errorf("the event: %v", e)
	}
	if got := fmt.Sprint(e["changes"]); got != "map[/status:map[new:CLOSED old:OPEN]]" {
		t.Errorf("the event's changes: %s", got)
	}
	// The same change with another document before it is another change.
	s.call("POST", "/v1/changes", strings.Replace(body, "OPEN", "SNOOZED", 1)).problem(409, "event_conflict", "[0].id")
	same := strings.NewReplacer("OPEN", "CLOSED", "chg-1", "chg-2").Replace(body)
	if got := s.call("POST", "/v1/changes", same).ok(202)["data"].([]any); len(got) != 0 {
		t.Errorf("nothing changed: %v", got)
	}
	s.call("GET", "/v1/events/chg-2:conversation", "").problem(404, "not_found")
	const created = `{"company_id":"c1","object_type":"customer","before":null,"after":{"id":7,"n":12345678901234567890}}`
	data := s.with("Idempotency-Key", "key-1").call("POST", "/v1/changes?lint=true", created).ok(202)["data"].([]any)
	if got := fmt.Sprint(data); !strings.Contains(got, "id:key-1:customer.created") || !strings.Contains(got, "integer") {
		t.Errorf("created: %s", got)
	}
	if got := fmt.Sprint(s.call("POST", "/v1/changes", created).ok(202)["data"]); !strings.Contains(got, "id:chg_") {
		t.Errorf("without an id: %s", got)
	}

	post := func(body string) *answer { return s.call("POST", "/v1/changes", body) }
	post(`{}`).problem(422, "required", "company_id", "object_type", "before", "after")
	post(`{"company_id":"c1","object_type":"ticket","before":null,"after":{"id":1}}`).problem(422, "invalid_object_type", "object_type")
	post(strings.Replace(body, `"before"`, `"event":1,"before"`, 1)).problem(422, "unknown_field", "event")
	post(strings.Replace(body, `"before"`, `"after":null,"before"`, 1)).problem(400, "duplicate_field")
	post(strings.Replace(body, "chg-1", "a.b", 1)).problem(422, "invalid_change_id", "id")
	post(strings.Replace(body, "chg-1", strings.Repeat("x", 97), 1)).problem(422, "invalid_change_id", "id")
	post(strings.Replace(body, "conv-1", "conv-2", 1)).problem(422, "another_object", "after.id")
	post(strings.Replace(created, "12345678901234567890", `"`+strings.Repeat("x", 1<<20)+`"`, 1)).problem(413, "event_too_large")
	post(strings.Replace(created, "12345678901234567890", strings.Repeat("[", 65)+strings.Repeat("]", 65), 1)).problem(400, "too_deep")
	s.call("POST", "/v1/changes?allow_string_data=true", created).problem(400, "unknown_parameter", "allow_string_data")
	s.with("Content-Type", "application/x-ndjson").call("POST", "/v1/changes", created).problem(415, "unsupported_media_type")
}

// Bombs are refused, a thousand at once, and leave no memory behind (K3).
func TestBombs(t *testing.T) {
	s := newServer(t)
	const head = `{"company_id":"c1","event":"customer","data":`
	bombs := []string{
		head + strings.Repeat("[", 50_000), head + strings.Repeat(`{"a":`, 20_000), head + `"` + "\xff" + strings.Repeat("x", 100_000) + `"}`,
		"{" + strings.Repeat(`"x":1,`, 20_000), "[" + strings.Repeat("[],", 20_000),
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var work sync.WaitGroup
	gate := make(chan struct{}, 1000)
	for i := range 1000 {
		gate <- struct{}{}
		work.Go(func() {
			defer func() { <-gate }()
			path := []string{"/v1/events", "/v1/events/batch", "/v1/webhooks"}[i%3]
			if a := s.call("POST", path, bombs[i%len(bombs)]); a.status < 400 || a.status > 499 && a.status != 503 {
				t.Errorf("%s: %d %s", a.what, a.status, a.text)
			}
		})
	}
	work.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// BenchmarkPublish is the hot path with its answer, without a network and with a real store.
func BenchmarkPublish(b *testing.B) {
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprintf("clients=%d", parallel), func(b *testing.B) {
			api, stop := benchAPI(b)
			defer stop()
			topic, _ := hook.LookupTopic("conversation.status")
			body := []byte(`{"company_id":"company-1","event":"conversation.status","data":` + topic.Sample + `}`)
			b.ReportAllocs()
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := httptest.NewRequest("POST", "/v1/events", bytes.NewReader(body))
					r.Header.Set("Authorization", "Bearer "+operatorKey)
					r.Header.Set("Content-Type", "application/json")
					w := httptest.NewRecorder()
					api.ServeHTTP(w, r)
					if w.Code != http.StatusAccepted {
						b.Fatal(w.Body)
					}
				}
			})
		})
	}
}

func benchAPI(b *testing.B) (*httpapi.API, func()) {
	s, err := store.OpenSQLite(b.Context(), store.Options{Dir: b.TempDir(), MasterKey: make([]byte, 32), Now: time.Now, MinFreeDisk: -1})
	if err != nil {
		b.Fatal(err)
	}
	return apiOver(s), func() { s.Close() }
}

// instantLog commits at once.
type instantLog struct{ company store.Company }

func (l *instantLog) EnsureCompany(context.Context, string) (*store.Company, error) {
	return &l.company, nil
}

func (l *instantLog) Schedule(ctx context.Context, events []*hook.Event) (store.Batch, error) {
	return l.Append(ctx, 0, events)
}

func (l *instantLog) AppendAcross(ctx context.Context, events []*hook.Event) (store.Batch, error) {
	return l.Append(ctx, 0, events)
}

func (l *instantLog) Append(_ context.Context, _ hook.Partition, events []*hook.Event) (store.Batch, error) {
	return store.Batch{Appended: []hook.Appended{{Event: events[0]}}}, nil
}

// silent is a ResponseWriter that keeps nothing.
type silent struct{ header http.Header }

func (s *silent) Header() http.Header { return s.header }

func (s *silent) Write(b []byte) (int, error) { return len(b), nil }

func (s *silent) WriteHeader(int) {}

// BenchmarkPublishAlone is the hot path without network and store: what the API itself costs.
func BenchmarkPublishAlone(b *testing.B) {
	s, err := store.OpenSQLite(b.Context(), store.Options{Dir: b.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	api := httpapi.New(httpapi.Options{
		Config: config.Config{OperatorKey: operatorKey}.WithDefaults(), Store: s, Intake: intake.New(&instantLog{}, intake.Options{}), Policy: &egress.Policy{},
	})
	topic, _ := hook.LookupTopic("conversation.status")
	body := []byte(`{"company_id":"company-1","event":"conversation.status","data":` + topic.Sample + `}`)
	r := httptest.NewRequest("POST", "/v1/events", nil)
	r.Header.Set("Authorization", "Bearer "+operatorKey)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(body))
	reader := bytes.NewReader(body)
	r.Body = io.NopCloser(reader)
	w := &silent{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		clear(w.header)
		api.ServeHTTP(w, r)
	}
}
