package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/telemetry"
)

// local makes a command that works on stores itself, with the settings of the server.
func (p *Program) local(cmd *cobra.Command, run func(ctx context.Context, s app.Stores, args []string) error) *cobra.Command {
	config.Flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, _, err := config.Load(cmd.Flags())
		if err != nil {
			return &exitError{exitUsage, err}
		}
		log, err := telemetry.NewLogger(p.Stderr, telemetry.LogOptions{Format: cfg.LogFormat, Level: cfg.LogLevel, Plain: config.PlainOutput()})
		if err != nil {
			return err
		}
		return run(cmd.Context(), app.Stores{Config: cfg, Log: log}, args)
	}
	return cmd
}

func (p *Program) migrate() *cobra.Command {
	cmd := p.local(&cobra.Command{
		Use: "migrate", Short: "Bring the schema of a store up to date", Args: cobra.NoArgs,
		Long: "Bring the schema of the store that --data-dir or --database-url names up to date, and list its steps. A server does so when it starts; " +
			"this does it before. Servers of the version before can go on meanwhile and afterwards.",
		Example: example("atlas-webhooks migrate --database-url postgres://…", "atlas-webhooks migrate status --data-dir /var/lib/atlas-webhooks"),
	}, func(ctx context.Context, s app.Stores, _ []string) error { return p.migrated(ctx, s, true) })
	cmd.AddCommand(p.local(&cobra.Command{
		Use: "status", Short: "Say how far the schema of a store is", Args: cobra.NoArgs,
		Example: example("atlas-webhooks migrate status", "atlas-webhooks migrate status --output json"),
	}, func(ctx context.Context, s app.Stores, _ []string) error { return p.migrated(ctx, s, false) }))
	return cmd
}

func (p *Program) migrated(ctx context.Context, s app.Stores, apply bool) error {
	list, err := s.Migrate(ctx, apply)
	if err != nil {
		return err
	}
	return records(p, "VERSION NAME APPLIED", list, func(m app.Migration) []string {
		return []string{fmt.Sprint(m.Version), m.Name, show(m.AppliedAt)}
	})
}

func (p *Program) copyStore() *cobra.Command {
	var from, to, company string
	cmd := &cobra.Command{
		Use: "copy", Short: "Copy everything, or a company, into another store", Args: cobra.NoArgs,
		Long: "Copy everything, or one company, from a store into another one; each is a data directory or a URL of Postgres. No server may run on either. " +
			"A copy that is broken off goes on when it is started again. At the end rows and sums are compared. " +
			"The master key must be the one of both; it is read from the settings, or from master.key in --from.",
		Example: example(
			"atlas-webhooks copy --from /var/lib/atlas-webhooks --to postgres://user:password@host/database",
			"atlas-webhooks copy --from ./data --to postgres://… --company c1",
		),
	}
	config.Flags(cmd.Flags())
	cmd.Flags().StringVar(&from, "from", "", "the store to copy: a directory, or a URL of Postgres")
	cmd.Flags().StringVar(&to, "to", "", "the store to copy into")
	cmd.Flags().StringVar(&company, "company", "", "only this company; the target may hold others")
	for _, name := range []string{"from", "to"} {
		_ = cmd.MarkFlagRequired(name) // it exists: it was added above
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := config.Load(cmd.Flags())
		if err != nil {
			return &exitError{exitUsage, err}
		}
		if !cmd.Flags().Changed("data-dir") {
			cfg.DataDir = from // where the master key may be
		}
		log, err := telemetry.NewLogger(p.Stderr, telemetry.LogOptions{Format: cfg.LogFormat, Level: cfg.LogLevel, Plain: config.PlainOutput()})
		if err != nil {
			return err
		}
		done, err := app.Stores{Config: cfg, Log: log}.Copy(cmd.Context(), from, to, company, p.rows())
		if err != nil {
			return err
		}
		total := int64(0)
		for _, n := range done.Rows {
			total += n
		}
		p.progress("Both stores say the same of %d companies and %d webhooks. Start no server on the source any more.", done.Companies, done.Webhooks)
		return p.thing(done, field{"companies", fmt.Sprint(done.Companies)}, field{"webhooks", fmt.Sprint(done.Webhooks)}, field{"rows", fmt.Sprint(total)})
	}
	return cmd
}

// rows tells once a second how far a copy is.
func (p *Program) rows() func(app.Progress) {
	told := time.Now()
	return func(x app.Progress) {
		if x.Done == x.Total || time.Since(told) >= time.Second {
			told = time.Now()
			p.progress("%3d %%  %d of %d rows (%s)", 100*x.Done/max(x.Total, 1), x.Done, x.Total, x.Table)
		}
	}
}

func (p *Program) restore() *cobra.Command {
	cmd := p.local(&cobra.Command{
		Use: "restore FILE", Short: "Fill an empty store from a backup", Args: cobra.ExactArgs(1),
		Long: "Fill the store that --data-dir or --database-url names from a backup; it must be empty. The master key must be the one that the backup was made under. " +
			"A server that starts on it accepts events and delivers nothing, until one is started with --resume: " +
			"what was delivered after the backup was made would be delivered again.",
		Example: example("atlas-webhooks restore backup --data-dir /var/lib/atlas-webhooks", "atlas-webhooks restore backup --database-url postgres://…"),
	}, func(ctx context.Context, s app.Stores, args []string) error {
		if err := s.Restore(ctx, args[0], p.rows()); err != nil {
			return err
		}
		p.progress("Restored. A server on it delivers nothing until one is started with --resume.")
		return nil
	})
	return cmd
}

func (p *Program) backup() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "backup FILE", Short: "Write a backup of a running server into a file", Args: cobra.ExactArgs(1),
		Long: "Write everything that a server holds into a file, while it goes on. The file holds all that was acknowledged before; it is there when it is complete, " +
			"and not before. It needs an operator key. The master key is not in it: keep a copy of it elsewhere.",
		Example: example("atlas-webhooks backup /backups/$(date +%F)", "atlas-webhooks backup backup --url https://hooks.example.com"),
	}, func(ctx context.Context, api *caller, args []string) (err error) {
		path := args[0]
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, usage("%s exists", path))
		}
		f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		c := &counter{p: p, f: f, told: time.Now()}
		if err = errors.Join(api.Backup(ctx, c), f.Close()); err == nil {
			err = app.SettleFile(f.Name(), path)
		}
		if err != nil {
			return err
		}
		p.progress("%s: %.1f MiB", path, float64(c.n)/(1<<20))
		return nil
	})
}

// counter tells once a second how much was written.
type counter struct {
	p    *Program
	f    *os.File
	n    int64
	told time.Time
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.f.Write(b)
	c.n += int64(n)
	if time.Since(c.told) >= time.Second {
		c.told = time.Now()
		c.p.progress("%.1f MiB", float64(c.n)/(1<<20))
	}
	return n, err
}
