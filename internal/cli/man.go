package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (p *Program) man() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "Write a manual page for each command", Args: cobra.ExactArgs(1),
		Example: example(
			"atlas-webhooks man /usr/local/share/man/man1",
			"atlas-webhooks man . && man ./atlas-webhooks-trigger.1",
		),
		RunE: func(cmd *cobra.Command, args []string) error {
			pages := 0
			var write func(*cobra.Command) error
			write = func(cmd *cobra.Command) error {
				if cmd.Hidden {
					return nil
				}
				if err := os.WriteFile(filepath.Join(args[0], pageName(cmd)+".1"), []byte(manPage(cmd)), 0o644); err != nil { //nolint:gosec // for everybody to read
					return err
				}
				pages++
				for _, below := range cmd.Commands() {
					if err := write(below); err != nil {
						return err
					}
				}
				return nil
			}
			if err := write(cmd.Root()); err != nil {
				return err
			}
			p.progress("wrote %d pages to %s", pages, args[0])
			return nil
		},
	}
}

// pageName is the name of a command's manual page.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage is a command's manual page in roff (man(7)).
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	section := func(title string) { fmt.Fprintf(&b, ".SH %s\n", title) }
	fmt.Fprintf(&b, ".TH \"%s\" 1 \"\" \"atlas-webhooks %s\" \"Atlas Webhooks\"\n", strings.ToUpper(pageName(cmd)), roff(buildVersion()))
	section("NAME")
	fmt.Fprintf(&b, "%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	section("SYNOPSIS")
	fmt.Fprintf(&b, "\\fB%s\\fR\n", roff(cmd.UseLine()))
	section("DESCRIPTION")
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintln(&b, roff(text))
	if cmd.HasAvailableLocalFlags() {
		section("OPTIONS")
		options(&b, cmd.NonInheritedFlags())
	}
	if cmd.HasAvailableInheritedFlags() {
		section("OPTIONS OF ALL COMMANDS")
		options(&b, cmd.InheritedFlags())
	}
	section("EXAMPLES")
	fmt.Fprintf(&b, ".nf\n%s\n.fi\n", roff(cmd.Example))
	section("EXIT STATUS")
	b.WriteString("0 ok, 1 it did not work, 2 usage, 3 not found, 4 no key or not the right one, 5 a signature does not verify.\n")
	var others []string
	if cmd.HasParent() {
		others = append(others, pageName(cmd.Parent()))
	}
	for _, below := range cmd.Commands() {
		if below.IsAvailableCommand() {
			others = append(others, pageName(below))
		}
	}
	if len(others) > 0 {
		section("SEE ALSO")
		for i, name := range others {
			others[i] = "\\fB" + roff(name) + "\\fR(1)"
		}
		fmt.Fprintln(&b, strings.Join(others, ", "))
	}
	return b.String()
}

func options(b *strings.Builder, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR \\fI%s\\fR\n%s\n", roff(name), roff(value), roff(text))
	})
}

// roff writes a text so that roff takes nothing in it for its own: backslashes and hyphens, and a dot or
// an apostrophe at the begin of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
