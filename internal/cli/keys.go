package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) keys() *cobra.Command {
	return group("keys", "List, create and revoke a company's API keys; its signing keys", p.keysList(), p.keysCreate(), p.keysRevoke(), p.keysSigning())
}

func (p *Program) keysList() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "list", Short: "List a company's keys, newest first", Args: cobra.NoArgs,
		Example: example("atlas-webhooks keys list --company c1", "atlas-webhooks keys list --company c1 --output json"),
	}, func(ctx context.Context, api *caller, _ []string) error {
		company, err := api.company(ctx)
		if err != nil {
			return err
		}
		return listing(p, "ID NAME SCOPE TOPICS HINT CREATED EXPIRES LAST-USED REVOKED", api.Keys(ctx, company), 0, func(k client.Key) []string {
			return []string{k.ID, k.Name, string(k.Scope), k.Topics, "…" + k.Hint, when(k.CreatedAt), show(k.ExpiresAt), show(k.LastUsedAt), show(k.RevokedAt)}
		})
	})
}

func (p *Program) keysCreate() *cobra.Command {
	var k client.KeyCreate
	var expires span
	cmd := &cobra.Command{
		Use: "create --scope read|write|publish", Short: "Create a key; its text is shown this once", Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks keys create --company c1 --scope read --name dashboard",
			"atlas-webhooks keys create --company c1 --scope write --expires-in 30d --output json | jq -r .key",
			"atlas-webhooks keys create --company c1 --scope publish --topic-prefix conversation --name desk",
		),
	}
	oneOf(cmd, &k.Scope, "scope", "what it may do", client.Read, client.Write, client.PublishOnly)
	cmd.Flags().StringVar(&k.Topics, "topic-prefix", "", "of a publish key: the topic, with those that begin with it and a dot, that it publishes (default: all)")
	cmd.Flags().StringVar(&k.Name, "name", "", "what it is for")
	cmd.Flags().Var(&expires, "expires-in", "how long it is valid, as 30d (default: until it is revoked)")
	_ = cmd.MarkFlagRequired("scope")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		company, err := api.company(ctx)
		if err != nil {
			return err
		}
		if expires > 0 {
			k.ExpiresAt = new(time.Now().Add(time.Duration(expires)).UTC())
		}
		made, err := api.CreateKey(ctx, company, k)
		if err != nil {
			return err
		}
		return p.thing(made, field{"id", made.ID}, field{"key", made.Key}, field{"scope", string(made.Scope)}, field{"expires", show(made.ExpiresAt)})
	})
}

func (p *Program) keysSigning() *cobra.Command {
	rotate := false
	cmd := &cobra.Command{
		Use: "signing", Short: "List a company's public keys for signatures without a shared secret, or rotate them", Args: cobra.NoArgs,
		Long: "List the public keys of a company that receivers verify v1a and HTTP message signatures with, newest first. " +
			"With --rotate the next one is published, which signs from a day from now on.",
		Example: example("atlas-webhooks keys signing --company c1", "atlas-webhooks keys signing --company c1 --rotate"),
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "publish the next key")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		company, err := api.company(ctx)
		if err != nil {
			return err
		}
		if rotate {
			k, err := api.RotateSigningKey(ctx, company)
			if err != nil {
				return err
			}
			return p.thing(k, field{"kid", k.KID}, field{"signs from", when(k.ActiveFrom)}, field{"pem", k.PEM})
		}
		list, err := api.SigningKeys(ctx, company)
		if err != nil {
			return err
		}
		return listing(p, "KID SIGNS-FROM X", func(yield func(client.SigningKey, error) bool) {
			for _, k := range list {
				if !yield(k, nil) {
					return
				}
			}
		}, 0, func(k client.SigningKey) []string { return []string{k.KID, when(k.ActiveFrom), k.X} })
	})
}

func (p *Program) keysRevoke() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "revoke KEY", Short: "Revoke a key by its id", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks keys revoke key_01h… --company c1", "atlas-webhooks keys revoke key_01h… --company c1 --quiet"),
	}, func(ctx context.Context, api *caller, args []string) error {
		company, err := api.company(ctx)
		if err != nil {
			return err
		}
		if err := api.RevokeKey(ctx, company, args[0]); err != nil {
			return err
		}
		p.progress("revoked %s: it opens nothing any more within five seconds", args[0])
		return nil
	})
}
