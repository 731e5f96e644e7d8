package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) links() *cobra.Command {
	return group("links", "List, create and revoke links that open the console once", p.linksCreate(), p.linksList(), p.linksRevoke())
}

func (p *Program) linksCreate() *cobra.Command {
	var l client.ConsoleLinkCreate
	valid := span(5 * time.Minute)
	cmd := &cobra.Command{
		Use: "create", Short: "Make a link that opens a company's console, once", Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks links create --company c1",
			"atlas-webhooks links create --company c1 --valid 1h --read-only --output json | jq -r .url",
		),
	}
	cmd.Flags().Var(&valid, "valid", "how long it waits to be opened, 30s to 1h")
	cmd.Flags().BoolVar(&l.ReadOnly, "read-only", false, "open the console for looking only")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		company, err := api.company(ctx)
		if err != nil {
			return err
		}
		l.TTLSeconds = int64(time.Duration(valid).Seconds())
		made, err := api.CreateConsoleLink(ctx, company, l)
		if err != nil {
			return err
		}
		if p.output == "json" {
			return p.record(made)
		}
		p.progress("It opens the console once, until %s.", when(made.ExpiresAt))
		return p.line("%s", made.URL)
	})
}

func (p *Program) linksList() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "list", Short: "List a company's links, newest first", Args: cobra.NoArgs,
		Example: example("atlas-webhooks links list --company c1", "atlas-webhooks links list --output json"),
	}, func(ctx context.Context, api *caller, _ []string) error {
		company, err := api.company(ctx)
		if err != nil {
			return err
		}
		return listing(p, "ID READ-ONLY BY CREATED EXPIRES USED REVOKED", api.ConsoleLinks(ctx, company), 0, func(l client.ConsoleLink) []string {
			return []string{l.ID, show(&l.ReadOnly), l.CreatedBy, when(l.CreatedAt), when(l.ExpiresAt), show(l.UsedAt), show(l.RevokedAt)}
		})
	})
}

func (p *Program) linksRevoke() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "revoke LINK", Short: "End a link and the session that it opened", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks links revoke lnk_01h…", "atlas-webhooks links revoke lnk_01h… --company c1 --quiet"),
	}, func(ctx context.Context, api *caller, args []string) error {
		company, err := api.company(ctx)
		if err != nil {
			return err
		}
		if err := api.RevokeConsoleLink(ctx, company, args[0]); err != nil {
			return err
		}
		p.progress("revoked %s", args[0])
		return nil
	})
}
