package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/load"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

type benchFlags struct {
	duration    time.Duration
	rounds      int
	connections int
	load        float64
	only        []string
	profile     string
	dataDir     string
	store       string
	nodes       []int
	companies   int
	crowd       int           // quiet companies that are measured instead
	against     string        // another build, measured beside
	rest, watch time.Duration // of the crowd
	post        string
	serve       []string // flags of the own server
}

func (p *Program) bench() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench [-- FLAG …]",
		Short: "Put load on a server and measure what arrives",
		Long: "Publish as fast as deliveries arrive, and measure them: single posts, batches of 100, and batches that go to five " +
			"webhooks each; then, at a part of that speed, how long a delivery takes. Publisher and receiver are this process. " +
			"Before and after each measurement stands the ceiling, the same bodies posted straight to the same receiver by plain net/http from a " +
			"process of its own: the ratio to it says more than the figure. Medians are shown.\n\n" +
			"Without --api-key it starts a server of its own, with an empty store and the flags of serve that follow --, and ends it; with --store postgres also a " +
			"Postgres of its own, whose CPU it shows too, and as many nodes on it as --nodes says. With --api-key it loads the server at " +
			"--url, which must be able to reach this machine's loopback addresses (serve --dev).",
		Args: cobra.ArbitraryArgs,
		Example: example(
			"atlas-webhooks bench",
			"atlas-webhooks bench -- --max-in-flight 2048",
			"atlas-webhooks bench --store postgres --nodes 1,2,3",
			"atlas-webhooks bench --crowd 100000",
			"atlas-webhooks bench --only single,latency --duration 10s --cpu-profile profiles/",
			"atlas-webhooks bench --url http://localhost:8080 --api-key $(cat data/operator.key)",
		),
		RunE: func(cmd *cobra.Command, args []string) error {
			load := config.LoadLogin // load on a server that was logged in to is asked for by name
			if cmd.Flags().Changed("profile") {
				load = config.LoadClient
			}
			c, err := load(cmd.Flags())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if f.post != "" {
				return p.post(cmd.Context(), &f)
			}
			f.serve = args
			if f.crowd > 0 {
				return p.benchCrowd(cmd.Context(), &f)
			}
			return p.runBench(cmd.Context(), c, &f)
		},
	}
	flags := cmd.Flags()
	config.ClientFlags(flags)
	flags.DurationVar(&f.duration, "duration", 4*time.Second, "how long each measurement takes")
	flags.IntVar(&f.rounds, "rounds", 3, "how often each is taken")
	flags.IntVar(&f.connections, "connections", 0, "how many keep-alive connections publish (default: 128 for single posts, 32 for batches)")
	flags.Float64Var(&f.load, "load", 0.3, "part of the speed of single posts at which latency is measured")
	flags.StringSliceVar(&f.only, "only", nil, "`scenarios` to measure: "+strings.Join(load.Names(), ", ")+" (default: all)")
	flags.StringVar(&f.profile, "cpu-profile", "", "write CPU profiles of the own server to this `directory`, one for each scenario")
	flags.StringVar(&f.dataDir, "data-dir", "", "directory for the own server's data (default: one for temporary files, removed at the end)")
	flags.StringVar(&f.store, "store", "sqlite", "`store` of the own server: sqlite, or postgres, which must be installed")
	flags.IntSliceVar(&f.nodes, "nodes", []int{1}, "how many `nodes` on Postgres are measured, one count after the other")
	flags.IntVar(&f.companies, "companies", 0, "how many companies the events are about; each is delivered by one node (default: 1, with --nodes 32)")
	flags.IntVar(&f.crowd, "crowd", 0, "instead, measure what this many quiet `companies` cost an own server, with a webhook and ten events each")
	flags.StringVar(&f.against, "against", "", "with --crowd, measure another build of `atlas-webhooks` beside this one")
	flags.DurationVar(&f.rest, "rest", 90*time.Second, "with --crowd, how long nothing happens before the server is watched")
	flags.DurationVar(&f.watch, "watch", 75*time.Second, "with --crowd, how long it is watched: upkeep has its turn once a minute")
	flags.StringVar(&f.post, "post", "", "post to this `URL` until standard input ends: the ceiling's part of bench")
	_ = flags.MarkHidden("post")
	return cmd
}

// post is the process that bench starts for the ceiling.
func (p *Program) post(ctx context.Context, f *benchFlags) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, p.Stdin) // an error is an end too
	}()
	return load.Post(ctx, f.post, f.connections)
}

func (f *benchFlags) check() error {
	switch {
	case f.duration < 100*time.Millisecond:
		return usage("--duration: at least 100ms")
	case f.rounds < 1:
		return usage("--rounds: at least 1")
	case f.connections < 0 || f.connections > load.MaxConnections:
		return usage("--connections: 1 to %d", load.MaxConnections)
	case !(f.load > 0 && f.load <= 1):
		return usage("--load: above 0, at most 1")
	case f.store != "sqlite" && f.store != "postgres":
		return usage("--store: sqlite or postgres")
	case slices.Min(append(f.nodes, 1)) < 1 || slices.Max(append(f.nodes, 1)) > 16:
		return usage("--nodes: 1 to 16")
	case f.store == "sqlite" && !slices.Equal(f.nodes, []int{1}):
		return usage("--nodes: the embedded store has one; use --store postgres")
	case f.companies < 0 || f.companies > 10_000:
		return usage("--companies: 1 to 10000")
	}
	for _, name := range f.only {
		if !slices.Contains(load.Names(), name) {
			return usage("--only: there is no scenario %q, but %s", name, strings.Join(load.Names(), ", "))
		}
	}
	return nil
}

func (p *Program) runBench(ctx context.Context, c config.Client, f *benchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := load.Options{
		Poster: func(ctx context.Context, url string, connections int) *exec.Cmd {
			return exec.CommandContext(ctx, self, "bench", "--connections", strconv.Itoa(connections), "--post", url)
		},
		Key: c.APIKey.Reveal(), Duration: f.duration, Rounds: f.rounds, Connections: f.connections, Load: f.load, Only: f.only,
		Progress: p.benched, Companies: f.companies,
	}
	if o.Key != "" {
		if f.profile != "" || f.dataDir != "" || f.store != "sqlite" || len(f.serve) > 0 {
			return usage("--cpu-profile, --data-dir, --store and flags after -- are for a server of its own, without --api-key")
		}
		o.Servers = []load.Server{{URL: c.URL}}
		results, err := load.Run(ctx, o)
		return errors.Join(err, p.show(results))
	}
	if len(f.nodes) > 1 && o.Companies == 0 {
		o.Companies = 32
	}
	var all []load.Result
	for _, nodes := range f.nodes {
		results, err := p.measureOwn(ctx, f, self, nodes, o)
		if err != nil {
			return err
		}
		all = append(all, results...)
	}
	return p.show(all)
}

// measureOwn measures nodes in processes of their own, on a store of their own.
func (p *Program) measureOwn(ctx context.Context, f *benchFlags, self string, nodes int, o load.Options) (results []load.Result, failed error) {
	dir := f.dataDir
	if dir == "" {
		made, err := os.MkdirTemp("", "atlas-webhooks-bench-")
		if err != nil {
			return nil, err
		}
		// What cannot be removed lies in the directory for temporary files: nothing depends on it.
		defer func() { _ = os.RemoveAll(made) }()
		dir = made
	}
	o.Key = "awo_" + rand.Text() + rand.Text()
	options := process.Options{
		Binary: self, Dir: dir, Args: append([]string{"--log-level", "info"}, f.serve...), Key: o.Key,
		Env: []string{"ATLAS_WEBHOOKS_MASTER_KEY=" + base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32])},
	}
	if f.store == "postgres" {
		database, err := postgrestest.Start(ctx)
		if err != nil {
			return nil, fmt.Errorf("--store postgres: %w", err)
		}
		defer database.Stop()
		pid, err := database.PID()
		if err != nil {
			return nil, err
		}
		o.Database = func(ctx context.Context) (u load.DatabaseUsage, err error) {
			if u.Commits, u.WAL, err = database.Written(ctx); err != nil {
				return u, err
			}
			all, err := process.UsageOfAll(pid)
			u.CPU = all.CPU
			return u, err
		}
		options.Args = append(options.Args, "--database-url", database.URL("postgres"))
	}
	if f.profile != "" {
		if err := os.MkdirAll(f.profile, 0o750); err != nil {
			return nil, err
		}
		options.Args = append(options.Args, "--profile-listen", "127.0.0.1:0")
	}
	for i := range nodes {
		if nodes > 1 {
			options.Dir = filepath.Join(dir, strconv.Itoa(i+1))
		}
		server, err := process.Start(ctx, options)
		if err != nil {
			return nil, err
		}
		defer func() { failed = errors.Join(failed, server.Stop(time.Minute)) }()
		o.Servers = append(o.Servers, load.Server{URL: server.URL, PID: server.PID})
		if f.profile != "" && i == 0 {
			o.During = (&profiler{server.Profile, f.profile}).take
		}
	}
	return load.Run(ctx, o)
}

// show prints what was measured. Deliveries that were lost are an error.
func (p *Program) show(results []load.Result) error {
	if len(results) == 0 {
		return nil
	}
	if err := records(p, "SCENARIO NODES DELIVERIES/S RATIO CPU DATABASE RSS P50 P99 LOST DUPLICATES", shapeResults(results), benchRow); err != nil {
		return err
	}
	for _, r := range results {
		if r.Lost > 0 {
			return fmt.Errorf("%s: %d of %d deliveries did not arrive", r.Scenario, r.Lost, r.Published)
		}
	}
	return nil
}

// benchRecord is a result as --output json shows it.
type benchRecord struct {
	Scenario   string  `json:"scenario"`
	Nodes      int     `json:"nodes,omitempty"`
	PerSecond  float64 `json:"deliveries_per_second"`
	Ratio      float64 `json:"ratio_to_ceiling,omitempty"`
	CPU        float64 `json:"cpu_us_per_delivery,omitempty"` // of the servers; of poster and sink for the ceiling
	Database   float64 `json:"database_cpu_us_per_delivery,omitempty"`
	Commits    float64 `json:"database_commits_per_second,omitempty"`
	WAL        float64 `json:"database_wal_bytes_per_delivery,omitempty"`
	RSS        int64   `json:"rss_bytes,omitempty"`
	Published  int64   `json:"published"`
	Lost       int64   `json:"lost"`
	Duplicates int64   `json:"duplicates"`
	Refused    int64   `json:"refused"`
	P50        float64 `json:"accepted_to_received_p50_ms,omitempty"`
	P99        float64 `json:"accepted_to_received_p99_ms,omitempty"`
	SentP50    float64 `json:"sent_to_received_p50_ms,omitempty"`
	SentP99    float64 `json:"sent_to_received_p99_ms,omitempty"`
}

func shapeResults(results []load.Result) (list []benchRecord) {
	for _, r := range results {
		list = append(list, shapeResult(&r))
	}
	return list
}

func shapeResult(r *load.Result) benchRecord {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return benchRecord{
		Scenario: r.Scenario, Nodes: r.Nodes, PerSecond: r.PerSecond, Ratio: r.Ratio, CPU: float64(r.CPU.Nanoseconds()) / 1000,
		Database: float64(r.Database.Nanoseconds()) / 1000, Commits: r.Commits, WAL: r.WAL, RSS: r.RSS, Published: r.Published, Lost: r.Lost, Duplicates: r.Duplicates, Refused: r.Refused,
		P50: ms(r.Accepted.P50), P99: ms(r.Accepted.P99), SentP50: ms(r.Sent.P50), SentP99: ms(r.Sent.P99),
	}
}

func benchRow(r benchRecord) []string {
	orDash := func(known bool, format string, v any) string {
		if !known {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	return []string{
		r.Scenario, orDash(r.Nodes > 0, "%d", r.Nodes), fmt.Sprintf("%.0f", r.PerSecond), orDash(r.Ratio > 0, "%.2f", r.Ratio), orDash(r.CPU > 0, "%.0f µs", r.CPU),
		orDash(r.Database > 0, "%.0f µs", r.Database), orDash(r.RSS > 0, "%d MiB", r.RSS>>20), orDash(r.P50 > 0, "%.1f ms", r.P50), orDash(r.P99 > 0, "%.1f ms", r.P99),
		strconv.FormatInt(r.Lost, 10), strconv.FormatInt(r.Duplicates, 10),
	}
}

// benched tells what one measurement came to.
func (p *Program) benched(r load.Result) {
	b := shapeResult(&r)
	text := fmt.Sprintf("round %d  %-8s %7.0f/s", r.Round, r.Scenario, r.PerSecond)
	if r.Ratio > 0 {
		text += fmt.Sprintf("  %.2f of the ceiling", r.Ratio)
	}
	if r.CPU > 0 {
		text += fmt.Sprintf("  %.0f µs CPU each", b.CPU)
	}
	if r.Database > 0 {
		text += fmt.Sprintf(" and %.0f µs of the database, which makes %.0f commits/s and writes %.0f bytes ahead for each", b.Database, r.Commits, r.WAL)
	}
	if b.P50 > 0 {
		text += fmt.Sprintf("  accepted to received p50 %.1f ms p99 %.1f ms, sent to received p50 %.1f ms p99 %.1f ms", b.P50, b.P99, b.SentP50, b.SentP99)
	}
	if r.Refused > 0 {
		text += fmt.Sprintf("  %d publishes asked to come later", r.Refused)
	}
	p.progress("%s", text)
}

// profiler asks the own server for CPU profiles.
type profiler struct{ url, dir string }

func (f *profiler) take(ctx context.Context, scenario string, length time.Duration) (err error) {
	seconds := max(1, int(length.Seconds()))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/debug/pprof/profile?seconds="+strconv.Itoa(seconds), http.NoBody)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: length + time.Minute}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the profiler answered %d", answer.StatusCode)
	}
	file, err := os.Create(filepath.Join(f.dir, scenario+".pprof"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.Copy(file, answer.Body)
	return err
}
