package telemetry

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Metrics holds every metric of the process. Nothing carries a company, a webhook or an endpoint as
// a label: their number is not bounded, and they are nobody's business who may scrape. All methods
// may be called from any goroutine, and none waits.
type Metrics struct {
	registry *prometheus.Registry

	accepted   *prometheus.CounterVec        // by topic
	ofTopic    map[string]prometheus.Counter // the same, found without making a key of labels
	duplicates prometheus.Counter

	entered     prometheus.Counter
	enteredLate prometheus.Gauge

	attempts        *prometheus.CounterVec             // by kind and outcome
	ofAttempt       map[attemptKind]prometheus.Counter // the same
	failures        *prometheus.CounterVec             // by error class
	ownFaults       *prometheus.CounterVec             // by phase
	attemptDuration prometheus.Histogram
	toDelivered     prometheus.Histogram
	inFlight        prometheus.Gauge
	parked          prometheus.Gauge
	lanes           *prometheus.GaugeVec // by state
	lag             prometheus.Gauge
	partitions      prometheus.Gauge
	deactivated     *prometheus.CounterVec // by reason

	groupItems    *prometheus.HistogramVec // by what is committed
	groupDuration *prometheus.HistogramVec
	wal           prometheus.Gauge
	disk          atomic.Pointer[func() float64]
	wentBack      prometheus.Counter
	checkpoint    prometheus.Histogram

	sourceMessages *prometheus.CounterVec // by source and outcome
	sourceLag      *prometheus.GaugeVec   // by source
	sourceBehind   *prometheus.GaugeVec
	sourceState    *prometheus.GaugeVec // by source and state
	deadLetters    *prometheus.GaugeVec

	requests        *prometheus.CounterVec // by route, method and status
	requestDuration *prometheus.HistogramVec
}

type attemptKind struct {
	kind    hook.Kind
	outcome hook.Outcome
}

// Metrics of durations are in seconds, as Prometheus has it; the buckets reach from what a loopback
// receiver needs to the longest time-out of a webhook.
var seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60}

// NewMetrics declares every metric in a registry of its own.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), ofTopic: map[string]prometheus.Counter{}, ofAttempt: map[attemptKind]prometheus.Counter{}}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.gauges("build_info", "Always 1; its label says which version runs.", "version").WithLabelValues(version).Set(1)

	m.accepted = m.counters("events_accepted_total", "Events committed to the log, by topic.", "topic")
	m.duplicates = m.counter("events_duplicate_total", "Publishes of an event that was there already.")

	m.attempts = m.counters("attempts_total", "Requests made to endpoints, by kind and outcome.", "kind", "outcome")
	m.failures = m.counters("attempt_failures_total", "Requests that did not deliver, by class of error.", "error_class")
	m.ownFaults = m.counters("own_faults_total", "Attempts that a fault of this server broke off, which count against nobody, by where it lies.", "phase")
	m.attemptDuration = m.histogram("attempt_duration_seconds", "Time of one request to an endpoint, from dialling to the end of its answer.", seconds)
	m.toDelivered = m.histogram("accept_to_delivered_seconds", "Time from the acceptance of an event to a delivery of it at the first attempt.", seconds)
	m.inFlight = m.gauge("in_flight", "Requests to endpoints under way or waiting to be recorded.")
	m.parked = m.gauge("parked", "Deliveries that failed and are due again, or are held behind one that did.")
	m.lanes = m.gauges("lanes", "Webhooks that have work, by state: attached ones keep up with the log, detached ones lag behind.", "state")
	m.Lanes(0, 0) // a scrape before the engine counts shows it, too
	m.lag = m.gauge("lag_events", "Events between the end of the log and the point that everything that keeps up has settled.")
	m.partitions = m.gauge("partitions", "Partitions of the log that this node runs.")
	m.deactivated = m.counters("webhooks_deactivated_total", "Webhooks that became INACTIVE without their owner's doing, by reason.", "reason")

	m.entered = m.counter("scheduled_entered_total", "Events with a deliver_at that this node let into the log.")
	m.enteredLate = m.gauge("scheduled_late_seconds", "How long after its deliver_at the last of them that this node came to entered the log.")

	items := prometheus.ExponentialBuckets(1, 2, 12)
	m.groupItems = m.histograms("commit_group_items", "Items committed together, by what they are.", items, "what")
	m.groupDuration = m.histograms("commit_duration_seconds", "Time of one commit with its fsync, by what was committed.", seconds, "what")
	m.wentBack = m.counter("store_went_back_total", "Times at which this node found the store older than what was acknowledged, and began another era.")
	m.wal = m.gauge("store_wal_bytes", "Size of the embedded store's write-ahead log.")
	declared(m, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "store_disk_free_bytes", Help: "Room on the embedded store's disk; below 64 MiB no events are accepted.",
	}, m.diskFree))
	m.checkpoint = m.histogram("store_checkpoint_duration_seconds", "Time of one checkpoint of the embedded store.", seconds)

	m.sourceMessages = m.counters("source_messages_total", "What sources brought, by source and outcome: events accepted, events that were there already, messages set aside, messages that the source let go of before they were received.", "source", "outcome")
	m.sourceLag = m.gauges("source_lag_seconds", "How long the oldest message of a source waits that is not accepted.", "source")
	m.sourceBehind = m.gauges("source_lag_messages", "Messages of a source that are not accepted.", "source")
	m.sourceState = m.gauges("source_state", "1 for the state that a source is in, else 0.", "source", "state")
	m.deadLetters = m.gauges("dead_letters", "Messages of a source that could not be accepted, and wait for somebody.", "source")

	m.requests = m.counters("http_requests_total", "Requests to the API, by route, method and status.", "route", "method", "status")
	m.requestDuration = m.histograms("http_request_duration_seconds", "Time of one request to the API, by route.", seconds, "route")

	m.declareSeries()
	return m
}

// declareSeries brings the series into being whose labels are known, so that an alert on one of
// them sees its first increase.
func (m *Metrics) declareSeries() {
	for _, t := range hook.Topics() {
		m.ofTopic[t.Name] = m.accepted.WithLabelValues(t.Name)
	}
	for _, kind := range []hook.Kind{hook.Live, hook.Manual, hook.Replay, hook.Test} {
		for _, outcome := range []hook.Outcome{hook.OutcomeDelivered, hook.OutcomeRetry, hook.OutcomeThrottled, hook.OutcomeFailed, hook.OutcomeGone} {
			m.ofAttempt[attemptKind{kind, outcome}] = m.attempts.WithLabelValues(string(kind), string(outcome))
		}
	}
	for _, phase := range []string{"other", "dns", "connect", "proxy", "tls", "send"} {
		m.ownFaults.WithLabelValues(phase)
	}
	for _, reason := range []string{hook.ReasonGone, hook.ReasonFailing} {
		m.deactivated.WithLabelValues(reason)
	}
}

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// EventAccepted counts one event that is committed to the log.
func (m *Metrics) EventAccepted(topic string) {
	if c := m.ofTopic[topic]; c != nil {
		c.Inc()
		return
	}
	m.accepted.WithLabelValues(topic).Inc() // of the platform's own, whose number is bounded
}

// ScheduledEntered counts events that entered the log at a time of their own, the first of them so late.
func (m *Metrics) ScheduledEntered(n int, late time.Duration) {
	m.entered.Add(float64(n))
	m.enteredLate.Set(late.Seconds())
}

// EventDuplicate counts one publish of an event that was there already.
func (m *Metrics) EventDuplicate() { m.duplicates.Inc() }

// AttemptRecorded counts one attempt, when it is in the store. acceptedAt is its event's.
func (m *Metrics) AttemptRecorded(a *hook.Attempt, acceptedAt time.Time) {
	m.ofAttempt[attemptKind{a.Kind, a.Outcome}].Inc()
	m.attemptDuration.Observe(a.Phases.Total.Seconds())
	if a.ErrorClass != hook.ErrNone {
		m.failures.WithLabelValues(string(a.ErrorClass)).Inc()
	}
	if a.Kind == hook.Live && a.Number == 1 && a.Outcome == hook.OutcomeDelivered {
		m.toDelivered.Observe(max(0, a.StartedAt.Add(a.Phases.Total).Sub(acceptedAt)).Seconds())
	}
}

// InFlight says how many requests are under way or not yet recorded now.
func (m *Metrics) InFlight(n int) { m.inFlight.Set(float64(n)) }

// Parked says how many deliveries are parked now.
func (m *Metrics) Parked(n int) { m.parked.Set(float64(n)) }

// Lanes says how many lanes exist now.
func (m *Metrics) Lanes(attached, detached int) {
	m.lanes.WithLabelValues("attached").Set(float64(attached))
	m.lanes.WithLabelValues("detached").Set(float64(detached))
}

// Lag says how many events lie between the end of the log and its swept mark.
func (m *Metrics) Lag(events int64) { m.lag.Set(float64(events)) }

// Partitions says how many partitions this node runs now.
func (m *Metrics) Partitions(n int) { m.partitions.Set(float64(n)) }

// WentBack counts that the store turned out to be older than it was.
func (m *Metrics) WentBack() { m.wentBack.Inc() }

// WebhookDeactivated counts a webhook that the engine made INACTIVE, for hook.ReasonGone or
// hook.ReasonFailing.
func (m *Metrics) WebhookDeactivated(reason string) { m.deactivated.WithLabelValues(reason).Inc() }

// OwnFault counts an attempt that a fault of this server broke off, by the phase that it was in; "" for
// none of them.
func (m *Metrics) OwnFault(phase string) { m.ownFaults.WithLabelValues(cmp.Or(phase, "other")).Inc() }

// CommitGroup measures one commit: what was in it ("append", "record", "mutation", "mixed"), how
// many items, and how long the transaction took, fsync included.
func (m *Metrics) CommitGroup(what string, items int, took time.Duration) {
	m.groupItems.WithLabelValues(what).Observe(float64(items))
	m.groupDuration.WithLabelValues(what).Observe(took.Seconds())
}

// WAL says how long the embedded store's write-ahead log is now, in bytes.
func (m *Metrics) WAL(bytes int64) { m.wal.Set(float64(bytes)) }

// Disk gives the metric of the room on the embedded store's disk its source, in bytes.
func (m *Metrics) Disk(free func() float64) { m.disk.Store(&free) }

// diskFree is not a number where nothing is known.
func (m *Metrics) diskFree() float64 {
	if free := m.disk.Load(); free != nil {
		return (*free)()
	}
	return math.NaN()
}

// Checkpoint measures one checkpoint of the embedded store.
func (m *Metrics) Checkpoint(took time.Duration) { m.checkpoint.Observe(took.Seconds()) }

// SourceMessages counts what a source brought.
func (m *Metrics) SourceMessages(source, outcome string, n int) {
	m.sourceMessages.WithLabelValues(source, outcome).Add(float64(n))
}

// SourceLag says how far behind a source is; a negative number of messages is not known.
func (m *Metrics) SourceLag(source string, age time.Duration, messages int64) {
	m.sourceLag.WithLabelValues(source).Set(age.Seconds())
	if messages >= 0 {
		m.sourceBehind.WithLabelValues(source).Set(float64(messages))
	}
}

// SourceState says in which of all states a source is.
func (m *Metrics) SourceState(source, state string, all []string) {
	for _, s := range all {
		value := 0.0
		if s == state {
			value = 1
		}
		m.sourceState.WithLabelValues(source, s).Set(value)
	}
}

// DeadLetters says how many dead letters of a source there are now.
func (m *Metrics) DeadLetters(source string, n int64) {
	m.deadLetters.WithLabelValues(source).Set(float64(n))
}

// Request counts one request to the API. route is the pattern that matched, "" for none, never the
// path: paths hold ids, and strangers choose them.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.requestDuration.WithLabelValues(route).Observe(took.Seconds())
}
