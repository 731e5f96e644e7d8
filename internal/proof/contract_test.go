package proof_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// documents are what customers are called and what they write.
var documents = []string{
	`{"id": 1, "name": "José"}`,
	`{"id": 2, "name": "Zoë 🔥👩‍👩‍👧", "text": "日本語 \u00e9 \ud83d\ude00"}`,
	`{"id": 3, "name": "O'Brien", "text": "she said \"it's\" \\ fine", "quotes": "''\"\""}`,
	`{"id": 4, "text": "first\nsecond\r\n\tthird\u0000\u001f end"}`,
	"{\"id\": 5, \"raw\": \"\u007f\u0080\u2028\u2029\ufeff\",\r\n\t \"spaced\" :  [ 1 ,2.50, -0, 1e400 ] }",
	`{"id": 6, "id": 6, "lone": "\ud83d \ude00", "html": "<script>&amp;</script>"}`,
	`{"id":7,"deep":[[[{"a":{"b":null,"c":true,"d":false}}]]],"empty":{},"none":[],"blank":""}`,
	`[1, "José", null]`,
	`"just a text, José"`,
	`12345678901234567890.10`,
	`null`,
}

// capture keeps what an endpoint got.
type capture struct {
	endpoint
	mu  sync.Mutex
	got []receiver.Delivery
}

func (c *capture) take(d receiver.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.Header = d.Header.Clone()
	c.got = append(c.got, d)
}

func (c *capture) requests() []receiver.Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// TestContract: what the running binary really sends is verified by the documentation's reference
// code, run by Python, by the public package, and by the Standard Webhooks headers.
func TestContract(t *testing.T) {
	_, err := exec.LookPath("python3")
	need(t, err == nil, "python3")
	r := newRig(t)
	r.start()
	var topics []string
	for _, topic := range hook.Topics() {
		topics = append(topics, topic.Name)
	}
	var all []*capture
	subscribe := func(scheme hook.SignatureScheme, object bool, change func(*capture)) {
		c := &capture{endpoint: endpoint{webhook: oracle.Webhook{Company: "c1", Topics: topics, Object: object}, scheme: scheme}}
		c.each = c.take
		change(c)
		r.subscribe(&c.endpoint)
		all = append(all, c)
	}
	for _, scheme := range []hook.SignatureScheme{hook.SchemeHex, hook.SchemeBase64, hook.SchemeBase64Dotted, hook.SchemePythonDict} {
		subscribe(scheme, false, func(*capture) {})
		if scheme != hook.SchemePythonDict {
			subscribe(scheme, true, func(*capture) {})
		}
	}
	subscribe(hook.SchemeHex, false, func(c *capture) { c.secret = "an_imported!secret~,_no_whsec" })
	subscribe(hook.SchemePythonDict, false, func(c *capture) {
		c.script, c.settings = []string{"fail 500:1"}, `, "retry_schedule_seconds": [0.1, 0.1]`
	})

	for i, topic := range topics {
		for j, document := range documents {
			if i > 1 && j != i%len(documents) {
				continue // each document with two topics, each topic with one document
			}
			r.persist(r.ctx, &oracle.Event{ID: fmt.Sprintf("e-%d-%d", i, j), Company: "c1", Topic: topic, ObjectID: fmt.Sprintf("%d-%d", i, j), Data: document})
		}
	}
	r.settled([]string{"c1"}, 30*time.Second)
	if report := r.oracle.Check(); len(report) > 0 {
		t.Error(report)
	}
	var lines, want []string
	for _, c := range all {
		for _, d := range c.requests() {
			verifyByPackage(t, c, &d)
			checkHeaders(t, c, &d)
			mode, ok := map[hook.SignatureScheme]string{hook.SchemeHex: "raw", hook.SchemePythonDict: "dict"}[c.scheme]
			if !ok {
				continue
			}
			lines, want = append(lines, referenceLine(t, c, d.Body, d.Header, mode)), append(want, "ok")
			// The controls: another body, and a timestamp that moved.
			changed := []byte(strings.Replace(string(d.Body), `"data":`, `"dat":`, 1))
			moved := d.Header.Clone()
			moved.Set("X-Atlas-Webhook-Signature-Timestamp", "1732363200.5")
			lines, want = append(lines, referenceLine(t, c, changed, d.Header, mode)), append(want, "mismatch")
			lines, want = append(lines, referenceLine(t, c, d.Body, moved, mode)), append(want, "mismatch")
		}
	}
	for i, answer := range python(t, "../wire/testdata/reference.py", lines) {
		if got, _, _ := strings.Cut(answer, ":"); got != want[i] {
			t.Errorf("the reference says %s, want %s: %s", answer, want[i], lines[i])
		}
	}
	t.Logf("%d requests verified by the reference code, %d controls refused", len(lines)/3, len(lines)*2/3)
	retried(t, all[len(all)-1].requests())
	r.stop()
}

// verifyByPackage verifies a request as a receiver would that uses our library.
func verifyByPackage(t *testing.T, c *capture, d *receiver.Delivery) {
	t.Helper()
	format := webhook.FormatString
	if c.webhook.Object {
		format = webhook.FormatObject
	}
	standard := strings.HasPrefix(c.secret, "whsec_")
	v := webhook.Verifier{Secrets: []string{c.secret}, Scheme: webhook.Scheme(c.scheme), Format: format}
	event, err := v.Verify(d.Header, d.Body)
	if err != nil {
		t.Errorf("%s: %v: %s", c.scheme, err, d.Body)
		return
	}
	if event.IDVerified != standard || event.ID != d.Header.Get("X-Atlas-Webhook-Event-Id") || event.WebhookID != c.webhook.ID || !json.Valid(event.Data) {
		t.Errorf("%s: %+v", c.scheme, event)
	}
	v.Scheme = webhook.Standard
	if _, err := v.Verify(d.Header, d.Body); (err == nil) != standard {
		t.Errorf("standard webhooks: %v", err)
	}
	v = webhook.Verifier{Secrets: []string{hook.NewSecret()}, Scheme: webhook.Scheme(c.scheme), Format: format}
	if _, err := v.Verify(d.Header, d.Body); err == nil {
		t.Errorf("%s: it verifies with another secret", c.scheme)
	}
}

// checkHeaders compares a request's headers with the contract's table: none is missing, none is more.
func checkHeaders(t *testing.T, c *capture, d *receiver.Delivery) {
	t.Helper()
	want := []string{
		"Connection", "Content-Length", "Content-Type", "User-Agent", "X-Atlas-Webhook-Attempt", "X-Atlas-Webhook-Event-Id", "X-Atlas-Webhook-Object-Id", "X-Atlas-Webhook-Sequence",
		"X-Atlas-Webhook-Signature", "X-Atlas-Webhook-Signature-Timestamp", "X-Atlas-Webhook-Subscription-Id", "X-Atlas-Webhook-Timestamp",
		"X-Atlas-Webhook-Topic",
	}
	if strings.HasPrefix(c.secret, "whsec_") {
		want = append([]string{}, append(want, "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp")...)
		slices.Sort(want)
	}
	if got := slices.Sorted(maps.Keys(d.Header)); !slices.Equal(got, want) {
		t.Errorf("headers %q, want %q", got, want)
	}
	if d.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(d.Header.Get("User-Agent"), "Atlas-Webhooks/") ||
		d.Header.Get("Content-Length") != fmt.Sprint(len(d.Body)) {
		t.Errorf("%v", d.Header)
	}
	for _, b := range d.Body {
		if b > 0x7e {
			t.Errorf("not ASCII: %q", d.Body)
			break
		}
	}
}

// retried looks at deliveries whose first attempt failed: what must stay and what must not.
func retried(t *testing.T, got []receiver.Delivery) {
	t.Helper()
	first := got[0]
	i := slices.IndexFunc(got[1:], func(d receiver.Delivery) bool {
		return d.Header.Get("X-Atlas-Webhook-Event-Id") == first.Header.Get("X-Atlas-Webhook-Event-Id")
	})
	if i < 0 {
		t.Fatal("the delivery that failed was not made again")
	}
	second := got[i+1]
	for _, name := range []string{"X-Atlas-Webhook-Topic", "X-Atlas-Webhook-Sequence", "X-Atlas-Webhook-Subscription-Id", "Webhook-Id"} {
		if first.Header.Get(name) != second.Header.Get(name) {
			t.Errorf("%s: %q, then %q", name, first.Header.Get(name), second.Header.Get(name))
		}
	}
	for _, name := range []string{"X-Atlas-Webhook-Signature", "X-Atlas-Webhook-Signature-Timestamp"} {
		if first.Header.Get(name) == second.Header.Get(name) {
			t.Errorf("%s is not fresh", name)
		}
	}
	if a, b := first.Header.Get("X-Atlas-Webhook-Attempt"), second.Header.Get("X-Atlas-Webhook-Attempt"); a != "1" || b != "2" {
		t.Errorf("attempt %s, then %s", a, b)
	}
	if string(first.Body) != string(second.Body) {
		t.Error("another body")
	}
}

func referenceLine(t *testing.T, c *capture, body []byte, header http.Header, mode string) string {
	t.Helper()
	line, err := json.Marshal(map[string]any{"body": string(body), "headers": header, "secret": c.secret, "mode": mode})
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// python runs a script over lines and returns its answers.
func python(t *testing.T, script string, lines []string) []string {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-c", string(text))
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v\n%s", err, &stderr)
	}
	answers := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(answers) != len(lines) {
		t.Fatalf("python3: %d answers to %d lines", len(answers), len(lines))
	}
	return answers
}
