package app_test

import (
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

const (
	producersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	strangersTrace = "0af7651916cd43dd8448eb211c80319c"
)

// traced publishes events in a producer's trace, one after the other, until one of them was attempted in a
// trace that is wanted, and returns what a collector got and what the receiver was handed. An event that the
// engine happened to read from the store is in no trace.
func traced(t *testing.T, on bool, wanted func(parent string) bool) (spans []byte, parent string) {
	t.Helper()
	var mu sync.Mutex
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		spans = append(spans, body...)
	}))
	defer collector.Close()
	attempts := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { attempts <- r.Header.Get("Traceparent") }))
	defer receiver.Close()
	s := apptest.StartLogging(t, slog.New(slog.DiscardHandler), func(c *config.Config) {
		if on {
			c.OTLPEndpoint = config.SecretURL(collector.URL)
		}
	})
	if status := ask(t, s, "c1", "POST", "/v1/webhooks", `{"endpoint":"`+receiver.URL+`/secret-path","events":["customer"]}`); status != http.StatusCreated {
		t.Fatal("webhook: ", status)
	}
	publish := func(key, trace string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/events", strings.NewReader(`{"company_id":"c1","event":"customer","data":{"id":"1"}}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
		answer, err := http.DefaultClient.Do(r) //nolint:forbidigo // a client of loopback
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	publish("atlas_wrong", strangersTrace)
	for range 100 {
		publish(s.Key, producersTrace)
		select {
		case parent = <-attempts:
		case <-time.After(time.Minute):
			t.Fatal("no attempt")
		}
		if wanted(parent) {
			break
		}
	}
	s.Stop() // which records what was under way, and sends what was traced
	mu.Lock()
	defer mu.Unlock()
	return spans, parent
}

// TestTracing: what happens to an event is told to a collector, the attempt with its record, in the trace of
// its producer; the receiver is handed the attempt's span; and no span tells an endpoint's secrets. The
// control traces nothing, and hands on nothing.
func TestTracing(t *testing.T) {
	spans, parent := traced(t, true, func(parent string) bool { return strings.HasPrefix(parent, "00-"+producersTrace) })
	trace, _ := hex.DecodeString(producersTrace)
	if n := bytes.Count(spans, trace); n < 4 {
		t.Errorf("%d spans of the producer's trace", n)
	}
	for _, name := range []string{"publish", "append", "attempt", "record", "/v1/events"} {
		if !bytes.Contains(spans, []byte(name)) {
			t.Errorf("nothing is told of %s", name)
		}
	}
	if stranger, _ := hex.DecodeString(strangersTrace); bytes.Contains(spans, stranger) {
		t.Error("a request without a valid key is traced")
	}
	if bytes.Contains(spans, []byte("secret-path")) {
		t.Error("a span tells the path of an endpoint")
	}
	part := strings.Split(parent, "-")
	if len(part) != 4 || part[1] != producersTrace {
		t.Fatalf("the receiver is handed %q", parent)
	}
	// The attempt's own id, and as the parent of its record.
	if id, _ := hex.DecodeString(part[2]); bytes.Count(spans, id) < 2 {
		t.Errorf("the attempt's span %s has no record", part[2])
	}
	if spans, parent := traced(t, false, func(string) bool { return true }); len(spans) > 0 || parent != "" {
		t.Errorf("control: %d bytes of spans, handed on %q", len(spans), parent)
	}
}
