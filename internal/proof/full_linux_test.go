package proof_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// TestDiskFull is D4 of the test plan. Below the low-water mark the intake stops and deliveries go on;
// on a disk with no byte left nothing is acknowledged and nothing is lost; both end by themselves
// when there is room again.
func TestDiskFull(t *testing.T) {
	needDisks(t, "mount", "umount")
	dir := memoryDisk(t, 224)
	r := newRig(t)
	r.options.Dir = filepath.Join(dir, "data")
	server := r.start()
	defer r.kill() // before its disk goes
	r.subscribe(&endpoint{
		webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, script: []string{"slow 40ms"}, settings: patient + `, "max_concurrency": 4`,
	})
	ballast := filepath.Join(dir, "ballast")
	number := 0
	publish := func() (status int) {
		number++
		return r.publish(r.ctx, &oracle.Event{ID: fmt.Sprintf("event-%d", number), Company: "c1", Topic: "conversation", Data: fmt.Sprintf(`{"id": %d}`, number)})
	}
	backlog := func() {
		for range 200 {
			if status := publish(); status != http.StatusAccepted {
				t.Fatalf("publish: %d", status)
			}
		}
	}
	resumes := func(when string) {
		t.Helper()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		took := eventually(t, 10*time.Second, "events are accepted again after "+when, func() bool { return publish() == http.StatusAccepted })
		t.Logf("accepts again %s after %s", took.Round(time.Millisecond), when)
	}

	backlog()
	fill(t, ballast, 40<<20)
	eventually(t, 5*time.Second, "the intake stops below the low-water mark", func() bool { return publish() == http.StatusServiceUnavailable })
	if len(r.oracle.Missing()) == 0 {
		t.Error("the backlog is gone already: the test tests nothing")
	}
	refusedWell(t, r)
	r.settled([]string{"c1"}, 20*time.Second)
	resumes("low disk")

	backlog()
	fill(t, ballast, 0)
	answers := map[int]int{}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && r.ctx.Err() == nil; pause(r.ctx, 20*time.Millisecond) {
		answers[publish()]++
	}
	t.Logf("answers while the disk is full: %v", answers)
	if answers[http.StatusServiceUnavailable] == 0 {
		t.Error("the disk was not full")
	}
	select {
	case <-server.Ended():
		t.Fatalf("the server ended on a full disk: exit code %d\n%s", server.ExitCode(), server.Tail())
	default:
	}
	resumes("a full disk")
	r.settled([]string{"c1"}, 20*time.Second)
	if report := r.oracle.Check(); len(report) > 0 {
		t.Error(report)
	}
}

// fill writes until no more than a number of bytes is free.
func fill(t *testing.T, name string, leave int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(name), &fs); err != nil {
			t.Fatal(err)
		}
		free := int64(fs.Bavail) * fs.Bsize
		if free <= leave {
			return
		}
		_, err := f.Write(make([]byte, min(1<<20, free-leave)))
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// refusedWell looks at how a publish is refused for want of space.
func refusedWell(t *testing.T, r *rig) {
	t.Helper()
	s, err := r.current(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	status, header, text := request(r.ctx, t, s.URL+"/v1/events", s.Key, `{"company_id": "c1", "event": "conversation", "data": {}}`)
	var p struct{ Code string }
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if status != http.StatusServiceUnavailable || p.Code != "disk_low" || !bytes.Contains(text, []byte("disk has no room")) || err != nil || seconds < 1 {
		t.Errorf("%d %s, Retry-After %q", status, text, header.Get("Retry-After"))
	}
	_, _, ready := request(r.ctx, t, s.URL+"/readyz", s.Key, "")
	low := regexp.MustCompile(`the data directory has \d+ MiB free, below its low-water mark of 64 MiB.*"disk_low"`).Find(ready)
	if low == nil || !strings.Contains(s.Tail(), `"the disk is below its low-water mark`) || !strings.Contains(s.Tail(), r.options.Dir) {
		t.Errorf("/readyz: %s\nlog: %s", ready, s.Tail())
	}
}

// request posts a body outside of any journal, or asks where there is none.
func request(ctx context.Context, t *testing.T, url, key, body string) (status int, header http.Header, text []byte) {
	t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+key)
	q.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, text
}
