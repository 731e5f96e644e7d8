package hook_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// documented is the documentation's table: names and categories may never change, and the order is
// that of the bits in a TopicSet.
var documented = [][3]string{
	{"account.customer.linked", "ACCOUNT", "customer linked to an account"},
	{"account.customer.unlinked", "ACCOUNT", "customer unlinked from an account"},
	{"conversation", "CONVERSATION", "conversation changes"},
	{"conversation.agent", "CONVERSATION", "conversation agent changes"},
	{"conversation.tags", "CONVERSATION", "conversation tag changes"},
	{"conversation.custom_field", "CONVERSATION", "conversation custom field changes"},
	{"conversation.status", "CONVERSATION", "conversation status changes"},
	{"conversation.priority", "CONVERSATION", "conversation priority changes"},
	{"customer", "CUSTOMER", "customer changes"},
	{"customer.identify", "CUSTOMER", "a customer became known (identified)"},
	{"customer.created", "CUSTOMER", "customer created"},
	{"customer.updated", "CUSTOMER", "customer updated"},
	{"customer.custom_fields", "CUSTOMER", "customer custom field changes"},
	{"customer_notes", "NOTES", "customer note created or updated"},
	{"customer_notes.deleted", "NOTES", "customer note deleted"},
}

func TestCatalogueIsTheDocumentations(t *testing.T) {
	var got [][3]string
	for _, topic := range hook.Topics() {
		got = append(got, [3]string{topic.Name, topic.Category, topic.Description})
	}
	if diff := cmp.Diff(documented, got); diff != "" {
		t.Error(diff)
	}
}

func TestCatalogueTeaches(t *testing.T) {
	seen := map[string]string{}
	for _, topic := range hook.Topics() {
		if !strings.HasPrefix(topic.Summary, "Sent ") || !strings.HasSuffix(topic.Summary, ".") {
			t.Errorf("%s: the summary %q does not say when it is sent", topic.Name, topic.Summary)
		}
		for _, text := range []string{topic.Summary, topic.Sample} {
			if other, ok := seen[text]; ok {
				t.Errorf("%s and %s have the same text %q", topic.Name, other, text)
			}
			seen[text] = topic.Name
		}
		var sample map[string]any
		if err := json.Unmarshal([]byte(topic.Sample), &sample); err != nil {
			t.Errorf("%s: sample: %v", topic.Name, err)
			continue
		}
		if id, ok := sample["id"].(string); !ok || !hook.ValidObjectID(id) {
			t.Errorf("%s: the sample's id %v would not do as an object's", topic.Name, sample["id"])
		}
		checkTimes(t, topic.Name, sample)
	}
}

// checkTimes wants every member called …_at to be a UTC time by RFC 3339, and at least one.
func checkTimes(t *testing.T, topic string, sample map[string]any) {
	t.Helper()
	times := 0
	for name, value := range sample {
		if !strings.HasSuffix(name, "_at") {
			continue
		}
		times++
		text, _ := value.(string)
		if _, err := time.Parse(time.RFC3339, text); err != nil || !strings.HasSuffix(text, "Z") {
			t.Errorf("%s: %s is %v, no UTC time of RFC 3339", topic, name, value)
		}
	}
	if times == 0 {
		t.Errorf("%s: the sample says no time", topic)
	}
}

func TestLookupTopic(t *testing.T) {
	for _, topic := range hook.Topics() {
		if got, ok := hook.LookupTopic(topic.Name); !ok || got != topic {
			t.Errorf("LookupTopic(%q) = %v, %v", topic.Name, got, ok)
		}
	}
	for _, name := range []string{"", "Conversation", "conversation.", "conversation.*", "*"} {
		if got, ok := hook.LookupTopic(name); ok || got != (hook.Topic{}) {
			t.Errorf("LookupTopic(%q) = %v, %v, want nothing", name, got, ok)
		}
	}
}

func TestMatchTopics(t *testing.T) {
	tests := []struct {
		patterns []string
		want     []string
	}{
		{patterns: nil},
		{patterns: []string{"customer"}, want: []string{"customer"}},
		{patterns: []string{"customer", "customer"}, want: []string{"customer"}},
		{patterns: []string{"conversation.*"}, want: []string{
			"conversation.agent", "conversation.tags", "conversation.custom_field", "conversation.status", "conversation.priority",
		}},
		{patterns: []string{"customer.*"}, want: []string{
			"customer.identify", "customer.created", "customer.updated", "customer.custom_fields",
		}},
		{patterns: []string{"account.*"}, want: []string{"account.customer.linked", "account.customer.unlinked"}},
		{patterns: []string{"account.customer.*"}, want: []string{"account.customer.linked", "account.customer.unlinked"}},
		{patterns: []string{"customer_notes.*", "customer_notes"}, want: []string{"customer_notes", "customer_notes.deleted"}},
		{patterns: []string{"customer.created", "nothing"}, want: []string{"customer.created"}},
		{patterns: []string{""}},
		{patterns: []string{"customer*"}},
		{patterns: []string{"*.created"}},
		{patterns: []string{"**"}},
		{patterns: []string{".*"}},
		{patterns: []string{"customer_notes.deleted.*"}},
		{patterns: []string{"Customer"}},
	}
	for _, test := range tests {
		set := hook.MatchTopics(test.patterns)
		var got []string
		for _, topic := range (*hook.Catalogue)(nil).Covered(set) {
			got = append(got, topic.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("MatchTopics(%q): %s", test.patterns, diff)
		}
	}
	if all := hook.MatchTopics([]string{"*"}); len((*hook.Catalogue)(nil).Covered(all)) != len(hook.Topics()) {
		t.Errorf("* is %v", all)
	}
}

// What a set covers depends on the texts of its patterns alone: a topic of the platform's own is in it
// whether the catalogue has it or not.
func TestMatchOwnTopics(t *testing.T) {
	for _, test := range []struct {
		patterns []string
		has, not []string
	}{
		{patterns: []string{"*"}, has: []string{"order", "order.shipped", "conversation.created"}, not: nil},
		{patterns: []string{"conversation.*", "order.shipped"}, has: []string{"conversation.created", "conversation.message.sent", "order.shipped"}, not: []string{"order", "order.shipped.x", "conversations", "conversation_x"}},
		{patterns: []string{"customer"}, not: []string{"customer.merged", "order"}},
		{patterns: []string{"order.*"}, has: []string{"order.shipped"}, not: []string{"order", "orders.x", "customer"}},
	} {
		set := hook.MatchTopics(test.patterns)
		for _, name := range test.has {
			if !set.Has(name) || !set.Others() {
				t.Errorf("%q has not %q", test.patterns, name)
			}
		}
		for _, name := range test.not {
			if set.Has(name) {
				t.Errorf("%q has %q", test.patterns, name)
			}
		}
	}
	if hook.MatchTopics([]string{"customer"}).Others() {
		t.Error("customer can hold others")
	}
	if hook.MatchTopics([]string{"b", "a", "customer"}) != hook.MatchTopics([]string{"customer", "a", "b", "a"}) {
		t.Error("the same patterns in another order make another set")
	}
}

func TestCatalogueWithOwnTopics(t *testing.T) {
	c := hook.NewCatalogue([]hook.Topic{{Name: "order.shipped", Category: "ORDER"}, {Name: "conversation.created", Category: "CONVERSATION"}})
	topics := c.Topics()
	if len(topics) != 17 || topics[0] != hook.Topics()[0] || topics[15].Name != "conversation.created" || topics[16].Name != "order.shipped" {
		t.Errorf("topics: %v", topics)
	}
	if got, ok := c.Lookup("order.shipped"); !ok || got.ObjectKey("7") != "ORDER:7" {
		t.Errorf("order.shipped: %v, %v", got, ok)
	}
	if near := c.Nearest("order.shiped"); near != "order.shipped" {
		t.Errorf("nearest: %q", near)
	}
	for pattern, want := range map[string]bool{"order.*": true, "order.shipped": true, "*": true, "order": false, "": false, "order.shipped.*": false} {
		if c.Known(pattern) != want {
			t.Errorf("Known(%q) = %v", pattern, !want)
		}
	}
	if _, ok := (*hook.Catalogue)(nil).Lookup("order.shipped"); ok {
		t.Error("the built-in catalogue has order.shipped")
	}
}

func TestValidTopic(t *testing.T) {
	for _, topic := range hook.Topics() {
		if !hook.ValidTopic(topic.Name) {
			t.Errorf("%q", topic.Name)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "A", "a b", "a-b", "a.*", "*", "é", strings.Repeat("a", 65)} {
		if hook.ValidTopic(bad) {
			t.Errorf("%q is valid", bad)
		}
	}
}

func TestNearestTopic(t *testing.T) {
	for misspelt, want := range map[string]string{
		"conversation.state":    "conversation.status",
		"conversation.statuses": "conversation.status",
		"Customer.Created":      "customer.created",
		"customer.create":       "customer.created",
		"customer_note":         "customer_notes",
		"customer-notes":        "customer_notes",
		"customer.custom_field": "customer.custom_fields",
		"conversations":         "conversation",
		"convresation.tags":     "conversation.tags",
		"zzzz":                  "",
		"":                      "",
	} {
		if got := (*hook.Catalogue)(nil).Nearest(misspelt); got != want {
			t.Errorf("NearestTopic(%q) = %q, want %q", misspelt, got, want)
		}
	}
}
