package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestEveryCommandTeaches: a sentence and two examples in each --help.
func TestEveryCommandTeaches(t *testing.T) {
	open := func(context.Context, ServerOptions) (Server, error) { return nil, errors.New("not here") }
	root := (&Program{Open: open}).root()
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: %q is not a short description", cmd.Name(), cmd.Short)
		}
		if n := strings.Count(cmd.Example, "atlas-webhooks "); n < 2 {
			t.Errorf("%s: %d examples, want two or more", cmd.Name(), n)
		}
		if cmd.Args == nil && cmd != root {
			t.Errorf("%s: takes any arguments", cmd.Name())
		}
	}
}
