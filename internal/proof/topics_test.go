package proof_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
)

// A file of topics is in force from the start on, and anew at SIGHUP. One that is wrong leaves the old in
// force, and keeps a server from starting.
func TestTopicsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "topics.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const entry = "- {topic: %s, category: ORDER, description: d}\n"
	write("topics:\n" + fmt.Sprintf(entry, "order.shipped"))
	r := newRig(t, "--topics-file", path)
	server := r.start()
	defer r.stop()
	publish := func(topic string) int {
		status, _, err := r.call(t.Context(), http.MethodPost, "/v1/events", "", []byte(`{"company_id":"c1","event":"`+topic+`","data":{"id":"1"}}`))
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if status := publish("order.shipped"); status != http.StatusAccepted {
		t.Fatalf("a topic of the file: %d", status)
	}
	hangUp := func(until func() bool) {
		t.Helper()
		if err := server.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for since := time.Now(); !until(); {
			if time.Since(since) > time.Minute {
				t.Fatal("nothing came of SIGHUP\n" + server.Tail())
			}
			pause(t.Context(), 20*time.Millisecond)
		}
	}
	write("topics:\n" + fmt.Sprintf(entry, "order.paid"))
	hangUp(func() bool { return publish("order.paid") == http.StatusAccepted })
	if status := publish("order.shipped"); status != http.StatusUnprocessableEntity {
		t.Errorf("a topic that the file names no more: %d", status)
	}

	write("topics:\n" + fmt.Sprintf(entry, "order.paid") + "- {topic: Wrong, category: ORDER, description: d}\n")
	hangUp(func() bool { return strings.Contains(server.Tail(), "topics stay as they are") })
	if tail := server.Tail(); !strings.Contains(tail, "line 3: topics[1]: Wrong: topic: must be") {
		t.Errorf("the log does not say what is wrong: %s", tail)
	}
	if status := publish("order.paid"); status != http.StatusAccepted {
		t.Errorf("a topic of the file before: %d", status)
	}

	other, err := process.Start(t.Context(), process.Options{Binary: r.options.Binary, Dir: t.TempDir(), Args: []string{"--topics-file", path, "--listen", "127.0.0.1:0"}})
	if err == nil {
		other.Kill()
		t.Fatal("a server started with a file that is wrong")
	}
	if !strings.Contains(err.Error(), "topics_file: ") || !strings.Contains(err.Error(), "topics[1]: Wrong: topic: must be") {
		t.Errorf("it does not say what is wrong: %v", err)
	}
}
