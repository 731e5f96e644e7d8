package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atlas-webhooks/atlas-webhooks/client"
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
	status, from, to string
}

func (f *deliveryFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.status, "status", "", "only pending, retrying, held, delivered, failed or skipped ones")
	flags.StringVar(&f.Event, "event", "", "only those of this topic")
	flags.StringVar(&f.ObjectID, "object-id", "", "only those about this object")
	flags.IntVar(&f.StatusCode, "status-code", 0, "only those whose last answer had this status")
	flags.StringVar(&f.from, "from", "", "accepted at or after: a time, or how long ago (2h)")
	flags.StringVar(&f.to, "to", "", "accepted before")
}

func (f *deliveryFlags) filter() (filter client.DeliveryFilter, err error) {
	f.Status = client.DeliveryStatus(f.status)
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
		Use: "list WEBHOOK", Short: "List a webhook's deliveries, newest event first", Args: cobra.ExactArgs(1),
		Example: example(
			"atlas-webhooks deliveries list wh_01h… --status failed",
			"atlas-webhooks deliveries list wh_01h… --from 24h --limit 0 --output json",
		),
	}
	f.add(cmd.Flags())
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		filter, err := f.filter()
		if err != nil {
			return err
		}
		filter.PageSize = pageSize(limit)
		const heading = "EVENT-ID EVENT OBJECT STATUS ATTEMPTS CODE MS NEXT REASON"
		return listing(p, heading, api.Deliveries(ctx, args[0], filter), limit, func(d client.Delivery) []string {
			return []string{
				d.EventID, d.Event, show(d.ObjectID), string(d.Status), fmt.Sprint(d.Attempts), show(d.LastStatusCode), show(d.LastDurationMS),
				show(d.NextAttemptAt), show(d.Reason),
			}
		})
	})
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
			{"status", strings.TrimSpace(string(d.Status) + " " + show(d.Reason))},
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
	return p.remote(&cobra.Command{
		Use: "retry WEBHOOK EVENT…", Short: "Send events again that a webhook has passed", Args: cobra.MinimumNArgs(2),
		Example: example("atlas-webhooks deliveries retry wh_01h… evt_01h…", "atlas-webhooks deliveries retry wh_01h… evt_01h… evt_02k… --company c1"),
	}, func(ctx context.Context, api *caller, args []string) error {
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

func (p *Program) deliveriesExport() *cobra.Command {
	var f deliveryFlags
	var format string
	cmd := &cobra.Command{
		Use: "export WEBHOOK", Short: "Write all deliveries of a webhook as NDJSON or CSV", Args: cobra.ExactArgs(1),
		Example: example(
			"atlas-webhooks deliveries export wh_01h… > deliveries.ndjson",
			"atlas-webhooks deliveries export wh_01h… --format csv --status failed --from 72h > failed.csv",
		),
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", string(client.NDJSON), "ndjson or csv")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		filter, err := f.filter()
		if err != nil {
			return err
		}
		return api.ExportDeliveries(ctx, args[0], client.Format(format), filter, p.Stdout)
	})
}
