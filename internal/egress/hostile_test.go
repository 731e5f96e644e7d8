package egress

import (
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress/http1"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// S9, scaled for every run: receivers of every hostile kind, several requests at a time to each,
// beside a healthy one. Attempts end in time, memory stays flat, the healthy one stays quick, and
// nothing is left behind.
func TestHostileReceivers(t *testing.T) {
	const timeout, perReceiver = 2 * time.Second, 5
	kinds := []string{
		"hang", "close", "reset", "half-close", "half-answer", "garbage", "switch", "interim-only", "interim-flood",
		"huge-header", "endless-line", "endless-body", "tiny-chunks", "drip-body", "drip-header", "gzip-bomb",
		"pipelined", "never-reads", "hangs-up", "speaks-first",
	}
	secureKinds := []string{"slow-tls", "never-reads", "h2-pings", "h2-settings", "h2-headers", "h2-body", "h2-silent", "h2-goaway", "endless-body", "reset"}
	certificate := newAuthority(t)
	var urls []string
	for _, kind := range kinds {
		urls = append(urls, newReceiver(t, receiver.Config{}, kind).URL())
	}
	for _, kind := range secureKinds {
		urls = append(urls, newReceiver(t, receiver.Config{TLS: certificate.server("127.0.0.1")}, kind).URL())
	}
	healthy := newReceiver(t, receiver.Config{})
	c := newClient(t, func(config *Config) { config.RootCAs = certificate.pool })

	alone := latencies(t, c, healthy.URL(), 300)
	goroutines, descriptors, memory := runtime.NumGoroutine(), openDescriptors(t), heap()
	var peak uint64
	var sending sync.WaitGroup
	for i, url := range urls {
		for range perReceiver {
			sending.Go(func() {
				q := request(url, timeout)
				q.Webhook = hook.WebhookKey(100 + i)
				a, err := c.Do(t.Context(), q)
				if a.Phases.Total > timeout+time.Second {
					t.Errorf("%s: it took %v", url, a.Phases.Total)
				}
				if err == nil && a.Status >= 200 && a.Status <= 299 {
					t.Errorf("%s (%d): delivered", url, i)
				}
				if len(a.Body) > http1.MaxBody || len(a.Header) > http1.MaxHead {
					t.Errorf("%s: kept %d bytes of headers, %d of body", url, len(a.Header), len(a.Body))
				}
			})
		}
	}
	beside := latencies(t, c, healthy.URL(), 300)
	peak = max(peak, heap())
	sending.Wait()
	t.Logf("healthy p99 alone %v, beside %v; heap %d -> %d KiB", alone, beside, memory>>10, peak>>10)
	// The hostile ends run here, too, on the same cores, so that figure cannot be 2×. But whoever had
	// to wait for one of them would wait for its deadline.
	if beside > 2*alone+timeout/2 {
		t.Errorf("healthy p99 %v beside hostile receivers, %v alone", beside, alone)
	}
	if peak > memory+64<<20 {
		t.Errorf("the heap grew from %d to %d MiB", memory>>20, peak>>20)
	}
	c.Close()
	settles(t, "goroutines", goroutines+len(urls)*3, runtime.NumGoroutine)
	settles(t, "descriptors", descriptors+len(urls), func() int { return openDescriptors(t) })
}

// latencies is the 99th percentile of n requests.
func latencies(t *testing.T, c *Client, url string, n int) time.Duration {
	t.Helper()
	var all []time.Duration
	for range n {
		a, err := c.Do(t.Context(), request(url, 10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a.Phases.Total)
	}
	slices.Sort(all)
	return all[n*99/100]
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	return len(entries)
}

// settles waits until a number is at most what it should be.
func settles(t *testing.T, what string, limit int, now func() int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for now() > limit {
		if time.Now().After(deadline) {
			t.Errorf("%d %s, at most %d expected", now(), what, limit)
			return
		}
		runtime.Gosched()
	}
}
