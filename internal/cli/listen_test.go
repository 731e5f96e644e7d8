package cli_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/cli"
)

// session is a command that runs inside the test.
type session struct {
	t     *testing.T
	stdin *io.PipeWriter
	code  chan int

	mu   sync.Mutex
	text string // all that it wrote
}

func (s *session) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(b)
	return len(b), nil
}

func (s *session) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

func begin(t *testing.T, args ...string) *session {
	stdin, typed := io.Pipe()
	s := &session{t: t, stdin: typed, code: make(chan int, 1)}
	go func() {
		s.code <- cli.Main(&cli.Program{Args: args, Stdin: stdin, Stdout: s, Stderr: s, Open: openFake})
	}()
	return s
}

// says waits until the command has said a text so often.
func (s *session) says(text string, times int) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		all := s.all()
		if strings.Count(all, text) >= times {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("%q was not said %d times in:\n%s", text, times, all)
		}
	}
}

func (s *session) ends(code int) {
	s.t.Helper()
	if got := <-s.code; got != code {
		s.t.Fatalf("exit code %d, want %d:\n%s", got, code, s.all())
	}
}

// TestListenOutlasts what happens while somebody works: the program here is away, the server is, the terminal
// closes, the webhook is deleted. Likewise deliveries tail.
func TestListenOutlasts(t *testing.T) {
	server := apptest.Start(t)
	behind, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(behind)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	api, err := client.New(client.Config{URL: server.URL, Key: server.Key, Company: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(id string) {
		t.Helper()
		if _, err := api.PublishEvent(t.Context(), client.Publish{CompanyID: "c1", Event: "customer", ID: id, Data: map[string]string{"id": "5"}}); err != nil {
			t.Fatal(err)
		}
	}
	webhooks := func() (ids []string) {
		t.Helper()
		for w, err := range api.Webhooks(t.Context(), client.WebhookFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, w.ID)
		}
		return ids
	}
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	_, port, _ := strings.Cut(address, ":")

	// Who watches a webhook that is deleted is told, while all else goes on.
	watched, err := api.CreateWebhook(t.Context(), client.WebhookCreate{Endpoint: "http://127.0.0.1:3000/", Events: []string{"customer"}})
	if err != nil {
		t.Fatal(err)
	}
	tail := begin(t, "deliveries", "tail", watched.ID, "--url", server.URL, "--api-key", server.Key, "--company", "c1")
	tail.says("watching", 1)
	for n := 0; !strings.Contains(tail.all(), " customer #1 "); n++ { // the stream begins at an unknown moment
		if n > 300 {
			t.Fatal(tail.all())
		}
		publish(fmt.Sprint("t", n))
		<-time.After(100 * time.Millisecond)
	}
	if err := api.DeleteWebhook(t.Context(), watched.ID, ""); err != nil {
		t.Fatal(err)
	}

	args := []string{"listen", "--url", front.URL, "--api-key", server.Key, "--company", "c1", "--forward-to", port + "/hooks"}

	s := begin(t, args...)
	s.says("Forwarding * to http://localhost:"+port+"/hooks", 1)
	io.WriteString(s.stdin, "r\n")
	s.says("nothing was sent yet", 1)
	publish("e1")
	s.says("nothing listens at", 1)
	seen := make(chan string, 10)
	local := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("X-Atlas-Webhook-Attempt") + " " + r.Header.Get("Webhook-Id")
		w.WriteHeader(http.StatusNoContent)
	})}
	defer local.Close()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go local.Serve(listener)
	s.says("<-- 204", 1)
	io.WriteString(s.stdin, "r\n")
	s.says("<-- 204", 2)

	away.Store(true)
	s.says("disconnected: the server answers 502", 1)
	publish("e2")
	away.Store(false)
	s.says("reconnected after", 1)
	s.says("--> customer e2", 1)
	s.says("<-- 204", 3)
	if n := strings.Count(s.all(), "disconnected"); n != 1 {
		t.Errorf("disconnected is said %d times", n)
	}
	for _, want := range []string{"1 e1", "2 e1", "1 e2"} {
		if got := <-seen; got != want {
			t.Errorf("the program got %s, want %s", got, want)
		}
	}

	// The terminal closes: nothing stays behind.
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.ends(0)
	if left := webhooks(); len(left) > 0 {
		t.Errorf("%s stayed behind", left)
	}

	s = begin(t, args...)
	s.says("Forwarding", 1)
	if err := api.DeleteWebhook(t.Context(), webhooks()[0], ""); err != nil {
		t.Fatal(err)
	}
	s.ends(1)
	s.says("somebody deleted the webhook", 1)
	tail.ends(1)
	tail.says("somebody deleted the webhook "+watched.ID, 1)
}
