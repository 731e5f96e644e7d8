// Command atlas-webhooks delivers Atlas events to the endpoints that subscribed to them, and has the
// tools around that. See package cli.
package main

import (
	"os"

	"github.com/atlas-webhooks/atlas-webhooks/internal/cli"
)

func main() {
	os.Exit(cli.Main(&cli.Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
}
