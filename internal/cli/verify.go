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
	computed              string
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
	Computed *computed `json:"computed,omitempty"`
}

// computed is what --computed found out.
type computed struct {
	Right    bool      `json:"right"`
	Found    bool      `json:"found"`
	Mistakes []mistake `json:"mistakes,omitempty"`
	Formula  string    `json:"formula,omitempty"`
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
			"With --computed, what your own code computed for this request, say which mistake your code makes. " +
			"Headers are read as you have them: lines, JSON, what your language or browser printed, or the event of a serverless function, which has the body too. " +
			"Exits with 5 when it does not verify.",
		Args: cobra.NoArgs,
		Example: example(
			`atlas-webhooks verify --secret "$SECRET" --headers @headers.txt --body @body.json`,
			`atlas-webhooks verify --secret "$SECRET" --headers @headers.txt --body @- --tolerance 0 < body.json`,
			`atlas-webhooks verify --secret "$SECRET" --headers @headers.txt --body @body.json --computed 5d41402abc4b2a76…`,
		),
		RunE: func(*cobra.Command, []string) error { return p.runVerify(f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.secrets, "secret", nil, "signing secret of the webhook; more than once while it is rotated")
	flags.StringVar(&f.headers, "headers", "", "headers of the request: @file with 'Name: value' lines, JSON, or an object as it was printed")
	flags.StringVar(&f.body, "body", "", "body of the request, byte for byte: @file or @- (standard input)")
	flags.StringVar(&f.scheme, "scheme", string(webhook.Hex), "signature scheme: hex, base64, base64-dotted, python-dict or standard")
	flags.StringVar(&f.computed, "computed", "", "what your own code computed, in hex or base64: text, @file or @-")
	flags.DurationVar(&f.tolerance, "tolerance", webhook.DefaultTolerance, "how far the signed time may lie from now; 0 does not look at it")
	for _, name := range []string{"secret", "headers"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func (p *Program) runVerify(f verifyFlags) error {
	text, err := p.content("headers", f.headers)
	if err != nil {
		return err
	}
	request, err := parseCaptured(text)
	if err != nil {
		return usage("--headers: %w", err)
	}
	header, body := request.header, request.body
	if f.body != "" || body == nil {
		if f.body == "" {
			return usage("--body: is needed, the headers come without one")
		}
		if body, err = p.content("body", f.body); err != nil {
			return err
		}
	}
	if f.tolerance == 0 {
		f.tolerance = -1 // the library's word for "not checked"
	}
	v := webhook.Verifier{Secrets: f.secrets, Scheme: webhook.Scheme(f.scheme), Tolerance: f.tolerance}
	event, err := v.Verify(header, body)
	switch {
	case errors.Is(err, webhook.SchemeUnknown), errors.Is(err, webhook.SecretMissing):
		return usage("%w", err)
	case f.computed != "":
		text, err2 := p.content("computed", f.computed)
		if err2 != nil {
			return err2
		}
		f.computed = string(text)
		return p.computed(err == nil, v.ExplainComputed(header, body, f.computed))
	case err == nil:
		return p.verified(event)
	}
	return p.refused(v.Diagnose(header, body))
}

// computed tells what somebody's own code computed. What it should be is not said: it would sign.
func (p *Program) computed(verified bool, c webhook.Computed) error {
	var refusal error
	if !c.Right {
		refusal = &exitError{exitVerify, errors.New("what was computed is not the signature of this request")}
	}
	if p.output == "json" {
		v := verdict{Verified: verified, Computed: &computed{Right: c.Right, Found: c.Found, Formula: c.Formula}}
		for _, m := range c.Mistakes {
			v.Computed.Mistakes = append(v.Computed.Mistakes, mistake(m))
		}
		return errors.Join(refusal, p.record(v))
	}
	lines := []string{"Your code computes what comes out of", "  " + c.Formula, "and what differs from the contract is:"}
	switch {
	case c.Right && verified:
		lines = []string{"right: this is the signature of the request, and the request's own", "Compare the two texts as they are, the header's and yours."}
	case c.Right:
		lines = []string{"right: this is the signature of this timestamp and body with this secret. That the request does not verify has another cause; ask without --computed."}
	case c.Cut:
		lines = []string{"Not found, and the body is too large to try everything: ask with a smaller event."}
	case !c.Found:
		lines = []string{"Not found: none of the known ways to go wrong gives this. Another secret, other headers, or a body that was changed more?"}
	}
	for _, m := range c.Mistakes {
		lines = append(lines, "  "+m.Code+": "+m.Detail)
	}
	for _, line := range lines {
		if err := p.line("%s", line); err != nil {
			return err
		}
	}
	return refusal
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
