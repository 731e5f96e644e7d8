package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (p *Program) openapi() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI document of a server", Args: cobra.NoArgs,
		Example: example("atlas-webhooks openapi > openapi.json", "atlas-webhooks openapi --url https://hooks.example.com | jq '.paths | keys'"),
	}, func(ctx context.Context, api *caller, _ []string) error {
		text, err := api.OpenAPI(ctx)
		if err != nil {
			return err
		}
		return p.line("%s", text)
	})
}
