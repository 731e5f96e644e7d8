package docs_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// pageReceiver is the address that the pages give their receiver.
const pageReceiver = "http://localhost:3000"

// TestAPI runs the commands of api.md.
func TestAPI(t *testing.T) {
	server := apptest.Start(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	s := &session{t: t, page: "api.md", replace: strings.NewReplacer(pageReceiver, receiver.URL), environ: map[string]string{
		"ATLAS_WEBHOOKS_URL": server.URL, "ATLAS_WEBHOOKS_API_KEY": server.Key,
	}}
	s.run()
}

// TestOperations: api.md lists every operation of the document.
func TestOperations(t *testing.T) {
	server := apptest.Start(t)
	c := clientOf(t, server, "")
	text, err := c.OpenAPI(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			Summary string   `json:"summary"`
			Tags    []string `json:"tags"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| | | |\n|---|---|---|\n")
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		for _, method := range []string{"get", "post", "patch", "put", "delete"} {
			if op, ok := document.Paths[path][method]; ok {
				fmt.Fprintf(&b, "| %s | `%s` | %s |\n", strings.ToUpper(method), path, op.Summary)
			}
		}
	}
	generated(t, "api.md", "operations", b.String(), asItIs)
}

func clientOf(t *testing.T, server *apptest.Server, company string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: server.URL, Key: server.Key, Company: company})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exampleSecret is that of the worked example, so that its reader can verify the signature.
const exampleSecret = "whsec_d29ya2VkLWV4YW1wbGUtd29ya2VkLWV4YW1wbGUtISE="

// TestWorkedExample runs the worked example of api.md and compares it with the page. The signature on
// the page is a real one: it verifies.
func TestWorkedExample(t *testing.T) {
	server := apptest.Start(t)
	c := clientOf(t, server, "c1")
	receiver := newRawReceiver(t)
	w, err := c.CreateWebhook(t.Context(), client.WebhookCreate{
		Endpoint: receiver.url + "/hooks", Events: []string{"conversation.*"}, SigningSecret: exampleSecret,
	})
	if err != nil {
		t.Fatal(err)
	}
	const publish = `{"company_id": "c1", "event": "conversation.status", "id": "c-17-closed", "data": {"id": "c-17", "status": "CLOSED", "by": "José"}}`
	accepted := answerTo(t, server, "POST", "/v1/events", publish)
	got := <-receiver.requests
	delivery := awaitDelivery(t, server, w.ID, "c-17-closed")

	var b strings.Builder
	fmt.Fprintf(&b, "One event through a server, as it was when this page was made. The webhook is subscribed to\n"+
		"`conversation.*`, and its secret is `%s`.\n\n", exampleSecret)
	fmt.Fprintf(&b, "The producer publishes:\n\n```http\nPOST /v1/events HTTP/1.1\nAuthorization: Bearer awo_…\nContent-Type: application/json\n\n%s\n```\n\n", publish)
	fmt.Fprintf(&b, "The event is on disk:\n\n```http\n%s```\n\n", accepted)
	fmt.Fprintf(&b, "The receiver gets these bytes, all of them ASCII:\n\n```http\n%s\n```\n\n", strings.ReplaceAll(got, "\r\n", "\n"))
	fmt.Fprintf(&b, "It answers:\n\n```http\n%s\n```\n\n", strings.ReplaceAll(strings.TrimSpace(rawAnswer), "\r\n", "\n"))
	fmt.Fprintf(&b, "And this is what `GET /v1/webhooks/{id}/deliveries/c-17-closed` knows of it:\n\n```json\n%s```\n\n", delivery)
	b.WriteString("`X-Atlas-Webhook-Signature` is the HMAC-SHA256, in hex, of the timestamp's text, a dot and the body, with\n" +
		"the whole secret as the key.\n")
	text := strings.ReplaceAll(b.String(), receiver.url, pageReceiver)
	text = strings.ReplaceAll(text, "Host: "+strings.TrimPrefix(receiver.url, "http://"), "Host: "+strings.TrimPrefix(pageReceiver, "http://"))
	generated(t, "api.md", "example", text, steady)
	verifyExample(t)
}

// varying is what differs each time.
var varying = regexp.MustCompile(
	`\b(evt|wh|req)_[0-9a-z]{26}\b` + // ids
		`|20\d\d-\d\d-\d\dT[\d:.]+Z|\b1\d{9}(\.\d+)?\b` + // times
		`|\b[0-9a-f]{64}\b|v1,[A-Za-z0-9+/]{43}=` + // signatures
		`|_ms": (\d+(\.\d+)?|null)`,
)

var headerLines = regexp.MustCompile(`(?m)(^[\w-]+: .*\n)+`)

// steady is a text without what differs each time, the order of headers among it.
func steady(text string) string {
	text = headerLines.ReplaceAllStringFunc(text, func(block string) string {
		lines := strings.SplitAfter(block, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "")
	})
	return varying.ReplaceAllString(text, "·")
}

// verifyExample verifies the request on the page.
func verifyExample(t *testing.T) {
	t.Helper()
	for _, b := range blocks(read(t, "api.md")) {
		head, body, _ := strings.Cut(b.text, "\n\n")
		if b.info != "http" || !strings.HasPrefix(head, "POST /hooks") {
			continue
		}
		_, lines, _ := strings.Cut(head, "\n")
		header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(lines + "\n\n"))).ReadMIMEHeader()
		if err != nil {
			t.Fatal(err)
		}
		v := webhook.Verifier{Secrets: []string{exampleSecret}, Tolerance: -1}
		e, err := v.Verify(http.Header(header), []byte(strings.TrimSuffix(body, "\n")))
		if err != nil || e.ID != "c-17-closed" || !e.IDVerified {
			t.Errorf("the request on the page: %v", err)
		}
		return
	}
	t.Error("there is no request on the page")
}

// answerTo makes a request by hand and returns the answer as text, without what every answer has.
func answerTo(t *testing.T, server *apptest.Server, method, path, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+server.Key)
	r.Header.Set("X-Atlas-Company-Id", "c1")
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("HTTP/1.1 %s\nContent-Type: %s\nX-Request-Id: %s\n\n%s", answer.Status, answer.Header.Get("Content-Type"), answer.Header.Get("X-Request-Id"), text)
}

// awaitDelivery returns a delivery as indented JSON once it is delivered.
func awaitDelivery(t *testing.T, server *apptest.Server, webhook, event string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, body, _ := strings.Cut(answerTo(t, server, "GET", "/v1/webhooks/"+url.PathEscape(webhook)+"/deliveries/"+event, ""), "\n\n")
		if strings.Contains(body, `"status":"delivered"`) {
			var b bytes.Buffer
			if err := json.Indent(&b, []byte(body), "", "  "); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		if time.Now().After(deadline) {
			t.Fatalf("not delivered: %s", body)
		}
	}
}

const rawAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks"

// rawReceiver keeps the bytes of the requests that it gets.
type rawReceiver struct {
	url      string
	requests chan string
}

func newRawReceiver(t *testing.T) *rawReceiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &rawReceiver{url: "http://" + l.Addr().String(), requests: make(chan string, 16)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

// serve answers the requests of one connection.
func (r *rawReceiver) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		var raw strings.Builder
		length := 0
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			raw.WriteString(line)
			if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Content-Length") {
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
			if line == "\r\n" {
				break
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		raw.Write(body)
		r.requests <- raw.String()
		if _, err := io.WriteString(conn, rawAnswer); err != nil {
			return
		}
	}
}
