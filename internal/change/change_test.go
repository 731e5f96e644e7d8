package change_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atlas-webhooks/atlas-webhooks/internal/change"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func TestDerive(t *testing.T) {
	for _, test := range []struct {
		name          string
		object        change.ObjectType
		before, after string
		want          string // topics, with what changed
	}{
		{"created", change.Conversation, `null`, `{"id":1,"status":"OPEN","tags":["a"]}`, "conversation"},
		{"deleted", change.Conversation, `{"id":1,"status":"OPEN"}`, `null`, "conversation"},
		{"nothing", change.Conversation, `{"id":1,"status":"OPEN"}`, ` {"status":"\u004fPEN","id":1.0}`, ""},
		{"a field without a topic", change.Conversation, `{"id":1,"subject":"a"}`, `{"id":1,"subject":"b"}`, "conversation /subject"},
		{"status", change.Conversation, `{"id":1,"status":"OPEN"}`, `{"id":1,"status":"CLOSED"}`, "conversation /status, conversation.status /status"},
		{"priority, from none", change.Conversation, `{"id":1}`, `{"id":1,"priority":"HIGH"}`, "conversation /priority, conversation.priority /priority"},
		{"null and absent", change.Conversation, `{"id":1,"priority":null,"custom_fields":{"a":null}}`, `{"id":1,"custom_fields":{}}`, ""},
		{"agent by id", change.Conversation, `{"id":1,"assigned_agent_id":null}`, `{"id":1,"assigned_agent_id":"a-1"}`, "conversation /assigned_agent_id, conversation.agent /assigned_agent_id"},
		{"agent", change.Conversation, `{"id":1,"assignedAgent":{"id":"a","name":"x"}}`, `{"id":1,"assignedAgent":{"id":"b","name":"x"}}`, "conversation /assignedAgent/id, conversation.agent /assignedAgent/id"},
		{"an agent's name", change.Conversation, `{"id":1,"agent":{"id":"a","name":"x"}}`, `{"id":1,"agent":{"id":"a","name":"y"}}`, "conversation /agent/name"},
		{"both spellings", change.Conversation, `{"id":1,"customFields":{"a":1},"assigned_agent":"x"}`, `{"id":1,"custom_fields":{"a":1.0},"assignedAgent":"x"}`, ""},
		{"names that differ in an underscore only", change.Conversation, `{"id":1,"a_b":1,"ab":2}`, `{"id":1,"a_b":1,"ab":3}`, "conversation /ab"},
		{"tags in another order", change.Conversation, `{"id":1,"tags":["a","b"]}`, `{"id":1,"tags":["b","a","a"]}`, ""},
		{"tags", change.Conversation, `{"id":1,"tags":["a","b"]}`, `{"id":1,"tags":["b","c"]}`, "conversation /tags, conversation.tags /tags"},
		{"tags that are objects", change.Conversation, `{"id":1,"tags":[{"id":1,"name":"a"}]}`, `{"id":1,"tags":[{"id":1,"name":"A"}]}`, ""},
		{"no tags", change.Conversation, `{"id":1,"tags":[]}`, `{"id":1}`, ""},
		{
			"deep custom fields", change.Conversation, `{"id":1,"custom_fields":{"a":{"b":[1,2]},"c~/":1}}`, `{"id":1,"custom_fields":{"a":{"b":[1,3]},"c~/":2}}`,
			"conversation /custom_fields/a/b /custom_fields/c~0~1, conversation.custom_field /custom_fields/a/b /custom_fields/c~0~1",
		},
		{"the last of several", change.Conversation, `{"id":1,"status":"A","status":"B"}`, `{"id":1,"status":"B"}`, ""},
		{"long integers", change.Conversation, `{"id":1,"n":7615917337495251230}`, `{"id":1,"n":7615917337495251231}`, "conversation /n"},
		{"forms of numbers", change.Conversation, `{"id":1,"a":10,"b":0,"c":1200e-2,"d":1e400}`, `{"id":1,"a":1e1,"b":-0.0,"c":12,"d":10E+399}`, ""},
		{"halves of surrogates", change.Conversation, `{"id":1,"a":"\ud800"}`, `{"id":1,"a":"\ud801"}`, "conversation /a"},

		{"customer created", change.Customer, `null`, `{"id":"c","external_id":"u"}`, "customer, customer.created"},
		{"customer updated", change.Customer, `{"id":"c","name":"a"}`, `{"id":"c","name":"b"}`, "customer /name, customer.updated /name"},
		{"customer deleted", change.Customer, `{"id":"c"}`, `null`, "customer"},
		{
			"customer's fields", change.Customer, `{"id":"c","customFields":{"plan":"a"}}`, `{"id":"c","customFields":{"plan":"b"}}`,
			"customer /customFields/plan, customer.updated /customFields/plan, customer.custom_fields /customFields/plan",
		},
		{
			"identified", change.Customer, `{"id":"c","external_id":null}`, `{"id":"c","external_id":"u"}`,
			"customer /external_id, customer.identify /external_id, customer.updated /external_id",
		},
		{
			"somebody else", change.Customer, `{"id":"c","externalUserId":"u"}`, `{"id":"c","externalUserId":"v"}`,
			"customer /externalUserId, customer.identify /externalUserId, customer.updated /externalUserId",
		},
		{
			"no longer anonymous", change.Customer, `{"id":"c","is_anonymous":true}`, `{"id":"c","is_anonymous":false}`,
			"customer /is_anonymous, customer.identify /is_anonymous, customer.updated /is_anonymous",
		},
		{"forgotten", change.Customer, `{"id":"c","external_id":"u"}`, `{"id":"c"}`, "customer /external_id, customer.updated /external_id"},

		{"note", change.CustomerNote, `null`, `{"id":"n","text":"a"}`, "customer_notes"},
		{"note edited", change.CustomerNote, `{"id":"n","text":"a"}`, `{"id":"n","text":"b"}`, "customer_notes /text"},
		{"note the same", change.CustomerNote, `{"id":"n","text":"a"}`, `{"id":"n","text":"a"}`, ""},
		{"note deleted", change.CustomerNote, `{"id":"n","text":"a"}`, `null`, "customer_notes.deleted"},

		{"linked", change.Account, `{"id":"a","customer_ids":["x"]}`, `{"id":"a","customer_ids":["x","y"]}`, "account.customer.linked /account/customer_ids"},
		{"unlinked", change.Account, `{"id":"a","customers":[{"id":"x"},{"id":"y"}]}`, `{"id":"a","customers":[{"id":"y","name":"other"}]}`, "account.customer.unlinked /account/customers"},
		{"both", change.Account, `{"id":"a","customerIds":["x"]}`, `{"id":"a","customerIds":["y"]}`, "account.customer.linked /account/customerIds, account.customer.unlinked /account/customerIds"},
		{"account created", change.Account, `null`, `{"id":"a","customer_ids":["x"]}`, "account.customer.linked"},
		{"account without customers", change.Account, `null`, `{"id":"a"}`, ""},
		{"account renamed", change.Account, `{"id":"a","name":"a"}`, `{"id":"a","name":"b"}`, ""},
		{"a link", change.Account, `null`, `{"id":"l","account":{"id":"a"},"customer":{"id":"c"}}`, "account.customer.linked"},
		{"a link ended", change.Account, `{"id":"l","account_id":"a","customer_id":"c"}`, `null`, "account.customer.unlinked"},
		{"a link moved", change.Account, `{"id":"l","account_id":"a","customer_id":"c"}`, `{"id":"l","account_id":"a","customer_id":"d"}`, "account.customer.linked, account.customer.unlinked"},
		{"a link as it was", change.Account, `{"id":"l","accountId":"a","customerId":"c","by":1}`, `{"id":"l","accountId":"a","customerId":"c","by":2}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			events, err := change.Derive(test.object, []byte(test.before), []byte(test.after))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range events {
				got = append(got, strings.Join(append([]string{e.Topic}, e.Changed...), " "))
				if _, ok := hook.LookupTopic(e.Topic); !ok || !json.Valid(e.Data) {
					t.Errorf("%s with %s", e.Topic, e.Data)
				}
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("%s → %s\n got %s\nwant %s", test.before, test.after, got, test.want)
			}
		})
	}
}

func TestDataOfEvents(t *testing.T) {
	data := func(object change.ObjectType, before, after string) (all []string) {
		events, err := change.Derive(object, []byte(before), []byte(after))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			all = append(all, string(e.Data))
		}
		return all
	}
	if got := data(change.Conversation, `{"id":1,"n":1}`, `{ "id":1, "n":2.50 }`); !slices.Equal(got, []string{`{ "id":1, "n":2.50 }`}) {
		t.Errorf("the document is not sent as it was given: %s", got)
	}
	if got := data(change.CustomerNote, `{"id":1,"n":1}`, `null`); !slices.Equal(got, []string{`{"id":1,"n":1}`}) {
		t.Errorf("what was deleted: %s", got)
	}
	want := []string{
		`{"id":"a","customer_ids":["y",7],"account":{"id":"a","customers":["x","y",{"id":7}]}}`,
		`{"id":"a","customer_ids":["z"],"account":{"id":"a","customers":["x","y",{"id":7}]}}`,
	}
	if got := data(change.Account, `{"id":"a","customers":["z","x"]}`, `{"id":"a","customers":["x","y",{"id":7}]}`); !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	want = []string{`{"id":"l","account_id":"a","customer_id":"d"}`, `{"id":"l","account_id":"a","customer_id":"c"}`}
	if got := data(change.Account, want[1], want[0]); !slices.Equal(got, want) {
		t.Errorf("a link that moved: %s", got)
	}
}

func TestDeriveRefuses(t *testing.T) {
	for _, test := range []struct {
		object              change.ObjectType
		before, after, want string
	}{
		{"ticket", `null`, `{"id":1}`, "object_type invalid_object_type"},
		{change.Customer, `null`, `null`, "after no_object"},
		{change.Customer, `[]`, `null`, "before invalid_type"},
		{change.Customer, `null`, `"x"`, "after invalid_type"},
		{change.Customer, `null`, `{"name":"x"}`, "after.id required"},
		{change.Customer, `{"id":null}`, `{"id":1}`, "before.id required"},
		{change.Customer, `{"id":{}}`, `{"id":1}`, "before.id invalid_type"},
		{change.Customer, `{"id":1}`, `{"id":2}`, "after.id another_object"},
	} {
		_, err := change.Derive(test.object, []byte(test.before), []byte(test.after))
		var e *hook.Error
		if !errors.As(err, &e) || len(e.Fields) != 1 || e.Fields[0].Field+" "+e.Fields[0].Code != test.want {
			t.Errorf("%s → %s: %v, want %s", test.before, test.after, err, test.want)
		}
	}
}

// TestDifferencesAreBounded: however much differs, and however long its names are, no more is named than
// an answer can hold.
func TestDifferencesAreBounded(t *testing.T) {
	document := func(n int) []byte {
		var b strings.Builder
		fmt.Fprintf(&b, `{"id":1,"custom_fields":{%q:{`, strings.Repeat("n", 100_000))
		for i := range 5_000 {
			fmt.Fprintf(&b, `"f%d":{"v":%d},`, i, i*n)
		}
		b.WriteString(`"last":0}}}`)
		return []byte(b.String())
	}
	long, err := change.Derive(change.Conversation, document(1), document(2))
	if err != nil || len(long) != 2 || len(long[0].Changed) != 1 {
		t.Errorf("%d events, %v", len(long), err)
	}
	wide := func(n int) []byte {
		return []byte(strings.ReplaceAll(string(document(n)), strings.Repeat("n", 100_000), "n"))
	}
	for range 3 { // the same ones each time
		events, err := change.Derive(change.Conversation, wide(1), wide(2))
		if err != nil || len(events[0].Changed) != change.MaxChanged || events[0].Changed[0] != "/custom_fields/n/f1/v" {
			t.Fatalf("%d changes, %v", len(events[0].Changed), err)
		}
	}
}

// TestEventsExplainTheChange: whoever knows the document before, and takes from the one after what the
// events' pointers name, has the document after.
func TestEventsExplainTheChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := document(t, "before"), document(t, "after")
		b, _ := json.Marshal(before)
		a, _ := json.Marshal(after)
		events, err := change.Derive(change.Conversation, b, a)
		if err != nil {
			t.Fatal(err)
		}
		claimed := map[string]bool{} // fields that an event of their own topic claims
		for i, e := range events {
			for _, pointer := range e.Changed {
				if i == 0 {
					before = apply(before, after, strings.Split(pointer, "/")[1:])
				}
				claimed[e.Topic+" "+strings.Split(pointer, "/")[1]] = true
			}
		}
		if !same(before, after) {
			t.Fatalf("%s → %s is not explained by %v", b, a, events)
		}
		for field, topic := range map[string]string{"status": "conversation.status", "custom_fields": "conversation.custom_field"} {
			if claimed["conversation "+field] != claimed[topic+" "+field] {
				t.Fatalf("%s → %s: %s is told by one of %v only", b, a, field, events)
			}
		}
	})
}

func document(t *rapid.T, label string) map[string]any {
	scalar := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.IntRange(0, 2), func(n int) any { return float64(n) }), rapid.Map(rapid.SampledFrom([]string{"", "a", "é~/"}), func(s string) any { return s }))
	fields := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b/c", "~d"}), rapid.OneOf(scalar,
		rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"x", "y"}), scalar, 0, 2), func(m map[string]any) any { return m }),
		rapid.Map(rapid.SliceOfN(scalar, 0, 2), func(l []any) any { return l })), 0, 3).Draw(t, label)
	doc := map[string]any{"id": "1", "custom_fields": map[string]any(fields)}
	for _, name := range []string{"status", "subject"} {
		if v := scalar.Draw(t, label+" "+name); v != nil || rapid.Bool().Draw(t, "null") {
			doc[name] = v
		}
	}
	return doc
}

// apply returns to with the value at the path that from has there.
func apply(to, from map[string]any, path []string) map[string]any {
	to = maps.Clone(to)
	if to == nil {
		to = map[string]any{}
	}
	name := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
	if len(path) == 1 {
		to[name] = from[name]
		return to
	}
	inner, _ := to[name].(map[string]any)
	source, _ := from[name].(map[string]any)
	to[name] = apply(inner, source, path[1:])
	return to
}

// same compares documents whose null members count as absent.
func same(a, b any) bool { return reflect.DeepEqual(strip(a), strip(b)) }

func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, e := range v {
			if e != nil {
				kept[name] = strip(e)
			}
		}
		return kept
	case []any:
		kept := []any{}
		for _, e := range v {
			kept = append(kept, strip(e))
		}
		return kept
	}
	return v
}

func FuzzDerive(f *testing.F) {
	f.Add([]byte(`{"id":1,"tags":["a"]}`), []byte(`{"id":1,"tags":[{"id":"b"}]}`))
	f.Add([]byte(`null`), []byte(`{"id":"a","customers":[1,"x",{"id":null}]}`))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		for _, object := range change.ObjectTypes() {
			events, err := change.Derive(object, before, after)
			if again, _ := change.Derive(object, before, after); !reflect.DeepEqual(events, again) {
				t.Errorf("not the same twice: %v, %v", events, again)
			}
			if err != nil {
				continue
			}
			for _, e := range events {
				if _, ok := hook.LookupTopic(e.Topic); !ok || json.Valid(before) && json.Valid(after) && !json.Valid(e.Data) {
					t.Errorf("%s with %s", e.Topic, e.Data)
				}
			}
			if same, _ := change.Derive(object, after, after); len(same) > 0 && string(after) != "null" {
				t.Errorf("%s differs from itself: %v", after, same)
			}
		}
	})
}

// BenchmarkDerive compares documents of a megabyte, most of which lies at their top, or as deep as one may.
func BenchmarkDerive(b *testing.B) {
	for _, depth := range []int{1, 60} {
		document := func(last string) []byte {
			return []byte(`{"id":1,"custom_fields":` + strings.Repeat(`{"a":`, depth) + `[` + strings.Repeat("1,", 500_000) + last + `]` + strings.Repeat("}", depth+1))
		}
		before, after := document("1"), document("2")
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			for b.Loop() {
				if events, err := change.Derive(change.Customer, before, after); err != nil || len(events) != 3 {
					b.Fatalf("%d events, %v", len(events), err)
				}
			}
		})
	}
}
