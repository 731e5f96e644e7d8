package cli

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

type signFlags struct {
	secret, body, topic, data, scheme, format, timestamp, id string
}

func (p *Program) sign() *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use:   "sign --secret SECRET (--body @FILE | --topic TOPIC [--data @FILE])",
		Short: "Print the headers that a delivery of a body would carry",
		Long: "Print the signed headers that a delivery of a body would carry, as 'Name: value' lines for curl -H @FILE. " +
			"With --topic instead of --body the body is made from the topic and its data, and printed by --output json.",
		Args: cobra.NoArgs,
		Example: example(
			`atlas-webhooks sign --secret "$SECRET" --body @body.json > headers.txt`,
			`curl -H @headers.txt --data-binary @body.json http://localhost:3000/hooks`,
			`atlas-webhooks sign --secret "$SECRET" --topic conversation.status --scheme base64 --output json`,
		),
		RunE: func(*cobra.Command, []string) error { return p.runSign(f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.secret, "secret", "", "signing secret of the webhook")
	flags.StringVar(&f.body, "body", "", "body of the request: text, @file or @- (standard input)")
	flags.StringVar(&f.topic, "topic", "", "topic to make a body for")
	flags.StringVar(&f.data, "data", "", "published document for --topic: text, @file or @- (default: the topic's sample)")
	flags.StringVar(&f.scheme, "scheme", string(hook.SchemeHex), "signature scheme: hex, base64, base64-dotted or python-dict")
	flags.StringVar(&f.format, "data-format", string(hook.DataString), "how --data stands in the body: string or object")
	flags.StringVar(&f.timestamp, "timestamp", "", "time of signing in seconds since the epoch (default: now)")
	flags.StringVar(&f.id, "event-id", "", "id of the event (default: a new one)")
	_ = cmd.MarkFlagRequired("secret")
	cmd.MarkFlagsOneRequired("body", "topic")
	cmd.MarkFlagsMutuallyExclusive("body", "topic")
	cmd.MarkFlagsMutuallyExclusive("body", "data")
	return cmd
}

func (p *Program) runSign(f signFlags) error {
	if !hook.ValidSecret(f.secret) {
		return usage("--secret: must be 16 to 256 visible ASCII characters")
	}
	now := time.Now()
	if f.timestamp == "" {
		f.timestamp = wire.Timestamp(now)
	} else if _, ok := wire.ParseTimestamp(f.timestamp); !ok {
		return usage("--timestamp: %q is not a number of seconds, as 1732363200.5", f.timestamp)
	}
	if f.id == "" {
		f.id = hook.NewID(hook.EventPrefix, now)
	} else if !hook.ValidEventID(f.id) {
		return usage("--event-id: must be 1 to 128 of A-Z a-z 0-9 _ : -")
	}
	request := wire.Request{
		Scheme: hook.SignatureScheme(f.scheme), Secret: f.secret, Timestamp: f.timestamp,
		EventID: f.id, Attempt: 1, UserAgent: wire.UserAgent(buildVersion()),
	}
	if err := p.bodyToSign(f, &request); err != nil {
		return err
	}
	header, err := request.Header()
	if err != nil {
		return usage("%w", err)
	}
	// What a bare body does not tell is left out: the webhook, and the topic unless it was given.
	maps.DeleteFunc(header, func(_ string, values []string) bool { return values[0] == "" })
	return p.printSigned(header, request.Body)
}

// bodyToSign sets the request's body, and its topic and object where they are known.
func (p *Program) bodyToSign(f signFlags, r *wire.Request) (err error) {
	if f.topic == "" {
		r.Body, err = p.content("body", f.body)
		return err
	}
	t, err := lookupTopic(f.topic)
	if err != nil {
		return err
	}
	if f.format != string(hook.DataString) && f.format != string(hook.DataObject) {
		return usage("--data-format: %q is neither string nor object", f.format)
	}
	data := []byte(t.Sample)
	if f.data != "" {
		if data, err = p.content("data", f.data); err != nil {
			return err
		}
	}
	document, err := wire.Parse(data)
	if err != nil {
		return usage("--data: %w", err)
	}
	r.Topic, r.Body = t.Name, wire.Body(t.Name, document.Text, hook.DataFormat(f.format))
	if id, ok := document.ID(); ok && hook.ValidObjectID(id) {
		r.Object = id
	}
	return nil
}

func (p *Program) printSigned(header http.Header, body []byte) error {
	names := slices.Sorted(maps.Keys(header))
	if p.output == "json" {
		flat := map[string]string{}
		for _, name := range names {
			flat[name] = strings.Join(header[name], ", ")
		}
		return p.record(map[string]any{"headers": flat, "body": string(body)})
	}
	for _, name := range names {
		if err := p.line("%s: %s", name, strings.Join(header[name], ", ")); err != nil {
			return err
		}
	}
	return nil
}
