package console_test

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// TestWarningsAreShown: what was accepted and probably does not do what was meant, after creating a
// webhook; and what in an event's data some receivers cannot read. The controls have nothing to show.
func TestWarningsAreShown(t *testing.T) {
	s := apptest.Start(t)
	p := signedIn(t, s, s.Key)
	create := func(secret, path string) string {
		return p.post("/console/webhooks", url.Values{"endpoint": {"http://127.0.0.1:9999/" + path}, "events": {"customer"}, "signing_secret": {secret}}).status(200).text
	}
	const warning = "go without the webhook-* headers"
	if page := create("0123456789abcdef", "a"); !strings.Contains(page, warning) {
		t.Error("a secret without a key for webhook-signature is not told")
	}
	if page := create("", "b"); strings.Contains(page, warning) || strings.Contains(page, "Worth a look") {
		t.Error("a warning about nothing")
	}
	page := create("", "c")
	id := regexp.MustCompile(`/console/webhooks/(wh_[a-z0-9]+)`).FindStringSubmatch(page)[1]
	settings := func(headers string) string {
		form := url.Values{"endpoint": {"http://127.0.0.1:9999/c"}, "events": {"customer"}, "headers": {headers}}
		match := regexp.MustCompile(`name="version" value="([^"]*)"`).FindStringSubmatch(p.get("/console/webhooks/" + id + "/settings").text)
		form.Set("version", html.UnescapeString(match[1]))
		return p.post("/console/webhooks/"+id+"/settings", form).status(200).text
	}
	if page := settings("X_Team: a"); !strings.Contains(page, "whose name has an underscore") || !strings.Contains(page, "Saved, and worth a look") {
		t.Error("a header that servers drop is not told")
	}
	if page := settings("X-Team: a"); strings.Contains(page, "worth a look") {
		t.Error("a warning about good settings")
	}
	rotate := func(secret string) string {
		return p.post("/console/webhooks/"+id+"/secret/rotate", url.Values{"overlap_seconds": {"0"}, "signing_secret": {secret}}).status(200).text
	}
	if page := rotate("0123456789abcdef"); !strings.Contains(page, warning) {
		t.Error("a rotation to a secret without a key for webhook-signature is not told")
	}
	if page := rotate(""); strings.Contains(page, warning) {
		t.Error("a warning about a good secret")
	}
	for id, data := range map[string]any{"odd": map[string]any{"a": map[string]any{"__proto__": 1}}, "plain": map[string]any{"a": 1}} {
		call(t, s, "POST", "/v1/events", map[string]any{"company_id": "c1", "event": "customer", "id": id, "data": data})
		page := p.get("/console/events/" + id).status(200).text
		if shown := strings.Contains(page, "some receivers cannot read") && strings.Contains(page, "/a/__proto__"); shown != (id == "odd") {
			t.Errorf("%s: findings shown: %v", id, shown)
		}
	}
}
