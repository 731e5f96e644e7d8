package intake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

func message(body string) intake.Message { return intake.Message{Body: []byte(body), ID: "place-1"} }

// TestMessages: what is good is accepted, in its order; of the rest each is told why not.
func TestMessages(t *testing.T) {
	log := &memoryLog{}
	in := intake.New(log, intake.Options{})
	list := []intake.Message{
		message(`{"company_id":"c1","event":"customer","data":{"id":1},"id":"a"}`),
		message(`{"company_id":"c1","event":"nothing","data":{}}`),
		message(`not JSON`),
		message(`{"company_id":"c1","event":"customer","data":1},{"company_id":"c1","event":"customer","data":2}`),
		message(`{"company_id":"c1","event":"customer","data":{"id":2}}`),
		message(`{"company_id":"c1","object_type":"customer","before":null,"after":{"id":"7"}}`),
		message(`{"company_id":"c1","object_type":"customer","event":"customer","data":1}`),
		message(`{"company_id":"c2","event":"customer","data":` + strings.Repeat(" ", 9<<20) + `1}`),
		message(``),
	}
	got, err := in.PublishMessages(t.Context(), list, intake.Publishing{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "unknown_topic", "invalid_json", "invalid_json", "place-1", "place-1:customer place-1:customer.created", "ambiguous", "body_too_large", "invalid_json"}
	for i, o := range got {
		if s := shown(o); s != want[i] {
			t.Errorf("%d: %s, want %s", i, s, want[i])
		}
	}
	// Again, and with another content under an id that is taken: the rest is accepted all the same.
	list[0] = message(`{"company_id":"c1","event":"customer","data":{"id":9},"id":"a"}`)
	list = append(list[:1], list[4], message(`{"company_id":"c1","event":"customer","data":{},"id":"new"}`))
	got, err = in.PublishMessages(t.Context(), list, intake.Publishing{})
	if err != nil || shown(got[0]) != "event_conflict" || !got[1].Events[0].Duplicate || got[2].Events[0].Duplicate {
		t.Errorf("%+v, %v", got, err)
	}
	log.fail = &hook.Error{Kind: hook.KindUnavailable, Code: "store_busy"}
	if got, err := in.PublishMessages(t.Context(), list, intake.Publishing{}); err == nil {
		t.Errorf("a store that is busy refuses messages: %+v", got)
	}
	log.fail = nil
	got, err = in.PublishMessages(t.Context(), []intake.Message{message(`{"company_id":"c2","event":"customer","data":1}`)}, intake.Publishing{Company: "c1"})
	if err != nil || shown(got[0]) != "other_company" {
		t.Errorf("another company: %+v, %v", got, err)
	}
}

// fullLog has no room for more than one scheduled event of a company.
type fullLog struct {
	memoryLog
	calls int
}

func (l *fullLog) Schedule(ctx context.Context, events []*hook.Event) (store.Batch, error) {
	l.calls++
	scheduled := map[string]bool{}
	for _, e := range l.events {
		scheduled[e.CompanyID+" "+e.ID] = e.DeliverAt != nil
	}
	for _, e := range events {
		scheduled[e.CompanyID+" "+e.ID] = e.DeliverAt != nil
	}
	waiting := map[string]int{}
	for name, is := range scheduled {
		company, _, _ := strings.Cut(name, " ")
		if is {
			waiting[company]++
		}
		if waiting[company] > 1 {
			return store.Batch{}, fmt.Errorf("schedule: %w", hook.Refuse(hook.KindConflict, "too_many_scheduled", "too many"))
		}
	}
	return l.memoryLog.Schedule(ctx, events)
}

// TestMessagesTheStoreRefuses: one company's messages, which the store refuses, do not hold up those of others.
func TestMessagesTheStoreRefuses(t *testing.T) {
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	later := func(company, id string) intake.Message {
		return message(fmt.Sprintf(`{"company_id":%q,"event":"customer","data":1,"id":%q,"deliver_at":%q}`, company, id, at))
	}
	var list []intake.Message
	var want []string
	for i := range 100 {
		id := fmt.Sprint("e", i)
		list, want = append(list, message(fmt.Sprintf(`{"company_id":"c2","event":"customer","data":1,"id":%q}`, id))), append(want, id)
	}
	list[0] = message(`{"company_id":"c3","object_type":"customer","before":null,"after":{"id":"7"}}`)
	want[0] = "place-1:customer place-1:customer.created"
	list[30], list[31], list[70], list[99] = later("c1", "e30"), later("c1", "e31"), later("c4", "e70"), later("c1", "e99")
	want[31], want[99] = "too_many_scheduled", "too_many_scheduled"
	log := &fullLog{}
	in := intake.New(log, intake.Options{})
	for range 2 {
		got, err := in.PublishMessages(t.Context(), list, intake.Publishing{})
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range got {
			if s := shown(o); s != want[i] {
				t.Errorf("%d: %s, want %s", i, s, want[i])
			}
		}
	}
	if log.calls > 60 {
		t.Errorf("the log was asked %d times", log.calls)
	}
	got, err := in.PublishMessages(t.Context(), list[31:32], intake.Publishing{})
	if err != nil || shown(got[0]) != "too_many_scheduled" {
		t.Errorf("one alone: %+v, %v", got, err)
	}
	log.fail = &hook.Error{Kind: hook.KindUnavailable, Code: "store_busy"}
	if got, err := in.PublishMessages(t.Context(), list, intake.Publishing{}); err == nil {
		t.Errorf("a store that is busy refuses messages: %+v", got)
	}
}

// shown is a message's events by id, or the code of its refusal.
func shown(o intake.Outcome) string {
	if e, ok := errors.AsType[*hook.Error](o.Refused); ok {
		return e.Code
	}
	var ids []string
	for _, e := range o.Events {
		ids = append(ids, e.Event.ID)
	}
	return strings.Join(ids, " ")
}

// TestCloudEvents: both modes make the same event.
func TestCloudEvents(t *testing.T) {
	in := intake.New(&memoryLog{}, intake.Options{})
	attributes := map[string]string{
		"specversion": "1.0", "id": "7 é", "source": "/desk", "type": "customer", "subject": "o1", "companyid": "c1", "time": "2026-03-02T10:15:00+01:00",
		"datacontenttype": "application/json; charset=utf-8",
	}
	text := `{"other": 1, "null": null`
	for name, value := range attributes {
		text += fmt.Sprintf(", %q: %q", name, value)
	}
	structured := intake.Message{ContentType: "application/cloudevents+json; charset=utf-8", Body: []byte(text + `, "data": {"n": 1.0}}`)}
	binary := intake.Message{Attributes: attributes, Body: []byte(` {"n": 1.0}`)}
	var first *hook.Event
	for i, m := range []intake.Message{structured, binary} {
		got, err := in.PublishMessages(t.Context(), []intake.Message{m}, intake.Publishing{})
		if err != nil || got[0].Refused != nil {
			t.Fatalf("%d: %v, %v", i, err, got[0].Refused)
		}
		e := got[0].Events[0]
		if first == nil {
			first = e.Event
		}
		if e.Duplicate != (i == 1) || e.Event != first {
			t.Errorf("%d: %+v", i, e)
		}
	}
	if first.Topic != "customer" || first.ObjectKey != "CUSTOMER:o1" || string(first.Data) != `{"n": 1.0}` || first.CompanyID != "c1" || !first.OccurredAt.Equal(time.Date(2026, 3, 2, 9, 15, 0, 0, time.UTC)) {
		t.Errorf("%+v", first)
	}
	for _, test := range []struct{ change, field string }{
		{"companyid=", "companyid"},
		{"type=nothing", "type"},
		{"specversion=0.3", "specversion"},
		{"id=", "id"},
		{"source=", "source"},
		{"subject=é", "subject"},
		{"time=now", "time"},
		{"datacontenttype=text/plain", "datacontenttype"},
	} {
		name, value, _ := strings.Cut(test.change, "=")
		changed := map[string]string{name: value}
		for n, v := range attributes {
			if n != name {
				changed[n] = v
			}
		}
		got, err := in.PublishMessages(t.Context(), []intake.Message{{Attributes: changed, Body: []byte(`1`)}}, intake.Publishing{})
		e, ok := errors.AsType[*hook.Error](got[0].Refused)
		if err != nil || !ok || len(e.Fields) != 1 || e.Fields[0].Field != test.field {
			t.Errorf("%s: %v, %v", test.change, err, got[0].Refused)
		}
	}
	for body, code := range map[string]string{`[]`: "invalid_json", `{"id":"1","id":"2"}`: "duplicate_field", `{"data_base64":"eA==","data":1}`: "not_json", `{"specversion"`: "invalid_json"} {
		got, err := in.PublishMessages(t.Context(), []intake.Message{{ContentType: "application/cloudevents+json", Body: []byte(body)}}, intake.Publishing{})
		if err != nil || shown(got[0]) != code {
			t.Errorf("%s: %v, %v", body, err, got[0].Refused)
		}
	}
}
