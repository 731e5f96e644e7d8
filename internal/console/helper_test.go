package console_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// person is somebody with a browser in front of a real server.
type person struct {
	t      testing.TB
	base   string // where it is reached
	client *http.Client
}

func visitor(t testing.TB, s *apptest.Server) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t, s.URL, &http.Client{Jar: jar, Timeout: 20 * time.Second}}
}

// signedIn is somebody who signed in with a key; an operator with one who looks at company c1.
func signedIn(t testing.TB, s *apptest.Server, key string) *person {
	t.Helper()
	p := visitor(t, s)
	p.post("/console/sign-in", url.Values{"key": {key}}).status(200)
	if strings.HasPrefix(key, "awo_") {
		p.post("/console/company", url.Values{"company": {"c1"}}).status(200)
	}
	return p
}

// seen is what came back.
type seen struct {
	t      testing.TB
	what   string
	code   int
	header http.Header
	text   string
	at     string // the path where it ended, after redirects
}

func (p *person) do(r *http.Request) *seen {
	p.t.Helper()
	answer, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return &seen{p.t, r.Method + " " + r.URL.Path, answer.StatusCode, answer.Header, string(text), answer.Request.URL.Path}
}

func (p *person) request(method, path string, form url.Values) *http.Request {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (p *person) get(path string) *seen {
	p.t.Helper()
	return p.do(p.request(http.MethodGet, path, nil))
}

func (p *person) post(path string, form url.Values) *seen {
	p.t.Helper()
	return p.do(p.request(http.MethodPost, path, form))
}

// part asks for a part of a page, as htmx does.
func (p *person) part(method, path string, form url.Values) *seen {
	p.t.Helper()
	r := p.request(method, path, form)
	r.Header.Set("HX-Request", "true")
	return p.do(r)
}

var tags = regexp.MustCompile(`(?s)<(?:head|nav|aside|dialog|svg)\b.*?</(?:head|nav|aside|dialog|svg)>|<[^>]*>|\s+`)

// said is what a page says.
func said(page string) string {
	return strings.Join(strings.Fields(tags.ReplaceAllString(page, " ")), " ")
}

// plain is what a page says, for messages.
func plain(page string) string {
	text := said(page)
	return text[:min(len(text), 1500)]
}

func (s *seen) status(want int) *seen {
	s.t.Helper()
	if s.code != want {
		s.t.Fatalf("%s: %d, want %d: %s", s.what, s.code, want, plain(s.text))
	}
	return s
}

func (s *seen) has(texts ...string) *seen {
	s.t.Helper()
	for _, want := range texts {
		if !strings.Contains(s.text, want) {
			s.t.Errorf("%s: no %q in %s", s.what, want, plain(s.text))
		}
	}
	return s
}

func (s *seen) hasNot(texts ...string) *seen {
	s.t.Helper()
	for _, not := range texts {
		if strings.Contains(s.text, not) {
			s.t.Errorf("%s: shows %q", s.what, not)
		}
	}
	return s
}

// call asks the API itself.
func call(t testing.TB, s *apptest.Server, method, path string, in any) map[string]any {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Key)
	r.Header.Set("X-Atlas-Company-Id", "c1")
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	out := map[string]any{}
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("%s %s: %d %s", method, path, answer.StatusCode, text)
	}
	if answer.StatusCode != http.StatusNoContent {
		if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// world is a company with something to look at: a webhook that works, one that fails, events.
type world struct {
	*apptest.Server
	good, bad string // webhooks
	event     string
	receiver  *httptest.Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, apptest.Start(t))
}

func newWorldOn(t testing.TB, s *apptest.Server) *world {
	t.Helper()
	w := &world{Server: s}
	w.receiver = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/bad") {
			out.Header().Set("X-Reason", "out of order")
			http.Error(out, `{"error":"the database is away"}`, http.StatusInternalServerError)
			return
		}
		fmt.Fprint(out, `{"received":true}`)
	}))
	t.Cleanup(w.receiver.Close)
	w.good = call(t, w.Server, "POST", "/v1/webhooks", map[string]any{"endpoint": w.receiver.URL + "/good", "events": []string{"*"}, "description": "The good one"})["id"].(string)
	w.bad = call(t, w.Server, "POST", "/v1/webhooks", map[string]any{"endpoint": w.receiver.URL + "/bad/" + strings.Repeat("a-rather-long-path/", 8), "metadata": map[string]any{"team": "blue"}, "events": []string{"conversation.*"}, "filter": `data.status == "CLOSED"`})["id"].(string)
	w.event = w.publish(t, "conversation.status", map[string]any{"id": "7", "status": "CLOSED"})
	w.publish(t, "customer.created", map[string]any{"id": "8", "name": "José"})
	w.settled(t, w.good, w.event, "delivered")
	w.settled(t, w.bad, w.event, "retrying")
	return w
}

func (w *world) publish(t testing.TB, topic string, data any) string {
	t.Helper()
	return call(t, w.Server, "POST", "/v1/events", map[string]any{"company_id": "c1", "event": topic, "data": data})["id"].(string)
}

// settled waits until a delivery has a status.
func (w *world) settled(t testing.TB, webhook, event, status string) {
	t.Helper()
	eventually(t, func() error {
		got := call(t, w.Server, "GET", "/v1/webhooks/"+webhook+"/deliveries/"+event, nil)["status"]
		if got != status {
			return fmt.Errorf("it is %v, want %s", got, status)
		}
		return nil
	})
}

// eventually asks until there is no error any more.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal(err)
		}
	}
}
