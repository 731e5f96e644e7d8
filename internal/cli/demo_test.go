package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

// smallServer is a server as small as a demo can do with: it delivers what is published at once, and
// once more where that fails. forge makes it sign with a secret that nobody knows.
type smallServer struct {
	t     *testing.T
	o     ServerOptions
	forge bool
	api   *httptest.Server
	ready chan struct{}

	mu       sync.Mutex
	webhooks []subscription
}

type publication struct {
	ID    string          `json:"id"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

type subscription struct {
	Endpoint string   `json:"endpoint"`
	Events   []string `json:"events"`
	Secret   string   `json:"signing_secret"`
}

func (s *smallServer) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/webhooks", func(w http.ResponseWriter, r *http.Request) {
		var one subscription
		if err := json.NewDecoder(r.Body).Decode(&one); err != nil || r.Header.Get("X-Atlas-Company-Id") != demoCompany {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.webhooks = append(s.webhooks, one)
		fmt.Fprintf(w, `{"id":"wh_%d"}`, len(s.webhooks))
	})
	mux.HandleFunc("GET /v1/webhooks/{id}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"health":{"backlog":{"count":40},"parked":2}}`)
	})
	mux.HandleFunc("PUT /v1/topics/order.shipped", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) })
	mux.HandleFunc("POST /v1/companies/demo/console-links", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"url":"%s/console/enter#awl_x"}`, s.URL())
	})
	mux.HandleFunc("POST /v1/events", func(w http.ResponseWriter, r *http.Request) {
		var event publication
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			s.t.Error(err)
		}
		s.deliver(event)
		fmt.Fprint(w, "{}")
	})
	s.api = httptest.NewServer(mux)
	defer s.api.Close()
	close(s.ready)
	<-ctx.Done()
	return nil
}

func (s *smallServer) deliver(e publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.webhooks {
		if s.forge {
			w.Secret = webhooktest.Secret
		}
		d := webhooktest.Delivery{Topic: e.Event, Data: string(e.Data), EventID: e.ID, Secret: w.Secret, Scheme: webhook.Hex}
		for range 2 {
			if send(s.t, d.Request(s.t, w.Endpoint)) == http.StatusOK {
				break
			}
		}
	}
}

func (s *smallServer) Ready() <-chan struct{} { return s.ready }

func (s *smallServer) URL() string { return s.api.URL }

func (s *smallServer) ApplyTopics(context.Context) error { return nil }

func (s *smallServer) OperatorKey() config.Secret { return "awo_kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" }

// runDemo runs the demo for a second and a half.
func runDemo(t *testing.T, forge bool, args ...string) (code int, stdout, stderr string, s *smallServer) {
	t.Helper()
	var out, errs bytes.Buffer
	t.Setenv("TMPDIR", t.TempDir())
	code = Main(&Program{
		Args: append([]string{"demo", "--for", "1500ms", "--rate", "100/s"}, args...), Stdout: &out, Stderr: &errs,
		Open: func(_ context.Context, o ServerOptions) (Server, error) {
			s = &smallServer{t: t, o: o, forge: forge, ready: make(chan struct{})}
			return s, nil
		},
	})
	return code, out.String(), errs.String(), s
}

func TestDemo(t *testing.T) {
	code, stdout, stderr, s := runDemo(t, false, "--output", "json")
	if code != exitOK {
		t.Fatal(code, stdout, stderr)
	}
	if c := s.o.Config; !c.Dev || !c.AllowHTTP || !strings.HasPrefix(c.Listen, "127.0.0.1:") || c.LogLevel != "warn" || c.LogFormat != "text" {
		t.Errorf("%+v", c)
	}
	if _, err := os.Stat(s.o.Config.DataDir); !os.IsNotExist(err) || filepath.Dir(s.o.Config.DataDir) != os.TempDir() {
		t.Errorf("%s is still there: %v", s.o.Config.DataDir, err)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 3 {
		t.Fatal(stdout)
	}
	byName := map[string]endpointRecord{}
	for _, line := range lines {
		var r endpointRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		byName[r.Endpoint] = r
	}
	healthy, moody, dead := byName["helpdesk"], byName["billing"], byName["warehouse"]
	if dead.Refused == 0 || dead.Delivered != 0 || dead.Forged != 0 {
		t.Errorf("%+v", dead)
	}
	if healthy.Delivered < 20 || healthy.Refused != 0 || healthy.Forged != 0 {
		t.Errorf("%+v", healthy)
	}
	if dead.Waiting != 42 {
		t.Errorf("%+v", dead)
	}
	if moody.Refused < 12 || moody.Delivered == 0 || moody.Forged != 0 {
		t.Errorf("%+v", moody)
	}
	for _, want := range []string{"The server is at http://127.0.0.1:", "helpdesk", " delivered, 42 waiting", "operator.key", "publish to receive", "/console/enter#awl_"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %s", want, stderr)
		}
	}
}

func TestDemoKeepsWhatIsSet(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr, s := runDemo(t, false, "--quiet", "--data-dir", dir, "--listen", "127.0.0.1:9", "--log-level", "error")
	if code != exitOK || !strings.HasPrefix(stdout, "ENDPOINT   REQUESTS  ") || strings.Contains(stderr, "published") {
		t.Error(code, stdout, stderr)
	}
	if c := s.o.Config; c.DataDir != dir || c.Listen != "127.0.0.1:9" || c.LogLevel != "error" {
		t.Errorf("%+v", c)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// TestDemoControl: a demo whose signatures do not verify must not look well.
func TestDemoControl(t *testing.T) {
	if code, stdout, stderr, _ := runDemo(t, true); code != exitFailure || !strings.Contains(stderr, "did not verify") {
		t.Error(code, stdout, stderr)
	}
}

// TestBoard: what is drawn again stands where it stood, and what else is said stands above it.
func TestBoard(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out}
	d := &demonstration{published: 7, endpoints: []*endpoint{{name: "helpdesk", delivered: 5, waiting: 2}}}
	s.draw(d.board(time.Second))
	fmt.Fprintln(s, "a line of the log")
	s.draw(d.board(2 * time.Second))
	s.draw(nil)
	const board = "   %d s  published 7\n                    delivered  refused  waiting\n        helpdesk            5        0        2\n"
	want := fmt.Sprintf(board+"\x1b[3A\x1b[Ja line of the log\n"+board+"\x1b[3A\x1b[J\n", 1, 2)
	if out.String() != want {
		t.Errorf("%q\n%q", out.String(), want)
	}
}
