package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryCommandTeaches: a sentence and two examples in each --help.
func TestEveryCommandTeaches(t *testing.T) {
	open := func(context.Context, ServerOptions) (Server, error) { return nil, errors.New("not here") }
	root := (&Program{Open: open}).root()
	for _, cmd := range everyCommand(root) {
		if cmd.Hidden { // people do not call it
			continue
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: %q is not a short description", cmd.Name(), cmd.Short)
		}
		if n := strings.Count(cmd.Example, "atlas-webhooks "); n < 2 {
			t.Errorf("%s: %d examples, want two or more", cmd.Name(), n)
		}
		if cmd.Args == nil && !cmd.HasSubCommands() {
			t.Errorf("%s: takes any arguments", cmd.Name())
		}
	}
}

func everyCommand(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, below := range cmd.Commands() {
		all = append(all, everyCommand(below)...)
	}
	return all
}
