package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// atlasWebhook is what a client of Atlas's public API knows of a webhook. It is strict where such
// clients are: a null where a string may be absent is an error.
type atlasWebhook struct {
	ID            strictString `json:"id"`
	Event         strictString `json:"event"`
	Endpoint      strictString `json:"endpoint"`
	SigningSecret strictString `json:"signing_secret"`
	Status        strictString `json:"status"`
}

type strictString string

func (s *strictString) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return fmt.Errorf("null where a string is expected")
	}
	return json.Unmarshal(b, (*string)(s))
}

type atlasList struct {
	Data   []atlasWebhook `json:"data"`
	Total  *int           `json:"total"`
	Cursor *int           `json:"cursor"`
	Limit  *int           `json:"limit"`
}

func into[T any](a *answer, status int) (v T) {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d %s", a.what, a.status, a.text)
	}
	if err := json.Unmarshal([]byte(a.text), &v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, a.text)
	}
	return v
}

// A client written for Atlas's public webhooks API works unchanged, for all fifteen topics, and a
// receiver of its kind finds data as an object by the company's default.
func TestAtlasClient(t *testing.T) {
	s := newServer(t)
	s.call("PATCH", "/v1/companies/c1", `{"default_data_format":"object"}`).ok(200)
	key, _ := s.companyKey("c1", "write")
	client := s.as(key)
	var ids []strictString
	for i, topic := range hook.Topics() {
		endpoint := fmt.Sprintf("https://example.com/hooks/%d", i)
		w := into[atlasWebhook](client.call("POST", "/v1/webhooks", fmt.Sprintf(`{"endpoint":%q,"event":%q}`, endpoint, topic.Name)), 201)
		if w.ID == "" || string(w.Event) != topic.Name || string(w.Endpoint) != endpoint || w.Status != "ACTIVE" || w.SigningSecret == "" {
			t.Fatalf("created: %+v", w)
		}
		ids = append(ids, w.ID)
	}
	seen := map[strictString]bool{}
	for cursor := 0; ; {
		page := into[atlasList](client.call("GET", fmt.Sprintf("/v1/webhooks?cursor=%d&limit=4", cursor), ""), 200)
		if page.Total == nil || *page.Total != len(ids) || page.Cursor == nil || *page.Cursor != cursor || page.Limit == nil || *page.Limit != 4 {
			t.Fatalf("page: %+v", page)
		}
		for _, w := range page.Data {
			seen[w.ID] = true
		}
		if cursor += len(page.Data); len(page.Data) == 0 {
			break
		}
	}
	if len(seen) != len(ids) {
		t.Errorf("%d of %d listed", len(seen), len(ids))
	}
	one := into[atlasWebhook](client.call("POST", "/v1/webhooks/"+string(ids[0]), `{"status":"INACTIVE"}`), 200)
	if one.Status != "INACTIVE" || one.SigningSecret != "" {
		t.Errorf("changed: %+v", one)
	}
	if one = into[atlasWebhook](client.call("GET", "/v1/webhooks/"+string(ids[0]), ""), 200); one.Status != "INACTIVE" {
		t.Errorf("read: %+v", one)
	}
	client.call("DELETE", "/v1/webhooks/"+string(ids[0]), "").ok(204)

	var sent []byte
	s.engine.test = func(w *hook.Webhook, e *hook.Event) (*hook.Attempt, error) {
		sent = wire.Body(e.Topic, e.Data, w.Format)
		return &hook.Attempt{Webhook: w.Key, Number: 1, Kind: hook.Test, TimestampText: "1.5", Format: w.Format, Outcome: hook.OutcomeDelivered, StatusCode: 200}, nil
	}
	client.call("POST", "/v1/webhooks/"+string(ids[1])+"/test", "").ok(200)
	var received struct {
		Event string
		Data  map[string]any
	}
	if err := json.Unmarshal(sent, &received); err != nil || received.Event == "" || received.Data["id"] == nil {
		t.Errorf("the receiver got %s: %v", sent, err)
	}
}

// FuzzCursor: a cursor is a stranger's bytes.
func FuzzCursor(f *testing.F) {
	for _, cursor := range []string{"", "bzE", "aWtleV8x", "bzA", "////", "b-1", strings.Repeat("b", 5000)} {
		f.Add(cursor)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		s := fuzzServer(t)
		for _, path := range []string{"/v1/events", "/v1/audit-log", "/v1/notices", "/v1/companies/c1/keys"} {
			r := httptest.NewRequest("GET", path, nil)
			q := r.URL.Query()
			q.Set("cursor", cursor)
			r.URL.RawQuery = q.Encode()
			r.Header.Set("Authorization", "Bearer "+operatorKey)
			r.Header.Set("X-Atlas-Company-Id", "c1")
			w := httptest.NewRecorder()
			s.api.ServeHTTP(w, r)
			if w.Code != 200 && w.Code != 400 {
				t.Errorf("%s with cursor %q: %d %s", path, cursor, w.Code, w.Body)
			}
		}
	})
}

// FuzzWebhook: so is a webhook.
func FuzzWebhook(f *testing.F) {
	for _, body := range []string{
		`{"endpoint":"https://example.com","event":"customer","headers":{"X-A":"b"},"metadata":{},"retry_schedule_seconds":[1]}`, `{"endpoint":1}`, `[]`,
		`{"filter":"data.a == 1","rate_limit_per_second":null}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		s := fuzzServer(t)
		r := httptest.NewRequest("POST", "/v1/webhooks", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+operatorKey)
		r.Header.Set("X-Atlas-Company-Id", "c1")
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
