package console_test

import (
	"strings"
	"testing"
	"time"
)

// TestViolationsAreShown: the event's page says where its topic's schema forbids the data, the page of topics to
// operators how often that is and of which events.
func TestViolationsAreShown(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	p.get("/console/events/" + w.event).hasNot("What the topic's schema forbids")
	id := w.publish(t, "conversation.status", map[string]any{"id": "9", "status": 7})
	p.get("/console/events/"+id).has("What the topic's schema forbids", "<code>/status</code> is of another type")
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(p.get("/console/topics").text, "1 with violations"); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the page of topics counts no violation")
		}
	}
	p.get("/console/topics").has(id, "<code>/status</code> is of another type")
	read := signedIn(t, w.Server, call(t, w.Server, "POST", "/v1/companies/c1/keys", map[string]any{"scope": "read"})["key"].(string))
	read.get("/console/topics").hasNot("with violations")
}
