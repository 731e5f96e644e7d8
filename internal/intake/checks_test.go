package intake_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
)

// kept is what AddChecks was called with.
type kept struct {
	mu     sync.Mutex
	found  map[string]*hook.Checks
	failed int // calls that still fail
}

func (k *kept) AddChecks(_ context.Context, fresh map[string]*hook.Checks) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed > 0 {
		k.failed--
		return errors.New("no store")
	}
	for topic, c := range fresh {
		if k.found[topic] == nil {
			k.found[topic] = &hook.Checks{}
		}
		k.found[topic].Add(*c)
	}
	return nil
}

// checking is an intake with a topic that has a schema, and one that has none.
func checking(validate hook.Validation, companies map[string]hook.Validation) (*intake.Intake, *memoryLog, *kept) {
	const schema = `{"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": "integer", "maximum": 5}}}`
	catalogue := hook.NewCatalogue([]hook.Topic{{Name: "order", Category: "ORDER", Schema: schema, Validate: validate}, {Name: "free", Category: "FREE"}})
	log, k := &memoryLog{}, &kept{found: map[string]*hook.Checks{}}
	return intake.New(log, intake.Options{
		Catalogue: func() *hook.Catalogue { return catalogue }, Checks: k,
		Validation: func(company string) hook.Validation { return companies[company] },
	}), log, k
}

func order(company, id, data string) string {
	return fmt.Sprintf(`{"company_id": %q, "event": "order", "id": %q, "data": %s}`, company, id, data)
}

// Of what topic and company ask for the stricter holds, and without either it is warn.
func TestValidationIsTheStricter(t *testing.T) {
	for topic, want := range map[hook.Validation]map[hook.Validation]hook.Validation{
		"":                  {"": "warn", "off": "off", "warn": "warn", "reject": "reject"},
		hook.ValidateOff:    {"": "off", "off": "off", "warn": "warn", "reject": "reject"},
		hook.ValidateWarn:   {"": "warn", "off": "warn", "warn": "warn", "reject": "reject"},
		hook.ValidateReject: {"": "reject", "off": "reject", "warn": "reject", "reject": "reject"},
	} {
		for company, want := range want {
			if got := (hook.Topic{Schema: "{}", Validate: topic}).Validation(company); got != want {
				t.Errorf("topic %q, company %q: %s, want %s", topic, company, got, want)
			}
			if got := (hook.Topic{Validate: topic}).Validation(company); got != hook.ValidateOff {
				t.Errorf("topic %q without a schema, company %q: %s", topic, company, got)
			}
			in, log, _ := checking(topic, map[string]hook.Validation{"c1": company})
			_, err := in.Publish(t.Context(), []byte(order("c1", "e1", `{"id": 7}`)), intake.Publishing{})
			if refused := err != nil; refused != (want == hook.ValidateReject) || len(log.events) != map[bool]int{true: 0, false: 1}[refused] {
				t.Errorf("topic %q, company %q: %v", topic, company, err)
			}
		}
	}
}

func fieldsOf(t *testing.T, err error) (fields []string) {
	t.Helper()
	var e *hook.Error
	if !errors.As(err, &e) || e.Kind != hook.KindInvalid {
		t.Fatalf("not refused by field: %v", err)
	}
	for _, f := range e.Fields {
		fields = append(fields, f.Field+" "+f.Code)
	}
	return fields
}

// A refusal names places; a batch, and a change, is accepted whole or not at all.
func TestReject(t *testing.T) {
	in, log, _ := checking(hook.ValidateReject, map[string]hook.Validation{"c2": hook.ValidateReject})
	_, err := in.Publish(t.Context(), []byte(order("c1", "e1", `{"n": "secret", "more": 1}`)), intake.Publishing{})
	if diff := cmp.Diff([]string{"data/id schema_violation", "data/n schema_violation"}, fieldsOf(t, err)); diff != "" || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v: %s", err, diff)
	}
	batch := "[" + order("c1", "e1", `{"id": "1"}`) + "," + order("c1", "e2", `{"id": "2", "n": 6}`) + "," + order("c1", "e3", `[]`) + "]"
	_, err = in.PublishBatch(t.Context(), []byte(batch), intake.Publishing{})
	if diff := cmp.Diff([]string{"[1].data/n schema_violation", "[2].data schema_violation"}, fieldsOf(t, err)); diff != "" || len(log.events) != 0 {
		t.Errorf("a batch: %s, %d events", diff, len(log.events))
	}
	change := `{"company_id": "c2", "object_type": "conversation", "id": "ch", "before": {"id": "1", "status": "OPEN"}, "after": {"id": "1", "status": 4}}`
	_, err = in.PublishChange(t.Context(), []byte(change), intake.Publishing{})
	if diff := cmp.Diff([]string{"after/status schema_violation"}, fieldsOf(t, err)); diff != "" || len(log.events) != 0 {
		t.Errorf("a change: %s, %d events", diff, len(log.events))
	}
	deleted := `{"company_id": "c2", "object_type": "conversation", "id": "ch", "before": {"id": "1", "status": 4}, "after": null}`
	if _, err = in.PublishChange(t.Context(), []byte(deleted), intake.Publishing{}); fieldsOf(t, err)[0] != "before/status schema_violation" {
		t.Errorf("a deletion: %v", err)
	}
	// The control: the same, sound.
	if _, err := in.PublishBatch(t.Context(), []byte("["+order("c1", "e1", `{"id": "1"}`)+"]"), intake.Publishing{}); err != nil || len(log.events) != 1 {
		t.Errorf("what is sound: %v", err)
	}
}

// What is warned of is counted beside publishing, with the last events; what cannot be kept is kept later, and
// what comes too fast is counted as unchecked.
func TestWarnCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, log, k := checking("", map[string]hook.Validation{"off": hook.ValidateOff, "strict": hook.ValidateReject})
		k.failed = 1
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go in.Check(ctx, slog.New(slog.DiscardHandler))
		publish := func(body string) { _, _ = in.Publish(t.Context(), []byte(body), intake.Publishing{}) }
		for i := range 12 {
			publish(order("c1", fmt.Sprint("e", i), `{"id": "1", "n": 5.5}`))
		}
		publish(order("c1", "e0", `{"id": "1", "n": 5.5}`)) // again, a duplicate
		publish(order("c1", "sound", `{"id": "1"}`))
		publish(order("off", "x", `{}`))
		publish(order("strict", "y", `{}`))
		publish(`{"company_id": "c1", "event": "free", "data": {}}`)
		<-time.After(3 * time.Second)
		synctest.Wait()
		k.mu.Lock()
		got := k.found["order"]
		if len(k.found) != 1 || got.Checked != 14 || got.Violations != 13 || got.Rejected != 1 || got.Unchecked != 0 || len(got.Last) != hook.MaxBreaches {
			t.Errorf("counted: %+v", got)
		}
		want := hook.Breach{EventID: "e11", CompanyID: "c1", Violations: []hook.Violation{{Pointer: "/n", Keyword: "type"}}}
		found := false
		for _, b := range got.Last {
			b.At = time.Time{}
			found = found || cmp.Equal(want, b)
		}
		if !found {
			t.Errorf("the last: %+v", got.Last)
		}
		k.mu.Unlock()
		for i := range 20_000 {
			publish(order("c1", fmt.Sprint("f", i), `{"id": "1"}`))
		}
		<-time.After(3 * time.Second)
		synctest.Wait()
		k.mu.Lock()
		defer k.mu.Unlock()
		if all := k.found["order"]; all.Checked+all.Unchecked != 20_014 || all.Unchecked < 10_000 || len(log.events) != 12+1+1+1+20_000 {
			t.Errorf("counted: %+v of %d", all, len(log.events))
		}
	})
}

func TestLintTellsViolations(t *testing.T) {
	in, _, _ := checking("", map[string]hook.Validation{"off": hook.ValidateOff})
	for company, want := range map[string]string{"c1": "[{schema_violation /n is against the topic's schema (maximum)}]", "off": "[]"} {
		got, err := in.Publish(t.Context(), []byte(order(company, "e", `{"id": "1", "n": 6}`)), intake.Publishing{Lint: true})
		if err != nil || fmt.Sprint(got.Findings) != want {
			t.Errorf("%s: %v, %v", company, got.Findings, err)
		}
	}
}

// BenchmarkValidating is [BenchmarkPublish] with what a schema costs: none, one that warns (checked beside
// publishing), one that rejects (checked first).
func BenchmarkValidating(b *testing.B) {
	topic, _ := hook.LookupTopic("conversation.status")
	for _, mode := range []hook.Validation{hook.ValidateOff, hook.ValidateWarn, hook.ValidateReject} {
		b.Run(string(mode), func(b *testing.B) {
			body := []byte(`{"company_id":"company-1","event":"conversation.status","data":` + topic.Sample + `}`)
			in := intake.New(&fastLog{}, intake.Options{Validation: func(string) hook.Validation { return mode }, Checks: &kept{found: map[string]*hook.Checks{}}})
			ctx, stop := context.WithCancel(b.Context())
			defer stop()
			go in.Check(ctx, slog.New(slog.DiscardHandler))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := in.Publish(b.Context(), body, intake.Publishing{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
