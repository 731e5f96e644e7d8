package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// sample is how an operation is called from one language.
type sample struct{ Language, Code string }

// bodies are the bodies of the samples, by operation; operations without one take none, or can do
// without.
var bodies = map[string]string{
	"publish-event":   `{"company_id": "c1", "event": "conversation.status", "data": {"id": "7", "status": "CLOSED"}}`,
	"publish-batch":   `[{"company_id": "c1", "event": "customer.created", "data": {"id": "8"}}]`,
	"create-webhook":  `{"endpoint": "https://example.com/hooks", "events": ["conversation.*"]}`,
	"update-webhook":  `{"status": "INACTIVE"}`,
	"patch-webhook":   `{"description": "Orders"}`,
	"create-key":      `{"name": "Support desk", "scope": "read"}`,
	"put-topic":       `{"category": "ORDER", "description": "order shipped"}`,
	"update-company":  `{"default_data_format": "object"}`,
	"rotate-secret":   `{"overlap_seconds": 3600}`,
	"test-webhook":    `{"event": "conversation.status"}`,
	"preflight":       `{"endpoint": "https://example.com/hooks"}`,
	"create-replay":   `{"from": "2026-03-01T00:00:00Z", "only": "failed"}`,
	"preview-filter":  `{"filter": "data.status == \"CLOSED\""}`,
	"retry-delivery":  ``,
	"activate-secret": ``,
}

// samples shows a call in four languages, each with what comes with it.
func samples(op *huma.Operation, url string) []sample {
	path := strings.NewReplacer("{company_id}", "c1", "{event_id}", "EVENT_ID", "{key_id}", "KEY_ID", "{replay_id}", "REPLAY_ID", "{topic}", "order.shipped", "{id}", "WEBHOOK_ID").Replace(op.Path)
	body := bodies[op.OperationID]
	company := false
	for _, p := range op.Parameters {
		company = company || p.Name == companyHeader
	}
	c := call{op.Method, url + path, body, company}
	return []sample{{"curl", c.curl()}, {"Go", c.golang()}, {"Python", c.python()}, {"TypeScript", c.typescript()}}
}

type call struct {
	method, url, body string
	company           bool
}

func (c call) curl() string {
	var b strings.Builder
	b.WriteString("curl")
	if c.method != http.MethodGet {
		b.WriteString(" -X " + c.method)
	}
	fmt.Fprintf(&b, " %s \\\n  -H \"Authorization: Bearer $ATLAS_WEBHOOKS_API_KEY\"", c.url)
	if c.company {
		b.WriteString(" \\\n  -H \"X-Atlas-Company-Id: c1\"")
	}
	if c.body != "" {
		b.WriteString(" \\\n  -H \"Content-Type: application/json\" \\\n  -d " + quote(c.body))
	}
	return b.String()
}

func (c call) golang() string {
	body := "nil"
	if c.body != "" {
		body = "strings.NewReader(`" + c.body + "`)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "req, err := http.NewRequestWithContext(ctx, %q, %q, %s)\nif err != nil {\n\treturn err\n}\n", c.method, c.url, body)
	b.WriteString("req.Header.Set(\"Authorization\", \"Bearer \"+os.Getenv(\"ATLAS_WEBHOOKS_API_KEY\"))\n")
	if c.company {
		b.WriteString("req.Header.Set(\"X-Atlas-Company-Id\", \"c1\")\n")
	}
	if c.body != "" {
		b.WriteString("req.Header.Set(\"Content-Type\", \"application/json\")\n")
	}
	b.WriteString("resp, err := http.DefaultClient.Do(req)")
	return b.String()
}

func (c call) python() string {
	var b strings.Builder
	b.WriteString("import os, urllib.request\n\nrequest = urllib.request.Request(\n")
	fmt.Fprintf(&b, "    %q,\n    method=%q,\n", c.url, c.method)
	if c.body != "" {
		fmt.Fprintf(&b, "    data=b'%s',\n", strings.ReplaceAll(c.body, `\`, `\\`))
	}
	b.WriteString("    headers={\n        \"Authorization\": \"Bearer \" + os.environ[\"ATLAS_WEBHOOKS_API_KEY\"],\n")
	if c.company {
		b.WriteString("        \"X-Atlas-Company-Id\": \"c1\",\n")
	}
	if c.body != "" {
		b.WriteString("        \"Content-Type\": \"application/json\",\n")
	}
	b.WriteString("    },\n)\nwith urllib.request.urlopen(request) as response:\n    print(response.read().decode())")
	return b.String()
}

func (c call) typescript() string {
	var b strings.Builder
	fmt.Fprintf(&b, "const response = await fetch(%q, {\n  method: %q,\n  headers: {\n", c.url, c.method)
	b.WriteString("    Authorization: `Bearer ${process.env.ATLAS_WEBHOOKS_API_KEY}`,\n")
	if c.company {
		b.WriteString("    \"X-Atlas-Company-Id\": \"c1\",\n")
	}
	if c.body != "" {
		b.WriteString("    \"Content-Type\": \"application/json\",\n")
	}
	b.WriteString("  },\n")
	if c.body != "" {
		fmt.Fprintf(&b, "  body: %s,\n", "JSON.stringify("+c.body+")")
	}
	b.WriteString("});\nconsole.log(await response.json());")
	return b.String()
}
