package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) events() *cobra.Command {
	return group("events", "List, show, publish, explain and cancel events", p.eventsList(), p.eventsGet(), p.eventsSend(), p.eventsWhy(), p.eventsCancel())
}

func (p *Program) eventsList() *cobra.Command {
	var f client.EventFilter
	var from, to string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List events, newest first", Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks events list --company c1 --event conversation.status",
			"atlas-webhooks events list --from 2h --limit 0 --output json",
			"atlas-webhooks events list --status scheduled",
		),
	}
	cmd.Flags().StringVar(&f.Event, "event", "", "only those of this topic")
	cmd.Flags().StringVar(&f.ObjectID, "object-id", "", "only those about this object")
	cmd.Flags().StringVar(&from, "from", "", "accepted at or after: a time, or how long ago (2h, 7d)")
	cmd.Flags().StringVar(&to, "to", "", "accepted before")
	cmd.Flags().StringVar(&f.Status, "status", "", "scheduled: those that wait for their deliver_at, the next first; cancelled: those that were cancelled before it")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"scheduled", "cancelled"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("event", completeTopic)
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) (err error) {
		f.PageSize = pageSize(limit)
		if f.From, err = moment("from", from); err != nil {
			return err
		}
		if f.To, err = moment("to", to); err != nil {
			return err
		}
		if f.Status != "" {
			return listing(p, "ID EVENT OBJECT DELIVER EXPIRES CANCELLED", api.Events(ctx, f), limit, func(e client.Event) []string {
				return []string{e.ID, e.Event, show(e.ObjectID), whenOrNever(e.DeliverAt), whenOrNever(e.ExpiresAt), whenOrNever(e.CancelledAt)}
			})
		}
		return listing(p, "ID EVENT OBJECT ACCEPTED", api.Events(ctx, f), limit, func(e client.Event) []string {
			return []string{e.ID, e.Event, show(e.ObjectID), when(e.AcceptedAt)}
		})
	})
}

func (p *Program) eventsGet() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "get EVENT", Short: "Show an event with its data", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks events get evt_01h… --company c1", "atlas-webhooks events get evt_01h… --output json"),
	}, func(ctx context.Context, api *caller, args []string) error {
		e, err := api.Event(ctx, args[0])
		if err != nil {
			return err
		}
		fields := []field{{"id", e.ID}, {"event", e.Event}, {"object", show(e.ObjectID)}, {"accepted", when(e.AcceptedAt)}}
		if e.Status != "" {
			fields = append(fields, field{"status", e.Status})
		}
		for _, x := range []struct {
			name string
			at   *time.Time
		}{{"deliver", e.DeliverAt}, {"expires", e.ExpiresAt}, {"cancelled", e.CancelledAt}} {
			if x.at != nil {
				fields = append(fields, field{x.name, when(*x.at)})
			}
		}
		if e.Matched != nil {
			fields = append(fields, field{"matched", show(e.Matched) + " webhooks"})
		}
		return p.thing(e, append(fields, field{"data", string(e.Data)})...)
	})
}

func (p *Program) eventsCancel() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "cancel EVENT", Short: "Cancel an event that no delivery was attempted of", Args: cobra.ExactArgs(1),
		Long: "Cancel an event that waits for its deliver_at, or that is in the log and no delivery was attempted of: no webhook gets it. " +
			"Its id stays taken. It is refused once an attempt was begun.",
		Example: example("atlas-webhooks events cancel evt_01h… --company c1", "atlas-webhooks events cancel order-7-reminder --company c1"),
	}, func(ctx context.Context, api *caller, args []string) error {
		if err := api.CancelEvent(ctx, args[0]); err != nil {
			return err
		}
		p.progress("cancelled %s", args[0])
		return nil
	})
}

func whenOrNever(at *time.Time) string {
	if at == nil {
		return "–"
	}
	return when(*at)
}

func (p *Program) eventsWhy() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "why EVENT", Short: "Say of every webhook why it got an event, or why not", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks events why evt_01h… --company c1", "atlas-webhooks events why evt_01h… --output json"),
	}, func(ctx context.Context, api *caller, args []string) error {
		return listing(p, "WEBHOOK VERDICT STATUS REASON", api.ExplainEvent(ctx, args[0]), 0, func(m client.Match) []string {
			return []string{m.WebhookID, string(m.Verdict), string(m.Status), m.Reason}
		})
	})
}

// Bounds of one batch (API.md, Limits), with room for the array around the lines.
const (
	batchEvents = 1000
	batchBytes  = 7 << 20
)

func (p *Program) eventsSend() *cobra.Command {
	cmd := &cobra.Command{
		Use: "send FILE", Short: "Publish the events of a file, one JSON object a line", Args: cobra.ExactArgs(1),
		Long: "Publish the events of a file, or of standard input (-): one JSON object a line, as the API takes them " +
			"(event, data, and optionally id, object_id, occurred_at, deliver_at, expires_at). Without a company_id an event is of the company that --company names. " +
			"An event without an id gets a new one each time; give ids to be able to repeat the command.",
		Example: example(
			"atlas-webhooks events send events.ndjson --company c1",
			`echo '{"event":"customer.created","data":{"id":"5"}}' | atlas-webhooks events send - --company c1`,
		),
	}
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		text, err := p.content("FILE", "@"+args[0])
		if err != nil {
			return err
		}
		company, err := api.company(ctx)
		if err != nil && !errors.Is(err, errNoCompany) {
			return err
		}
		var batch []client.Publish
		size := 0
		lines := bufio.NewReader(bytes.NewReader(text))
		for n := 1; ; n++ {
			line, end := lines.ReadBytes('\n')
			if line = bytes.TrimSpace(line); len(line) > 0 {
				e, err := readEvent(line, company)
				if err != nil {
					return usage("line %d: %w", n, err)
				}
				if len(batch) == batchEvents || size+len(line) > batchBytes {
					if err := p.sendBatch(ctx, api, batch); err != nil {
						return err
					}
					batch, size = nil, 0
				}
				batch, size = append(batch, e), size+len(line)
			}
			if end == io.EOF {
				return p.sendBatch(ctx, api, batch)
			}
		}
	})
}

// readEvent reads a line; the text of its data is kept.
func readEvent(line []byte, company string) (client.Publish, error) {
	var e struct {
		client.Publish
		Data json.RawMessage `json:"data"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e.Publish, err
	}
	if e.Data == nil {
		return e.Publish, fmt.Errorf("has no data")
	}
	e.Publish.Data = e.Data
	if e.CompanyID == "" {
		e.CompanyID = company
	}
	if e.CompanyID == "" {
		return e.Publish, errNoCompany
	}
	return e.Publish, nil
}

func (p *Program) sendBatch(ctx context.Context, api *caller, batch []client.Publish) error {
	if len(batch) == 0 {
		return nil
	}
	answer, err := api.PublishBatch(ctx, batch)
	if err != nil {
		return err
	}
	p.progress("%d events accepted, %d of them before", len(answer.Data), answer.Duplicates)
	for _, item := range answer.Data {
		if p.output == "json" {
			err = p.record(item)
		} else {
			err = p.line("%s", item.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
