package cli

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

type listenFlags struct {
	forward, filter string
	scheme          client.SignatureScheme
	format          client.DataFormat
	events          []string
	count           int
}

func (p *Program) listen() *cobra.Command {
	f := listenFlags{scheme: client.Hex, format: client.DataString}
	cmd := &cobra.Command{
		Use: "listen --forward-to URL", Short: "Forward a company's events to a program on this machine", Args: cobra.NoArgs,
		Long: "Forward a company's events to a program on this machine, signed, each once, in sequence, until Ctrl-C. " +
			"A webhook is made for it, which stands still (the events are fetched) and is deleted at the end. " +
			"After a disconnect it goes on where it was. The secret is the same every time.",
		Example: example(
			"atlas-webhooks listen --company c1 --forward-to localhost:3000/hooks",
			"atlas-webhooks listen --company c1 --forward-to http://127.0.0.1:3000/ --events 'conversation.*' --scheme base64",
		),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.forward, "forward-to", "", "where to forward to, as localhost:3000/hooks")
	flags.StringSliceVar(&f.events, "events", []string{"*"}, "topics, as conversation.status or 'conversation.*'")
	flags.StringVar(&f.filter, "filter", "", "expression that events must fulfil")
	oneOf(cmd, &f.scheme, "scheme", "signature scheme", client.Hex, client.Base64, client.Base64Dotted, client.PythonDict)
	oneOf(cmd, &f.format, "data-format", "how data stands in the body", client.DataString, client.DataObject)
	flags.IntVar(&f.count, "count", 0, "end after so many events (default: never)")
	_ = cmd.MarkFlagRequired("forward-to")
	_ = cmd.RegisterFlagCompletionFunc("events", completeTopic)
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		return p.runListen(ctx, api, f)
	})
}

// listener forwards events from one place in a webhook's sequence on.
type listener struct {
	program *Program
	api     *caller
	flags   listenFlags
	target  string
	secret  string
	webhook string
	after   int64 // the sequence that was forwarded last
	done    int   // how many were forwarded
	http    *http.Client
}

func (p *Program) runListen(ctx context.Context, api *caller, f listenFlags) error {
	target, err := localURL(f.forward)
	if err != nil {
		return err
	}
	company, err := api.company(ctx)
	if err != nil {
		return err
	}
	l := &listener{program: p, api: api, flags: f, target: target, secret: listenSecret(api.settings.APIKey, company), http: &http.Client{
		Timeout:       hook.DefaultTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if err := l.subscribe(ctx); err != nil {
		return err
	}
	defer l.unsubscribe(ctx)
	p.progress("Forwarding %s to %s. Signing secret: %s", strings.Join(f.events, ", "), target, l.secret)
	for {
		err := l.forward(ctx)
		switch {
		case ctx.Err() != nil || f.count > 0 && l.done >= f.count:
			return nil
		case errors.Is(err, errOutput):
			return err
		case err != nil:
			if _, refused := refusalCode(err); refused {
				return err
			}
			p.progress("disconnected: %v", err)
		}
		if pause(ctx, pollFeed) != nil {
			return nil
		}
	}
}

// pollFeed is how long to wait before asking for more.
const pollFeed = 300 * time.Millisecond

var errOutput = errors.New("write the output")

// localURL completes what people type.
func localURL(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", usage("--forward-to: %q is no address, as localhost:3000/hooks", text)
	}
	return u.String(), nil
}

// listenSecret is the same every time for a key and a company, and tells nothing about the key.
func listenSecret(key config.Secret, company string) string {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte("atlas-webhooks listen " + company))
	return "whsec_" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// endpoint names this machine and the target in a domain that cannot exist (RFC 2606, section 2):
// nothing will ever be sent there.
func (l *listener) endpoint() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	sum := sha256.Sum256([]byte(host + " " + l.target))
	return "https://listen.example.invalid/" + hex.EncodeToString(sum[:8])
}

// subscribe makes the webhook, and removes one that an earlier run left behind.
func (l *listener) subscribe(ctx context.Context) error {
	for w, err := range l.api.Webhooks(ctx, client.WebhookFilter{Status: client.Paused, PageSize: hook.MaxLimit}) {
		if err != nil {
			return err
		}
		if w.Endpoint == l.endpoint() {
			if err := l.api.DeleteWebhook(ctx, w.ID, ""); err != nil {
				return err
			}
		}
	}
	w, err := l.api.CreateWebhook(ctx, client.WebhookCreate{
		Endpoint: l.endpoint(), Events: l.flags.events, Filter: l.flags.filter, Status: client.Paused, SigningSecret: l.secret,
		Description: "atlas-webhooks listen", SignatureScheme: l.flags.scheme, DataFormat: l.flags.format,
	})
	if err != nil {
		return err
	}
	l.webhook = w.ID
	return nil
}

// unsubscribe deletes the webhook although the command was told to end.
func (l *listener) unsubscribe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := l.api.DeleteWebhook(ctx, l.webhook, ""); err != nil {
		l.program.progress("the webhook %s is still there: %v", l.webhook, err)
	}
}

// forward forwards what there is after the last event that was forwarded.
func (l *listener) forward(ctx context.Context) error {
	for e, err := range l.api.PullEvents(ctx, l.webhook, l.after) {
		if err != nil {
			return err
		}
		if err := l.post(ctx, &e); err != nil {
			return err
		}
		l.after = e.Sequence
		if l.done++; l.done == l.flags.count {
			return nil
		}
	}
	return nil
}

// forwardRecord is what came of one event.
type forwardRecord struct {
	EventID    string  `json:"event_id"`
	Event      string  `json:"event"`
	Sequence   int64   `json:"sequence"`
	StatusCode int     `json:"status_code"` // 0: there was no answer
	Error      string  `json:"error,omitempty"`
	DurationMS float64 `json:"duration_ms"`
}

// post makes one request. A program that is not there is worth a line and no end.
func (l *listener) post(ctx context.Context, e *client.FedEvent) error {
	now := time.Now()
	r := wire.Request{
		Body: wire.Body(e.Event, e.Data, l.flags.format), Timestamp: wire.Timestamp(now), Topic: e.Event, EventID: e.EventID,
		WebhookID: l.webhook, Attempt: 1, Sequence: e.Sequence, Scheme: l.flags.scheme, Secret: l.secret,
		UserAgent: wire.UserAgent(buildVersion()),
	}
	if e.ObjectID != nil {
		r.Object = *e.ObjectID
	}
	header, err := r.Header()
	if err != nil {
		return err
	}
	if l.program.output != "json" {
		if err := l.program.line("--> %s %s", e.Event, e.EventID); err != nil {
			return fmt.Errorf("%w: %w", errOutput, err)
		}
	}
	record := forwardRecord{EventID: e.EventID, Event: e.Event, Sequence: e.Sequence}
	record.StatusCode, err = l.send(ctx, header, r.Body)
	took := time.Since(now)
	record.DurationMS = float64(took.Microseconds()) / 1000
	answer := fmt.Sprintf("<-- %d %.0f ms", record.StatusCode, record.DurationMS)
	if err != nil {
		record.Error = err.Error()
		answer = "<-- " + plain(record.Error)
	}
	if l.program.output == "json" {
		err = l.program.record(record)
	} else {
		err = l.program.line("%s", answer)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errOutput, err)
	}
	return nil
}

func (l *listener) send(ctx context.Context, header http.Header, body []byte) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.target, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header = header
	answer, err := l.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, err
}
