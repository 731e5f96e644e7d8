package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// text is an answer with a status; 0 for any.
func (s *server) text(method, path, body string, status int) string {
	s.t.Helper()
	a := s.call(method, path, body)
	if status != 0 && a.status != status {
		s.t.Errorf("%s: %d %s, want %d", a.what, a.status, cut(a.text), status)
	}
	return a.text
}

// What is out of bounds is refused by field, in a batch by index, and nothing of it is accepted.
func TestTimesOutOfBounds(t *testing.T) {
	s := newServer(t)
	at := func(in time.Duration) string { return `"` + time.Now().Add(in).UTC().Format(time.RFC3339Nano) + `"` }
	const day = 24 * time.Hour
	for _, x := range []struct{ members, want string }{
		{`"deliver_at":"tomorrow"`, "deliver_at: a time is written as 2026-03-02T09:15:00Z (RFC 3339)"},
		{`"deliver_at":5`, "deliver_at: must be a string"},
		{`"deliver_at":` + at(31*day), "deliver_at: must lie within 30 days from now"},
		{`"expires_at":` + at(-time.Second), "expires_at: must lie in the future"},
		{`"expires_at":` + at(31*day), "expires_at: must lie within 30 days from deliver_at, or from now where there is none"},
		{`"deliver_at":` + at(2*time.Hour) + `,"expires_at":` + at(time.Hour), "expires_at: must be after deliver_at"},
	} {
		event := `{"company_id":"c1","event":"customer","id":"e","data":1,` + x.members + `}`
		if text := s.text(http.MethodPost, "/v1/events", event, http.StatusUnprocessableEntity); !strings.Contains(text, `"detail":"`+x.want+`"`) {
			t.Errorf("%s: %s", x.members, text)
		}
		text := s.text(http.MethodPost, "/v1/events/batch", `[{"company_id":"c1","event":"customer","id":"first","data":1},`+event+`]`, http.StatusUnprocessableEntity)
		if !strings.Contains(text, `[1].`) {
			t.Errorf("%s: %s", x.members, text)
		}
	}
	s.text(http.MethodPost, "/v1/changes", `{"company_id":"c1","object_type":"customer","before":null,"after":{"id":"1"},"deliver_at":`+at(time.Hour)+`}`, http.StatusUnprocessableEntity)
	for _, id := range []string{"e", "first"} {
		s.text(http.MethodGet, "/v1/events/"+id, "", http.StatusNotFound)
	}
}

// A time that has passed is one for now, so that a request can be tried again; and the answer to that is the
// first try's.
func TestPastTimesAreForNow(t *testing.T) {
	s := newServer(t)
	event := `{"company_id":"c1","event":"customer","id":"e","data":1,"deliver_at":"2020-01-01T00:00:00Z"}`
	if text := s.text(http.MethodPost, "/v1/events", event, http.StatusAccepted); strings.Contains(text, "status") {
		t.Error(text)
	}
	if text := s.text(http.MethodPost, "/v1/events", event, http.StatusAccepted); !strings.Contains(text, `"duplicate":true`) {
		t.Error(text)
	}
}

func TestScheduledByPages(t *testing.T) {
	s := newServer(t)
	for i := range 5 {
		at := time.Now().Add(time.Duration(5-i) * time.Hour).UTC().Format(time.RFC3339)
		s.text(http.MethodPost, "/v1/events", fmt.Sprintf(`{"company_id":"c1","event":"customer","id":"e%d","data":1,"deliver_at":"%s"}`, i, at), http.StatusAccepted)
	}
	ids, cursor := "", ""
	for range 5 {
		var page struct {
			Data []struct{ ID string }
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(s.text(http.MethodGet, "/v1/events?status=scheduled&limit=2&cursor="+cursor, "", http.StatusOK)), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Data {
			ids += e.ID + " "
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if ids != "e4 e3 e2 e1 e0 " {
		t.Error(ids)
	}
	for _, query := range []string{"status=waiting", "status=scheduled&from=2026-01-01T00:00:00Z", "status=scheduled&cursor=b3c"} {
		if text := s.text(http.MethodGet, "/v1/events?"+query, "", 0); !strings.Contains(text, `"status":400`) && !strings.Contains(text, `"status":422`) {
			t.Errorf("%s: %s", query, text)
		}
	}
}
