package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"strconv"
	"strings"
	"text/template"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// snippet is a program that somebody copies: a whole receiver, or for curl a signed request to one.
type snippet struct{ Language, File, Run, Code string }

//go:embed snippets
var snippetFiles embed.FS

// snippetTemplates are programs in which the values are put by the quoting of their language, so
// that a secret is data in it, whatever its characters.
var snippetTemplates = template.Must(template.New("").Delims("«", "»").Funcs(template.FuncMap{
	"go": strconv.Quote, "python": jsonQuote, "ts": jsonQuote, "sh": shellQuote,
}).ParseFS(snippetFiles, "snippets/*"))

// snippetValues are what the programs are made of.
type snippetValues struct {
	Secret  string
	Scheme  string // hex, base64, base64-dotted, python-dict
	Encode  string // hex or base64
	Dot     string // between timestamp and body
	Text    bool   // the data is a string that holds the document
	Topic   string
	Body    string // a sample as it would be sent
	Webhook string
}

// snippets are the programs for a webhook. With secret "" they read it from the environment.
func snippets(w *client.Webhook, secret string) []snippet {
	values := snippetValues{Secret: secret, Scheme: string(w.SignatureScheme), Encode: "hex", Dot: ".", Webhook: w.ID, Text: w.DataFormat == "string"}
	if strings.HasPrefix(string(w.SignatureScheme), "base64") {
		values.Encode = "base64"
	}
	if w.SignatureScheme == "base64" {
		values.Dot = ""
	}
	topic := sampleTopic(w.Events)
	values.Topic, values.Body = topic.Name, sampleBody(topic, w.DataFormat)
	list := []snippet{
		{Language: "Python", File: "receiver.py", Run: "python3 receiver.py"},
		{Language: "Go", File: "receiver.go", Run: "go run receiver.go"},
		{Language: "TypeScript", File: "receiver.ts", Run: "npx tsx receiver.ts"},
		{Language: "curl", File: "send.sh", Run: "sh send.sh"},
	}
	for i := range list {
		var b bytes.Buffer
		if err := snippetTemplates.ExecuteTemplate(&b, list[i].File+".tmpl", values); err != nil {
			panic(err) // an embedded file of ours
		}
		list[i].Code = b.String()
	}
	return list
}

// sampleTopic is the first topic that a webhook is subscribed to: a built-in one, or one that it names.
func sampleTopic(patterns []string) hook.Topic {
	set := hook.MatchTopics(patterns)
	for _, t := range hook.Topics() {
		if set.Has(t.Name) {
			return t
		}
	}
	for _, p := range patterns {
		if hook.ValidTopic(p) {
			return hook.Topic{Name: p, Sample: `{"id": "1"}`}
		}
	}
	return hook.Topics()[0]
}

// sampleBody is a topic's sample as it would be sent.
func sampleBody(t hook.Topic, format client.DataFormat) string {
	escaped, err := wire.Escape([]byte(t.Sample))
	if err != nil {
		panic(err) // a sample of ours
	}
	return string(wire.Body(t.Name, escaped, format))
}

// jsonQuote writes a string literal that JavaScript and Python read alike.
func jsonQuote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// shellQuote is POSIX quoting: everything between single quotes is itself.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
