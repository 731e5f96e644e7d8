package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                   "plain",
		"https://example.com":                     "https://example.com",
		"https://example.com:8443/h?t=s3":         "https://example.com:8443",
		`Post "https://u:s3@example.com/s3": EOF`: `Post "https://example.com": EOF`,
		"https://example.com?t=s3 and http://[::1]:80/s3#s3 end":  "https://example.com and http://[::1]:80 end",
		"postgres://user:s3@db:5432/atlas?sslmode=disable failed": "postgres://db:5432 failed",
		"secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw==, done":   "secret ••••, done",
		"awo_" + strings.Repeat("a", 32) + " awc_12345678":        "•••• ••••",
		"away_ awo_ awo_short":                                    "away_ awo_ awo_short",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzRedact: of a URL that can be parsed, neither path, query nor user info may remain.
func FuzzRedact(f *testing.F) {
	f.Add("tok", "s3cret")
	f.Fuzz(func(t *testing.T, path, query string) {
		u := url.URL{
			Scheme: "https", Host: "example.com", User: url.UserPassword("Q"+path, "Q"+query),
			Path: "/Q" + path, RawQuery: url.Values{"Q": {query}}.Encode(), Fragment: "Q" + query,
		}
		if got := Redact("x " + u.String() + " y"); got != "x https://example.com y" {
			t.Errorf("Redact(%q) = %q", u.String(), got)
		}
	})
}

// canaries logs secrets in every way that comes to mind.
func canaries(log *slog.Logger) {
	endpoint := "https://user:CANARY@example.com/CANARY?token=CANARY"
	u, _ := url.Parse(endpoint)
	log = log.With("with", endpoint).WithGroup("group")
	log.Info("to "+endpoint, "endpoint", endpoint, "url", u, "error", fmt.Errorf("post: %w", &url.Error{Op: "Post", URL: endpoint, Err: io.EOF}),
		"secret", "CANARY", "authorization", "Bearer CANARY", "headers", http.Header{"X": {"CANARY"}},
		slog.Group("inner", "endpoint", endpoint), "n", 5, "took", time.Second)
	log.Warn("key awo_CANARYCANARYCANARY", "joined", errors.Join(errors.New("whsec_CANARY"), nil))
}

func TestLogHoldsNoSecret(t *testing.T) {
	for _, format := range []string{"json", "text", "auto"} {
		var b bytes.Buffer
		log, err := NewLogger(&b, LogOptions{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		canaries(log)
		if strings.Contains(b.String(), "CANARY") {
			t.Errorf("%s: %s", format, b.String())
		}
		if n := strings.Count(b.String(), "https://example.com"); n < 6 {
			t.Errorf("%s: scheme and host are gone: %s", format, b.String())
		}
	}
}

func TestLogFormats(t *testing.T) {
	write := func(o LogOptions) string {
		var b bytes.Buffer
		log, err := NewLogger(&b, o)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("quiet")
		log.Info("hello", "n", 5)
		return b.String()
	}
	for _, format := range []string{"json", "auto", ""} {
		var record struct {
			Level, Msg string
			Time       time.Time
			N          int
		}
		if err := json.Unmarshal([]byte(write(LogOptions{Format: format})), &record); err != nil {
			t.Fatal(err)
		}
		if record.Level != "INFO" || record.Msg != "hello" || record.N != 5 || record.Time.IsZero() {
			t.Errorf("%q: %+v", format, record)
		}
	}
	if text := write(LogOptions{Format: "text"}); strings.Contains(text, "\x1b") || !strings.Contains(text, "INF hello n=5") {
		t.Errorf("%q", text)
	}
	if text := write(LogOptions{Format: "text", Level: "debug"}); !strings.Contains(text, "quiet") {
		t.Errorf("%q", text)
	}
	for _, o := range []LogOptions{{Format: "xml"}, {Level: "loud"}} {
		if _, err := NewLogger(io.Discard, o); err == nil {
			t.Errorf("%+v: accepted", o)
		}
	}
}

// scrape is what Prometheus gets to see.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := NewMetrics("v1.2.3")
	m.EventAccepted("conversation.status")
	m.EventDuplicate()
	start := time.Unix(1_732_363_200, 0)
	delivered := &hook.Attempt{
		Kind: hook.Live, Number: 1, Outcome: hook.OutcomeDelivered, StartedAt: start, Phases: hook.Phases{Total: 4 * time.Millisecond},
	}
	m.AttemptRecorded(delivered, start.Add(-4*time.Millisecond))
	m.AttemptRecorded(&hook.Attempt{Kind: hook.Manual, Number: 2, Outcome: hook.OutcomeRetry, ErrorClass: hook.ErrTimeout}, start)
	m.InFlight(2)
	m.Parked(7)
	m.Lanes(5, 2)
	m.Lag(11)
	m.Partitions(21)
	m.WebhookDeactivated(hook.ReasonGone)
	m.CommitGroup("append", 32, 3*time.Millisecond)
	m.WAL(4096)
	m.Disk(func() float64 { return 4711 })
	m.Checkpoint(time.Millisecond)
	m.Request("POST /v1/events", "POST", 202, time.Millisecond)
	m.Request("", "BREW", 405, time.Millisecond)
	page := scrape(t, m)
	for _, line := range []string{
		`build_info{version="v1.2.3"} 1`,
		`events_accepted_total{topic="conversation.status"} 1`, `events_accepted_total{topic="customer"} 0`,
		`events_duplicate_total 1`,
		`attempts_total{kind="live",outcome="delivered"} 1`, `attempts_total{kind="manual",outcome="retry"} 1`,
		`attempt_failures_total{error_class="timeout"} 1`,
		`attempt_duration_seconds_count 2`,
		`accept_to_delivered_seconds_count 1`, `accept_to_delivered_seconds_sum 0.008`,
		`in_flight 2`, `parked 7`, `lanes{state="attached"} 5`, `lanes{state="detached"} 2`, `lag_events 11`, `partitions 21`,
		`webhooks_deactivated_total{reason="gone"} 1`, `webhooks_deactivated_total{reason="failing"} 0`,
		`commit_group_items_sum{what="append"} 32`, `commit_duration_seconds_bucket{what="append",le="0.005"} 1`,
		`store_wal_bytes 4096`, `store_disk_free_bytes 4711`, `store_checkpoint_duration_seconds_count 1`,
		`http_requests_total{method="POST",route="POST /v1/events",status="202"} 1`,
		`http_requests_total{method="other",route="",status="405"} 1`,
	} {
		if !strings.Contains(page, "atlas_webhooks_"+line+"\n") {
			t.Errorf("no %s in\n%s", line, page)
		}
	}
	if !strings.Contains(page, "go_goroutines ") {
		t.Error("the runtime's own metrics are missing")
	}
}

// TestTracing sends a span to a collector of its own and looks for what must not be there.
func TestTracing(t *testing.T) {
	bodies := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		bodies <- r.URL.Path + " " + user + " " + password + " " + string(body)
	}))
	defer collector.Close()
	tracing, err := NewTracing(t.Context(), strings.Replace(collector.URL, "//", "//otel:p%40ss@", 1), "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "https://user:CANARY@example.com/CANARY"
	_, span := tracing.Provider.Tracer("t").Start(t.Context(), "attempt")
	span.SetAttributes(attribute.String("url.full", endpoint), attribute.Int("n", 1))
	span.RecordError(fmt.Errorf("post %s", endpoint))
	span.End()
	if err := tracing.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := <-bodies
	if !strings.HasPrefix(got, "/v1/traces otel p@ss ") || !strings.Contains(got, "attempt") || !strings.Contains(got, "https://example.com") {
		t.Errorf("%q", got)
	}
	if strings.Contains(got, "CANARY") {
		t.Errorf("%q", got)
	}
}

func TestTracingOff(t *testing.T) {
	tracing, err := NewTracing(t.Context(), "", "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracing.Provider.Tracer("t").Start(t.Context(), "attempt")
	if span.IsRecording() {
		t.Error("a span is recorded")
	}
	if err := tracing.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := NewTracing(t.Context(), "otel:4318", "v1", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("not a URL, accepted")
	}
}
