package intake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// memoryLog is a log in memory with the store's rules for ids.
type memoryLog struct {
	mu     sync.Mutex
	events map[string]*hook.Event
	fail   error
}

func (l *memoryLog) EnsureCompany(_ context.Context, id string) (*store.Company, error) {
	return &store.Company{Key: 1, ID: id}, nil
}

func (l *memoryLog) Schedule(ctx context.Context, events []*hook.Event) (store.Batch, error) {
	return l.Append(ctx, 0, events)
}

func (l *memoryLog) AppendAcross(ctx context.Context, events []*hook.Event) (store.Batch, error) {
	return l.Append(ctx, 0, events)
}

func (l *memoryLog) Append(_ context.Context, _ hook.Partition, events []*hook.Event) (store.Batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return store.Batch{}, l.fail
	}
	b := store.Batch{Appended: make([]hook.Appended, len(events))}
	conflict := false
	for i, e := range events {
		if had := l.events[e.CompanyID+"/"+e.ID]; had != nil && had.Digest != e.Digest {
			b.Appended[i] = hook.Appended{Event: had, Conflict: true}
			conflict = true
		}
	}
	for i, e := range events {
		if conflict {
			break
		}
		had := l.events[e.CompanyID+"/"+e.ID]
		if had == nil {
			if l.events == nil {
				l.events = map[string]*hook.Event{}
			}
			e.Offset, e.AcceptedAt = hook.Offset(len(l.events)+1), time.Unix(1, 0).UTC()
			l.events[e.CompanyID+"/"+e.ID] = e
		}
		b.Appended[i] = hook.Appended{Event: e, Duplicate: had != nil}
		if had != nil {
			b.Appended[i].Event = had
		}
	}
	return b, nil
}

func TestPublish(t *testing.T) {
	in := intake.New(&memoryLog{}, intake.Options{})
	body := ` { "company_id" : "c1", "data" : {"id": 7, "name": "José", "id": "8", "n": 1.0e3, "n": 2}, "event":"conversation.status",
		"id":"order:1", "occurred_at":"2026-03-02T10:15:00.1234567+01:00"} `
	got, err := in.Publish(t.Context(), []byte(body), intake.Publishing{Key: "ignored"})
	if err != nil {
		t.Fatal(err)
	}
	e := got.Event
	if e.ID != "order:1" || e.FreshID || e.Topic != "conversation.status" || e.ObjectID() != "8" || got.CompanyID != "c1" || got.Duplicate {
		t.Errorf("event = %+v", got)
	}
	if want := `{"id": 7, "name": "Jos\u00e9", "id": "8", "n": 1.0e3, "n": 2}`; string(e.Data) != want {
		t.Errorf("data = %s, want %s", e.Data, want)
	}
	if want := hook.EventDigest(e.Topic, e.ObjectKey, []byte(`{"id": 7, "name": "José", "id": "8", "n": 1.0e3, "n": 2}`)); e.Digest != want {
		t.Error("the digest is not that of the published bytes")
	}
	if want := time.Date(2026, 3, 2, 9, 15, 0, 123456000, time.UTC); !e.OccurredAt.Equal(want) {
		t.Errorf("occurred_at = %v", e.OccurredAt)
	}
	again, err := in.Publish(t.Context(), []byte(body), intake.Publishing{})
	if err != nil || !again.Duplicate || again.Event.ID != "order:1" {
		t.Errorf("again = %+v, %v", again, err)
	}
	other := strings.Replace(body, "José", "Jose", 1)
	if _, err := in.Publish(t.Context(), []byte(other), intake.Publishing{}); !hook.IsKind(err, hook.KindConflict) {
		t.Errorf("other data under the same id: %v", err)
	}
}

func TestPublishMakesAndTakesIDs(t *testing.T) {
	in := intake.New(&memoryLog{}, intake.Options{})
	body := []byte(`{"company_id":"c1","event":"customer","data":null}`)
	got, err := in.Publish(t.Context(), body, intake.Publishing{Key: "key-1"})
	if err != nil || got.Event.ID != "key-1" || got.Event.FreshID || got.Event.ObjectKey != "" {
		t.Errorf("with a key: %+v, %v", got.Event, err)
	}
	got, err = in.Publish(t.Context(), body, intake.Publishing{})
	if err != nil || !strings.HasPrefix(got.Event.ID, "evt_") || !got.Event.FreshID {
		t.Errorf("without: %+v, %v", got.Event, err)
	}
}

func TestObjectID(t *testing.T) {
	in := intake.New(&memoryLog{}, intake.Options{})
	for data, want := range map[string]string{
		`{"id": "a b"}`:   "a b",
		`{"id": 12}`:      "12",
		`{"id": 1.5}`:     "",
		`{"id": null}`:    "",
		`{"id": "José"}`:  "",
		`{"x": {"id":1}}`: "",
		`[{"id": 1}]`:     "",
		`{"id": ""}`:      "",
		`{"id": "` + strings.Repeat("x", 257) + `"}`: "",
	} {
		got, err := in.Publish(t.Context(), []byte(`{"company_id":"c1","event":"customer","data":`+data+`}`), intake.Publishing{})
		if err != nil || got.Event.ObjectID() != want {
			t.Errorf("%s: object %q, %v, want %q", data, got.Event.ObjectID(), err, want)
		}
	}
	got, err := in.Publish(t.Context(), []byte(`{"company_id":"c1","event":"customer","object_id":"own","data":{"id":1}}`), intake.Publishing{})
	if err != nil || got.Event.ObjectKey != "CUSTOMER:own" {
		t.Errorf("given: %+v, %v", got.Event, err)
	}
}

func TestPublishRefuses(t *testing.T) {
	const head = `{"company_id":"c1","event":"customer",`
	tests := []struct {
		name, body  string
		kind        hook.ErrorKind
		code, field string
	}{
		{"nothing", ``, hook.KindMalformed, "invalid_json", ""},
		{"not JSON", `hello`, hook.KindMalformed, "invalid_json", ""},
		{"cut off", head + `"data":{"a":1}`, hook.KindMalformed, "invalid_json", ""},
		{"trailing bytes", head + `"data":{}} x`, hook.KindMalformed, "invalid_json", ""},
		{"two documents", head + `"data":{}} {}`, hook.KindMalformed, "invalid_json", ""},
		{"byte order mark", "\xef\xbb\xbf" + head + `"data":{}}`, hook.KindMalformed, "invalid_json", ""},
		{"array", `[]`, hook.KindInvalid, "invalid_type", ""},
		{"duplicate event", head + `"data":{},"event":"customer"}`, hook.KindMalformed, "duplicate_field", ""},
		{"duplicate by escape", head + `"data":{},"\u0065vent":"customer"}`, hook.KindMalformed, "duplicate_field", ""},
		{"duplicate data", head + `"data":{},"data":{}}`, hook.KindMalformed, "duplicate_field", ""},
		{"unknown field", head + `"data":{},"events":[]}`, hook.KindInvalid, "unknown_field", "events"},
		{"unknown case", head + `"Data":{}}`, hook.KindInvalid, "unknown_field", "Data"},
		{"no company", `{"event":"customer","data":{}}`, hook.KindInvalid, "required", "company_id"},
		{"empty company", `{"company_id":"","event":"customer","data":{}}`, hook.KindInvalid, "invalid_company_id", "company_id"},
		{"bad company", `{"company_id":"a b","event":"customer","data":{}}`, hook.KindInvalid, "invalid_company_id", "company_id"},
		{"company is a number", `{"company_id":7,"event":"customer","data":{}}`, hook.KindInvalid, "invalid_type", "company_id"},
		{"no event", `{"company_id":"c1","data":{}}`, hook.KindInvalid, "required", "event"},
		{"unknown topic", `{"company_id":"c1","event":"conversation.state","data":{}}`, hook.KindInvalid, "unknown_topic", "event"},
		{"wildcard topic", `{"company_id":"c1","event":"*","data":{}}`, hook.KindInvalid, "unknown_topic", "event"},
		{"event is null", `{"company_id":"c1","event":null,"data":{}}`, hook.KindInvalid, "invalid_type", "event"},
		{"no data", `{"company_id":"c1","event":"customer"}`, hook.KindInvalid, "required", "data"},
		{"bad id", head + `"data":{},"id":"a.b"}`, hook.KindInvalid, "invalid_event_id", "id"},
		{"empty id", head + `"data":{},"id":""}`, hook.KindInvalid, "invalid_event_id", "id"},
		{"long id", head + `"data":{},"id":"` + strings.Repeat("x", 129) + `"}`, hook.KindInvalid, "invalid_event_id", "id"},
		{"bad object", head + `"data":{},"object_id":"José"}`, hook.KindInvalid, "invalid_object_id", "object_id"},
		{"empty object", head + `"data":{},"object_id":""}`, hook.KindInvalid, "invalid_object_id", "object_id"},
		{"bad time", head + `"data":{},"occurred_at":"yesterday"}`, hook.KindInvalid, "invalid_time", "occurred_at"},
		{"encoded twice", head + `"data":"{\"id\":1}"}`, hook.KindInvalid, "data_already_encoded", "data"},
		{"deep", head + `"data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, hook.KindMalformed, "too_deep", ""},
		{"very deep", head + `"data":` + strings.Repeat("[", 500_000), hook.KindMalformed, "too_deep", ""},
		{"brackets in strings", head + `"data":"` + strings.Repeat(`[\\\"`, 100), hook.KindMalformed, "invalid_json", ""},
		{"invalid UTF-8", head + "\"data\":\"\xff\"}", hook.KindMalformed, "invalid_json", ""},
		{"invalid UTF-8 in the envelope", "{\"company_id\":\"c\xff\",\"event\":\"customer\",\"data\":1}", hook.KindInvalid, "invalid_company_id", "company_id"},
		{"control character", head + "\"data\":\"a\nb\"}", hook.KindMalformed, "invalid_json", ""},
		{"too large when quoted", head + `"data":"` + strings.Repeat(`\"`, 300_000) + `"}`, hook.KindTooLarge, "event_too_large", ""},
	}
	log := &memoryLog{}
	in := intake.New(log, intake.Options{})
	for _, test := range tests {
		_, err := in.Publish(t.Context(), []byte(test.body), intake.Publishing{})
		var e *hook.Error
		if !errors.As(err, &e) || e.Kind != test.kind || e.Code != test.code {
			t.Errorf("%s: %v, want %s %s", test.name, err, test.kind, test.code)
			continue
		}
		if test.field != "" && (len(e.Fields) != 1 || e.Fields[0].Field != test.field) {
			t.Errorf("%s: fields %+v, want %s", test.name, e.Fields, test.field)
		}
		if len(e.Detail) > 400 {
			t.Errorf("%s: the detail has %d bytes", test.name, len(e.Detail))
		}
	}
	if len(log.events) != 0 {
		t.Errorf("%d events were accepted", len(log.events))
	}
	_, err := in.Publish(t.Context(), []byte(`{"company_id":"c1","event":"customer","data":"{\"id\":1}"}`), intake.Publishing{AllowStringData: true})
	if err != nil {
		t.Errorf("allowed string: %v", err)
	}
	_, err = in.Publish(t.Context(), []byte(`{"company_id":"","event":"x","data":"","id":"."}`), intake.Publishing{})
	var e *hook.Error
	if !errors.As(err, &e) || len(e.Fields) != 3 {
		t.Errorf("three mistakes: %v", err)
	}
}

func TestUnknownTopicSuggestsTheNearest(t *testing.T) {
	in := intake.New(&memoryLog{}, intake.Options{})
	_, err := in.Publish(t.Context(), []byte(`{"company_id":"c1","event":"conversation.state","data":{}}`), intake.Publishing{})
	if err == nil || !strings.Contains(err.Error(), "conversation.status") {
		t.Errorf("%v does not suggest conversation.status", err)
	}
}

func TestBatch(t *testing.T) {
	events := []string{
		`{"company_id":"c1","event":"customer","data":{"id":1},"id":"a"}`,
		`{"company_id":"c2","event":"customer","data":{"id":1},"id":"a"}`,
		`{"company_id":"c1","event":"customer","data":{"id":1},"id":"a"}`,
		`{"company_id":"c1","event":"customer","data":{"id":2}}`,
	}
	for _, lines := range []bool{false, true} {
		in := intake.New(&memoryLog{}, intake.Options{})
		body := "[" + strings.Join(events, ",\n") + "]"
		if lines {
			body = "\n" + strings.Join(events, "\r\n\n \n") + "\n\n"
		}
		got, err := in.PublishBatch(t.Context(), []byte(body), intake.Publishing{Lines: lines})
		if err != nil {
			t.Fatal(err)
		}
		var duplicates []bool
		for _, a := range got {
			duplicates = append(duplicates, a.Duplicate)
		}
		if fmt.Sprint(duplicates) != "[false false true false]" {
			t.Errorf("lines %v: duplicates = %v", lines, duplicates)
		}
	}
}

func TestBatchRefuses(t *testing.T) {
	const good = `{"company_id":"c1","event":"customer","data":{},"id":"good"}`
	tests := []struct {
		name, body string
		lines      bool
		kind       hook.ErrorKind
		code       string
		fields     string
	}{
		{"empty", `[]`, false, hook.KindInvalid, "empty_batch", ""},
		{"blank", "\n\n", true, hook.KindInvalid, "empty_batch", ""},
		{"an object", good, false, hook.KindInvalid, "invalid_type", ""},
		{"cut off", `[` + good, false, hook.KindMalformed, "invalid_json", ""},
		{"trailing", `[` + good + `]]`, false, hook.KindMalformed, "invalid_json", ""},
		{"fields", `[` + good + `,{"company_id":"c1","event":"nothing","data":{}},7,{"company_id":"c1","event":"customer","data":{},"x":[1,{"y":[2]}],"z":1},` +
			`{"event":"customer"}]`, false, hook.KindInvalid, "unknown_topic", "[1].event [2] [3].x [4].company_id [4].data"},
		{"lines", good + "\n" + `{"company_id":1}` + "\n", true, hook.KindInvalid, "invalid_type", "[1].company_id"},
		{"a line cut off", good + "\n{\n", true, hook.KindMalformed, "invalid_json", ""},
		{"two on a line", good + good, true, hook.KindMalformed, "invalid_json", ""},
		{"other data in the batch itself", `[` + good + `,{"company_id":"c1","event":"customer","data":[],"id":"taken"}]`, false, hook.KindConflict, "event_conflict", "[1].id"},
		{"too many", `[` + strings.Repeat(good+",", 1000) + good + `]`, false, hook.KindTooLarge, "too_many_events", ""},
	}
	for _, test := range tests {
		log := &memoryLog{}
		in := intake.New(log, intake.Options{})
		if _, err := in.Publish(t.Context(), []byte(`{"company_id":"c1","event":"customer","data":{},"id":"taken"}`), intake.Publishing{}); err != nil {
			t.Fatal(err)
		}
		_, err := in.PublishBatch(t.Context(), []byte(test.body), intake.Publishing{Lines: test.lines})
		var e *hook.Error
		if !errors.As(err, &e) || e.Kind != test.kind || e.Code != test.code {
			t.Errorf("%s: %v, want %s %s", test.name, err, test.kind, test.code)
			continue
		}
		var fields []string
		for _, f := range e.Fields {
			fields = append(fields, f.Field)
		}
		if got := strings.Join(fields, " "); got != test.fields {
			t.Errorf("%s: fields %q, want %q", test.name, got, test.fields)
		}
		if len(log.events) != 1 {
			t.Errorf("%s: %d events", test.name, len(log.events))
		}
	}
}

func TestReadBodyIsBounded(t *testing.T) {
	in := intake.New(&memoryLog{}, intake.Options{MaxEventBytes: 1 << 20, MaxBytes: 9 << 19})
	read := func(n int, length int64) (intake.Body, error) {
		return in.ReadEvent(iotest.HalfReader(strings.NewReader(strings.Repeat("x", n))), length)
	}
	for _, length := range []int64{100_000, -1} {
		b, err := read(100_000, length)
		if err != nil || len(b.Bytes) != 100_000 {
			t.Fatalf("%d bytes, %v", len(b.Bytes), err)
		}
		b.Release()
		b.Release()
	}
	for _, length := range []int64{2 << 20, -1} {
		if _, err := read(2<<20, length); !hook.IsKind(err, hook.KindTooLarge) {
			t.Errorf("2 MiB: %v", err)
		}
	}
	first, err := in.ReadBatch(bytes.NewReader(make([]byte, 2<<20)), -1)
	if err != nil {
		t.Fatal(err)
	}
	var e *hook.Error
	if _, err := read(1<<20, 1<<20); !errors.As(err, &e) || e.Code != "intake_full" || e.RetryAfter == 0 {
		t.Errorf("over the bound: %v", err)
	}
	first.Release()
	if b, err := read(1<<20, 1<<20); err != nil {
		t.Errorf("after the release: %v", err)
	} else {
		b.Release()
	}
	_, err = in.ReadEvent(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF)), 100)
	if !errors.As(err, &e) || e.Code != "body_incomplete" {
		t.Errorf("cut off: %v", err)
	}
	if _, err := in.ReadBatch(bytes.NewReader(make([]byte, 1<<20)), 1<<20); err != nil {
		t.Errorf("what a cut off body held was not given back: %v", err)
	}
}

func TestTheStoresErrorsPass(t *testing.T) {
	in := intake.New(&memoryLog{fail: &hook.Error{Kind: hook.KindUnavailable, Code: "disk_low"}}, intake.Options{})
	_, err := in.Publish(t.Context(), []byte(`{"company_id":"c1","event":"customer","data":{}}`), intake.Publishing{})
	if !hook.IsKind(err, hook.KindUnavailable) {
		t.Error(err)
	}
}

func TestAnUnknownOutcomeNamesItsIDs(t *testing.T) {
	in := intake.New(&memoryLog{fail: &hook.Error{Kind: hook.KindUnavailable, Code: "outcome_unknown"}}, intake.Options{})
	const event = `{"company_id":"c1","event":"customer","data":{}}`
	_, err := in.Publish(t.Context(), []byte(event), intake.Publishing{})
	if e, ok := errors.AsType[*hook.Error](err); !ok || len(e.Extra["ids"].([]string)) != 1 {
		t.Error(err)
	}
	_, err = in.PublishBatch(t.Context(), []byte("["+event+","+event+"]"), intake.Publishing{})
	if e, ok := errors.AsType[*hook.Error](err); !ok || len(e.Extra["ids"].([]string)) != 2 {
		t.Error(err)
	}
}

// Bombs are refused quickly: none costs more than reading it.
func TestBombs(t *testing.T) {
	const head = `{"company_id":"c1","event":"customer","data":`
	keys := bytes.NewBufferString(head + "{")
	for i := range 1_000_000 / 12 {
		fmt.Fprintf(keys, `"k%06d":0,`, i)
	}
	bombs := map[string]string{
		"deep arrays":  head + strings.Repeat("[", 1_000_000),
		"deep objects": head + strings.Repeat(`{"a":`, 200_000),
		"many keys":    keys.String(),
		"long string":  head + `"` + strings.Repeat("a", 1_000_000),
		"backslashes":  head + `"` + strings.Repeat(`\\`, 500_000),
		"one number":   head + strings.Repeat("9", 1_000_000),
		"junk":         strings.Repeat("\xff", 1_000_000),
		"unknown":      `{"` + strings.Repeat("u", 1_000_000) + `":1}`,
		"same name":    `{` + strings.Repeat(`"event":"customer",`, 50_000),
		"double":       head + `"` + strings.Repeat(`[`, 1_000_000) + `"}x`,
	}
	in := intake.New(&memoryLog{}, intake.Options{})
	for name, bomb := range bombs {
		start := time.Now()
		_, err := in.Publish(t.Context(), []byte(bomb), intake.Publishing{})
		if _, ok := errors.AsType[*hook.Error](err); !ok {
			t.Errorf("%s was accepted", name)
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func FuzzPublish(f *testing.F) {
	f.Add([]byte(`{"company_id":"c1","event":"customer","data":{"id":1},"id":"a","object_id":"o","occurred_at":"2026-03-02T09:15:00Z"}`), false)
	f.Add([]byte(`[{"company_id":"c1","event":"customer","data":"x"},{}]`), true)
	f.Add([]byte(`{"\u0065vent":"customer","data":"\ud800","company_id":"c"}`), false)
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		in := intake.New(&memoryLog{}, intake.Options{})
		before := bytes.Clone(body)
		if a, err := in.Publish(t.Context(), body, intake.Publishing{}); err == nil {
			for _, c := range a.Event.Data {
				if c > 0x7e {
					t.Fatalf("data is not ASCII: %q", a.Event.Data)
				}
			}
		} else if e := (*hook.Error)(nil); !errors.As(err, &e) {
			t.Fatalf("not a refusal: %v", err)
		}
		in.PublishBatch(t.Context(), body, intake.Publishing{Lines: lines})
		if !bytes.Equal(before, body) {
			t.Fatal("the body was written to")
		}
	})
}

// fastLog answers at once.
type fastLog struct {
	company store.Company
	batch   store.Batch
}

func (l *fastLog) EnsureCompany(context.Context, string) (*store.Company, error) {
	return &l.company, nil
}

func (l *fastLog) Schedule(ctx context.Context, events []*hook.Event) (store.Batch, error) {
	return l.Append(ctx, 0, events)
}

func (l *fastLog) AppendAcross(ctx context.Context, events []*hook.Event) (store.Batch, error) {
	return l.Append(ctx, 0, events)
}

func (l *fastLog) Append(_ context.Context, _ hook.Partition, events []*hook.Event) (store.Batch, error) {
	if len(l.batch.Appended) < len(events) {
		l.batch.Appended = make([]hook.Appended, len(events))
	}
	for i, e := range events {
		l.batch.Appended[i] = hook.Appended{Event: e}
	}
	return store.Batch{Appended: l.batch.Appended[:len(events)]}, nil
}

func BenchmarkPublish(b *testing.B) {
	topic, _ := hook.LookupTopic("conversation.status")
	body := []byte(`{"company_id":"company-1","event":"conversation.status","data":` + topic.Sample + `}`)
	in := intake.New(&fastLog{}, intake.Options{})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.Publish(b.Context(), body, intake.Publishing{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishBatch(b *testing.B) {
	topic, _ := hook.LookupTopic("conversation.status")
	one := `{"company_id":"company-1","event":"conversation.status","data":` + topic.Sample + `}`
	body := []byte("[" + strings.Repeat(one+",", 99) + one + "]")
	in := intake.New(&fastLog{}, intake.Options{})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.PublishBatch(b.Context(), body, intake.Publishing{}); err != nil {
			b.Fatal(err)
		}
	}
}

// A small event does not keep the room alive that was made for a body of unknown length; a large one is
// not copied.
func TestEventsKeepNoRoom(t *testing.T) {
	for _, test := range []struct {
		data int
		most int // bytes that the event keeps, in all
	}{{10, 100}, {1000, 1100}, {12_000, 17_000}} {
		log := &memoryLog{}
		in := intake.New(log, intake.Options{})
		text := fmt.Sprintf(`{"company_id": "c", "event": "conversation", "id": "e", "data": {"x": "%s"}}`, strings.Repeat("x", test.data))
		body, err := in.ReadEvent(strings.NewReader(text), -1)
		if err != nil {
			t.Fatal(err)
		}
		if control := cap(body.Bytes); control < 16<<10 {
			t.Fatalf("control: the body of unknown length took only %d bytes", control)
		}
		if _, err := in.Publish(t.Context(), body.Bytes, intake.Publishing{}); err != nil {
			t.Fatal(err)
		}
		if kept := cap(log.events["c/e"].Data); kept > test.most {
			t.Errorf("%d bytes of data keep %d", test.data, kept)
		}
	}
}

// TestBatchRepeats: under an Idempotency-Key a batch whose events have no ids is accepted once, however
// often it is sent; other content under the key is refused. The control has no key.
func TestBatchRepeats(t *testing.T) {
	const batch = `[{"company_id":"c1","event":"customer","data":{"n":1}},{"company_id":"c1","event":"customer","data":{"n":1}},{"company_id":"c1","event":"customer","id":"own","data":2}]`
	for key, want := range map[string]int{"order-7": 3, "": 5} {
		log := &memoryLog{}
		in := intake.New(log, intake.Options{})
		var ids []string
		for range 2 {
			accepted, err := in.PublishBatch(t.Context(), []byte(batch), intake.Publishing{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range accepted {
				ids = append(ids, a.Event.ID)
			}
		}
		if len(log.events) != want || key != "" && !slices.Equal(ids[:3], ids[3:]) || ids[0] == ids[1] {
			t.Errorf("key %q: %d events, %v", key, len(log.events), ids)
		}
		_, err := in.PublishBatch(t.Context(), []byte(`[{"company_id":"c1","event":"customer","data":{"n":9}}]`), intake.Publishing{Key: key})
		if hook.IsKind(err, hook.KindConflict) != (key != "") {
			t.Errorf("key %q: other content: %v", key, err)
		}
	}
}
