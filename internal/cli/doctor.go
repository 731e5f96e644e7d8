package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) doctor() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "doctor", Short: "Check a server, the key, the clock and the company's webhooks", Args: cobra.NoArgs,
		Long: "Check that the server can be reached and serves, that the key is valid, that the clocks agree, " +
			"and that the webhooks of the company fare well and every event is accounted for. With an operator key --company names it. " +
			"It fails if something needs attention.",
		Example: example("atlas-webhooks doctor", "atlas-webhooks doctor --company c1 --output json"),
	}, func(ctx context.Context, api *caller, _ []string) error {
		return p.runDoctor(ctx, api)
	})
}

// finding is the result of one check.
type finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"` // it was not made, and says why
	Detail  string `json:"detail"`
}

// verdict is what a table says of it.
func (f finding) verdict() string {
	switch {
	case f.Skipped:
		return "-"
	case f.OK:
		return "yes"
	}
	return "NO"
}

// examination collects findings. What depends on a check that failed is not checked.
type examination struct {
	api  *caller
	list []finding
}

// check runs one check; its text is the detail when it went well.
func (x *examination) check(name string, run func() (string, error)) bool {
	text, err := run()
	if err != nil {
		x.fail(name, err.Error())
		return false
	}
	x.list = append(x.list, finding{Check: name, OK: true, Detail: text})
	return true
}

func (x *examination) fail(name, detail string) {
	x.list = append(x.list, finding{Check: name, Detail: detail})
}

func (p *Program) runDoctor(ctx context.Context, api *caller) error {
	x := &examination{api: api}
	ready := api.Ready(ctx)
	if p, ok := errors.AsType[*client.Problem](ready); ok && p.Code == "disk_low" { // all else can be asked
		x.fail("disk", p.Detail)
		ready = nil
	}
	if x.check("server", func() (string, error) { return "serves at " + api.settings.URL, ready }) {
		x.check("clock", func() (string, error) { return x.clock(ctx) })
		if x.check("key", func() (string, error) { return "is valid", discard(api.Topics(ctx)) }) {
			x.company(ctx)
		}
		x.nodes(ctx)
		x.eras(ctx)
		x.sources(ctx)
	}
	err := records(p, "CHECK OK DETAIL", x.list, func(f finding) []string {
		return []string{f.Check, f.verdict(), f.Detail}
	})
	failed := 0
	for _, f := range x.list {
		if !f.OK {
			failed++
		}
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d checks need attention", failed, len(x.list))
	}
	return err
}

func discard[T any](_ T, err error) error { return err }

// skew is how far two clocks may be apart; the tolerance of receivers is five minutes.
const skew = 30 * time.Second

// clock compares the server's clock, as its answers tell it to the second, with the one here.
func (x *examination) clock(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, x.api.settings.URL+"/healthz", http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	at, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return "the server does not tell its time", nil
	}
	if apart := time.Since(at).Abs(); apart > skew {
		return "", fmt.Errorf("the server's clock and this one are %s apart", apart.Round(time.Second))
	}
	return "agrees with this one", nil
}

// nodes checks what the node that answers knows: that nothing is held back, that it can verify endpoints, and that no
// fault of its own holds deliveries up. An operator's key is needed to know.
func (x *examination) nodes(ctx context.Context) {
	for n, err := range x.api.Nodes(ctx) {
		if err != nil {
			return
		}
		a := n.Authorities
		if a == nil {
			continue // another one
		}
		if n.HeldSince != nil {
			x.fail("deliveries", "are held back since "+show(n.HeldSince)+", until a node is started with --resume")
		}
		x.check("authorities", func() (string, error) {
			switch {
			case a.Count == 0:
				return "", fmt.Errorf("none is known (from %s): nothing can be delivered to https endpoints; see egress_ca_file", a.Source)
			case a.Count < 0:
				return "from " + a.Source, nil
			}
			return fmt.Sprintf("%d, from %s", a.Count, a.Source), nil
		})
		x.check("own faults", func() (string, error) {
			if f := n.OwnFault; f != nil {
				return "", fmt.Errorf("deliveries wait since %s, last at %s: %s", show(&f.Since), show(&f.LastAt), f.Reason)
			}
			return "none within the last minute", nil
		})
	}
}

// sourceLate is how far behind a source may be.
const sourceLate = 5 * time.Minute

// sources checks that each source runs, keeps up, and has no dead letter. An operator's key is needed to know.
func (x *examination) sources(ctx context.Context) {
	for s, err := range x.api.Sources(ctx) {
		if err != nil {
			return
		}
		x.check("source "+s.Name, func() (string, error) { return judgeSource(&s) })
	}
}

// judgeSource says how a source fares.
func judgeSource(s *client.Source) (string, error) {
	late := s.LagSeconds != nil && *s.LagSeconds > sourceLate.Seconds()
	switch {
	case s.State == "failing" || s.State == "holding":
		return "", fmt.Errorf("is %s since %s: %s", s.State, show(&s.Since), given(s.Reason))
	case late && s.State != "standby":
		return "", fmt.Errorf("is %s behind", behind(s))
	case s.Expired > 0:
		return "", fmt.Errorf("lost %d messages, which expired before they were received: let it keep them for longer", s.Expired)
	case s.DeadLetters > 0:
		return "", fmt.Errorf("has %d dead letters; see 'atlas-webhooks dead-letters list --source %s'", s.DeadLetters, s.Name)
	}
	return "is " + s.State + ", behind " + behind(s), nil
}

// eraFresh is how long it needs attention that the store went back.
const eraFresh = 7 * 24 * time.Hour

// eras checks that the store did not go back lately. An operator's key is needed to know.
func (x *examination) eras(ctx context.Context) {
	for e, err := range x.api.Eras(ctx) { // the newest first
		if err != nil {
			return
		}
		x.check("store", func() (string, error) { return judgeEra(e, time.Now()) })
		return
	}
}

// judgeEra says what the era that lasts tells about the store.
func judgeEra(e client.Era, now time.Time) (string, error) {
	switch {
	case e.Cause == "":
		return "never went back", nil
	case e.MissingFrom == nil || e.MissingTo == nil:
		return fmt.Sprintf("went back at %s (%s); nothing is missing", show(&e.BeganAt), e.Cause), nil
	}
	text := fmt.Sprintf("went back at %s (%s); what was acknowledged from %s to %s may be missing", show(&e.BeganAt), e.Cause, show(e.MissingFrom), show(e.MissingTo))
	if now.Sub(e.BeganAt) < eraFresh {
		return "", errors.New(text)
	}
	return text, nil
}

// company checks the webhooks and the sums of the company that is named, or whose key it is.
func (x *examination) company(ctx context.Context) {
	switch company, err := x.api.company(ctx); {
	case errors.Is(err, errNoCompany):
		x.list = append(x.list, finding{Check: "webhooks", OK: true, Skipped: true, Detail: "no company is named with --company, so none was looked at"})
		return
	case err != nil:
		x.fail("company", err.Error())
		return
	default:
		x.list = append(x.list, finding{Check: "company", OK: true, Detail: company})
	}
	active := 0
	listed := x.check("webhooks", func() (string, error) {
		for w, err := range x.api.Webhooks(ctx, client.WebhookFilter{PageSize: 250}) {
			if err != nil {
				return "", err
			}
			if w.Status == client.Active {
				active++
			}
			x.webhook(ctx, &w)
		}
		return fmt.Sprintf("%d are ACTIVE", active), nil
	})
	if !listed {
		return
	}
	x.check("conservation", func() (string, error) {
		for b, err := range x.api.CheckConservation(ctx, false) {
			if err != nil {
				return "", err
			}
			if !b.Balanced {
				return "", fmt.Errorf("%s is not balanced; see 'atlas-webhooks conservation --deep'", b.WebhookID)
			}
		}
		return "every matched event is accounted for", nil
	})
}

// webhook notes a webhook that does not fare well: the cause, and the command that repairs it.
func (x *examination) webhook(ctx context.Context, w *client.Webhook) {
	one, err := x.api.Webhook(ctx, w.ID)
	if err != nil {
		x.fail(w.ID, err.Error())
		return
	}
	if text := ails(one); text != "" {
		x.fail(w.ID, w.Endpoint+": "+text)
	}
	if one.FilterProblem != nil {
		x.fail(w.ID, "its filter cannot be used, so every event of its topics matches; write it anew: "+*one.FilterProblem)
	} else if one.Filter != nil {
		x.filter(ctx, one)
	}
}

// ails says what is wrong with a webhook and what to type; "" where it fares well.
func ails(w *client.Webhook) string {
	h := w.Health
	refused := h.LastError != nil && (h.LastSuccessAt == nil || h.LastError.At.After(*h.LastSuccessAt))
	switch {
	case w.Status == client.Inactive && w.StatusReason != nil:
		return h.Sentence + " Mended? 'atlas-webhooks webhooks resume " + w.ID + "'"
	case w.Status == client.Active && h.State == client.Down:
		return h.Sentence + " Mended? 'atlas-webhooks webhooks probe " + w.ID + "'"
	case w.Status == client.Active && (h.State != client.Healthy || h.RefusesSince != nil || refused):
		return h.Sentence + " Mended? 'atlas-webhooks webhooks test " + w.ID + "'"
	}
	return ""
}

// filter notes a filter that lets nothing pass of what the webhook's topics brought lately.
func (x *examination) filter(ctx context.Context, w *client.Webhook) {
	r, err := x.api.ReportOnRule(ctx, w.ID)
	if err != nil || r.Excluded == 0 || r.Excluded < r.OfTopics || r.Sentence == nil {
		return // no event, no verdict
	}
	x.fail(w.ID, w.Endpoint+": "+*r.Sentence+mendRule(w.ID, r))
}
