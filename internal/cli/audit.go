package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) audit() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "audit", Short: "Show who changed what, newest first", Args: cobra.NoArgs,
		Example: example("atlas-webhooks audit --company c1", "atlas-webhooks audit --company c1 --limit 0 --output json"),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		return listing(p, "AT ACTOR ACTION OBJECT DETAIL", api.AuditLog(ctx), limit, func(e client.AuditEntry) []string {
			return []string{when(e.At), e.Actor, e.Action, e.Object, string(e.Detail)}
		})
	})
}
