package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/load"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// benchCrowd measures quiet companies with the program that runs.
func (p *Program) benchCrowd(ctx context.Context, f *benchFlags) error {
	switch {
	case f.crowd > 1_000_000:
		return usage("--crowd: at most 1000000")
	case f.rest < time.Second || f.watch < time.Second:
		return usage("--rest, --watch: at least 1s")
	case f.store != "sqlite" && f.store != "postgres":
		return usage("--store: sqlite or postgres")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return p.runCrowd(ctx, f, self)
}

// runCrowd measures what quiet companies cost a server of its own, and another build beside it.
func (p *Program) runCrowd(ctx context.Context, f *benchFlags, self string) error {
	builds := []struct{ name, binary string }{{"this", self}}
	if f.against != "" {
		builds = append(builds, struct{ name, binary string }{"against", f.against})
	}
	var all []crowdRecord
	for _, build := range builds {
		p.progress("%s: %s", build.name, build.binary)
		r, err := p.crowdOf(ctx, f, build.binary)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", build.name, err), p.showCrowd(all))
		}
		all = append(all, shapeCrowd(build.name, &r))
	}
	return p.showCrowd(all)
}

// crowdOf measures one build on an empty store.
func (p *Program) crowdOf(ctx context.Context, f *benchFlags, binary string) (r load.CrowdResult, err error) {
	dir, err := os.MkdirTemp(f.dataDir, "atlas-webhooks-bench-")
	if err != nil {
		return r, err
	}
	// What cannot be removed lies in the directory for temporary files: nothing depends on it.
	defer func() { _ = os.RemoveAll(dir) }()
	o := load.Crowd{Companies: f.crowd, Key: "awo_" + rand.Text() + rand.Text(), Rest: f.rest, Watch: f.watch, Progress: p.progress}
	options := process.Options{
		Binary: binary, Dir: filepath.Join(dir, "data"), Args: append([]string{"--log-level", "info"}, f.serve...), Key: o.Key, Ready: 10 * time.Minute,
		Env: []string{"ATLAS_WEBHOOKS_MASTER_KEY=" + base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32])},
	}
	if f.store == "postgres" {
		database, err := postgrestest.Start(ctx)
		if err != nil {
			return r, fmt.Errorf("--store postgres: %w", err)
		}
		defer database.Stop()
		pid, err := database.PID()
		if err != nil {
			return r, err
		}
		o.Database = func(context.Context) (u load.DatabaseUsage, err error) {
			all, err := process.UsageOfAll(pid)
			u.CPU = all.CPU
			return u, err
		}
		options.Args = append(options.Args, "--database-url", database.URL("postgres"))
	}
	o.Start = func(ctx context.Context) (*process.Server, error) { return process.Start(ctx, options) }
	return load.MeasureCrowd(ctx, o)
}

// crowdRecord is a result as --output json shows it.
type crowdRecord struct {
	Build     string  `json:"build"`
	Companies int     `json:"companies"`
	OneP99    float64 `json:"publish_p99_ms_one_company"`
	BesideP99 float64 `json:"publish_p99_ms_one_of_them"`
	ManyP99   float64 `json:"publish_p99_ms"`
	CPU       float64 `json:"idle_cpu_percent_of_a_core"`
	Database  float64 `json:"idle_database_cpu_percent_of_a_core,omitempty"`
	Busy      float64 `json:"longest_work_at_rest_s"`
	RSS       int64   `json:"rss_bytes"`
	Ready     float64 `json:"ready_s"`
	Lost      int64   `json:"lost"`
}

func shapeCrowd(build string, r *load.CrowdResult) crowdRecord {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return crowdRecord{
		build, r.Companies, ms(r.One.P99), ms(r.Beside.P99), ms(r.Many.P99), 100 * r.CPU, 100 * r.Database, r.Busy.Seconds(), r.RSS, r.Ready.Seconds(), r.Lost,
	}
}

func (p *Program) showCrowd(all []crowdRecord) error {
	if len(all) == 0 {
		return nil
	}
	err := records(p, "BUILD COMPANIES PUBLISH-P99-OF-ONE ONE-OF-THEM ALL-OF-THEM IDLE-CPU DATABASE LONGEST-WORK RSS READY LOST", all, func(r crowdRecord) []string {
		return []string{
			r.Build, fmt.Sprint(r.Companies), fmt.Sprintf("%.1f ms", r.OneP99), fmt.Sprintf("%.1f ms", r.BesideP99), fmt.Sprintf("%.1f ms", r.ManyP99), fmt.Sprintf("%.2f %%", r.CPU),
			fmt.Sprintf("%.2f %%", r.Database), fmt.Sprintf("%.1f s", r.Busy), fmt.Sprintf("%d MiB", r.RSS>>20), fmt.Sprintf("%.1f s", r.Ready), fmt.Sprint(r.Lost),
		}
	})
	for _, r := range all {
		if r.Lost > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d deliveries did not arrive", r.Build, r.Lost))
		}
	}
	return err
}
