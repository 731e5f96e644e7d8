// Package load measures a server by what arrives.
//
// A [Bench] is publisher and receiver at once: it publishes to a server and counts, in the same
// process, the requests that reach its own [sink]. Beside each figure stands the ceiling just before
// and after it: plain net/http posting the same bodies straight to the same sink over as many
// connections, from a process of its own as the server is one. The machine, and whatever else runs on
// it, is in both, so that the ratio travels where the figure does not.
//
// What is published is followed to its end: a round that lost a delivery, or got one twice, says
// so beside its speed.
package load

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
)

// Options of a Bench. Servers, Key and Poster are required; the zero value of the rest works.
type Options struct {
	// Servers are the nodes of one installation. Each gets its share of what is published.
	Servers []Server
	Key     string // an operator key
	// Poster makes the command that calls [Post] until its standard input ends.
	Poster func(ctx context.Context, url string, connections int) *exec.Cmd
	// Companies is how many there are, with as many webhooks each; 0 means 1. A company is delivered
	// by one node, so that many nodes need many.
	Companies int
	// Database tells what the servers' database has used and done; nil = not known.
	Database func(context.Context) (DatabaseUsage, error)
	// Duration is how long each measurement takes; 0 means 4 s.
	Duration time.Duration
	// Rounds is how often each is taken; the median counts. 0 means 3.
	Rounds int
	// Connections is how many keep-alive connections publish at once; 0 means 128 for single posts, which
	// each wait for a commit, and 32 for batches.
	Connections int
	// Load is the part of the speed of single posts at which latency is measured; 0 means 0.3.
	Load float64
	// Only names the scenarios to run; none means all.
	Only []string
	// Progress is told what is measured, and each result.
	Progress func(Result)
	// During is called while a scenario of the first round is under load, beside it: a profiler.
	During func(ctx context.Context, scenario string, length time.Duration) error
}

// Server is one node.
type Server struct {
	URL string
	PID int // of its process, 0 = unknown: no CPU and memory
}

// DatabaseUsage is what a database has used and done since its start.
type DatabaseUsage struct {
	CPU     time.Duration
	Commits int64 // of transactions that wrote
	WAL     int64 // bytes
}

// Result is one measurement.
type Result struct {
	Scenario   string
	Nodes      int
	Round      int
	PerSecond  float64       // deliveries
	Ratio      float64       // to the ceilings just before and after; 0 for a ceiling itself
	CPU        time.Duration // of the servers for each delivery; of poster and sink for the ceiling
	Database   time.Duration // CPU of the database for each delivery
	Commits    float64       // of the database, a second
	WAL        float64       // bytes that the database wrote ahead for each delivery
	RSS        int64         // of the servers, at the end
	Published  int64
	Lost       int64 // did not arrive within a minute of the last one that did
	Duplicates int64
	Refused    int64 // publishes that the server asked to repeat later
	// Accepted and Sent are how long deliveries took to be received, from accepted_at and from the
	// moment before the publish was sent; measured at a part of the full load only.
	Accepted, Sent Quantiles
}

// Quantiles of a time.
type Quantiles struct{ P50, P99 time.Duration }

// scenario is a way of publishing.
type scenario struct {
	name        string
	batch       int // events of one request
	webhooks    int // that each event goes to
	connections int
}

// MaxConnections bounds [Options].Connections.
const MaxConnections = 10_000

// Scenarios of another kind. Across is the latency of what is published at a node that does not
// deliver it; with several nodes, Latency is that of what is published at the one that does.
const (
	Ceiling = "ceiling"
	Latency = "latency"
	Across  = "across"
)

var scenarios = []scenario{{"single", 1, 1, 128}, {"batch", 100, 1, 32}, {"fan-out", 100, 5, 32}}

// Names lists the scenarios.
func Names() []string {
	names := []string{Latency, Across}
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

func (o *Options) defaults() {
	o.Duration = cmp.Or(o.Duration, 4*time.Second)
	o.Rounds = cmp.Or(o.Rounds, 3)
	o.Load = cmp.Or(o.Load, 0.3)
	o.Companies = cmp.Or(o.Companies, 1)
	if o.Progress == nil {
		o.Progress = func(Result) {}
	}
}

func (o *Options) wants(name string) bool {
	if name == Across && len(o.Servers) == 1 {
		return false
	}
	return len(o.Only) == 0 || slices.Contains(o.Only, name)
}

// Run takes all measurements, round after round, and returns the median of each scenario. The
// latency comes last, at a part of the speed of single posts that was found before.
func Run(ctx context.Context, o Options) ([]Result, error) {
	o.defaults()
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := b.settle(ctx); err != nil {
		return nil, err
	}
	var all []Result
	for round := 1; round <= o.Rounds; round++ {
		for _, s := range scenarios {
			if !o.wants(s.name) && !(s.name == "single" && (o.wants(Latency) || o.wants(Across))) {
				continue
			}
			pair, err := b.pair(ctx, s, round)
			if err != nil {
				return nil, err
			}
			all = append(all, pair...)
		}
	}
	rate := o.Load * median(all, "single").PerSecond
	for round := 1; round <= o.Rounds; round++ {
		for _, name := range []string{Latency, Across} {
			if !o.wants(name) {
				continue
			}
			r, err := b.latency(ctx, name, rate, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			r.Nodes = len(o.Servers)
			o.Progress(r)
			all = append(all, r)
		}
	}
	return medians(all), nil
}

// ratio compares a result with the ceilings around it. Where nothing reached those in so short a time there
// is nothing to compare with.
func ratio(r, before, after Result) float64 {
	if both := before.PerSecond + after.PerSecond; both > 0 {
		return 2 * r.PerSecond / both
	}
	return 0
}

// pair measures a scenario with the ceiling before it and the one after: what else runs on the
// machine changes from one second to the next.
func (b *bench) pair(ctx context.Context, s scenario, round int) ([]Result, error) {
	before, err := b.ceiling(ctx, s, round)
	if err != nil {
		return nil, err
	}
	r, err := b.full(ctx, s, round)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := b.ceiling(ctx, s, round)
	if err != nil {
		return nil, err
	}
	r.Nodes = len(b.opt.Servers)
	r.Ratio = ratio(r, before, after)
	for _, m := range []Result{before, after, r} {
		b.opt.Progress(m)
	}
	return []Result{before, after, r}, nil
}

// medians is one result for each scenario, in the order in which they ran.
func medians(all []Result) (list []Result) {
	var names []string
	for _, r := range all {
		if !slices.Contains(names, r.Scenario) {
			names = append(names, r.Scenario)
			list = append(list, median(all, r.Scenario))
		}
	}
	return list
}

// median takes the middle of each figure; what was lost, doubled or refused is added up, and the
// memory is the most.
func median(all []Result, scenario string) Result {
	m := Result{Scenario: scenario}
	var of []Result
	for _, r := range all {
		if r.Scenario == scenario {
			of = append(of, r)
			m.Published += r.Published
			m.Lost += r.Lost
			m.Duplicates += r.Duplicates
			m.Refused += r.Refused
			m.RSS = max(m.RSS, r.RSS)
			m.Nodes = r.Nodes
		}
	}
	if len(of) == 0 {
		return m
	}
	m.PerSecond = middle(of, func(r Result) float64 { return r.PerSecond })
	m.Ratio = middle(of, func(r Result) float64 { return r.Ratio })
	m.CPU = middle(of, func(r Result) time.Duration { return r.CPU })
	m.Database = middle(of, func(r Result) time.Duration { return r.Database })
	m.Commits = middle(of, func(r Result) float64 { return r.Commits })
	m.WAL = middle(of, func(r Result) float64 { return r.WAL })
	m.Accepted.P50 = middle(of, func(r Result) time.Duration { return r.Accepted.P50 })
	m.Accepted.P99 = middle(of, func(r Result) time.Duration { return r.Accepted.P99 })
	m.Sent.P50 = middle(of, func(r Result) time.Duration { return r.Sent.P50 })
	m.Sent.P99 = middle(of, func(r Result) time.Duration { return r.Sent.P99 })
	return m
}

func middle[T cmp.Ordered](of []Result, figure func(Result) T) T {
	var list []T
	for _, r := range of {
		list = append(list, figure(r))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// quantiles sorts the list.
func quantiles(list []time.Duration) (q Quantiles) {
	if len(list) == 0 {
		return q
	}
	slices.Sort(list)
	at := func(part float64) time.Duration {
		return list[min(int(math.Ceil(part*float64(len(list)))), len(list))-1]
	}
	return Quantiles{at(0.5), at(0.99)}
}

// meter measures a stretch of time: deliveries, and what servers and database used meanwhile.
type meter struct {
	pids     []int
	database func(context.Context) (DatabaseUsage, error) // nil = not measured
	count    func() int64
	began    time.Time
	received int64
	used     process.Usage
	done     DatabaseUsage
	result   Result // what came of it
}

// meter makes one of the servers.
func (b *bench) meter(count func() int64) meter {
	m := meter{database: b.opt.Database, count: count}
	for _, s := range b.opt.Servers {
		if s.PID != 0 {
			m.pids = append(m.pids, s.PID)
		}
	}
	return m
}

func (m *meter) start(ctx context.Context) (err error) {
	m.began, m.received = time.Now(), m.count()
	m.used, m.done, err = m.read(ctx)
	return err
}

func (m *meter) read(ctx context.Context) (used process.Usage, done DatabaseUsage, err error) {
	for _, pid := range m.pids {
		u, err := process.UsageOf(pid)
		if err != nil {
			return used, done, err
		}
		used.CPU, used.RSS = used.CPU+u.CPU, used.RSS+u.RSS
	}
	if m.database != nil {
		done, err = m.database(ctx)
	}
	return used, done, err
}

func (m *meter) stop(ctx context.Context) error {
	took, n := time.Since(m.began), m.count()-m.received
	used, done, err := m.read(ctx)
	m.result = Result{PerSecond: float64(n) / took.Seconds(), Commits: float64(done.Commits-m.done.Commits) / took.Seconds(), RSS: used.RSS}
	if n > 0 {
		each := time.Duration(n)
		m.result.CPU, m.result.Database = (used.CPU-m.used.CPU)/each, (done.CPU-m.done.CPU)/each
		m.result.WAL = float64(done.WAL-m.done.WAL) / float64(n)
	}
	return err
}
