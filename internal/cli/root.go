// Package cli is the command line: one file for each command.
//
// Commands write data to standard output and everything else to standard error; with --output json
// each record is one JSON object on one line. What a command came to is its exit code: see [Main].
// A command returns its error; only Main prints it, and nothing exits below it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// Exit codes.
const (
	exitOK       = 0
	exitFailure  = 1 // it did not work
	exitUsage    = 2 // the command line or the configuration is wrong
	exitNotFound = 3 // what the command names does not exist
	exitAuth     = 4 // no key, the wrong one, or one that may not do this
	exitVerify   = 5 // a signature does not verify
)

// Program is what the command line is run with.
type Program struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Open makes the server that serve and demo run. Without it these two commands do not exist.
	Open OpenServer
	// Self is the path of this program, which starts itself where something has to outlive it; "" for never.
	Self string

	output  string // --output: "table" or "json"
	quiet   bool   // --quiet
	running bool   // set once flags and arguments are understood: errors from then on are not usage errors
}

// Main runs one command and returns its exit code: 0 ok, 1 failure, 2 usage, 3 not found, 4 auth,
// 5 verification failed. The first SIGINT or SIGTERM asks the command to end; a second one ends the
// process at once.
func Main(p *Program) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := p.root()
	root.SetArgs(p.Args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code := p.exitCode(err)
	// A pipe that was closed by its reader (| head) has nothing to be told.
	if !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(p.Stderr, "error: %s\n", harmless(err.Error()))
	}
	if code == exitUsage {
		fmt.Fprintf(p.Stderr, "See '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// exitError is an error that says which exit code it means.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// usage is an error of the one who typed the command.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// notFound is the error for a thing that the command names and nobody knows.
func notFound(format string, args ...any) error {
	return &exitError{code: exitNotFound, err: fmt.Errorf(format, args...)}
}

func (p *Program) exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if code, ok := refusalCode(err); ok {
		return code
	}
	if !p.running {
		return exitUsage
	}
	return exitFailure
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "atlas-webhooks",
		Short: "Delivers Atlas events to the endpoints that subscribed to them",
		Example: example(
			"atlas-webhooks topics                              # what can be subscribed to",
			"atlas-webhooks trigger conversation.status --wait  # publish a sample, follow its deliveries",
		),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Version:           buildVersion(),
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if p.output != "table" && p.output != "json" {
				return usage("--output: %q is neither table nor json", p.output)
			}
			return nil
		},
	}
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetVersionTemplate(versionLine() + "\n")
	root.SetFlagErrorFunc(misspelt)
	root.PersistentFlags().StringVarP(&p.output, "output", "o", "table", "form of the output: table, or json (one object a line)")
	root.PersistentFlags().BoolVarP(&p.quiet, "quiet", "q", false, "no progress on standard error")
	root.AddCommand(
		p.completion(), p.man(), p.login(), p.logout(), p.profiles(), p.config(), p.receiver(), p.sign(), p.topics(), p.trigger(), p.verify(), p.version(),
		p.webhooks(), p.events(), p.deliveries(), p.replays(), p.filters(), p.keys(), p.links(), p.sources(), p.deadLetters(), p.stats(), p.notices(), p.audit(),
		p.preflight(), p.conservation(), p.openapi(), p.outbox(), p.doctor(), p.listen(), p.listenEnd(), p.mcp(),
		p.backup(), p.restore(), p.copyStore(), p.migrate(),
	)
	if p.Open != nil {
		root.AddCommand(p.bench(), p.demo(), p.serve())
	}
	for _, cmd := range root.Commands() {
		p.marked(cmd)
	}
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// marked makes a command note that it runs (cobra checks flags and arguments before, and all its
// errors are of one type), and name its arguments in what it says of them.
func (p *Program) marked(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		p.marked(below)
	}
	named(cmd)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.running = true
		return run(cmd, args)
	}
}

// colour reports whether w may be written to in colour.
func colour(w io.Writer) bool { return isTerminal(w) && !config.PlainOutput() }
