package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

func (p *Program) receiver() *cobra.Command {
	c := receiver.Config{}
	var scheme string
	cmd := &cobra.Command{
		Use:   "receiver",
		Short: "Run a receiver that verifies, prints and misbehaves on request",
		Long: "Run a receiver for trying out: it prints every request, verifies it where --secret is given, and answers 200 " +
			"or what it is told to. The flags --fail, --slow, --retry-after and --behave are a script: each applies for its " +
			"count of requests, in the order in which they are given, and 200 follows. Behaviours:\n\n  " +
			strings.Join(receiver.Names(), "\n  "),
		Args: cobra.NoArgs,
		Example: example(
			`atlas-webhooks receiver --listen 127.0.0.1:3000 --secret "$SECRET"`,
			`atlas-webhooks receiver --fail 503:3 --slow 10s:1   # fails three times, is slow once, then recovers`,
			`atlas-webhooks receiver --behave reset:2 --output json`,
		),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Secret != "" && !hook.ValidSecret(c.Secret) {
				return usage("--secret: must be 16 to 256 visible ASCII characters")
			}
			c.Scheme = hook.SignatureScheme(scheme)
			return p.runReceiver(cmd.Context(), c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Address, "listen", "127.0.0.1:3000", "address to listen on; port 0 picks a free one")
	flags.StringVar(&c.Secret, "secret", "", "signing secret to verify with")
	flags.StringVar(&scheme, "scheme", string(hook.SchemeHex), "signature scheme: hex, base64, base64-dotted or python-dict")
	flags.Var(&step{&c.Script, "fail "}, "fail", "answer `STATUS[:COUNT]`")
	flags.Var(&step{&c.Script, "slow "}, "slow", "answer 200 after `DURATION[:COUNT]`")
	flags.Var(&step{&c.Script, "retry-after "}, "retry-after", "answer 429 with Retry-After: `SECONDS[:COUNT]`")
	flags.Var(&step{&c.Script, ""}, "behave", "one of the `BEHAVIOUR`s above")
	return cmd
}

// step is a flag that adds to the receiver's script, so that several flags keep the order in which
// they were given.
type step struct {
	script *[]receiver.Behaviour
	name   string
}

func (s *step) Set(text string) error {
	b, err := receiver.Parse(s.name + text)
	if err != nil {
		return err
	}
	*s.script = append(*s.script, b)
	return nil
}

func (s *step) String() string { return "" }

func (s *step) Type() string { return "behaviour" }

func (p *Program) runReceiver(ctx context.Context, c receiver.Config) error {
	log := &journal{program: p, secret: c.Secret, scheme: webhook.Scheme(c.Scheme)}
	c.Journal = log.add
	r, err := receiver.New(c)
	if err != nil {
		return err
	}
	p.progress("listening on %s", r.URL())
	err = r.Run(ctx)
	log.mu.Lock()
	defer log.mu.Unlock()
	p.progress("%d requests, %d of them with a signature that does not verify", log.requests, log.invalid)
	return errors.Join(err, log.err)
}

// journal prints what a receiver gets.
type journal struct {
	program *Program
	secret  string
	scheme  webhook.Scheme

	mu       sync.Mutex // what follows, and the order of lines
	requests int
	invalid  int
	err      error // of the first line that could not be written
}

// arrival is a request as --output json shows it.
type arrival struct {
	At       time.Time `json:"at"`
	Path     string    `json:"path"`
	Topic    string    `json:"event"`
	EventID  string    `json:"event_id"`
	Attempt  string    `json:"attempt"`
	Verified *bool     `json:"verified"` // null when no secret is known
	Mistake  string    `json:"mistake,omitempty"`
	Answer   string    `json:"answer"`
	Body     string    `json:"body"`
}

func (j *journal) add(d receiver.Delivery) {
	a := arrival{
		At: d.At, Path: d.Path, Topic: d.Header.Get(wire.HeaderTopic), EventID: d.Header.Get(wire.HeaderEventID),
		Attempt: d.Header.Get(wire.HeaderAttempt), Answer: d.Answer, Body: string(d.Body),
	}
	if j.secret != "" {
		verified := d.Invalid == nil
		a.Verified = &verified
		if !verified {
			a.Mistake = j.mistake(d.Header, d.Body, d.Invalid)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests++
	if a.Mistake != "" {
		j.invalid++
	}
	if err := j.print(a); err != nil && j.err == nil {
		j.err = err
	}
}

// mistake says why a request does not verify, by the library's diagnosis where it finds something.
func (j *journal) mistake(header http.Header, body []byte, err error) string {
	v := webhook.Verifier{Secrets: []string{j.secret}, Scheme: j.scheme, Tolerance: -1}
	if d := v.Diagnose(header, body); len(d.Mistakes) > 0 {
		return d.Mistakes[0].Code + ": " + d.Mistakes[0].Detail
	}
	return err.Error()
}

func (j *journal) print(a arrival) error {
	if j.program.output == "json" {
		return j.program.record(a)
	}
	verified := ""
	switch {
	case a.Verified == nil:
	case *a.Verified:
		verified = ", verified"
	default:
		verified = ", NOT VERIFIED: " + a.Mistake
	}
	return j.program.line("%s %s %s attempt %s <- %s%s",
		a.At.Format("15:04:05.000"), printable(a.Topic), printable(a.EventID), printable(a.Attempt), a.Answer, verified)
}

// printable keeps a stranger's header from writing to the terminal more than its characters.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Trim(fmt.Sprintf("%+q", s), `"`)
}
