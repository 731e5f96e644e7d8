package change

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type claim struct {
	Old, New json.RawMessage
}

func claimed(t interface{ Fatalf(string, ...any) }, e Event, most int) map[string]claim {
	text := e.Claims(most)
	if text == nil {
		return nil
	}
	if len(text) > max(most, len(`{"":{}}`)) {
		t.Fatalf("%d bytes of %d: %s", len(text), most, text)
	}
	var found map[string]claim
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return found
}

func TestClaims(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, test := range map[string]struct {
		kind          ObjectType
		before, after string
		most          int
		want          map[string]string // by topic
	}{
		"scalars": {
			Conversation, `{"id": 1, "status": "OPEN", "n": 1.50, "m": -0.0125, "x": null}`, `{"id": 1, "status": "CLOSED", "n": 2.0e0, "m": 1e-30, "José": {"a": null, "b": "\u00e9"}}`, 1000,
			map[string]string{
				"conversation":        `{"/José":{"old":null,"new":{"b":"é"}},"/m":{"old":-0.0125,"new":1e-30},"/n":{"old":1.5,"new":2},"/status":{"old":"OPEN","new":"CLOSED"}}`,
				"conversation.status": `{"/status":{"old":"OPEN","new":"CLOSED"}}`,
			},
		},
		"sets and depths": {
			Conversation, `{"id": 1, "tags": ["a", "b"], "custom_fields": {"a": {"b/c": 1, "d": 2}}}`, `{"id": 1, "tags": ["b", "c"], "customFields": {"a": {"b/c": 3, "d": 2}}}`, 1000,
			map[string]string{
				"conversation":              `{"/customFields/a/b~1c":{"old":1,"new":3},"/tags":{"old":["a","b"],"new":["b","c"]}}`,
				"conversation.tags":         `{"/tags":{"old":["a","b"],"new":["b","c"]}}`,
				"conversation.custom_field": `{"/customFields/a/b~1c":{"old":1,"new":3}}`,
			},
		},
		"created": {Customer, `null`, `{"id": 1}`, 1000, map[string]string{"customer": "", "customer.created": ""}},
		"deleted": {CustomerNote, `{"id": 1}`, `null`, 1000, map[string]string{"customer_notes.deleted": ""}},
		"an account": {
			Account, `{"id": 1, "customer_ids": [1, 2]}`, `{"id": 1, "customer_ids": [2]}`, 1000,
			map[string]string{"account.customer.unlinked": `{"/account/customer_ids":{"old":[1,2],"new":[2]}}`},
		},
		"too long":       {CustomerNote, `{"id": 1, "text": "` + long + `", "n": 1}`, `{"id": 1, "text": "y", "n": 2}`, 100, map[string]string{"customer_notes": `{"/n":{},"/text":{}}`}},
		"far too long":   {CustomerNote, `{"id": 1, "` + long + `": 1}`, `{"id": 1}`, 100, map[string]string{"customer_notes": `{"":{}}`}},
		"too many":       {CustomerNote, `{"id": 1, "m": {}}`, `{"id": 1, "m": {` + members(101) + `}}`, 5000, map[string]string{"customer_notes": `{"/m":{"old":{},"new":{` + members(101) + `}}}`}},
		"just not more":  {CustomerNote, `{"id": 1, "m": {}}`, `{"id": 1, "m": {` + members(100) + `}}`, 5000, nil},
		"tags as before": {Conversation, `{"id": 1, "tags": ["a", "b"]}`, `{"id": 1, "tags": ["b", "a"]}`, 100, map[string]string{}},
	} {
		events, err := Derive(test.kind, []byte(test.before), []byte(test.after))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if test.want == nil {
			if got := claimed(t, events[0], test.most); len(got) != 100 {
				t.Errorf("%s: %d claims", name, len(got))
			}
			continue
		}
		got := map[string]string{}
		for _, e := range events {
			got[e.Topic] = string(e.Claims(test.most))
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s:\n%v, want\n%v", name, got, test.want)
		}
	}
}

func members(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"f%03d":1`, i)
	}
	return strings.Join(list, ",")
}

// documents are of one object, with the fields that topics are about.
func documents(t *rapid.T, of string) object {
	leaf := func() value {
		return rapid.OneOf(rapid.Just[value](nil), rapid.Map(rapid.Bool(), func(b bool) value { return b }),
			rapid.Map(rapid.SampledFrom([]string{"", "a", "b/~", "é"}), func(s string) value { return text(s) }),
			rapid.Map(rapid.IntRange(0, 3), func(n int) value { return canonical(fmt.Append(nil, n)) })).Draw(t, of)
	}
	var tree func(depth int) value
	tree = func(depth int) value {
		switch n := rapid.IntRange(0, 9).Draw(t, of+" kind"); {
		case depth < 3 && n < 5:
			o := object{}
			for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y/z", "~", ""}), 0, 3).Draw(t, of+" names") {
				o[name] = tree(depth + 1)
			}
			return o
		case n == 9:
			return []value{leaf(), leaf()}
		}
		return leaf()
	}
	o := object{"id": text("1")}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"status", "priority", "tags", "custom_fields", "assigned_agent", "other", "external_id"}), rapid.ID).Draw(t, of+" fields") {
		if o[name] = tree(0); name == "tags" && rapid.Bool().Draw(t, of+" set") {
			o[name] = []value{text("a"), leaf()}
		}
	}
	return o
}

// apply makes what claims say of a document true, wherever the document is otherwise.
func apply(t *rapid.T, doc object, claims map[string]claim) object {
	for pointer, c := range claims {
		v, err := parseAny(c.New)
		if err != nil {
			t.Fatalf("%s: %v", c.New, err)
		}
		names := strings.Split(pointer, "/")[1:]
		at := doc
		for i, name := range names {
			name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
			if i == len(names)-1 {
				if old, err := parseAny(c.Old); err != nil || !equal(old, at[name]) {
					t.Fatalf("%s was %s, not %s", pointer, raw(at[name]), c.Old)
				}
				at[name] = v
				break
			}
			below, ok := at[name].(object)
			if !ok {
				below = object{}
				at[name] = below
			}
			at = below
		}
	}
	return doc
}

func parseAny(doc []byte) (value, error) {
	o, err := parse("", fmt.Appendf(nil, `{"v": %s}`, doc))
	return o["v"], err
}

// What the events of a change claim, applied to the document before, is the document after: of the general event
// all of it, and of each other event the field that its topic is about.
func TestClaimsExplainAfter(t *testing.T) {
	fields := map[string]string{
		"conversation.status": "status", "conversation.priority": "priority", "conversation.tags": "tags", "conversation.custom_field": "custom_fields", "customer.custom_fields": "custom_fields",
	}
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]ObjectType{Conversation, Customer, CustomerNote}).Draw(t, "kind")
		before, after := documents(t, "before"), documents(t, "after")
		events, err := Derive(kind, raw(before), raw(after))
		if err != nil {
			t.Fatalf("%v", err)
		}
		explained := map[string]bool{}
		for i, e := range events {
			got := apply(t, copied(before), claimed(t, e, 1<<20))
			field := fields[e.Topic]
			switch {
			case i == 0 && !alike(got, after):
				t.Fatalf("%s: claims %s of\n%s make\n%s, not\n%s", e.Topic, e.Claims(1<<20), raw(before), raw(got), raw(after))
			case field != "" && !alike(object{"f": got[field]}, object{"f": after[field]}):
				t.Fatalf("%s: claims %s do not explain %s", e.Topic, e.Claims(1<<20), field)
			}
			explained[field] = true
		}
		if len(events) == 0 && !alike(before, after) {
			t.Fatalf("nothing is said of\n%s to\n%s", raw(before), raw(after))
		}
		for topic, field := range fields {
			if strings.HasPrefix(topic, string(kind)+".") && !explained[field] && !alike(object{"tags": before[field]}, object{"tags": after[field]}) && !equal(before[field], after[field]) {
				t.Fatalf("nobody claims the change of %s from %s to %s", field, raw(before[field]), raw(after[field]))
			}
		}
	})
}

func copied(o object) object {
	again, _ := parse("", raw(o))
	return again
}

// alike are documents that differ in nothing that a topic is about: tags are sets.
func alike(a, b object) bool {
	for _, name := range []string{"tags", "f"} {
		x, okX := a[name].([]value)
		y, okY := b[name].([]value)
		if (okX || a[name] == nil) && (okY || b[name] == nil) && len(without(set(x), set(y)))+len(without(set(y), set(x))) == 0 {
			a, b = copied(a), copied(b)
			delete(a, name)
			delete(b, name)
		}
	}
	return equal(a, b)
}

// Rules of own topics: by place, or by any change; on types that nothing else knows, too.
func TestDeriveByRules(t *testing.T) {
	rules := []Rule{{"order", nil}, {"order.shipped", []string{"/shipping/state", "/carrier"}}, {"order.notes", []string{"/custom_notes"}}}
	for name, test := range map[string]struct{ before, after, want string }{
		"created":         {`null`, `{"id": 1, "carrier": "DHL"}`, `order:`},
		"deleted":         {`{"id": 1, "carrier": "DHL"}`, `null`, `order:`},
		"elsewhere":       {`{"id": 1, "shipping": {"x": 1}}`, `{"id": 1, "shipping": {"x": 2}}`, `order:{"/shipping/x":{"old":1,"new":2}}`},
		"deep":            {`{"id": 1, "shipping": {"state": "packed", "x": 1}}`, `{"id": 1, "shipping": {"state": "left", "x": 2}}`, `order:{"/shipping/state":{"old":"packed","new":"left"},"/shipping/x":{"old":1,"new":2}} order.shipped:{"/shipping/state":{"old":"packed","new":"left"}}`},
		"above":           {`{"id": 1}`, `{"id": 1, "shipping": {"state": "left"}}`, `order:{"/shipping":{"old":null,"new":{"state":"left"}}} order.shipped:{"/shipping/state":{"old":null,"new":"left"}}`},
		"below":           {`{"id": 1, "carrier": {"name": "A"}}`, `{"id": 1, "carrier": {"name": "B"}}`, `order:{"/carrier/name":{"old":"A","new":"B"}} order.shipped:{"/carrier/name":{"old":"A","new":"B"}}`},
		"spelt otherwise": {`{"id": 1, "customNotes": 1}`, `{"id": 1, "custom_notes": 2}`, `order:{"/custom_notes":{"old":1,"new":2}} order.notes:{"/custom_notes":{"old":1,"new":2}}`},
		"the same":        {`{"id": 1, "carrier": 1.0}`, `{"carrier": 1, "id": 1}`, ``},
	} {
		events, err := Derive("order", []byte(test.before), []byte(test.after), rules...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, e := range events {
			got = append(got, e.Topic+":"+string(e.Claims(1000)))
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s:\n%s, want\n%s", name, text, test.want)
		}
	}
	if _, err := Derive("order", []byte(`null`), []byte(`{"id": 1}`)); err == nil {
		t.Error("a type without rules is understood")
	}
	both, err := Derive(Conversation, []byte(`{"id": 1, "status": "OPEN"}`), []byte(`{"id": 1, "status": "CLOSED"}`), Rule{"conversation.closing", []string{"/status"}})
	if err != nil || len(both) != 3 || both[2].Topic != "conversation.closing" {
		t.Errorf("beside the built-in ones: %v, %v", both, err)
	}
}

// However many rules ask for one place, it is compared once.
func TestRulesShareComparisons(t *testing.T) {
	var rules []Rule
	for i := range 16 {
		rules = append(rules, Rule{fmt.Sprint("t", i), []string{"/m", "/m/f001", "/n"}})
	}
	c := change{pairs: []member{{"m", object{}, object{"f001": text("x")}}}, before: object{}, after: object{}}
	for _, r := range rules {
		c.own(r)
	}
	if len(c.seen) != 3 || len(c.events) != 16 || len(c.events[15].Changed) != 1 {
		t.Errorf("%d places, %d events, %v", len(c.seen), len(c.events), c.events)
	}
}
