// Command atlas-webhooks delivers Atlas events to the endpoints that subscribed to them, and has the
// tools around that. See package cli.
package main

import (
	"context"
	"os"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app"
	"github.com/atlas-webhooks/atlas-webhooks/internal/cli"
)

func main() {
	self, _ := os.Executable() // without it nothing outlives this process
	os.Exit(cli.Main(&cli.Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Open: open, Self: self}))
}

// open makes the server for the commands that run one.
func open(ctx context.Context, o cli.ServerOptions) (cli.Server, error) {
	return app.Open(ctx, app.Options{Config: o.Config, Log: o.Log, Version: o.Version, Terminal: o.Terminal, Resume: o.Resume, Restored: o.Restored})
}
