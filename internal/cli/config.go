package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

func (p *Program) config() *cobra.Command {
	var reference bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings in force and where they come from",
		Long: "Print what a server started here with the same flags would have in force, and where each setting comes from. " +
			"Secrets are masked. Nothing is started; a wrong setting is reported as at a start.",
		Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks config --config /etc/atlas-webhooks/atlas.yaml",
			"ATLAS_WEBHOOKS_RETENTION_DAYS=90 atlas-webhooks config --output json",
		),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reference {
				_, err := io.WriteString(p.Stdout, config.Reference())
				return err
			}
			_, settings, err := config.Load(cmd.Flags())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return records(p, "SETTING VALUE FROM", settings, func(s config.Setting) []string {
				if s.Value == "" {
					s.Value = "-"
				}
				return []string{s.Name, s.Value, s.Origin}
			})
		},
	}
	config.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&reference, "reference", false, "print the reference page of all settings instead")
	return cmd
}
