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
		unknown  string
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
		{patterns: []string{"customer.created", "nothing"}, want: []string{"customer.created"}, unknown: "nothing"},
		{patterns: []string{""}, unknown: ""},
		{patterns: []string{"customer*"}, unknown: "customer*"},
		{patterns: []string{"*.created"}, unknown: "*.created"},
		{patterns: []string{"**"}, unknown: "**"},
		{patterns: []string{".*"}, unknown: ".*"},
		{patterns: []string{"customer_notes.deleted.*"}, unknown: "customer_notes.deleted.*"},
		{patterns: []string{"Customer"}, unknown: "Customer"},
	}
	for _, test := range tests {
		set, unknown := hook.MatchTopics(test.patterns)
		if unknown != test.unknown {
			t.Errorf("MatchTopics(%q) calls %q unknown, want %q", test.patterns, unknown, test.unknown)
		}
		var got []string
		for _, topic := range hook.Topics() {
			if set.Has(topic.Name) {
				got = append(got, topic.Name)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("MatchTopics(%q): %s", test.patterns, diff)
		}
		if set.Len() != len(test.want) {
			t.Errorf("MatchTopics(%q).Len() = %d, want %d", test.patterns, set.Len(), len(test.want))
		}
	}
	if all, _ := hook.MatchTopics([]string{"*"}); all.Len() != len(hook.Topics()) || all.Has("nothing") {
		t.Errorf("* is %d topics of %d", all.Len(), len(hook.Topics()))
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
		if got := hook.NearestTopic(misspelt); got != want {
			t.Errorf("NearestTopic(%q) = %q, want %q", misspelt, got, want)
		}
	}
}
