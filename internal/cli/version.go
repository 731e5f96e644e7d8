package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *Program) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Example: example(
			"atlas-webhooks version",
			"atlas-webhooks version --output json",
		),
		RunE: func(*cobra.Command, []string) error {
			if p.output == "json" {
				return p.record(map[string]string{"version": buildVersion(), "go": runtime.Version(), "platform": platform()})
			}
			return p.line("%s", versionLine())
		},
	}
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// versionLine is what --version prints, too.
func versionLine() string {
	return fmt.Sprintf("atlas-webhooks %s (%s, %s)", buildVersion(), runtime.Version(), platform())
}

// buildVersion is the module's version as the Go toolchain put it into the binary: a tag where it
// was built from one, else "devel".
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
