package cli

import (
	"bufio"
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
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
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
			"A webhook is made for it, which stands still (the events are fetched) and is deleted at the end, also when this is killed. " +
			"After a disconnect it goes on where it was, and what met a closed port is sent when the program is back. The secret is the same every time.",
		Example: example(
			"atlas-webhooks listen --company c1 --forward-to 3000/hooks",
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
	after   int64            // the sequence that was forwarded last
	done    int              // how many were forwarded
	last    *client.FedEvent // the last one that the program here got
	sent    int              // how often it got that
	again   <-chan struct{}  // a person wants the last one sent again
	http    *http.Client
}

func (p *Program) runListen(ctx context.Context, api *caller, f listenFlags) error {
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	target, err := localURL(f.forward)
	if err != nil {
		return err
	}
	company, err := api.company(ctx)
	if err != nil {
		return err
	}
	if api, err = p.untiring(api); err != nil {
		return err
	}
	l := &listener{program: p, api: api, flags: f, target: target, secret: listenSecret(api.settings.APIKey, company), http: &http.Client{
		Timeout:       hook.DefaultTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if err := l.subscribe(ctx); err != nil {
		return err
	}
	dismiss := l.guard()
	defer func() {
		l.unsubscribe(ctx)
		dismiss()
	}()
	l.again = p.asked("r")
	p.progress("Forwarding %s to %s; r and Enter sends the last one again. Signing secret: %s", strings.Join(f.events, ", "), target, l.secret)
	return l.run(ctx)
}

// run forwards until it is told to end, or the server has refused it.
func (l *listener) run(ctx context.Context) error {
	for {
		err := l.forward(ctx)
		problem, refused := errors.AsType[*client.Problem](err)
		switch {
		case ctx.Err() != nil || l.flags.count > 0 && l.done >= l.flags.count:
			return nil //nolint:nilerr // it ends when it is told to, whatever it was doing
		case errors.Is(err, errOutput):
			return err
		case refused && problem.Status == http.StatusNotFound:
			return fmt.Errorf("somebody deleted the webhook %s, which listened here; start again to go on", l.webhook)
		case refused && problem.Status < http.StatusInternalServerError && problem.Status != http.StatusTooManyRequests:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.again:
			err = l.resend(ctx)
		case <-time.After(pollFeed):
		}
		if errors.Is(err, errOutput) {
			return err
		}
	}
}

// pollFeed is how long to wait before asking for more.
const pollFeed = 300 * time.Millisecond

var errOutput = errors.New("write the output")

// asked tells of each line on standard input that says just a word.
func (p *Program) asked(word string) <-chan struct{} {
	signal.Ignore(syscall.SIGTTIN) // a job in the background is not stopped by this; its read fails
	c := make(chan struct{})
	go func() { // ends with the input, or with the process: a read of a terminal cannot be called off
		for lines := bufio.NewScanner(p.Stdin); lines.Scan(); {
			if strings.TrimSpace(lines.Text()) == word {
				c <- struct{}{}
			}
		}
	}()
	return c
}

// localURL completes what people type: a bare port is one of this machine.
func localURL(text string) (string, error) {
	port, _, _ := strings.Cut(strings.TrimPrefix(text, ":"), "/")
	if _, err := strconv.ParseUint(port, 10, 16); err == nil {
		text = "localhost:" + strings.TrimPrefix(text, ":")
	}
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
	err := l.api.DeleteWebhook(ctx, l.webhook, "")
	if code, _ := refusalCode(err); err != nil && code != exitNotFound {
		l.program.progress("the webhook %s is still there: %v", l.webhook, err)
	}
}

// guard starts a process that outlives this one, to delete the webhook where this one is killed.
func (l *listener) guard() (dismiss func()) {
	if l.program.Self == "" {
		return func() {}
	}
	guard := exec.Command(l.program.Self, "listen-end", l.webhook) //nolint:gosec,noctx // this program; it outlives what is called off here
	guard.Env = l.api.settings.Environment()
	guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	alive, err := guard.StdinPipe()                        // ends with this process, however that ends
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		l.program.progress("the webhook %s stays behind if this is killed: %v", l.webhook, err)
		return func() {}
	}
	return func() {
		_ = guard.Process.Kill() // it has nothing to do
		_ = alive.Close()
		_ = guard.Wait()
	}
}

// listenEnd is the guard of a listen.
func (p *Program) listenEnd() *cobra.Command {
	return p.remote(&cobra.Command{Use: "listen-end WEBHOOK", Hidden: true, Args: cobra.ExactArgs(1)}, func(ctx context.Context, api *caller, args []string) error {
		_, _ = io.Copy(io.Discard, p.Stdin) // an error is an end too
		for n := range guardTries {
			err := api.DeleteWebhook(ctx, args[0], "")
			if code, _ := refusalCode(err); err == nil || code == exitNotFound || n == guardTries-1 {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Minute):
			}
		}
		return nil
	})
}

// guardTries is how often, a minute apart, a guard tries to delete: the server may restart meanwhile.
const guardTries = 60

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

// retryLocal is how long to wait before a program that was not there is tried again.
const retryLocal = 500 * time.Millisecond

// post forwards an event. Where nothing listens it waits until something does: a program that is
// started anew misses nothing.
func (l *listener) post(ctx context.Context, e *client.FedEvent) error {
	l.last, l.sent = e, 0
	if err := l.say("--> %s %s", e.Event, e.EventID); err != nil {
		return err
	}
	for told := false; ; told = true {
		record, err := l.attempt(ctx, e)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return l.report(record, err)
		}
		if !told {
			l.program.progress("nothing listens at %s; %s is sent again as soon as something does", l.target, e.EventID)
		}
		if err := pause(ctx, retryLocal); err != nil {
			return err
		}
	}
}

// resend sends the last event again.
func (l *listener) resend(ctx context.Context) error {
	if l.last == nil {
		l.program.progress("nothing was sent yet")
		return nil
	}
	if err := l.say("--> %s %s again", l.last.Event, l.last.EventID); err != nil {
		return err
	}
	return l.report(l.attempt(ctx, l.last))
}

// attempt makes one request, signed anew.
func (l *listener) attempt(ctx context.Context, e *client.FedEvent) (forwardRecord, error) {
	now := time.Now()
	r := wire.Request{
		Body: wire.Body(e.Event, e.Data, l.flags.format), Timestamp: wire.Timestamp(now), Topic: e.Event, EventID: e.EventID,
		WebhookID: l.webhook, Attempt: l.sent + 1, Sequence: e.Sequence, Scheme: l.flags.scheme, Secret: l.secret,
		UserAgent: wire.UserAgent(buildVersion()),
	}
	if e.ObjectID != nil {
		r.Object = *e.ObjectID
	}
	record := forwardRecord{EventID: e.EventID, Event: e.Event, Sequence: e.Sequence}
	header, err := r.Header()
	if err != nil {
		return record, err
	}
	record.StatusCode, err = l.send(ctx, header, r.Body)
	record.DurationMS = float64(time.Since(now).Microseconds()) / 1000
	if !errors.Is(err, syscall.ECONNREFUSED) {
		l.sent++
	}
	return record, err
}

// report tells what came of an event. A program that fails is worth a line and no end.
func (l *listener) report(record forwardRecord, err error) error {
	answer := fmt.Sprintf("<-- %d %.0f ms", record.StatusCode, record.DurationMS)
	if err != nil {
		record.Error = err.Error()
		answer = "<-- " + plain(record.Error)
	}
	if l.program.output == "json" {
		if err := l.program.record(record); err != nil {
			return fmt.Errorf("%w: %w", errOutput, err)
		}
		return nil
	}
	return l.say("%s", answer)
}

// say writes a line for people.
func (l *listener) say(format string, args ...any) error {
	if l.program.output == "json" {
		return nil
	}
	if err := l.program.line(format, args...); err != nil {
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
