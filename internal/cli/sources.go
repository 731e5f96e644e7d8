package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) sources() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "sources", Short: "Show where events come from besides the API, and how far behind each source is", Args: cobra.NoArgs,
		Long:    "Show the sources that sources_file names, as the node that answers reads them. Needs an operator key.",
		Example: example("atlas-webhooks sources", "atlas-webhooks sources --output json"),
	}, func(ctx context.Context, api *caller, _ []string) error {
		return listing(p, "SOURCE KIND STATE BEHIND ACCEPTED DUPLICATES DEAD-LETTERS REASON", api.Sources(ctx), 0, func(s client.Source) []string {
			return []string{s.Name, s.Kind, s.State, behind(&s), strconv.FormatInt(s.Accepted, 10), strconv.FormatInt(s.Duplicates, 10), strconv.FormatInt(s.DeadLetters, 10), given(s.Reason)}
		})
	})
}

func given(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// behind says how far behind a source is.
func behind(s *client.Source) (text string) {
	if s.LagSeconds == nil {
		return "?"
	}
	text = time.Duration(*s.LagSeconds * float64(time.Second)).Round(time.Second).String()
	if s.LagMessages != nil {
		text += fmt.Sprintf(" (%d)", *s.LagMessages)
	}
	return text
}

func (p *Program) deadLetters() *cobra.Command {
	return group("dead-letters", "List, retry and discard messages that sources could not have accepted",
		p.deadLettersList(), p.deadLettersGet(), p.deadLettersRetry(), p.deadLettersDiscard())
}

func (p *Program) deadLettersList() *cobra.Command {
	var limit int
	var source string
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, newest first", Args: cobra.NoArgs,
		Example: example("atlas-webhooks dead-letters list", "atlas-webhooks dead-letters list --source orders --limit 0 --output json"),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	cmd.Flags().StringVar(&source, "source", "", "only of this source")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		return listing(p, "ID AT SOURCE MESSAGE CODE REASON", api.DeadLetters(ctx, source), limit, func(d client.DeadLetter) []string {
			return []string{d.ID, when(d.At), d.Source, d.Message, d.Code, d.Reason}
		})
	})
}

func (p *Program) deadLettersGet() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "get DEAD-LETTER", Short: "Show a dead letter with what was sent", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks dead-letters get dlt_01h…", "atlas-webhooks dead-letters get dlt_01h… --output json | jq -r .body"),
	}, func(ctx context.Context, api *caller, args []string) error {
		d, err := api.DeadLetter(ctx, args[0])
		if err != nil {
			return err
		}
		return p.thing(d, field{"id", d.ID}, field{"source", d.Source}, field{"message", d.Message}, field{"at", when(d.At)}, field{"written", show(d.WrittenAt)},
			field{"code", d.Code}, field{"reason", d.Reason}, field{"retries", strconv.Itoa(d.Retries)}, field{"size", strconv.FormatInt(d.Size, 10)}, field{"body", d.Body})
	})
}

func (p *Program) deadLettersRetry() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "retry DEAD-LETTER…", Short: "Have dead letters accepted after all, once their cause is mended", Args: cobra.MinimumNArgs(1),
		Example: example("atlas-webhooks dead-letters retry dlt_01h…", "atlas-webhooks dead-letters list --output json | jq -r .id | xargs atlas-webhooks dead-letters retry"),
	}, func(ctx context.Context, api *caller, args []string) error {
		for _, id := range args {
			r, err := api.RetryDeadLetter(ctx, id)
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			for _, e := range r.Data {
				p.progress("%s is event %s of %s", id, e.ID, e.CompanyID)
			}
		}
		return nil
	})
}

func (p *Program) deadLettersDiscard() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "discard DEAD-LETTER…", Short: "Delete dead letters", Args: cobra.MinimumNArgs(1),
		Example: example("atlas-webhooks dead-letters discard dlt_01h…", "atlas-webhooks dead-letters discard dlt_01h… --quiet"),
	}, func(ctx context.Context, api *caller, args []string) error {
		for _, id := range args {
			if err := api.DiscardDeadLetter(ctx, id); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			p.progress("discarded %s", id)
		}
		return nil
	})
}
