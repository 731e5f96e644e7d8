// Package app puts the product together: it is the only place that knows everybody.
//
// [Open] makes everything from a configuration, bottom up; [Server.Run] serves until its context
// ends and then stops in the opposite order: first the senders, then the receivers.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/ingress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/mcp"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/telemetry"
	"github.com/atlas-webhooks/atlas-webhooks/internal/upkeep"
)

// Options is what a server is opened with.
type Options struct {
	Config  config.Config
	Log     *slog.Logger
	Version string
	// Terminal is where a person watches, nil when nobody does: only there a key that the first
	// start creates is shown.
	Terminal io.Writer
	// Resume lets a store that was restored from a backup deliver from now on.
	Resume bool
	// Restored says that the store was brought back from a copy.
	Restored bool
}

// Server is the product, opened but not yet running.
type Server struct {
	cfg      config.Config
	log      *slog.Logger
	store    *store.Store
	filters  filter.Cache   // of the engine, the store and the API
	hands    *filter.Hands  // that those share who ask them
	judges   *filter.Judges // that the store and the API ask
	node     *node
	door     *egress.Client
	roots    *client.NodeAuthorities
	metrics  *telemetry.Metrics
	tracing  *telemetry.Tracing
	tracer   *tracer // nil where nothing is traced
	observer *observer
	sources  *source.Runner // nil where no source is configured
	routes   *httpapi.API
	intake   *intake.Intake
	api      *http.Server
	listener net.Listener
	scrape   net.Listener // of /metrics, when it has one of its own
	ready    chan struct{}
	held     atomic.Pointer[time.Time] // since when nothing is delivered; nil when that is over
}

// Open takes the listeners, opens the store and puts everything together. Nothing runs yet.
func Open(ctx context.Context, o Options) (s *Server, err error) {
	s = &Server{cfg: o.Config.WithDefaults(), log: o.Log, ready: make(chan struct{})}
	s.hands = filter.NewHands()
	s.judges = filter.NewJudges(&s.filters, s.hands, true)
	opened := s // which is nil by then
	defer func() {
		if err != nil {
			opened.release()
		}
	}()
	keys, err := firstKeys(&s.cfg, o.Log, o.Terminal)
	if err != nil {
		return nil, err
	}
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	defer vestibule(s.listener)()
	s.metrics = telemetry.NewMetrics(o.Version)
	if s.tracing, err = telemetry.NewTracing(ctx, s.cfg.OTLPEndpoint.Reveal(), o.Version, o.Log); err != nil {
		return nil, err
	}
	if s.cfg.OTLPEndpoint.Reveal() != "" {
		s.tracer = newTracer(s.tracing)
	}
	if s.store, err = s.openStore(ctx, keys.master, o.Restored); err != nil {
		return nil, err
	}
	if _, embedded := s.store.Disk(); embedded {
		s.metrics.Disk(func() float64 { d, _ := s.store.Disk(); return float64(d.Free) })
	}
	if err := s.askHeld(ctx, o.Resume); err != nil {
		return nil, err
	}
	if err := s.ApplyTopics(ctx); err != nil {
		return nil, err
	}
	if era := s.store.EraBegun(); era != nil {
		s.wentBack(era)
	}
	if err := s.deliveries(o.Version); err != nil {
		return nil, err
	}
	return s, s.serve(o.Version, keys.master)
}

// openStore opens Postgres where the configuration names one, else the embedded store.
func (s *Server) openStore(ctx context.Context, master []byte, restored bool) (*store.Store, error) {
	o := store.Options{
		Dir: s.cfg.DataDir, DatabaseURL: s.cfg.DatabaseURL.Reveal(), MasterKey: master, Log: s.log, Fatal: s.die,
		Judge:    s.judges.Judge,
		Caps:     store.Caps{Webhooks: s.cfg.MaxWebhooksPerCompany, Keys: s.cfg.MaxKeysPerCompany, Links: s.cfg.MaxLinksPerCompany, Scheduled: s.cfg.MaxScheduledPerCompany},
		Restored: restored, HoldWhenBack: s.cfg.HoldWhenWentBack,
		Checkpointed: func(wal int64, took time.Duration) {
			s.metrics.WAL(wal)
			s.metrics.Checkpoint(took)
		},
		Committed: func(group int, took time.Duration) { s.metrics.CommitGroup("mixed", group, took) },
	}
	if o.DatabaseURL != "" {
		return store.OpenPostgres(ctx, o)
	}
	return store.OpenSQLite(ctx, o)
}

// die ends the process after a commit of unknown outcome: nothing may be acknowledged any more, and
// the store must not be closed, because that could write.
func (s *Server) die(err error) {
	s.log.Error("the store failed; stopping at once", "error", err)
	os.Exit(3)
}

func (s *Server) listen(ctx context.Context) (err error) {
	limits := s.connections(openFiles())
	l, err := ingress.Listen(ctx, s.cfg.Listen, limits)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.listener = l
	if s.cfg.MetricsListen != "" {
		limits.Connections, limits.OfOne = scrapers, scrapers*3/4
		if l, err = ingress.Listen(ctx, s.cfg.MetricsListen, limits); err != nil {
			return fmt.Errorf("metrics_listen: %w", err)
		}
		s.scrape = l
	}
	return nil
}

// ownFiles are kept free of the descriptors of a process beside those of its connections: for the store
// and its readers, the log, name service.
const ownFiles = 128

// connections are the limits of the API's listener, in a process that may open so many files; 0 where that
// is not known. At least a quarter is for those who come in.
func (s *Server) connections(files int) ingress.Limits {
	l := ingress.Limits{Connections: s.cfg.MaxConnections, Stall: time.Duration(s.cfg.AnswerStallSeconds) * time.Second}
	l.Shared = func(a netip.Addr) bool {
		return slices.ContainsFunc(s.cfg.TrustedProxies, func(n netip.Prefix) bool { return n.Contains(a) })
	}
	if room := max(files-ownFiles-scrapers-s.cfg.MaxInFlight, files/4); files > 0 && room < l.Connections {
		s.log.Warn("fewer connections than max_connections: the process may not open more files", "connections", room, "open_files", files)
		l.Connections = room
	}
	l.OfOne = min(s.cfg.MaxConnectionsPerAddress, l.Connections*3/4)
	return l
}

// Limits of those who read metrics: connections to a listener of its own, the memory of an answer.
const (
	scrapers    = 64
	scrapeBytes = 256 << 10
)

// metricsHandler answers anybody who asks for metrics, within limits.
func (s *Server) metricsHandler() http.Handler {
	b := &ingress.Budget{Total: scrapers * scrapeBytes, OfOne: scrapers / 4 * scrapeBytes, Wait: 5 * time.Second}
	return b.Within(s.metrics.Handler(), scrapeBytes)
}

// deliveries makes the engine and its door to the network.
func (s *Server) deliveries(version string) error {
	roots, err := s.authorities()
	if err != nil {
		return err
	}
	bypass, err := egress.ParseBypass(s.cfg.EgressProxyBypass)
	if err != nil {
		return fmt.Errorf("egress_proxy_bypass: %w", err)
	}
	s.door, err = egress.New(egress.Config{
		RootCAs: roots.Pool,
		Policy: egress.Policy{
			AllowHTTP: s.cfg.AllowHTTP, AllowNetworks: s.cfg.AllowNetworks, DenyNetworks: s.cfg.DenyNetworks, AllowPorts: s.cfg.AllowPorts,
			OwnAddresses: s.ownAddresses(),
		},
		Proxy: s.cfg.EgressProxy.Reveal(), Bypass: bypass, MaxIdlePerWebhook: s.cfg.MaxInFlightPerWebhook,
	})
	if err != nil {
		return err
	}
	sender := send.New(s.door, version, func(value any, stack []byte) {
		s.log.Error("an attempt panicked; it counts as failed", "panic", value, "stack", string(stack))
	})
	s.observer = &observer{m: s.metrics}
	s.node = &node{
		nodes: s.store.Nodes(), log: s.log, lease: time.Duration(s.cfg.LeaseSeconds) * time.Second,
		self: store.Node{URL: s.URL(), Version: version, StartedAt: hook.Now(time.Now()), Process: ownProcess()},
		fenced: func(err error) {
			s.log.Error("the term of this node has ended; it joins again as another", "error", err)
		},
		settled: s.settled,
	}
	config := deliver.Config{
		Store: s.store, Sender: sender, Log: s.log, Judge: filter.NewJudges(&s.filters, s.hands, false).Judge, MaxInFlight: s.cfg.MaxInFlight, MaxPerWebhook: s.cfg.MaxInFlightPerWebhook, Observe: s.observer,
	}
	if s.tracer != nil {
		config.Store, config.Sender = tracedStore{s.store, s.tracer}, tracedSender{sender, s.tracer}
	}
	if s.node.nodes != nil {
		config.Members, config.Lease = s.node.nodes, s.node.lease
		config.Seen = func(m store.Members) { s.node.members.Store(&m) }
		if s.node.self.URL, err = nodeURL(s.cfg.NodeURL, s.listener.Addr(), s.cfg.DatabaseURL.Reveal()); err != nil {
			return err
		}
	}
	s.node.engine = func(x store.Node) *deliver.Engine {
		config.Node, config.Held = x, s.held.Load() != nil
		return deliver.New(config)
	}
	s.node.begin()
	s.store.OnAppend(func(p hook.Partition, events []*hook.Event, version int64) {
		s.node.current().Committed(p, events, version)
	})
	return nil
}

// authorities are those that endpoints are verified by. Without any, no endpoint with https can be
// delivered to, and it would be nobody's fault but ours.
func (s *Server) authorities() (config.Roots, error) {
	roots, err := s.cfg.Roots()
	if err != nil {
		return roots, err
	}
	switch {
	case roots.Empty() && !s.cfg.AllowHTTP:
		return roots, fmt.Errorf("no certificate authority is known (from %s): no https endpoint could be verified; install the system's (Debian: ca-certificates), or set egress_ca_file", roots.Source)
	case roots.Empty():
		s.log.Warn("no certificate authority is known: nothing is delivered to endpoints with https", "source", roots.Source)
	case roots.Count < 0:
		s.log.Info("certificate authorities", "source", roots.Source)
	default:
		s.log.Info("certificate authorities", "count", roots.Count, "source", roots.Source)
	}
	s.roots = &client.NodeAuthorities{Count: roots.Count, Source: roots.Source}
	return roots, nil
}

func (s *Server) ownAddresses() (own []netip.AddrPort) {
	for _, l := range []net.Listener{s.listener, s.scrape} {
		if l == nil {
			continue
		}
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			own = append(own, a.AddrPort())
		}
	}
	return own
}

// serve makes the server of API and console.
func (s *Server) serve(version string, master []byte) error {
	var log intake.Log = s.store
	var publishing func(*http.Request) (context.Context, func())
	if s.tracer != nil {
		log, publishing = tracedLog{s.store, s.tracer}, s.tracer.publishing
	}
	s.intake = intake.New(log, intake.Options{
		MaxEventBytes: s.cfg.MaxEventBytes, Meter: s.metrics, Catalogue: s.store.Catalogue, Validation: s.store.Validation, Checks: s.store,
	})
	if err := s.openSources(s.intake); err != nil {
		return err
	}
	s.routes = httpapi.New(httpapi.Options{
		Config: s.cfg, Version: version, Store: s.store, Policy: s.door.Policy(), Prober: s.door,
		Intake: s.intake, Sources: s.sourceStatus, Judge: s.judges.Judge, Engine: engine{s.node}, Nodes: s.nodes, Backup: s.backup, Owner: s.node.owner, Ready: s.isReady, Meter: s.metrics, Log: s.log, Publishing: publishing,
	})
	s.observer.live = s.routes
	mux := http.NewServeMux()
	api := s.pinned(s.routes)
	mux.Handle("/", api)
	mux.Handle("/mcp", mcp.Handler(api, version))
	people := s.pinned(s.console(version, master))
	mux.Handle("GET /{$}", people)
	mux.Handle("/console/", people)
	if s.scrape == nil {
		mux.Handle("GET /metrics", s.metricsHandler())
	}
	s.api = &http.Server{
		Handler: httpapi.BehindProxies(s.cfg.TrustedProxies, below(s.cfg.PublicPath(), mux)), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return nil
}

// below serves what is asked for below a path as if it were asked for without; and without, for whoever
// asks directly and for proxies that take the path off.
func below(path string, next http.Handler) http.Handler {
	if path == "" {
		return next
	}
	stripped := http.StripPrefix(path, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == path:
			http.Redirect(w, r, path+"/", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, path+"/"):
			stripped.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Limits of stopping. An attempt that takes longer is given up and made again after the next start.
const (
	stopRequests = 10 * time.Second
	stopAttempts = 65 * time.Second // the longest time-out of an attempt, and its record
)

// Run serves until ctx ends; then it takes no more requests, starts no more attempts, lets those in
// flight end, records them and returns nil.
func (s *Server) Run(ctx context.Context) error {
	defer s.release()
	defer paceHeap()()
	hard, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	delivering, stopDelivering := context.WithCancel(hard)
	defer stopDelivering()
	tidy := make(chan struct{})
	go func() {
		(&upkeep.Upkeep{
			Store: s.store, Log: s.log, Retention: time.Duration(s.cfg.RetentionDays) * 24 * time.Hour,
			Past: time.Duration(s.cfg.AuditRetentionDays) * 24 * time.Hour, Turn: func() bool { return s.held.Load() == nil && s.node.housekeeper() },
		}).Run(delivering)
		close(tidy)
	}()
	scheduled := make(chan struct{})
	go func() {
		(&upkeep.Schedule{Store: s.store, Log: s.log, Mine: s.node.runs, Entered: s.metrics.ScheduledEntered}).Run(delivering)
		close(scheduled)
	}()
	told := make(chan struct{})
	go func() {
		s.tellUnusable(delivering)
		close(told)
	}()
	released := make(chan struct{})
	go func() {
		s.awaitRelease(delivering)
		close(released)
	}()
	following := make(chan struct{})
	go func() {
		s.store.FollowTopics(delivering, s.log)
		close(following)
	}()
	checking := make(chan struct{})
	go func() {
		s.intake.Check(delivering, s.log)
		close(checking)
	}()
	receiving, stopReceiving := context.WithCancel(hard)
	defer stopReceiving()
	received := make(chan struct{})
	go func() {
		defer close(received)
		if s.sources != nil {
			s.sources.Run(receiving)
		}
	}()
	engine := make(chan error, 1)
	go func() { engine <- s.node.run(delivering, hard) }()
	serving := make(chan error, 2)
	go func() { serving <- s.api.Serve(s.listener) }()
	if s.scrape != nil {
		scrape := &http.Server{Handler: s.metricsHandler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute}
		go func() { serving <- scrape.Serve(s.scrape) }()
		defer scrape.Close()
	}
	s.log.Info("serving", "url", s.URL())
	close(s.ready)

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-serving:
	case failed = <-engine:
		engine <- failed
	}
	s.log.Info("stopping")
	failpoint.Hit(failpoint.Drain)
	end, cancel := context.WithTimeout(hard, stopRequests)
	defer cancel()
	s.routes.EndStreams()
	stopReceiving()
	failed = errors.Join(failed, endRequests(end, s.api, s.log))
	<-received
	stopDelivering()
	timer := time.AfterFunc(stopAttempts, giveUp)
	defer timer.Stop()
	<-tidy
	<-scheduled
	<-told
	<-released
	<-following
	<-checking
	failed = errors.Join(failed, <-engine)
	failpoint.Hit(failpoint.Drained)
	return failed
}

// endRequests lets the requests end that are under way. Those that do not in time are cut off: what was not
// answered was not promised, and so that is no failure of the server's.
func endRequests(ctx context.Context, api interface {
	Shutdown(ctx context.Context) error
	Close() error
}, log *slog.Logger,
) error {
	err := api.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	log.Warn("requests were cut off that had not ended in time")
	return api.Close()
}

// release closes what Open took, last in first out.
func (s *Server) release() {
	if s.door != nil {
		s.door.Close()
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Error("close the store", "error", err)
		}
	}
	if s.tracing != nil {
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.tracing.Stop(end); err != nil {
			s.log.Warn("stop tracing", "error", err)
		}
	}
	for _, l := range []net.Listener{s.listener, s.scrape} {
		if l != nil {
			l.Close()
		}
	}
}

// Ready is closed once Run answers requests.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// URL is where people reach the server.
func (s *Server) URL() string { return s.cfg.BaseURL(s.listener.Addr()) }

// OperatorKey is the key that may do everything.
func (s *Server) OperatorKey() config.Secret { return s.cfg.OperatorKey }

// isReady answers whether this node serves: the store answers, and it may make deliveries.
func (s *Server) isReady(ctx context.Context) error {
	if d, ok := s.store.Disk(); ok && d.Low() {
		return d.Err()
	}
	return errors.Join(s.store.Ping(ctx), s.node.ready(ctx))
}

// engine is the engine as the API knows it.
type engine struct{ *node }

func (e engine) Kick(w hook.WebhookKey) { e.current().Kick(w) }

func (e engine) Probe(w hook.WebhookKey) { e.current().Probe(w) }

func (e engine) Cancel(ctx context.Context, company hook.CompanyKey, p hook.Partition, o hook.Offset, do func(ctx context.Context, node string) error) error {
	return e.current().Cancel(ctx, company, p, o, do)
}

func (e engine) Test(ctx context.Context, w *hook.Webhook, event *hook.Event) (*hook.Attempt, error) {
	return e.current().Test(ctx, w, event)
}

func (e engine) Health(ctx context.Context, w *hook.Webhook) (client.Health, error) {
	h, ok, err := e.current().Health(ctx, w.Key)
	if err != nil || !ok {
		return client.Health{Live: h.Runs}, err
	}
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = hook.Now(t)
		return &t
	}
	out := client.Health{
		State: client.State(h.State), Since: at(h.Since), ConsecutiveFailures: h.ConsecutiveFailures, LastSuccessAt: at(h.LastSuccessAt),
		LastFailureAt: at(h.LastFailureAt), NextProbeAt: at(h.NextProbeAt), Live: true,
		ThrottledUntil: at(h.ThrottledUntil),
	}
	if h.OwnFault != "" {
		out.OwnFault = &h.OwnFault
	}
	if h.Failure != nil {
		out.LastError = httpapi.LastError(h.Failure)
	}
	if h.Reason != "" {
		out.Reason = &h.Reason
	}
	return out, nil
}

// observer passes on what the engine tells: to the metrics, and to the live stream. The latter is set
// before the engine runs.
type observer struct {
	m    *telemetry.Metrics
	live *httpapi.API
}

func (o *observer) Attempt(a *hook.Attempt, w *hook.Webhook, event *hook.Event) {
	o.m.AttemptRecorded(a, event.AcceptedAt)
	o.live.Attempted(a, w, event)
}

func (o *observer) Disabled(reason string) { o.m.WebhookDeactivated(reason) }

func (o *observer) OwnFault(phase string) { o.m.OwnFault(phase) }

func (o *observer) Engine(g deliver.Gauges) {
	o.m.Lanes(g.Attached, g.Detached)
	o.m.InFlight(g.InFlight)
	o.m.Parked(g.Parked)
	o.m.Lag(g.Lag)
	o.m.Partitions(g.Partitions)
}
