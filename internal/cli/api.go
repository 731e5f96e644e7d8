package cli

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// caller is a client with the settings that it was made from.
type caller struct {
	*client.Client
	settings config.Client
}

// newCaller makes a client. A person waits for it, so it does not try for long.
func newCaller(c config.Client) (*caller, error) { return callerOver(c, nil) }

func callerOver(c config.Client, transport http.RoundTripper) (*caller, error) {
	if c.APIKey == "" {
		return nil, &exitError{exitAuth, errors.New("no key: 'atlas-webhooks login' keeps one; or give --api-key, or set ATLAS_WEBHOOKS_API_KEY")}
	}
	api, err := client.New(client.Config{
		URL: c.URL, Key: c.APIKey.Reveal(), Company: c.Company, Retries: 2, UserAgent: wire.UserAgent(buildVersion()),
		Transport: transport,
	})
	if err != nil {
		return nil, usage("%w", err)
	}
	return &caller{api, c}, nil
}

// company is the company that the command acts for: the one that was named, or the key's own.
func (c *caller) company(ctx context.Context) (string, error) {
	if c.settings.Company != "" {
		return c.settings.Company, nil
	}
	who, err := c.Caller(ctx)
	switch {
	case err == nil && who.CompanyID == nil:
		return "", errNoCompany
	case err != nil:
		return "", err
	}
	c.settings.Company = *who.CompanyID
	return c.settings.Company, nil
}

// remote makes a command one that calls the API.
func (p *Program) remote(cmd *cobra.Command, run func(ctx context.Context, api *caller, args []string) error) *cobra.Command {
	config.ClientFlags(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfile)
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = p.complete
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := config.LoadClient(cmd.Flags())
		if err != nil {
			return &exitError{exitUsage, err}
		}
		api, err := newCaller(c)
		if err != nil {
			return err
		}
		err = run(cmd.Context(), api, args)
		if refused, ok := errors.AsType[*client.Problem](err); ok && refused.Code == "company_required" {
			return errNoCompany
		}
		return err
	}
	return cmd
}

var errNoCompany = usage("no company: give --company or set ATLAS_WEBHOOKS_COMPANY")

// group is a command that has nothing but others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: below[0].Example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				var known []string
				for _, c := range cmd.Commands() {
					known = append(known, c.Name())
				}
				mean := ""
				if near := hook.Nearest(args[0], known); near != "" {
					mean = "; did you mean " + near + "?"
				}
				return usage("unknown command %q for %q%s", args[0], cmd.CommandPath(), mean)
			}
			return usage("%q needs one of the commands below it", cmd.CommandPath())
		},
	}
	cmd.AddCommand(below...)
	return cmd
}

// refusalCode is the exit code that a refusal by the server means.
func refusalCode(err error) (code int, ok bool) {
	refused, ok := errors.AsType[*client.Problem](err)
	switch {
	case !ok:
		return 0, false
	case refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden:
		return exitAuth, true
	case refused.Status == http.StatusNotFound:
		return exitNotFound, true
	}
	return exitFailure, true
}

// listing prints a list of the API: each record as it comes with --output json, else a table.
func listing[T any](p *Program, heading string, list iter.Seq2[T, error], limit int, row func(T) []string) error {
	var all []T
	n := 0
	for item, err := range list {
		if err != nil {
			return err
		}
		if n++; p.output != "json" {
			all = append(all, item)
		} else if err := p.record(item); err != nil {
			return err
		}
		if n == limit {
			break
		}
	}
	if p.output == "json" {
		return nil
	}
	return records(p, heading, all, row)
}

// pageSize is how many rows to ask for at once, to print limit of them.
func pageSize(limit int) int {
	if limit == 0 {
		return 250
	}
	return min(limit, 250)
}

// moment reads a time: RFC 3339, or how long ago it was ("2h", "7d"). No text is no time.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := parseSpan(text); err == nil {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usage("--%s: %q is neither a time, as 2026-01-02T15:04:05Z, nor how long ago, as 2h or 7d", flag, text)
	}
	return at, nil
}
