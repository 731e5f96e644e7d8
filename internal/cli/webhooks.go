package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) webhooks() *cobra.Command {
	return group(
		"webhooks", "List, create, change, test and delete webhooks",
		p.webhooksList(), p.webhooksGet(), p.webhooksCreate(), p.webhooksUpdate(), p.webhooksDelete(), p.webhooksPause(), p.webhooksResume(),
		p.webhooksProbe(), p.webhooksSecret(), p.webhooksRotate(), p.webhooksTest(),
	)
}

func (p *Program) webhooksList() *cobra.Command {
	var f client.WebhookFilter
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List webhooks, newest first", Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks webhooks list --company c1",
			"atlas-webhooks webhooks list --event conversation.status --status ACTIVE --output json",
		),
	}
	oneOf(cmd, &f.Status, "status", "only those that are", client.Active, client.Paused, client.Inactive)
	cmd.Flags().StringVar(&f.Event, "event", "", "only those subscribed to this topic")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	_ = cmd.RegisterFlagCompletionFunc("event", completeTopic)
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		f.PageSize = pageSize(limit)
		return listing(p, "ID STATUS EVENTS ENDPOINT DESCRIPTION HEALTH", api.Webhooks(ctx, f), limit, func(w client.Webhook) []string {
			return []string{w.ID, string(w.Status), strings.Join(w.Events, ","), w.Endpoint, w.Description, sentence(&w)}
		})
	})
}

func (p *Program) webhooksGet() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "get WEBHOOK", Short: "Show a webhook and how it fares", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks webhooks get wh_01h… --company c1", "atlas-webhooks webhooks get wh_01h… --output json"),
	}, func(ctx context.Context, api *caller, args []string) error {
		w, err := api.Webhook(ctx, args[0])
		if err != nil {
			return err
		}
		var more []field
		if r, err := api.ReportOnRule(ctx, w.ID); err == nil && r.Sentence != nil {
			more = append(more, field{"rule", *r.Sentence + mendRule(w.ID, r)})
		}
		return p.webhook(w, more...)
	})
}

// mendRule is what to type about a rule that a report finds odd.
func mendRule(id string, r *client.RuleReport) string {
	switch {
	case r.Missed > 0:
		return " 'atlas-webhooks replays create " + id + " --from 24h --only undelivered --rules current' sends what it missed."
	case r.Excluded > 0:
		return " 'atlas-webhooks filters preview' tries another filter, 'webhooks update " + id + " --filter …' sets it."
	}
	return ""
}

// webhook prints a webhook; its secret where the answer has it.
func (p *Program) webhook(w *client.Webhook, more ...field) error {
	fields := []field{
		{"id", w.ID},
		{"endpoint", w.Endpoint},
		{"events", strings.Join(w.Events, ", ")},
		{"status", strings.TrimSpace(string(w.Status) + " " + show(w.StatusReason))},
		{"filter", show(w.Filter)},
		{"signature", fmt.Sprintf("%s, data as %s", w.SignatureScheme, w.DataFormat)},
		{"limits", fmt.Sprintf("%d at once, %s a second, time-out %d ms", w.MaxConcurrency, orNone(show(w.RateLimitPerSecond)), w.TimeoutMS)},
		{"ordering", string(w.Ordering)},
		{"retries", steps(w.RetryScheduleSeconds)},
		{"created", when(w.CreatedAt)},
	}
	if w.SigningSecret != "" {
		fields = append(fields, field{"signing secret", w.SigningSecret})
	}
	if h := w.Health; h != nil {
		fields = append(
			fields,
			field{"health", h.Sentence},
			field{"backlog", backlog(h)},
			field{"waiting", waiting(h)},
			field{"last success", show(h.LastSuccessAt)},
			field{"last failure", show(h.LastFailureAt)},
			field{"success rate", percent(h.SuccessRate)},
			field{"next probe", show(h.NextProbeAt)},
		)
	}
	return p.thing(w, append(fields, more...)...)
}

// sentence says how a webhook fares.
func sentence(w *client.Webhook) string {
	if w.Health == nil {
		return ""
	}
	return w.Health.Sentence
}

func percent(part *float64) string {
	if part == nil {
		return ""
	}
	return fmt.Sprintf("%.1f %% of the last day's attempts", 100**part)
}

// backlog is what waits for a webhook, in words.
func backlog(h *client.Health) string {
	more := ""
	if !h.Backlog.Exact {
		more = "more than "
	}
	return fmt.Sprintf("%s%d events, %d waiting for a retry", more, h.Backlog.Count, h.Parked)
}

// waiting tells for what deliveries wait, and since when the oldest of them was accepted.
func waiting(h *client.Health) string {
	var list []string
	for _, cause := range slices.Sorted(maps.Keys(h.Waiting)) {
		x := h.Waiting[cause]
		more := ""
		if !x.Exact {
			more = "more than "
		}
		list = append(list, strings.TrimSuffix(fmt.Sprintf("%s%d %s since %s", more, x.Count, cause, show(x.OldestAt)), " since "))
	}
	return strings.Join(list, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "any number"
	}
	return s
}

// steps is a retry schedule in words.
func steps(seconds []float64) string {
	var all []string
	for _, s := range seconds {
		all = append(all, time.Duration(s*float64(time.Second)).String())
	}
	if all == nil {
		return "none"
	}
	return "after " + strings.Join(all, ", ")
}

// settingFlags are the settings of a webhook as flags: the usual ones by name, all others by --set.
type settingFlags struct {
	endpoint, description, filter string
	events, set                   []string
}

func (f *settingFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.endpoint, "endpoint", "", "where to deliver, as https://example.com/hooks")
	flags.StringSliceVar(&f.events, "events", nil, "topics, as conversation.status,customer or 'conversation.*' or '*'")
	flags.StringVar(&f.description, "description", "", "your own note")
	flags.StringVar(&f.filter, "filter", "", `expression that events must fulfil, as 'data.priority == "URGENT"'`)
	flags.StringArrayVar(&f.set, "set", nil, "any other setting of the API: `name=value`, as timeout_ms=5000 or headers.X-Team=a")
}

// into sets what was given in a request's body.
func (f *settingFlags) into(flags *pflag.FlagSet, body any) error {
	values := map[string]any{}
	for name, value := range map[string]any{"endpoint": f.endpoint, "events": f.events, "description": f.description, "filter": f.filter} {
		if flags.Changed(name) {
			values[name] = value
		}
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	if text, err = setAll(text, f.set); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(body); err != nil {
		return usage("--set: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func (p *Program) webhooksCreate() *cobra.Command {
	var f settingFlags
	cmd := &cobra.Command{
		Use: "create --endpoint URL --events TOPICS", Short: "Subscribe an endpoint; prints its signing secret", Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks webhooks create --company c1 --endpoint https://example.com/hooks --events 'conversation.*'",
			`atlas-webhooks webhooks create --endpoint https://example.com/hooks --events customer --filter 'data.vip' --set ordering=object`,
		),
	}
	f.add(cmd.Flags())
	_ = cmd.MarkFlagRequired("endpoint")
	_ = cmd.MarkFlagRequired("events")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		var body client.WebhookCreate
		if err := f.into(cmd.Flags(), &body); err != nil {
			return err
		}
		p.foresee(ctx, api, body.Endpoint)
		w, err := api.CreateWebhook(ctx, body)
		if err != nil {
			return err
		}
		return p.webhook(w)
	})
}

func (p *Program) webhooksUpdate() *cobra.Command {
	var f settingFlags
	cmd := &cobra.Command{
		Use: "update WEBHOOK", Short: "Change settings of a webhook", Args: cobra.ExactArgs(1),
		Long: "Change settings of a webhook. What is not named keeps its value; --set filter=null sets one back.",
		Example: example(
			"atlas-webhooks webhooks update wh_01h… --endpoint https://example.com/new",
			"atlas-webhooks webhooks update wh_01h… --set rate_limit_per_second=20 --set filter=null",
		),
	}
	f.add(cmd.Flags())
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		var body client.WebhookUpdate
		if err := f.into(cmd.Flags(), &body); err != nil {
			return err
		}
		w, err := api.UpdateWebhook(ctx, args[0], body)
		if err != nil {
			return err
		}
		return p.webhook(w)
	})
}

func (p *Program) webhooksDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete WEBHOOK…", Short: "Unsubscribe; its history is not found from then on", Args: cobra.MinimumNArgs(1),
		Long:    "Unsubscribe. What waits is not sent, and the history is not found from then on. On a terminal it asks first.",
		Example: example("atlas-webhooks webhooks delete wh_01h…", "atlas-webhooks webhooks delete wh_01h… wh_02k… --company c1 --yes"),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		for _, id := range args {
			w, err := api.Webhook(ctx, id)
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			if err := p.confirm(yes, "Delete %s (%s, %s, %s)? Its history is not found from then on.", id, w.Status, w.Endpoint, backlog(w.Health)); err != nil {
				return err
			}
			if err := api.DeleteWebhook(ctx, id, ""); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			p.progress("deleted %s", id)
		}
		return nil
	})
}

func (p *Program) webhooksPause() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "pause WEBHOOK…", Short: "Let webhooks stand still; nothing is lost", Args: cobra.MinimumNArgs(1),
		Example: example("atlas-webhooks webhooks pause wh_01h…", "atlas-webhooks webhooks pause wh_01h… wh_02k… --company c1"),
	}, func(ctx context.Context, api *caller, args []string) error {
		return p.setStatus(ctx, api, args, client.WebhookUpdate{Status: client.Paused})
	})
}

func (p *Program) webhooksResume() *cobra.Command {
	var fromNow bool
	cmd := &cobra.Command{
		Use: "resume WEBHOOK…", Short: "Deliver again, what waited first", Args: cobra.MinimumNArgs(1),
		Example: example("atlas-webhooks webhooks resume wh_01h…", "atlas-webhooks webhooks resume wh_01h… --from-now   # skip what waited"),
	}
	cmd.Flags().BoolVar(&fromNow, "from-now", false, "skip what waited, and begin with the next event")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		u := client.WebhookUpdate{Status: client.Active, Resume: client.ResumeBacklog}
		if fromNow {
			u.Resume = client.ResumeNow
		}
		return p.setStatus(ctx, api, args, u)
	})
}

func (p *Program) setStatus(ctx context.Context, api *caller, ids []string, u client.WebhookUpdate) error {
	var all []client.Webhook
	for _, id := range ids {
		w, err := api.UpdateWebhook(ctx, id, u)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		all = append(all, *w)
	}
	return records(p, "ID STATUS ENDPOINT", all, func(w client.Webhook) []string {
		return []string{w.ID, string(w.Status), w.Endpoint}
	})
}

func (p *Program) webhooksProbe() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "probe WEBHOOK…", Short: "Try an endpoint now that is down, or that asked to wait", Args: cobra.MinimumNArgs(1),
		Long:    "Try an endpoint now that is down, or that asked to wait, with one of the deliveries that wait. With a success all goes on.",
		Example: example("atlas-webhooks webhooks probe wh_01h…", "atlas-webhooks webhooks probe wh_01h… wh_02k… --company c1"),
	}, func(ctx context.Context, api *caller, args []string) error {
		type probed struct {
			WebhookID string `json:"webhook_id"`
			client.Health
		}
		var all []probed
		for _, id := range args {
			h, err := api.ProbeWebhook(ctx, id)
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			all = append(all, probed{id, *h})
		}
		return records(p, "ID STATE UNTIL-NOW", all, func(h probed) []string { return []string{h.WebhookID, string(h.State), h.Sentence} })
	})
}

func (p *Program) webhooksSecret() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "secret WEBHOOK", Short: "Show the signing secret; the audit log says who looked", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks webhooks secret wh_01h…", "atlas-webhooks webhooks secret wh_01h… --output json"),
	}, func(ctx context.Context, api *caller, args []string) error {
		s, err := api.Secret(ctx, args[0])
		if err != nil {
			return err
		}
		return p.secret(s)
	})
}

// secret prints a secret: alone, so that a script can take it, unless a rotation is in progress.
func (p *Program) secret(s *client.Secret) error {
	if s.Previous == nil && p.output != "json" {
		return p.line("%s", s.SigningSecret)
	}
	fields := []field{{"signing secret", s.SigningSecret}, {"active from", show(s.ActiveFrom)}}
	if s.Previous != nil {
		fields = append(fields, field{"previous", s.Previous.SigningSecret}, field{"expires", when(s.Previous.ExpiresAt)})
	}
	return p.thing(s, fields...)
}

func (p *Program) webhooksRotate() *cobra.Command {
	var r client.Rotate
	overlap := span(24 * time.Hour)
	var activate, cancel bool
	cmd := &cobra.Command{
		Use: "rotate WEBHOOK", Short: "Replace the signing secret, with an overlap", Args: cobra.ExactArgs(1),
		Long: "Replace the signing secret. During the overlap the Atlas header is made with the old secret and webhook-signature carries both. " +
			"--activate switches the Atlas header at once, --cancel keeps the old secret.",
		Example: example(
			"atlas-webhooks webhooks rotate wh_01h… --overlap 2d",
			"atlas-webhooks webhooks rotate wh_01h… --activate",
		),
	}
	cmd.Flags().Var(&overlap, "overlap", "how long the old secret stays in use, at most 7d")
	cmd.Flags().StringVar(&r.SigningSecret, "secret", "", "the new secret (default: a new one is made)")
	cmd.Flags().BoolVar(&r.Force, "force", false, "although a rotation is in progress")
	cmd.Flags().BoolVar(&activate, "activate", false, "end the overlap: sign with the new secret at once")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "end the rotation: keep the old secret")
	cmd.MarkFlagsMutuallyExclusive("activate", "cancel", "overlap")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		var s *client.Secret
		var err error
		switch {
		case activate:
			s, err = api.ActivateSecret(ctx, args[0])
		case cancel:
			s, err = api.CancelRotation(ctx, args[0])
		default:
			r.OverlapSeconds = new(int64(time.Duration(overlap).Seconds()))
			s, err = api.RotateSecret(ctx, args[0], r)
		}
		if err != nil {
			return err
		}
		return p.secret(s)
	})
}

func (p *Program) webhooksTest() *cobra.Command {
	var t client.TestRequest
	var data string
	cmd := &cobra.Command{
		Use: "test WEBHOOK", Short: "Send one test and show the answer", Args: cobra.ExactArgs(1),
		Long: "Send one test beside the queue, in any status, and show what came of it. It fails if the endpoint does.",
		Example: example(
			"atlas-webhooks webhooks test wh_01h…",
			"atlas-webhooks webhooks test wh_01h… --event customer.created --data @customer.json",
		),
	}
	cmd.Flags().StringVar(&t.Event, "event", "", "topic (default: the webhook's first)")
	cmd.Flags().StringVar(&data, "data", "", "document: text, @file or @- (default: the topic's sample)")
	_ = cmd.RegisterFlagCompletionFunc("event", completeTopic)
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		if data != "" {
			text, err := p.content("data", data)
			if err != nil {
				return err
			}
			if !json.Valid(text) {
				return usage("--data: is not JSON")
			}
			t.Data = text
		}
		a, err := api.TestWebhook(ctx, args[0], t)
		if err != nil {
			return err
		}
		if err := p.thing(a, attemptFields(a)...); err != nil {
			return err
		}
		if a.Outcome != client.OutcomeDelivered {
			return fmt.Errorf("the endpoint did not take the test: %s", a.Outcome)
		}
		return nil
	})
}

// attemptFields is what a person wants to know of an attempt.
func attemptFields(a *client.Attempt) []field {
	fields := []field{
		{"attempt", fmt.Sprintf("%d (%s), %s", a.Number, a.Kind, when(a.StartedAt))},
		{"outcome", strings.Join(strings.Fields(fmt.Sprint(a.Outcome, " ", show(a.StatusCode), " ", show(a.ErrorClass))), " ")},
		{"took", fmt.Sprintf("%.1f ms", a.Timing.TotalMS)},
	}
	if a.ErrorDetail != nil {
		fields = append(fields, field{"detail", *a.ErrorDetail})
	}
	if a.Advice != nil {
		fields = append(fields, field{"advice", *a.Advice})
	}
	if a.Response != nil && a.Response.Body != "" {
		fields = append(fields, field{"answer", a.Response.Body})
	}
	return fields
}
