package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

const demoCompany = "demo"

type demoFlags struct {
	length time.Duration // 0 = until it is told to end
	rate   string
}

func (p *Program) demo() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a server, three receivers and a stream of events, and show what happens",
		Long: "Run a server, three receivers and a stream of realistic events in one process. One receiver answers everything, " +
			"one fails for a while and recovers, again and again, and one always fails. The data goes to a directory of its own, " +
			"which is removed at the end unless --data-dir names one. Settings are those of serve.",
		Args: cobra.NoArgs,
		Example: example(
			"atlas-webhooks demo",
			"atlas-webhooks demo --for 30s --rate 50/s --listen 127.0.0.1:9000",
		),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, settings, err := config.Load(cmd.Flags())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return p.runDemo(cmd.Context(), cfg, settings, f)
		},
	}
	config.Flags(cmd.Flags())
	cmd.Flags().DurationVar(&f.length, "for", 0, "end after this time (default: when Ctrl-C is pressed)")
	cmd.Flags().StringVar(&f.rate, "rate", "5/s", "how many events to publish")
	return cmd
}

func (p *Program) runDemo(ctx context.Context, cfg config.Config, settings []config.Setting, f demoFlags) error {
	pace, err := parseRate(f.rate)
	if err != nil {
		return err
	}
	cfg, cleanup, err := demoConfig(ctx, cfg, settings)
	if err != nil {
		return err
	}
	defer cleanup()
	ctx, end := context.WithCancel(ctx)
	defer end()
	if f.length > 0 {
		defer time.AfterFunc(f.length, end).Stop()
	}
	d := &demonstration{program: p, pace: pace, sent: map[string]time.Time{}}
	if colour(p.Stderr) {
		d.screen = &screen{w: p.Stderr}
		p.Stderr = d.screen // the log, too
	}
	if cfg.OperatorKey == "" {
		d.keyFile = filepath.Join(cfg.DataDir, "operator.key")
	}
	if err := d.openReceivers(); err != nil {
		return err
	}
	server, _, err := p.openServer(ctx, cfg, ServerOptions{})
	if err != nil {
		return err
	}
	return errors.Join(d.run(ctx, server), d.summary())
}

// demoConfig is the configuration with what a demo needs where nobody said otherwise.
func demoConfig(ctx context.Context, cfg config.Config, settings []config.Setting) (config.Config, func(), error) {
	unset := func(name string) bool {
		return slices.ContainsFunc(settings, func(s config.Setting) bool { return s.Name == name && s.Origin == "default" })
	}
	cfg.Dev = true
	if unset("log_level") {
		cfg.LogLevel = "warn" // the demo has more to show than the log
	}
	if unset("log_format") {
		cfg.LogFormat = "text" // a person reads it, in a file too
	}
	if unset("listen") {
		cfg.Listen = freeAddress(ctx, "127.0.0.1:8080")
	}
	cleanup := func() {}
	if unset("data_dir") {
		dir, err := os.MkdirTemp("", "atlas-webhooks-demo-")
		if err != nil {
			return cfg, cleanup, fmt.Errorf("demo: %w", err)
		}
		cfg.DataDir = dir
		// What cannot be removed lies in the directory for temporary files: nothing depends on it.
		cleanup = func() { _ = os.RemoveAll(dir) }
	}
	return cfg.WithDefaults(), cleanup, nil
}

// freeAddress is the wanted address, or one with any free port where somebody has that.
func freeAddress(ctx context.Context, wanted string) string {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", wanted)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close() // a listener that accepted nothing
	return wanted
}

// openReceivers opens the receivers, each with a secret of its own.
func (d *demonstration) openReceivers() error {
	// Fails a dozen requests, recovers, works for a while; from the start, and a hundred times.
	var moody []receiver.Behaviour
	for range 100 {
		moody = append(moody, receiver.Behaviour{Name: "fail", Status: http.StatusInternalServerError, Count: 12},
			receiver.Behaviour{Name: "ok", Count: 120})
	}
	for _, e := range []*endpoint{
		{name: "helpdesk", topics: []string{"*"}},
		{name: "billing", topics: []string{"conversation.*", "customer.*"}, script: moody},
		{name: "warehouse", topics: []string{"account.*"}, script: []receiver.Behaviour{{Name: "fail", Status: http.StatusBadGateway}}},
	} {
		e.secret = hook.NewSecret()
		r, err := receiver.New(receiver.Config{
			Secret: e.secret, Script: e.script, Journal: func(got receiver.Delivery) { d.received(e, got) },
		})
		if err != nil {
			return fmt.Errorf("demo: open a receiver: %w", err)
		}
		e.receiver = r
		d.endpoints = append(d.endpoints, e)
	}
	return nil
}
