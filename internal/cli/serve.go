package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/telemetry"
)

// Server is the product, opened but not yet running.
type Server interface {
	// Run serves until ctx ends, then drains what is in flight and returns nil.
	Run(ctx context.Context) error
	// Ready is closed once Run answers requests. URL and OperatorKey are known from then on.
	Ready() <-chan struct{}
	URL() string
	OperatorKey() config.Secret
	// ApplyTopics reads topics_file again; when it is wrong, what was read before stays.
	ApplyTopics(ctx context.Context) error
}

// ServerOptions is what a server is opened with.
type ServerOptions struct {
	Config  config.Config
	Log     *slog.Logger
	Version string
	// Terminal is where a person watches, nil when nobody does. A key that the first start creates
	// is shown there, and only there.
	Terminal io.Writer
	// Resume lets a store that was restored from a backup deliver from now on.
	Resume bool
	// Restored says that the store was brought back from a copy.
	Restored bool
}

// OpenServer makes a server: it opens the store and the listeners.
type OpenServer func(ctx context.Context, o ServerOptions) (Server, error)

func (p *Program) serve() *cobra.Command {
	var profile string
	var o ServerOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Run the server: the API, the console and the delivery of events. Settings come from flags, from the environment " +
			"(ATLAS_WEBHOOKS_LISTEN for --listen) and from the file that --config names, in this order. " +
			"The first SIGTERM or Ctrl-C lets requests in flight end, a second one ends the process at once; neither loses anything.",
		Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks serve --dev",
			"atlas-webhooks serve --config /etc/atlas-webhooks/atlas.yaml --log-format json",
		),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := config.Load(cmd.Flags())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return p.runServe(cmd.Context(), cfg, profile, o)
		},
	}
	config.Flags(cmd.Flags())
	// No setting either: a file that says so would undo every restore.
	cmd.Flags().BoolVar(&o.Resume, "resume", false, "let a store that is held back after a restore deliver from now on")
	cmd.Flags().BoolVar(&o.Restored, "restored", false, "say, once, that the store was brought back from a copy of its files: what it gives out from now on lies above all that it may have given out")
	// For those who work on the server: no setting, so that no file turns it on.
	cmd.Flags().StringVar(&profile, "profile-listen", "", "loopback address that the profiler (net/http/pprof) listens on")
	// The flag was added above, so that hiding it cannot fail.
	_ = cmd.Flags().MarkHidden("profile-listen")
	return cmd
}

func (p *Program) runServe(ctx context.Context, cfg config.Config, profile string, o ServerOptions) error {
	server, log, err := p.openServer(ctx, cfg, o)
	if err != nil {
		return err
	}
	if profile != "" {
		stop, err := profileServer(ctx, profile, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	if cfg.TopicsFile != "" {
		defer reload(ctx, server, log)()
	}
	select {
	case <-server.Ready():
		if cfg.Dev {
			p.firstSteps(server)
		}
	case err := <-ended:
		return err
	}
	return <-ended
}

// reload reads the topics anew at each SIGHUP, until it is ended.
func reload(ctx context.Context, server Server, log *slog.Logger) (end func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangups:
				if err := server.ApplyTopics(ctx); err != nil {
					log.Error("the topics stay as they are", "error", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		cancel()
		<-ended
	}
}

// openServer opens a server that logs to standard error, and logs what an operator should not
// overlook.
func (p *Program) openServer(ctx context.Context, cfg config.Config, o ServerOptions) (Server, *slog.Logger, error) {
	log, err := telemetry.NewLogger(p.Stderr, telemetry.LogOptions{
		Format: cfg.LogFormat, Level: cfg.LogLevel, Plain: config.PlainOutput(),
	})
	if err != nil {
		return nil, nil, err
	}
	for _, w := range cfg.Warnings() {
		log.Warn(w)
	}
	o.Config, o.Log, o.Version = cfg, log, buildVersion()
	if isTerminal(p.Stderr) {
		o.Terminal = p.Stderr
	}
	server, err := p.Open(ctx, o)
	return server, log, err
}

// firstSteps shows who tries the server out what to type next. The key is shown to a person only,
// never to a log collector.
func (p *Program) firstSteps(s Server) {
	if !isTerminal(p.Stderr) {
		return
	}
	p.progress(`
Try it, in another terminal:

  export ATLAS_WEBHOOKS_URL=%s ATLAS_WEBHOOKS_API_KEY=%s ATLAS_WEBHOOKS_COMPANY=demo
  atlas-webhooks trigger conversation.status --wait
`, s.URL(), s.OperatorKey().Reveal())
}
