package hook_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func TestSecretsAt(t *testing.T) {
	end := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	rotation := hook.Secrets{Current: "new", Previous: "old", PreviousExpires: end}
	activated := rotation
	activated.Activated = true
	tests := []struct {
		name         string
		secrets      hook.Secrets
		now          time.Time
		atlas, other string
	}{
		{"outside a rotation", hook.Secrets{Current: "only"}, end, "only", ""},
		{"during the overlap the old one signs", rotation, end.Add(-24 * time.Hour), "old", "new"},
		{"to the last instant", rotation, end.Add(-time.Nanosecond), "old", "new"},
		{"at its end the new one takes over", rotation, end, "new", ""},
		{"and stays", rotation, end.Add(time.Hour), "new", ""},
		{"activated: the new one signs, the old stays beside it", activated, end.Add(-time.Nanosecond), "new", "old"},
		{"activated, at the end", activated, end, "new", ""},
	}
	for _, test := range tests {
		if atlas, other := test.secrets.At(test.now); atlas != test.atlas || other != test.other {
			t.Errorf("%s: At = %q, %q, want %q, %q", test.name, atlas, other, test.atlas, test.other)
		}
	}
}

func TestObjectKey(t *testing.T) {
	for _, test := range []struct{ topic, id, want string }{
		{"conversation", "7", "CONVERSATION:7"},
		{"conversation.status", "7", "CONVERSATION:7"}, // topics of one category share their objects
		{"customer.created", "7", "CUSTOMER:7"},
		{"customer_notes.deleted", "a:b", "NOTES:a:b"},
		{"conversation.status", "", ""},
	} {
		key := hook.ObjectKey(test.topic, test.id)
		if key != test.want {
			t.Errorf("ObjectKey(%q, %q) = %q, want %q", test.topic, test.id, key, test.want)
		}
		if id := (&hook.Event{ObjectKey: key}).ObjectID(); id != test.id {
			t.Errorf("ObjectID of %q = %q, want %q", key, id, test.id)
		}
	}
}

func TestEventDigestTellsItsPartsApart(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, parts := range [][3]string{
		{"customer", "CUSTOMER:1", "{}"},
		{"customer", "CUSTOMER:1", "{ }"},
		{"customer", "CUSTOMER:1{", "}"},
		{"customer", "", "CUSTOMER:1{}"},
		{"customerC", "USTOMER:1", "{}"},
		{"customer.created", "CUSTOMER:1", "{}"},
	} {
		digest := hook.EventDigest(parts[0], parts[1], []byte(parts[2]))
		if again := hook.EventDigest(parts[0], parts[1], []byte(parts[2])); again != digest {
			t.Errorf("%q has two digests", parts)
		}
		if other, ok := seen[digest]; ok {
			t.Errorf("%q and %s have one digest", parts, other)
		}
		seen[digest] = fmt.Sprintf("%q", parts)
	}
}

func TestDefaultRetrySchedule(t *testing.T) {
	var total time.Duration
	for _, delay := range hook.DefaultRetrySchedule() {
		total += delay
	}
	if want := 75*time.Hour + 35*time.Minute + 5*time.Second; total != want {
		t.Errorf("the schedule lasts %v, want %v", total, want)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("disk")
	err := fmt.Errorf("create webhook: %w", &hook.Error{Kind: hook.KindUnavailable, Code: "store", Err: cause})
	if !hook.IsKind(err, hook.KindUnavailable) || hook.IsKind(err, hook.KindInvalid) || hook.IsKind(nil, hook.KindInvalid) {
		t.Error("IsKind does not see the wrapped kind")
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	invalid := hook.Invalid("endpoint", "bad_url", "%q has no host", "http://")
	if invalid.Kind != hook.KindInvalid || invalid.Code != "bad_url" || len(invalid.Fields) != 1 {
		t.Errorf("Invalid = %+v", invalid)
	}
	want := `bad_url: endpoint: "http://" has no host; endpoint: "http://" has no host`
	if invalid.Error() != want {
		t.Errorf("Error() = %q, want %q", invalid.Error(), want)
	}
}
