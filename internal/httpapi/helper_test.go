package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

const operatorKey = "awo_0123456789abcdefghijklmnopqrstuvwxyz"

// server is the API over a real store, with a hand-written engine and a clock that can be moved.
type server struct {
	t      *testing.T
	store  *store.Store
	api    *httpapi.API
	engine *fakeEngine
	log    *bytes.Buffer
	mu     sync.Mutex
	clock  time.Time
	key    string // used by call
	header http.Header
}

// newServer starts one; options change what it is made of.
func newServer(t *testing.T, options ...func(*httpapi.Options)) *server {
	t.Helper()
	s := &server{t: t, key: operatorKey, clock: time.Now(), log: &bytes.Buffer{}, header: http.Header{"X-Atlas-Company-Id": {"c1"}}}
	judges := filter.NewJudges(&filter.Cache{}, filter.NewHands(), true)
	var err error
	s.store, err = store.OpenSQLite(t.Context(), store.Options{
		Dir: t.TempDir(), MasterKey: make([]byte, 32), Now: s.now, MinFreeDisk: -1,
		Judge: judges.Judge,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	s.engine = &fakeEngine{now: s.now}
	opt := httpapi.Options{
		Config: config.Config{OperatorKey: operatorKey, RateLimitCompanyKey: 100_000}.WithDefaults(), Version: "1.2.3",
		Store: s.store, Judge: judges.Judge, Intake: intake.New(s.store, intake.Options{Now: s.now, Catalogue: s.store.Catalogue, Validation: s.store.Validation, Checks: s.store}), Engine: s.engine, Nodes: s.nodes, Now: s.now,
		Policy: &egress.Policy{AllowHTTP: true}, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	for _, change := range options {
		change(&opt)
	}
	s.api = httpapi.New(opt)
	return s
}

// now is a clock that stands still but for a microsecond a look, and for move.
func (s *server) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(time.Microsecond)
	return s.clock
}

func (s *server) move(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// as is the same server asked with another key, and without naming a company.
func (s *server) as(key string) *server {
	other := &server{t: s.t, store: s.store, api: s.api, engine: s.engine, log: s.log, key: key, header: http.Header{}}
	return other
}

// with is the same server asked with one more header.
func (s *server) with(name, value string) *server {
	other := &server{t: s.t, store: s.store, api: s.api, engine: s.engine, log: s.log, key: s.key, header: s.header.Clone()}
	other.header.Set(name, value)
	return other
}

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	text   string
}

func (s *server) call(method, path, body string) *answer {
	s.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, reader)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.key != "" {
		r.Header.Set("Authorization", "Bearer "+s.key)
	}
	maps.Copy(r.Header, s.header)
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	covered.note(r.Pattern, w.Code)
	return &answer{s.t, method + " " + path + " " + cut(body), w.Code, w.Header(), w.Body.String()}
}

func cut(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// ok wants a status and returns the body as a tree.
func (a *answer) ok(status int) map[string]any {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d %s, want %d", a.what, a.status, cut(a.text), status)
	}
	if a.text == "" {
		return nil
	}
	var tree map[string]any
	if err := json.Unmarshal([]byte(a.text), &tree); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, cut(a.text))
	}
	return tree
}

// problem wants a refusal: its status, its code and, where one is given, its first field.
func (a *answer) problem(status int, code string, field ...string) map[string]any {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("%s: %d %s, want %d %s", a.what, a.status, cut(a.text), status, code)
		return nil
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("%s: content type %q", a.what, got)
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(a.text), &p); err != nil {
		a.t.Errorf("%s: %v in %s", a.what, err, cut(a.text))
		return nil
	}
	if p["code"] != code || p["request_id"] != a.header.Get("X-Request-Id") || p["status"] != float64(status) || p["title"] != http.StatusText(status) || p["type"] != "about:blank" {
		a.t.Errorf("%s: %s, want code %s", a.what, cut(a.text), code)
	}
	if len(field) > 0 {
		errs, _ := p["errors"].([]any)
		if len(errs) == 0 || errs[0].(map[string]any)["field"] != field[0] {
			a.t.Errorf("%s: errors %v, want field %s", a.what, errs, field[0])
		}
	}
	return p
}

// subscribe creates a webhook and returns its id.
func (s *server) subscribe(events ...string) string {
	s.t.Helper()
	patterns, _ := json.Marshal(events)
	w := s.call("POST", "/v1/webhooks", fmt.Sprintf(`{"endpoint":"https://example.com/%d","events":%s}`, time.Now().UnixNano(), patterns)).ok(201)
	return w["id"].(string)
}

// publish publishes an event of company c1 and returns its id.
func (s *server) publish(topic, data string) string {
	s.t.Helper()
	return s.call("POST", "/v1/events", `{"company_id":"c1","event":"`+topic+`","data":`+data+`}`).ok(202)["id"].(string)
}

// record notes an attempt as the engine would.
func (s *server) record(webhook, event string, change func(*hook.Attempt, *store.Record)) {
	s.t.Helper()
	ctx := s.t.Context()
	company, err := s.store.EnsureCompany(ctx, "c1")
	if err != nil {
		s.t.Fatal(err)
	}
	w, err := s.store.Webhook(ctx, company.Key, webhook)
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := s.store.Event(ctx, company.Key, event)
	if err != nil {
		s.t.Fatal(err)
	}
	now := hook.Now(s.now())
	a := &hook.Attempt{
		Webhook: w.Key, Offset: e.Offset, Number: 1, Sequence: 1, Kind: hook.Live, Counted: true, Version: w.Version, TimestampText: wire.Timestamp(now),
		Format: w.Format, StartedAt: now, Phases: hook.Phases{DNS: time.Millisecond, Total: 12345 * time.Microsecond},
		Outcome: hook.OutcomeDelivered, StatusCode: 200,
	}
	r := &store.Record{At: now, Items: []store.Item{{Attempt: a}}}
	change(a, r)
	if _, err := s.store.Record(ctx, r); err != nil {
		s.t.Fatal(err)
	}
}

// attempted tells the live streams of an attempt, as the engine does.
func (s *server) attempted(a *hook.Attempt) {
	s.t.Helper()
	w, err := s.store.WebhookForSend(s.t.Context(), a.Webhook)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := s.store.Events(s.t.Context(), w.Partition, []hook.Offset{a.Offset})
	if err != nil || len(list) != 1 {
		s.t.Fatal(list, err)
	}
	s.api.Attempted(a, w, list[0])
}

// companyKey makes a key of a company by the API and returns its text and id.
func (s *server) companyKey(company, scope string) (text, id string) {
	s.t.Helper()
	k := s.call("POST", "/v1/companies/"+company+"/keys", `{"scope":"`+scope+`"}`).ok(201)
	return k["key"].(string), k["id"].(string)
}

// fakeEngine answers as it is told.
type fakeEngine struct {
	mu     sync.Mutex
	now    func() time.Time
	kicked []hook.WebhookKey
	probed []hook.WebhookKey
	health client.Health
	test   func(*hook.Webhook, *hook.Event) (*hook.Attempt, error)
}

func (e *fakeEngine) Kick(w hook.WebhookKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kicked = append(e.kicked, w)
}

func (e *fakeEngine) Probe(w hook.WebhookKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.probed = append(e.probed, w)
}

func (e *fakeEngine) Cancel(ctx context.Context, _ hook.CompanyKey, _ hook.Partition, _ hook.Offset, do func(context.Context, string) error) error {
	return do(ctx, "")
}

func (e *fakeEngine) Health(context.Context, *hook.Webhook) (client.Health, error) {
	return e.health, nil
}

func (e *fakeEngine) Test(_ context.Context, w *hook.Webhook, event *hook.Event) (*hook.Attempt, error) {
	if e.test != nil {
		return e.test(w, event)
	}
	now := hook.Now(e.now())
	return &hook.Attempt{
		Webhook: w.Key, Number: 1, Kind: hook.Test, TimestampText: wire.Timestamp(now), Format: w.Format, StartedAt: now,
		Outcome: hook.OutcomeDelivered, StatusCode: 204, Version: w.Version,
	}, nil
}

// fakeProber answers as it is told.
type fakeProber struct{ report egress.Report }

func (p fakeProber) Preflight(context.Context, string, []netip.Prefix, bool) egress.Report {
	return p.report
}

var errDisk = errors.New("disk on fire")

// apiOver is the API with nothing but a store.
func apiOver(s httpapi.Store) *httpapi.API {
	log := s.(intake.Log)
	return httpapi.New(httpapi.Options{
		Config: config.Config{OperatorKey: operatorKey}.WithDefaults(), Version: "1.2.3", Store: s, Intake: intake.New(log, intake.Options{}), Policy: &egress.Policy{},
	})
}

// shared is the server of fuzz targets: what they do to it does not add up.
var shared struct {
	sync.Once
	server *server
}

func fuzzServer(t *testing.T) *server {
	shared.Do(func() {
		dir, err := os.MkdirTemp("", "httpapi-fuzz-*")
		if err != nil {
			t.Fatal(err)
		}
		st, err := store.OpenSQLite(context.Background(), store.Options{Dir: dir, MasterKey: make([]byte, 32), MinFreeDisk: -1}) //nolint:usetesting // outlives the test
		if err != nil {
			t.Fatal(err)
		}
		shared.server = &server{store: st, api: apiOver(st)}
	})
	return shared.server
}
