package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// get asks for a path until the connection is taken, and returns status and body; 0 for no answer.
func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r) //nolint:forbidigo // a client of loopback
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body) // what is missing shows
	return answer.StatusCode, string(body)
}

// TestVestibule: while a store keeps the start waiting, the process says that it lives and that it does not
// serve; afterwards who serves on the listener gets all requests. The control has nobody at the listener.
func TestVestibule(t *testing.T) {
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		leave := vestibule(l)
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/v1/events": 503, "/": 503} {
			if got, body := get(t, l.Addr().String(), path); got != want {
				t.Errorf("%s: %d %s", path, got, body)
			}
		}
		leave()
	}
	served := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }), ReadHeaderTimeout: time.Second}
	go func() { _ = served.Serve(l) }()
	defer served.Close()
	for range 3 {
		if got, body := get(t, l.Addr().String(), "/healthz"); got != http.StatusTeapot {
			t.Errorf("after it: %d %s", got, body)
		}
	}
}

// TestHealthBeforeTheStore: a database that takes connections and says nothing keeps nobody from asking
// whether the process lives.
func TestHealthBeforeTheStore(t *testing.T) {
	var listen net.ListenConfig
	silent, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	own, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := own.Addr().String()
	own.Close()
	if got, _ := get(t, address, "/healthz"); got != 0 {
		t.Fatal("the control answers")
	}
	ctx, end := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := Open(ctx, Options{Log: slog.New(slog.DiscardHandler), Config: config.Config{
			Listen: address, OperatorKey: config.Secret("awo_" + strings.Repeat("k", 32)), MasterKey: "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
			DatabaseURL: config.SecretURL("postgres://atlas@" + silent.Addr().String() + "/atlas?sslmode=disable&connect_timeout=60"),
		}})
		opened <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if got, body := get(t, address, "/healthz"); got == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d %s", got, body)
		}
	}
	if got, body := get(t, address, "/readyz"); got != http.StatusServiceUnavailable || !strings.Contains(body, "not_ready") {
		t.Errorf("%d %s", got, body)
	}
	end()
	if err := <-opened; err == nil {
		t.Error("it opened")
	}
}
