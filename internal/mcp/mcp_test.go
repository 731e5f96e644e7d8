package mcp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// world is a server with one company, whose endpoint refuses everything.
type world struct {
	*apptest.Server
	operator *client.Client
	webhook  *client.Webhook
	event    string
}

// long is an integer that a float of 64 bits cannot hold.
const long = "7615917337495251231"

func newWorld(t *testing.T) *world {
	t.Helper()
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "wrong signature", http.StatusUnauthorized)
	}))
	t.Cleanup(endpoint.Close)
	s := apptest.Start(t)
	w := &world{Server: s, operator: api(t, s, s.Key, "c1")}
	var err error
	if w.webhook, err = w.operator.CreateWebhook(t.Context(), client.WebhookCreate{
		Endpoint: endpoint.URL, Events: []string{"customer"}, SigningSecret: "canary-secret-0123456789abcdef", Headers: map[string]string{"X-Own": "canary-header"},
	}); err != nil {
		t.Fatal(err)
	}
	e, err := w.operator.PublishEvent(t.Context(), client.Publish{CompanyID: "c1", Event: "customer", Data: json.RawMessage(`{"id":"u1","n":` + long + `,"html":"<b>"}`)})
	if err != nil {
		t.Fatal(err)
	}
	w.event = e.ID
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		d, err := w.operator.Delivery(t.Context(), w.webhook.ID, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d.Status == client.Retrying {
			break
		}
	}
	return w
}

func api(t *testing.T, s *apptest.Server, key, company string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: s.URL, Key: key, Company: company})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// key makes a key of the company.
func (w *world) key(t *testing.T, company string, scope client.Scope) string {
	t.Helper()
	k, err := w.operator.CreateKey(t.Context(), company, client.KeyCreate{Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	return k.Key
}

// bearer sends a key with each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// agent connects as an agent with a key does.
func (w *world) agent(t *testing.T, key string) *sdk.ClientSession {
	t.Helper()
	s, err := sdk.NewClient(&sdk.Implementation{Name: "agent"}, nil).Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: w.URL + "/mcp", HTTPClient: &http.Client{Transport: bearer(key)}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func call(t *testing.T, s *sdk.ClientSession, tool, arguments string) (text string, refused bool) {
	t.Helper()
	r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return r.Content[0].(*sdk.TextContent).Text, r.IsError
}

func names(t *testing.T, s *sdk.ClientSession) (all []string) {
	t.Helper()
	for tool, err := range s.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tool.Name)
	}
	return all
}

// An agent finds out why an event did not arrive, tries the endpoint, and sends the past again only after it
// was counted and confirmed. Numbers are those that were published, and nothing shows a secret.
func TestAgentFindsOutWhy(t *testing.T) {
	w := newWorld(t)
	s := w.agent(t, w.key(t, "c1", client.Write))
	webhook, event := `"webhook_id":"`+w.webhook.ID+`"`, `"event_id":"`+w.event+`"`
	from := `"from":"` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + `"`
	shown := ""
	for _, c := range []struct{ tool, arguments, want string }{
		{"overview", `{}`, `"company_id":"c1"`},
		{"why", "{" + webhook + "," + event + "}", `"verdict":{.*"matched".*401.*advice`},
		{"why", "{" + webhook + "}", `"undelivered":\[{"event_id":"` + w.event},
		{"list_webhooks", `{"status":"ACTIVE","event":null}`, w.webhook.ID},
		{"get_webhook", "{" + webhook + "}", `"last_error":{.*401`},
		{"list_deliveries", "{" + webhook + `,"status":"retrying","limit":1}`, w.event},
		{"get_attempts", "{" + webhook + "," + event + "}", `wrong signature`},
		{"list_events", `{"event":"customer"}`, w.event},
		{"get_event", "{" + event + "}", `"n":` + long + `,"html":"<b>"`},
		{"list_topics", `{}`, `conversation.status`},
		{"stats", `{"window":"1h"}`, `"window":"1h"`},
		{"stats", "{" + webhook + "}", `"window":"24h"`},
		{"list_notices", `{}`, `"data":\[`},
		{"list_replays", "{" + webhook + "}", `"data":\[\]`},
		{"test_webhook", "{" + webhook + `,"data":{"n":` + long + `}}`, `"status_code":401.*` + long},
		{"retry_delivery", "{" + webhook + "," + event + "}", w.event},
	} {
		text, refused := call(t, s, c.tool, c.arguments)
		if refused || !regexp.MustCompile(`(?s)`+c.want).MatchString(text) {
			t.Errorf("%s %s: %v %s\nwant %s", c.tool, c.arguments, refused, text, c.want)
		}
		shown += text
	}

	measured, refused := call(t, s, "replay", "{"+webhook+","+from+`,"only":"all"}`)
	var m struct {
		Count        int
		Started      bool
		Confirmation string
	}
	if err := json.Unmarshal([]byte(measured), &m); err != nil || refused || m.Count != 1 || m.Started || m.Confirmation == "" {
		t.Fatalf("measured: %s", measured)
	}
	if list, _ := call(t, s, "list_replays", "{"+webhook+"}"); !strings.Contains(list, `"data":[]`) {
		t.Errorf("counting began a replay: %s", list)
	}
	confirmed := func(only, confirmation string) (string, bool) {
		return call(t, s, "replay", fmt.Sprintf(`{%s,%s,"only":%q,"confirmation":%q}`, webhook, from, only, confirmation))
	}
	if text, refused := confirmed("failed", m.Confirmation); !refused {
		t.Errorf("the confirmation of another call was taken: %s", text)
	}
	if text, refused := confirmed("all", "99999999999-00"); !refused {
		t.Errorf("a confirmation of its own making was taken: %s", text)
	}
	text, refused := confirmed("all", m.Confirmation)
	if refused || !strings.Contains(text, `"id":"rpl_`) {
		t.Errorf("confirmed: %s", text)
	}
	for _, canary := range []string{"canary-secret", "canary-header", w.Key} {
		if strings.Contains(shown+measured+text, canary) {
			t.Errorf("an answer shows %s", canary)
		}
	}
}

// A read key gets the tools that read, and a tool that it was not shown does nothing.
func TestReadKeysReadOnly(t *testing.T) {
	w := newWorld(t)
	write, read := names(t, w.agent(t, w.key(t, "c1", client.Write))), w.agent(t, w.key(t, "c1", client.Read))
	shown := names(t, read)
	if len(shown) != len(write)-5 {
		t.Errorf("a write key has %v, a read key %v", write, shown)
	}
	for _, tool := range []string{"test_webhook", "probe_webhook", "retry_delivery", "replay", "cancel_replay"} {
		if _, err := read.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: map[string]any{"webhook_id": w.webhook.ID, "event_id": w.event}}); err == nil {
			t.Errorf("%s ran with a read key", tool)
		}
	}
	// Another company's ids are unknown.
	for _, tool := range []string{"get_webhook", "why"} {
		if text, refused := call(t, w.agent(t, w.key(t, "c2", client.Read)), tool, `{"webhook_id":"`+w.webhook.ID+`"}`); !refused || !strings.Contains(text, "not_found") {
			t.Errorf("%s of another company: %s", tool, text)
		}
	}
}

// A call that is wrong says which argument, and by which rule.
func TestWrongCalls(t *testing.T) {
	w := newWorld(t)
	s := w.agent(t, w.key(t, "c1", client.Write))
	for arguments, want := range map[string]string{
		`{}`:                                  "webhook_id is required",
		`{"webhook_id":""}`:                   "webhook_id must be a text that is not empty",
		`{"webhook_id":7}`:                    "webhook_id must be a text",
		`{"webhook_id":"x","state":"failed"}`: "state is no argument of this tool; did you mean status?",
		`{"webhook_id":"x","status":"lost"}`:  "status must be one of pending, retrying",
		`{"webhook_id":"x","from":"monday"}`:  "from must be a time such as",
		`{"webhook_id":"x","limit":1000}`:     "limit must be an integer from 1 to 100",
		`{"webhook_id":"wh_none"}`:            "not_found (404)",
	} {
		if text, refused := call(t, s, "list_deliveries", arguments); !refused || !strings.Contains(text, want) {
			t.Errorf("%s: %s; want %s", arguments, text, want)
		}
	}
}

// Who has no key of a company gets no tool, and is told why as the API tells it.
func TestKeysThatServeNoAgent(t *testing.T) {
	w := newWorld(t)
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`
	message := hello
	post := func(key, origin string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+"/mcp", strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		answer, err := (&http.Client{Timeout: time.Minute}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	read := w.key(t, "c1", client.Read)
	for _, c := range []struct {
		name, key, origin string
		status            int
		want              string
	}{
		{"a read key", read, "", http.StatusOK, `"serverInfo"`},
		{"none", "", "", http.StatusUnauthorized, `"unauthorized"`},
		{"a wrong one", "awc_" + strings.Repeat("x", 32), "", http.StatusUnauthorized, `"unauthorized"`},
		{"an operator's", w.Key, "", http.StatusForbidden, `company_key_required`},
		{"a publish key", w.key(t, "c1", client.PublishOnly), "", http.StatusForbidden, `scope_not_allowed`},
		{"a page of another origin", read, "https://example.com", http.StatusForbidden, ""},
	} {
		if status, body := post(c.key, c.origin); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s; want %d with %s", c.name, status, body, c.status, c.want)
		}
	}
	message = " [" + hello + "]"
	if status, body := post(read, ""); status != http.StatusBadRequest || !strings.Contains(body, "no_batches") {
		t.Errorf("a batch: %d %s", status, body)
	}
}

// An answer that no agent could hold is cut, and says so.
func TestLongAnswersAreCut(t *testing.T) {
	w := newWorld(t)
	e, err := w.operator.PublishEvent(t.Context(), client.Publish{CompanyID: "c1", Event: "customer", Data: json.RawMessage(`{"id":"u2","note":"` + strings.Repeat("x", 900<<10) + `"}`)})
	if err != nil {
		t.Fatal(err)
	}
	text, refused := call(t, w.agent(t, w.key(t, "c1", client.Read)), "get_event", `{"event_id":"`+e.ID+`"}`)
	if refused || len(text) > 257<<10 || !strings.Contains(text, "[cut: the answer has 92") {
		t.Errorf("%d bytes, refused %v: …%s", len(text), refused, text[len(text)-150:])
	}
}

// A client that shares no code with the server gets the same.
func TestIndependentClient(t *testing.T) {
	python, err := filepath.Abs("../../bin/servers/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(t.Context(), python, "-c", "import mcp").Run(); err != nil {
		t.Skip("no client of the protocol in Python: make peers")
	}
	w := newWorld(t)
	out, err := exec.CommandContext(t.Context(), python, "testdata/agent.py", w.URL+"/mcp", w.key(t, "c1", client.Read), w.webhook.ID, w.event).CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?s)atlas-webhooks.*tools .*list_webhooks overview stats why\n.*401.*"n":`+long).Match(out) {
		t.Errorf("%v: %s", err, out)
	}
}
