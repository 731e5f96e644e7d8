package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

func (p *Program) login() *cobra.Command {
	cmd := &cobra.Command{
		Use: "login", Short: "Keep a server's address and a key for the commands that call it", Args: cobra.NoArgs,
		Long: "Keep a server's address, a key and, for an operator key, a company as a profile in your configuration directory, in a file that " +
			"nobody else may read. The key is asked for, or read from standard input; it is tried before it is kept. " +
			"Commands take the profile \"default\", or the one that --profile or ATLAS_WEBHOOKS_PROFILE names.",
		Example: example(
			"atlas-webhooks login --url https://hooks.example.com",
			"atlas-webhooks login --profile staging --url https://staging.example.com --company c1 < key.txt",
		),
	}
	config.ClientFlags(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfile)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.LoadLogin(cmd.Flags())
		if err == nil && c.APIKey == "" {
			c.APIKey, err = p.askForKey(c.URL)
		}
		if err != nil {
			return &exitError{exitUsage, err}
		}
		return p.runLogin(cmd.Context(), c)
	}
	return cmd
}

// askForKey reads a key: from a person without showing it, else a line of standard input.
func (p *Program) askForKey(url string) (config.Secret, error) {
	var text string
	var err error
	if f, ok := p.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(p.Stderr, "Key for %s: ", harmless(url))
		var typed []byte
		typed, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.Stderr)
		text = string(typed)
	} else if text, err = bufio.NewReader(io.LimitReader(p.Stdin, 1<<10)).ReadString('\n'); errors.Is(err, io.EOF) {
		err = nil
	}
	if text = strings.TrimSpace(text); err == nil && text == "" {
		err = errors.New("api_key: there is none on standard input")
	}
	return config.Secret(text), err
}

func (p *Program) runLogin(ctx context.Context, c config.Client) error {
	profiles, err := config.ReadProfiles()
	if err != nil {
		return err
	}
	api, err := newCaller(c)
	if err != nil {
		return err
	}
	who, err := api.Caller(ctx)
	if err != nil {
		return err
	}
	as := "an operator"
	if who.CompanyID != nil {
		if c.Company != "" && c.Company != *who.CompanyID {
			return usage("company: the key belongs to %s", *who.CompanyID)
		}
		c.Company = *who.CompanyID
		as = fmt.Sprintf("company %s (%s)", c.Company, who.Scope)
	} else if c.Company != "" {
		as += " for company " + c.Company
	}
	if err := profiles.Save(c); err != nil {
		return &exitError{exitUsage, err}
	}
	p.progress("Logged in to %s as %s: profile %s in %s.", c.URL, as, c.Profile, profiles.Path)
	if c.Profile == config.DefaultProfile && who.Scope == client.Operator && c.Company == "" {
		p.progress("Commands need --company; 'atlas-webhooks login --company …' keeps one.")
	}
	return nil
}

func (p *Program) logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout [PROFILE]", Short: "Forget a profile and its key", Args: cobra.MaximumNArgs(1),
		Long:              "Forget a profile, and the key in it. The key itself stays valid; 'atlas-webhooks keys revoke' ends it.",
		Example:           example("atlas-webhooks logout", "atlas-webhooks logout staging"),
		ValidArgsFunction: completeProfile,
		RunE: func(_ *cobra.Command, args []string) error {
			name := config.DefaultProfile
			if len(args) > 0 {
				name = args[0]
			}
			profiles, err := config.ReadProfiles()
			if err != nil {
				return err
			}
			there, err := profiles.Remove(name)
			if err == nil && !there {
				err = notFound("there is no profile %q", name)
			}
			if err == nil {
				p.progress("forgot %s", name)
			}
			return err
		},
	}
}

// profileRecord is a profile as it is shown: without its key.
type profileRecord struct {
	Profile string `json:"profile"`
	URL     string `json:"url"`
	Company string `json:"company"`
}

func (p *Program) profiles() *cobra.Command {
	return &cobra.Command{
		Use: "profiles", Short: "List the servers that you are logged in to", Args: cobra.NoArgs,
		Example: example("atlas-webhooks profiles", "atlas-webhooks profiles --output json"),
		RunE: func(*cobra.Command, []string) error {
			profiles, err := config.ReadProfiles()
			if err != nil {
				return err
			}
			var list []profileRecord
			for _, name := range profiles.Names() {
				c, _ := profiles.Named(name)
				list = append(list, profileRecord{name, c.URL, c.Company})
			}
			return records(p, "PROFILE URL COMPANY", list, func(r profileRecord) []string { return []string{r.Profile, r.URL, r.Company} })
		},
	}
}

func completeProfile(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	profiles, err := config.ReadProfiles()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return profiles.Names(), cobra.ShellCompDirectiveNoFileComp
}
