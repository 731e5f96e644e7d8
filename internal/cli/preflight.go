package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) preflight() *cobra.Command {
	var compat bool
	cmd := &cobra.Command{
		Use: "preflight ENDPOINT", Short: "Check an endpoint from the server: rules, DNS, addresses, TLS", Args: cobra.ExactArgs(1),
		Long: "Check an endpoint as the server sees it, before a webhook is made for it: rules, DNS, addresses, TLS. Nothing is sent to it. " +
			"It fails if a request could not be sent.",
		Example: example(
			"atlas-webhooks preflight https://example.com/hooks --company c1",
			"atlas-webhooks preflight https://example.com/hooks --output json | jq .tls.not_after",
		),
	}
	cmd.Flags().BoolVar(&compat, "tls-compat", false, "as the webhook's setting of this name")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		f, err := api.Preflight(ctx, client.PreflightRequest{Endpoint: args[0], TLSCompat: compat})
		if err != nil {
			return err
		}
		if err := p.thing(f, preflightFields(f)...); err != nil {
			return err
		}
		if !f.OK {
			return errors.New("nothing could be delivered there")
		}
		return nil
	})
}

// foresee says before a webhook is saved what would keep deliveries from its endpoint. It is saved all the same:
// its receiver may come later. What the rules refuse, the refusal says.
func (p *Program) foresee(ctx context.Context, api *caller, endpoint string) {
	if f, err := api.Preflight(ctx, client.PreflightRequest{Endpoint: endpoint}); err == nil && f.Failure != nil {
		p.progress("nothing could be delivered there now: %s. %s", strings.TrimSuffix(f.Failure.Detail, "."), f.Failure.Advice)
	}
}

func preflightFields(f *client.Preflight) []field {
	fields := []field{{"endpoint", show(f.Endpoint)}}
	for _, r := range f.Refused {
		fields = append(fields, field{"refused", r.Detail})
	}
	var addresses []string
	for _, a := range f.Addresses {
		switch {
		case a.Rule != nil:
			addresses = append(addresses, "one that is refused ("+*a.Rule+")")
		case a.Address != nil:
			addresses = append(addresses, *a.Address)
		}
	}
	fields = append(fields, field{"addresses", strings.Join(addresses, ", ")}, field{"protocol", show(f.Protocol)})
	if t := f.TLS; t != nil && len(t.Chain) > 0 {
		fields = append(fields, field{"TLS", t.Version}, field{"certificate", t.Subject + ", by " + t.Issuer}, field{"valid", when(t.NotBefore) + " to " + when(t.NotAfter)})
	}
	if e := f.Failure; e != nil {
		fields = append(fields, field{"error", e.ErrorClass}, field{"detail", e.Detail}, field{"advice", e.Advice})
	}
	return fields
}
