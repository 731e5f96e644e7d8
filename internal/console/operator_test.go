package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/console"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// operatorKeyring is an API that takes everybody for an operator.
type operatorKeyring struct{ http.Handler }

func (operatorKeyring) Identify(*http.Request, string) (httpapi.Principal, error) {
	return httpapi.Principal{Actor: "operator", Operator: true, MayWrite: true}, nil
}

func (k operatorKeyring) SignIn(r *http.Request, key string) (string, httpapi.Principal, time.Time, error) {
	p, err := k.Identify(r, key)
	return key, p, time.Now().Add(time.Hour), err
}

func (operatorKeyring) HoldPage(_ context.Context, w http.ResponseWriter, _ string) (http.ResponseWriter, func(), error) {
	return w, func() {}, nil
}

func (operatorKeyring) SignOut(context.Context, string) error { return nil }

func (operatorKeyring) LinkCompany(*http.Request, string) (string, error) { return "", nil }

func (operatorKeyring) Enter(*http.Request, string) (string, time.Time, error) {
	return "", time.Time{}, http.ErrNotSupported
}

// answers is an API that answers each path with a text.
type answers map[string]string

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, ok := a[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		text = `{"status": 404, "code": "not_found", "detail": "` + r.URL.Path + `"}`
	}
	fmt.Fprint(w, text)
}

// look is what a page says to somebody who is signed in with a company.
func look(t *testing.T, api console.API, path string) string {
	t.Helper()
	c := console.New(console.Options{API: api, Key: make([]byte, 32), Now: func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }})
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.AddCookie(cookieOf(t, c, "/console/sign-in", url.Values{"key": {"awc_right"}}))
	c.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, plain(w.Body.String()))
	}
	return strings.Join(strings.Fields(tags.ReplaceAllString(w.Body.String(), " ")), " ")
}

// TestManyNodes: a node whose lease ran out stands out, and what sixty-four partitions lag is one
// figure.
func TestManyNodes(t *testing.T) {
	partition := func(n, lag int) string {
		return fmt.Sprintf(`{"partition": %d, "tail": 1000, "swept": %d, "lag": %d}`, n, 1000-lag, lag)
	}
	var half []string
	for n := range 32 {
		half = append(half, partition(n, n))
	}
	node := func(id, lease string, inFlight int, partitions ...string) string {
		return fmt.Sprintf(`{"id": %q, "url": "http://10.0.0.1:8080", "version": "1", "store": "postgres", "started_at": "2026-05-01T11:00:00Z", "lease_until": %s, "in_flight": %d, "partitions": [%s]}`,
			id, lease, inFlight, strings.Join(partitions, ","))
	}
	text := look(t, operatorKeyring{answers{
		"/readyz": `{}`,
		"/v1/nodes": fmt.Sprintf(`{"data": [%s, %s, %s]}`, strings.Replace(node("node_a", `"2026-05-01T12:00:10Z"`, 3, half...), "{", `{"leaving": true, "held_since": "2026-05-01T11:31:00Z", `, 1), node("node_b", `"2026-05-01T11:59:00Z"`, 4),
			node("node_c", "null", 0, partition(40, 7))),
		"/v1/sources": `{"data": [{"name": "orders", "kind": "kafka", "where": "orders at kafka:9092", "state": "failing", "reason": "no broker", "lag_seconds": 61.4, "accepted": 5, "dead_letters": 2}]}`,
		"/v1/eras": `{"data": [
			{"number": 3, "began_at": "2026-05-01T11:30:00Z", "cause": "an operator said so", "missing_from": null, "missing_to": null},
			{"number": 2, "began_at": "2026-05-01T10:00:07Z", "cause": "a standby was promoted", "missing_from": "2026-05-01T10:00:00Z", "missing_to": "2026-05-01T10:00:05Z"},
			{"number": 1, "began_at": "2026-05-01T09:00:00Z", "cause": "", "missing_from": null, "missing_to": null}]}`,
	}}, "/console/system")
	for _, want := range []string{
		"3 nodes", "In flight 7", "orders kafka · orders at kafka:9092", "Failing no broker", "1m1s", "node_a", "Until", "Leaving", "node_b", "Ran out", "node_c", "needs none", "31 at 1 000, 31 behind",
		"Deliveries are held back since 2026-05-01 11:31:00.000 UTC.", "An operator said so Everything that was acknowledged is there.", "A standby was promoted What was acknowledged from 2026-05-01 10:00:00.000 UTC to 2026-05-01 10:00:05.000 UTC may be missing",
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\u202f", " "), want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if text := look(t, operatorKeyring{answers{"/v1/nodes": `{"data": []}`, "/v1/sources": `{"data": []}`, "/v1/eras": `{"data": []}`}}, "/console/system"); !strings.Contains(text, "Not ready") || !strings.Contains(text, "makes no deliveries now") || strings.Contains(text, "held back") {
		t.Error(text)
	}
}

// TestNotLive: where the node that delivers cannot be asked, the page says that it tells what is
// stored, and calls nothing "never" that it does not know.
func TestNotLive(t *testing.T) {
	api := func(live bool) console.API {
		return keyring{answers{
			"/v1/webhooks/wh_1": fmt.Sprintf(`{"id": "wh_1", "endpoint": "https://example.com/hooks", "events": ["*"], "status": "ACTIVE",
				"health": {"state": "down", "since": "2026-05-01T10:00:00Z", "backlog": {"count": 12, "exact": true}, "live": %t}}`, live),
			"/v1/webhooks/wh_1/stats":      `{"data": [], "bucket_seconds": 60}`,
			"/v1/webhooks/wh_1/deliveries": `{"data": []}`,
			"/v1/webhooks/wh_1/rule":       `{"sentence": null}`,
		}}
	}
	text := look(t, api(false), "/console/webhooks/wh_1?window=1h")
	for _, want := range []string{"As stored", "could not be asked", "Last success not known", "Down"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if text := look(t, api(true), "/console/webhooks/wh_1?window=1h"); strings.Contains(text, "As stored") || !strings.Contains(text, "Last success never") {
		t.Error(text)
	}
}

// TestLinkRace: of many who open one link at once, one gets in.
func TestLinkRace(t *testing.T) {
	s := apptest.Start(t)
	_, token, _ := strings.Cut(call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{})["url"].(string), "#")
	codes := make([]int, 20)
	var all sync.WaitGroup
	for i := range codes {
		p := visitor(t, s)
		p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		r := p.request(http.MethodPost, "/console/enter", url.Values{"token": {token}})
		all.Go(func() {
			answer, err := p.client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			answer.Body.Close()
			codes[i] = answer.StatusCode
		})
	}
	all.Wait()
	in := 0
	for _, code := range codes {
		switch code {
		case http.StatusSeeOther:
			in++
		case http.StatusForbidden:
		default:
			t.Errorf("answered %d", code)
		}
	}
	if in != 1 {
		t.Errorf("%d got in", in)
	}
}

// TestDeadLettersPage: the list says why and what to do, and the message is shown as text.
func TestDeadLettersPage(t *testing.T) {
	one := `"id": "dlt_1", "source": "orders", "message": "t/0/7", "at": "2026-05-01T11:00:00Z", "code": "unknown_topic", "reason": "there is no such topic", "retries": 2, "size": 9`
	api := operatorKeyring{answers{
		"/v1/sources":            `{"data": [{"name": "orders"}]}`,
		"/v1/dead-letters":       `{"data": [{` + one + `}, {"id": "dlt_2", "truncated": true}], "next_cursor": "abc"}`,
		"/v1/dead-letters/dlt_1": `{` + one + `, "body": "<b>x</b>", "attributes": {"type": "a.b"}}`,
	}}
	text := look(t, api, "/console/dead-letters?source=orders")
	for _, want := range []string{"orders t/0/7", "unknown_topic there is no such topic", "retried 2 times", "Retry", "Discard", "Older"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if text := look(t, api, "/console/dead-letters/dlt_1"); !strings.Contains(text, "&lt;b&gt;x&lt;/b&gt;") || !strings.Contains(text, "a.b") || !strings.Contains(text, "Retry") {
		t.Error(text)
	}
	if text := look(t, operatorKeyring{answers{"/v1/sources": `{"data": []}`, "/v1/dead-letters": `{"data": []}`}}, "/console/dead-letters"); !strings.Contains(text, "No source is configured") {
		t.Error(text)
	}
}
