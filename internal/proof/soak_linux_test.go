package proof_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// sample is what a server holds at a moment.
type sample struct{ goroutines, files, memory float64 }

func (r *rig) sample(s *process.Server) (x sample) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.ctx, http.MethodGet, s.Profile+"/debug/pprof/goroutine?debug=1", http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	_, total, _ := strings.Cut(first, "total ")
	if x.goroutines, err = strconv.ParseFloat(total, 64); err != nil {
		r.t.Fatalf("%v in %q", err, first)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID))
	if err != nil {
		r.t.Fatal(err)
	}
	x.files, x.memory = float64(len(files)), float64(r.usage(s).RSS)
	return x
}

// thirds is the least that was held in the middle of a run, and at its end: what is only held for a while
// does not count.
func thirds(samples []sample) (middle, end sample) {
	least := func(part []sample) sample {
		x := part[0]
		for _, s := range part {
			x = sample{min(x.goroutines, s.goroutines), min(x.files, s.files), min(x.memory, s.memory)}
		}
		return x
	}
	third := len(samples) / 3
	return least(samples[third : 2*third]), least(samples[2*third:])
}

// growth names what grew from the middle of a run to its end by more than 5 % and a little.
func growth(samples []sample) (grown []string) {
	middle, end := thirds(samples)
	for _, x := range []struct {
		what                  string
		middle, end, slightly float64
	}{
		{"goroutines", middle.goroutines, end.goroutines, 8},
		{"descriptors", middle.files, end.files, 8},
		{"memory", middle.memory, end.memory, 24 << 20},
	} {
		if x.end > x.middle*1.05+x.slightly {
			grown = append(grown, fmt.Sprintf("%s from %.0f to %.0f", x.what, x.middle, x.end))
		}
	}
	return grown
}

// TestSoak is O19 of the test plan: a steady load with receivers of all kinds, and nothing grows:
// neither goroutines nor descriptors nor memory.
func TestSoak(t *testing.T) {
	r := newRig(t, "--profile-listen", "127.0.0.1:0")
	server := r.start()
	for _, script := range [][]string{{"ok"}, {"slow 20ms"}, {"slow 200ms"}, {"ok"}} {
		r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, script: script, settings: patient})
	}
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, script: []string{"fail 500:3", "ok:50", "reset:2", "ok:50"}, settings: patient})
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c2", Topics: []string{"conversation"}, Hopeless: true}, script: []string{"close"}})
	soak := func(length time.Duration, during func(n int)) (samples []sample) {
		ctx, stop := context.WithTimeout(r.ctx, length)
		defer stop()
		limit := rate.NewLimiter(rate.Limit(soaking.perSecond), 1)
		var all sync.WaitGroup
		all.Go(func() {
			for n := 0; limit.Wait(ctx) == nil; n++ {
				e := &oracle.Event{ID: fmt.Sprintf("event-%p-%d", ctx, n), Company: fmt.Sprintf("c%d", 1+n%2), Topic: "conversation", Data: fmt.Sprintf(`{"id": %d}`, n%50)}
				r.persist(r.ctx, e)
			}
		})
		for n := 0; pause(ctx, length/30); n++ {
			samples = append(samples, r.sample(server))
			during(n)
		}
		all.Wait()
		return samples
	}
	samples := soak(soaking.length, func(int) {})
	middle, end := thirds(samples)
	t.Logf("in %s: at the beginning %.0f, in the middle at least %.0f, at the end %.0f", soaking.length, samples[0], middle, end)
	if grown := growth(samples); len(grown) > 0 {
		t.Errorf("in %s: %v", soaking.length, grown)
	}
	r.settled([]string{"c1"}, time.Minute)
	r.accounted("c2")
	if faults := r.oracle.Check().Faults(); len(faults) > 0 {
		t.Error(faults)
	}
	// The control: ever more clients that keep their connections, each of which holds a goroutine. It ends
	// before the server closes those that are idle.
	var open []*producer
	samples = soak(min(soaking.length, time.Minute), func(int) {
		for range 4 {
			p := r.producer()
			if _, _, err := p.post("/v1/events", nil); err != nil {
				t.Fatal(err)
			}
			open = append(open, p)
		}
	})
	for _, p := range open {
		p.close()
	}
	if grown := growth(samples); len(grown) < 2 {
		t.Errorf("control: ever more connections, and what grew is %v: %+v", grown, samples)
	}
	r.kill()
}

// TestReaderAtFullLoad: somebody reads all deliveries slowly while as much is published as goes. The
// write-ahead log does not grow with it, because no reader of ours holds a snapshot for long.
func TestReaderAtFullLoad(t *testing.T) {
	r := newRig(t)
	s := r.start()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"customer"}}, settings: patient})
	r.publishSome("c1", "customer", "event", 20)
	r.settled([]string{"c1"}, time.Minute)
	var paused struct{ ID string }
	r.ask(http.MethodPost, "/v1/webhooks", "c1", `{"endpoint": "http://127.0.0.1:8089/", "event": "conversation", "status": "PAUSED"}`, &paused)
	log := filepath.Join(r.options.Dir, "atlas-webhooks.db-wal")
	padding := strings.Repeat("x", 8000)
	body := func(n int) []byte {
		b := []byte("[")
		for i := range 25 {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"company_id": "c1", "event": "conversation", "data": {"id": %d, "padding": %q}}`, n*25+i, padding)
		}
		return append(b, ']')
	}
	write := func() (peak int64) { // writes more than the log may hold
		for written := int64(0); written < 110<<20; {
			v := r.flood(4, 0, 500*time.Millisecond, "/v1/events/batch", body)
			written += int64(v.answers[http.StatusAccepted]) * 25 * 8000
			if info, err := os.Stat(log); err == nil {
				peak = max(peak, info.Size())
			}
		}
		return peak
	}
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v1/deliveries/export?webhook_id="+paused.ID, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+s.Key)
	q.Header.Set("X-Atlas-Company-Id", "c1")
	var reading sync.WaitGroup
	answer, err := r.client.Do(q)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", answer, err)
	}
	defer answer.Body.Close()
	reading.Go(func() {
		for buf := make([]byte, 512); pause(ctx, 50*time.Millisecond); {
			if _, err := answer.Body.Read(buf); err != nil {
				return
			}
		}
	})
	peak := write()
	stop()
	reading.Wait()
	t.Logf("the log grew to %d MiB beside a slow reader", peak>>20)
	if peak > 100<<20 {
		t.Errorf("the log grew to %d MiB beside a slow reader", peak>>20)
	}
	// The control: a reader that does hold its snapshot, from outside.
	tx, err := r.outsider().db.BeginTx(r.ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRowContext(r.ctx, `SELECT count(*) FROM webhooks`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if peak := write(); peak < 105<<20 {
		t.Errorf("control: the log grew to %d MiB only beside a snapshot that was held", peak>>20)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	r.accounted("c1")
	r.kill()
}
