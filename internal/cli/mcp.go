package cli

import (
	"context"
	"errors"
	"io"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/mcp"
)

func (p *Program) mcp() *cobra.Command {
	cmd := &cobra.Command{
		Use: "mcp", Short: "Serve tools for agents on standard input and output (Model Context Protocol)", Args: cobra.NoArgs,
		Long: `Lets an agent find out why a webhook did not arrive, by the Model Context Protocol: tools that explain,
list and show, and with a key of scope write also tests, retries and replays, which are counted and confirmed
before they start. It acts for one company, with its key; no tool shows a secret. The same tools are served at
/mcp of the server, to whoever sends such a key.`,
		Example: example(
			"atlas-webhooks mcp --api-key awc_…",
			"atlas-webhooks mcp --profile support  # as the agent starts it",
		),
	}
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		who, err := api.Caller(ctx)
		if err != nil {
			return err
		}
		server, err := mcp.New(api.Client, who, []byte(api.settings.APIKey.Reveal()), buildVersion())
		if err != nil {
			return &exitError{exitAuth, err}
		}
		p.progress("serving tools for agents on standard input and output, for company %s with scope %s", *who.CompanyID, who.Scope)
		err = server.Run(ctx, &sdk.IOTransport{Reader: io.NopCloser(p.Stdin), Writer: stays{p.Stdout}})
		if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
			return nil // the agent is done, or somebody ended us
		}
		return err
	})
}

// stays is a writer that is not ours to close.
type stays struct{ io.Writer }

func (stays) Close() error { return nil }
