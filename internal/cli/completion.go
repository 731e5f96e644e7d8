package cli

import "github.com/spf13/cobra"

func (p *Program) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Args:  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		Example: example(
			"source <(atlas-webhooks completion bash)",
			"atlas-webhooks completion fish > ~/.config/fish/completions/atlas-webhooks.fish",
		),
		ValidArgs:             []cobra.Completion{"bash", "zsh", "fish", "powershell"},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(p.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(p.Stdout)
			case "fish":
				return root.GenFishCompletion(p.Stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(p.Stdout)
			}
		},
	}
}
