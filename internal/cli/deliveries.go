package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func (p *Program) deliveries() *cobra.Command {
	return group(
		"deliveries", "List, watch, retry and export deliveries",
		p.deliveriesList(), p.deliveriesGet(), p.deliveriesTail(), p.deliveriesRetry(), p.deliveriesExport(),
	)
}

// deliveryFlags narrow a list of deliveries.
type deliveryFlags struct {
	client.DeliveryFilter
	from, to string
}

func (f *deliveryFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	oneOf(cmd, &f.Status, "status", "only those that are", client.Pending, client.Retrying, client.Held, client.Delivered, client.Failed, client.Skipped)
	flags.StringVar(&f.Event, "event", "", "only those of this topic")
	flags.StringVar(&f.ObjectID, "object-id", "", "only those about this object")
	flags.IntVar(&f.StatusCode, "status-code", 0, "only those whose last answer had this status")
	flags.StringVar(&f.from, "from", "", "accepted at or after: a time, or how long ago (2h, 7d)")
	flags.StringVar(&f.to, "to", "", "accepted before")
	_ = cmd.RegisterFlagCompletionFunc("event", completeTopic)
}

func (f *deliveryFlags) filter() (filter client.DeliveryFilter, err error) {
	if f.From, err = moment("from", f.from); err != nil {
		return filter, err
	}
	f.To, err = moment("to", f.to)
	return f.DeliveryFilter, err
}

func (p *Program) deliveriesList() *cobra.Command {
	var f deliveryFlags
	var limit int
	cmd := &cobra.Command{
		Use: "list [WEBHOOK]", Short: "List deliveries of a webhook, or of all, newest event first", Args: cobra.MaximumNArgs(1),
		Example: example(
			"atlas-webhooks deliveries list --company c1 --status failed",
			"atlas-webhooks deliveries list wh_01h… --from 7d --limit 0 --output json",
		),
	}
	f.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		filter, err := f.filter()
		if err != nil {
			return err
		}
		filter.PageSize = pageSize(limit)
		const heading = "WEBHOOK EVENT-ID EVENT OBJECT STATUS ATTEMPTS CODE MS NEXT REASON"
		return listing(p, heading, deliveriesOf(ctx, api, args, filter), limit, func(d webhookDelivery) []string {
			return []string{
				d.WebhookID, d.EventID, d.Event, show(d.ObjectID), string(d.Status), fmt.Sprint(d.Attempts), show(d.LastStatusCode), show(d.LastDurationMS),
				show(d.NextAttemptAt), reason(&d.DeliveryHead),
			}
		})
	})
}

// reason is why a delivery waits, failed or was skipped, and whether it is one only by a replay.
func reason(d *client.DeliveryHead) string {
	s := show(d.Reason)
	if d.Unmatched {
		s = strings.TrimPrefix(s+", never matched", ", ")
	}
	return s
}

// webhookDelivery is a delivery among those of several webhooks.
type webhookDelivery struct {
	WebhookID string `json:"webhook_id"`
	client.Delivery
}

// deliveriesOf lists the deliveries of a webhook, or of all where none is named, newest event first.
func deliveriesOf(ctx context.Context, api *caller, webhook []string, f client.DeliveryFilter) iter.Seq2[webhookDelivery, error] {
	of := func(id string) iter.Seq2[webhookDelivery, error] {
		return each(api.Deliveries(ctx, id, f), func(d client.Delivery) webhookDelivery { return webhookDelivery{id, d} })
	}
	if len(webhook) > 0 {
		return of(webhook[0])
	}
	return func(yield func(webhookDelivery, error) bool) {
		var lists []iter.Seq2[webhookDelivery, error]
		for w, err := range api.Webhooks(ctx, client.WebhookFilter{PageSize: hook.MaxLimit}) {
			if err != nil {
				yield(webhookDelivery{}, err)
				return
			}
			lists = append(lists, of(w.ID))
		}
		merge(lists, func(a, b webhookDelivery) bool { return a.AcceptedAt.After(b.AcceptedAt) })(yield)
	}
}

// merge merges sorted lists into one. An error of one of them ends it.
func merge[T any](lists []iter.Seq2[T, error], before func(a, b T) bool) iter.Seq2[T, error] {
	type source struct {
		head T
		next func() (T, error, bool)
	}
	return func(yield func(T, error) bool) {
		var open []*source
		advance := func(s *source) (more bool, err error) {
			s.head, err, more = s.next()
			return more && err == nil, err
		}
		for _, list := range lists {
			next, stop := iter.Pull2(list)
			defer stop()
			s := &source{next: next}
			more, err := advance(s)
			if err != nil {
				yield(s.head, err)
				return
			}
			if more {
				open = append(open, s)
			}
		}
		for len(open) > 0 {
			first := 0
			for i := range open {
				if before(open[i].head, open[first].head) {
					first = i
				}
			}
			if !yield(open[first].head, nil) {
				return
			}
			more, err := advance(open[first])
			if err != nil {
				yield(open[first].head, err)
				return
			}
			if !more {
				open = slices.Delete(open, first, first+1)
			}
		}
	}
}

func (p *Program) deliveriesGet() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "get WEBHOOK EVENT", Short: "Show a delivery with its attempts, and as a curl command", Args: cobra.ExactArgs(2),
		Example: example("atlas-webhooks deliveries get wh_01h… evt_01h…", "atlas-webhooks deliveries get wh_01h… evt_01h… --output json"),
	}, func(ctx context.Context, api *caller, args []string) error {
		d, err := api.Delivery(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		fields := []field{
			{"event", d.EventID + " " + d.Event},
			{"object", show(d.ObjectID)},
			{"status", strings.TrimSpace(string(d.Status) + " " + reason(&d.DeliveryHead))},
			{"accepted", when(d.AcceptedAt)},
			{"next attempt", show(d.NextAttemptAt)},
		}
		for i := range d.Attempts {
			fields = append(fields, attemptFields(&d.Attempts[i])...)
		}
		if err := p.thing(d, fields...); err != nil || p.output == "json" {
			return err
		}
		return p.line("\n%s", d.Curl) // quoted by the server, for a shell
	})
}

func (p *Program) deliveriesTail() *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use: "tail [WEBHOOK]", Short: "Watch attempts as they finish, until Ctrl-C", Args: cobra.MaximumNArgs(1),
		Example: example("atlas-webhooks deliveries tail --company c1", "atlas-webhooks deliveries tail wh_01h… --output json | jq .error_class"),
	}
	cmd.Flags().IntVar(&count, "count", 0, "end after so many attempts (default: never)")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		webhook := ""
		if len(args) > 0 {
			webhook = args[0]
		}
		api, err := p.untiring(api)
		if err != nil {
			return err
		}
		if webhook != "" { // later it is missing because somebody deleted it
			if _, err := api.Webhook(ctx, webhook); err != nil {
				return err
			}
		}
		p.progress("watching; Ctrl-C ends it")
		n := 0
		for a, err := range api.StreamAttempts(ctx, webhook) {
			switch {
			case errors.Is(err, client.ErrGap):
				p.progress("some attempts were missed; 'deliveries list' has them")
				continue
			case ctx.Err() != nil:
				return nil // it ends when it is told to
			case err != nil:
				if code, _ := refusalCode(err); code == exitNotFound {
					return fmt.Errorf("somebody deleted the webhook %s", webhook)
				}
				return err
			}
			if err := p.attempt(&a); err != nil {
				return err
			}
			if n++; n == count {
				return nil
			}
		}
		return nil
	})
}

// attempt prints one attempt of the live stream.
func (p *Program) attempt(a *client.StreamEvent) error {
	if p.output == "json" {
		return p.record(a)
	}
	answer := show(a.StatusCode)
	if a.ErrorClass != nil {
		answer = strings.TrimSpace(answer + " " + *a.ErrorClass)
	}
	return p.line("%s  %-9s  %s %s %s #%d  %s %.0f ms", a.StartedAt.UTC().Format("15:04:05.000"), a.Outcome, a.WebhookID, a.EventID, a.Event,
		a.Number, plain(answer), a.TotalMS)
}

func (p *Program) deliveriesRetry() *cobra.Command {
	var f deliveryFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "retry [WEBHOOK] [EVENT…]", Short: "Send events again that a webhook has passed, by id or by filter", Args: cobra.ArbitraryArgs,
		Long: "Send events again that a webhook has passed: those named, or all that --status and the other flags select, of a webhook or of all. " +
			"For a whole stretch of time 'replays create' is the gentler way: it has a rate, and can be cancelled.",
		Example: example(
			"atlas-webhooks deliveries retry wh_01h… evt_01h… evt_02k…",
			"atlas-webhooks deliveries retry wh_01h… --status failed --status-code 404 --from 7d",
			"atlas-webhooks deliveries retry --company c1 --status failed --from 2h --yes",
		),
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		if len(args) < 2 {
			return p.retrySelected(ctx, api, args, &f, yes)
		}
		if cmd.Flags().Changed("status") || f != (deliveryFlags{}) {
			return usage("either EVENT or flags that select, not both")
		}
		var all []client.Delivery
		for _, event := range args[1:] {
			d, err := api.RetryDelivery(ctx, args[0], event)
			if err != nil {
				return fmt.Errorf("%s: %w", event, err)
			}
			all = append(all, *d)
		}
		return records(p, "EVENT-ID EVENT STATUS ATTEMPTS", all, func(d client.Delivery) []string {
			return []string{d.EventID, d.Event, string(d.Status), fmt.Sprint(d.Attempts)}
		})
	})
}

// retrySelected retries what the flags select. One that the server does not take is said, and no reason
// to leave the others.
func (p *Program) retrySelected(ctx context.Context, api *caller, webhook []string, f *deliveryFlags, yes bool) error {
	if f.Status == "" {
		return usage("missing EVENT, or --status to select what to retry")
	}
	filter, err := f.filter()
	if err != nil {
		return err
	}
	filter.PageSize = pageSize(0)
	var all []webhookDelivery // first, since a retry changes what the filter selects
	webhooks := map[string]bool{}
	for d, err := range deliveriesOf(ctx, api, webhook, filter) {
		if err != nil {
			return err
		}
		all, webhooks[d.WebhookID] = append(all, d), true
	}
	if len(all) == 0 {
		p.progress("there is none")
		return nil
	}
	if err := p.confirm(yes, "Send %d events again, to %d webhooks?", len(all), len(webhooks)); err != nil {
		return err
	}
	refused := 0
	for _, d := range all {
		_, err := api.RetryDelivery(ctx, d.WebhookID, d.EventID)
		problem, ok := errors.AsType[*client.Problem](err)
		switch {
		case ok && (problem.Status == http.StatusConflict || problem.Status == http.StatusNotFound):
			refused++
			p.progress("%s to %s: %s", d.EventID, d.WebhookID, problem.Detail)
		case err != nil:
			return fmt.Errorf("%s to %s: %w", d.EventID, d.WebhookID, err)
		case p.output == "json":
			err = p.record(d)
		default:
			err = p.line("%s to %s", d.EventID, d.WebhookID)
		}
		if err != nil && !ok {
			return err
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d were not taken", refused, len(all))
	}
	return nil
}

func (p *Program) deliveriesExport() *cobra.Command {
	var f deliveryFlags
	format := client.NDJSON
	cmd := &cobra.Command{
		Use: "export WEBHOOK", Short: "Write all deliveries of a webhook as NDJSON or CSV", Args: cobra.ExactArgs(1),
		Example: example(
			"atlas-webhooks deliveries export wh_01h… > deliveries.ndjson",
			"atlas-webhooks deliveries export wh_01h… --format csv --status failed --from 3d > failed.csv",
		),
	}
	f.add(cmd)
	oneOf(cmd, &format, "format", "form of the export", client.NDJSON, client.CSV)
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		filter, err := f.filter()
		if err != nil {
			return err
		}
		return api.ExportDeliveries(ctx, args[0], format, filter, p.Stdout)
	})
}
