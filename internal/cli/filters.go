package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) filters() *cobra.Command {
	cmd := group("filters", "Try filters out", p.filtersPreview())
	cmd.Aliases = []string{"filter"}
	return cmd
}

func (p *Program) filtersPreview() *cobra.Command {
	var f client.FilterPreview
	cmd := &cobra.Command{
		Use: "preview EXPRESSION", Short: "Say which of the latest events a filter lets pass, and why not", Args: cobra.ExactArgs(1),
		Example: example(
			`atlas-webhooks filters preview 'data.priority == "URGENT"' --company c1`,
			`atlas-webhooks filters preview 'data.vip' --events 'customer.*' --output json`,
		),
	}
	cmd.Flags().StringSliceVar(&f.Events, "events", nil, "only events of these topics, as conversation.status or 'conversation.*'")
	_ = cmd.RegisterFlagCompletionFunc("events", completeTopic)
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		f.Filter = args[0]
		v, err := api.PreviewFilter(ctx, f)
		if err != nil {
			return err
		}
		if !v.Compiled {
			return fmt.Errorf("it is no filter: %s", show(v.Error))
		}
		matched := 0
		for _, item := range v.Data {
			if item.Matched {
				matched++
			}
		}
		p.progress("%d of the latest %d events pass", matched, len(v.Data))
		return records(p, "EVENT-ID EVENT PASSES WHY", v.Data, func(i client.FilteredItem) []string {
			why := show(i.Failed)
			if i.Error != nil {
				why = "error, which counts as a match: " + *i.Error
			}
			return []string{i.EventID, i.Event, map[bool]string{true: "yes", false: "no"}[i.Matched], why}
		})
	})
}
