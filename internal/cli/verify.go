package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

type verifyFlags struct {
	secrets               []string
	headers, body, scheme string
	tolerance             time.Duration
}

// verdict is what verify prints with --output json.
type verdict struct {
	Verified bool      `json:"verified"`
	Topic    string    `json:"event,omitempty"`
	EventID  string    `json:"event_id,omitempty"`
	SignedAt string    `json:"signed_at,omitempty"`
	Code     string    `json:"code,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Mistakes []mistake `json:"mistakes,omitempty"`
	Proven   bool      `json:"proven,omitempty"`
}

type mistake struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (p *Program) verify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify --secret SECRET --headers @FILE --body @FILE",
		Short: "Verify a received request, or say which mistake makes it fail",
		Long: "Verify the signature of a received request. When it does not verify, say which mistake it is: a body that was " +
			"parsed and printed again or got a newline, another secret or scheme, an old timestamp, and so on. " +
			"Exits with 5 when it does not verify.",
		Args: cobra.NoArgs,
		Example: example(
			`atlas-webhooks verify --secret "$SECRET" --headers @headers.txt --body @body.json`,
			`atlas-webhooks verify --secret "$SECRET" --headers @headers.txt --body @- --tolerance 0 < body.json`,
		),
		RunE: func(*cobra.Command, []string) error { return p.runVerify(f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.secrets, "secret", nil, "signing secret of the webhook; more than once while it is rotated")
	flags.StringVar(&f.headers, "headers", "", "headers of the request: @file with 'Name: value' lines or a JSON object")
	flags.StringVar(&f.body, "body", "", "body of the request, byte for byte: @file or @- (standard input)")
	flags.StringVar(&f.scheme, "scheme", string(webhook.Hex), "signature scheme: hex, base64, base64-dotted, python-dict or standard")
	flags.DurationVar(&f.tolerance, "tolerance", webhook.DefaultTolerance, "how far the signed time may lie from now; 0 does not look at it")
	for _, name := range []string{"secret", "headers", "body"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func (p *Program) runVerify(f verifyFlags) error {
	text, err := p.content("headers", f.headers)
	if err != nil {
		return err
	}
	header, err := parseHeaders(text)
	if err != nil {
		return usage("--headers: %w", err)
	}
	body, err := p.content("body", f.body)
	if err != nil {
		return err
	}
	if f.tolerance == 0 {
		f.tolerance = -1 // the library's word for "not checked"
	}
	v := webhook.Verifier{Secrets: f.secrets, Scheme: webhook.Scheme(f.scheme), Tolerance: f.tolerance}
	event, err := v.Verify(header, body)
	if err == nil {
		return p.verified(event)
	}
	if errors.Is(err, webhook.SchemeUnknown) || errors.Is(err, webhook.SecretMissing) {
		return usage("%w", err)
	}
	return p.refused(v.Diagnose(header, body))
}

func (p *Program) verified(e *webhook.Event) error {
	signedAt := e.SignedAt.UTC().Format(time.RFC3339Nano)
	if p.output == "json" {
		return p.record(verdict{Verified: true, Topic: e.Topic, EventID: e.ID, SignedAt: signedAt})
	}
	return p.line("verified: %s %s, signed at %s", e.Topic, e.ID, signedAt)
}

func (p *Program) refused(d webhook.Diagnosis) error {
	v := verdict{Code: string(d.Err.Code), Detail: d.Err.Detail, Proven: d.Proven}
	for _, m := range d.Mistakes {
		v.Mistakes = append(v.Mistakes, mistake(m))
	}
	refusal := &exitError{exitVerify, errors.New("the request does not verify")}
	if p.output == "json" {
		return errors.Join(refusal, p.record(v))
	}
	if err := p.line("%s: %s", v.Code, v.Detail); err != nil {
		return err
	}
	heading := "What looks wrong:"
	switch {
	case len(v.Mistakes) == 0:
		heading = "None of the usual mistakes explains it: the secret is another webhook's, or the body was changed."
	case v.Proven:
		heading = "The cause (with this undone the signature is right):"
	}
	if err := p.line("%s", heading); err != nil {
		return err
	}
	for _, m := range v.Mistakes {
		if err := p.line("  %s: %s", m.Code, m.Detail); err != nil {
			return err
		}
	}
	return refusal
}
