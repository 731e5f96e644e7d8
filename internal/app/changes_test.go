package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// TestIncludeChanges: a webhook that asks is told what changed, live and by a replay after a restart, and shown so
// in its deliveries and its feed; one that does not ask gets not one byte more.
func TestIncludeChanges(t *testing.T) {
	var mu sync.Mutex
	got := map[string][]string{} // bodies by path
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] = append(got[r.URL.Path], string(body))
	}))
	defer receiver.Close()
	dir := t.TempDir()
	s := apptest.Start(t, dir)
	api := asking(t, s)
	hooks := map[string]*client.Webhook{}
	for _, w := range []client.WebhookCreate{
		{Endpoint: receiver.URL + "/object", DataFormat: "object", IncludeChanges: true},
		{Endpoint: receiver.URL + "/string", IncludeChanges: true},
		{Endpoint: receiver.URL + "/plain", DataFormat: "object"},
	} {
		w.Events = []string{"conversation.status"}
		made, err := api.CreateWebhook(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if made.IncludeChanges != w.IncludeChanges {
			t.Errorf("%s: include_changes is %v", w.Endpoint, made.IncludeChanges)
		}
		hooks[w.Endpoint[len(receiver.URL):]] = made
	}
	const before, after = `{"id":"7","status":"OPEN","by":"José"}`, `{"id":"7","status":"CLOSED","by":"José"}`
	if _, err := api.PublishChange(t.Context(), client.ObjectChange{
		CompanyID: "c1", ID: "ch", ObjectType: "conversation", Before: json.RawMessage(before), After: json.RawMessage(after),
	}); err != nil {
		t.Fatal(err)
	}
	created := `{"id": "8", "status": "OPEN"}`
	if _, err := api.PublishEvent(t.Context(), client.Publish{CompanyID: "c1", ID: "own", Event: "conversation.status", Data: json.RawMessage(created)}); err != nil {
		t.Fatal(err)
	}
	const data, claims = `{"id":"7","status":"CLOSED","by":"Jos\u00e9"}`, `{"/status":{"old":"OPEN","new":"CLOSED"}}`
	want := map[string]string{
		"/object": `{"event":"conversation.status","data":` + data + `,"changes":` + claims + `}`,
		"/string": `{"event":"conversation.status","data":` + quoted(data[:len(data)-1]+`,"changes":`+claims+`}`) + `}`,
		"/plain":  `{"event":"conversation.status","data":` + data + `}`,
	}
	arrived := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); ; <-time.After(20 * time.Millisecond) {
			mu.Lock()
			done := len(got["/object"]) >= n && len(got["/string"]) >= n && len(got["/plain"]) >= n
			mu.Unlock()
			if done {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %v", got)
			}
		}
	}
	arrived(2)
	s.Stop()
	s = apptest.Start(t, dir)
	api = asking(t, s)
	for path, w := range hooks {
		if _, err := api.CreateReplay(t.Context(), w.ID, client.ReplayCreate{From: time.Now().Add(-time.Hour)}); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	arrived(4)
	for path, want := range want {
		mu.Lock()
		count := 0
		for _, body := range got[path] {
			if body == want {
				count++
			} else if body != `{"event":"conversation.status","data":`+created+`}` && body != `{"event":"conversation.status","data":`+quoted(created)+`}` {
				t.Errorf("%s got %s", path, body)
			}
		}
		mu.Unlock()
		if count != 2 {
			t.Errorf("%s got it %d times: %v, want %s", path, count, got[path], want)
		}
		shownWith(t, api, hooks[path], want, claims)
	}
}

// shownWith looks at what is shown of the delivery, and at the feed.
func shownWith(t *testing.T, api *client.Client, w *client.Webhook, body, claims string) {
	t.Helper()
	d, err := api.Delivery(t.Context(), w.ID, "ch:conversation.status")
	if err != nil || len(d.Attempts) == 0 || d.Attempts[0].Request.Body != body {
		t.Errorf("the delivery shows %+v, %v", d, err)
	}
	if !strings.Contains(d.Curl, body) {
		t.Errorf("curl would send another body: %s", d.Curl)
	}
	var feed []client.FedEvent
	for e, err := range api.PullEvents(t.Context(), w.ID, 0) {
		if err != nil {
			t.Fatalf("feed: %v", err)
		}
		feed = append(feed, e)
	}
	if want := map[bool]string{true: claims, false: ""}[w.IncludeChanges]; len(feed) != 2 || string(feed[0].Changes) != want || feed[1].Changes != nil {
		t.Errorf("the feed has %v, want %s", feed, want)
	}
	e, err := api.Event(t.Context(), "ch:conversation.status")
	if err != nil || string(e.Changes) != claims {
		t.Errorf("the event has changes %s, %v", e.Changes, err)
	}
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

func asking(t *testing.T, s *apptest.Server) *client.Client {
	t.Helper()
	api, err := client.New(client.Config{URL: s.URL, Key: s.Key})
	if err != nil {
		t.Fatal(fmt.Errorf("client: %w", err))
	}
	return api.For("c1")
}
