//go:build full

package outbox

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// TestLatency measures from a commit to the acceptance of what it published: when the relay is told, when it asks
// behind a pooler, and on MariaDB.
func TestLatency(t *testing.T) {
	measure := func(t *testing.T, p *producer, url string, most time.Duration) {
		w := newWorld(t)
		_, stop := w.relay(t, url)
		p.publish(t, event("first", 1))
		p.empty(t)
		var took []time.Duration
		for i := range 200 {
			tx := p.begin(t)
			tx.publish(t, event("o", i))
			before := len(w.accepted())
			tx.commit(t)
			committed := time.Now()
			eventually(t, "the event is accepted", func() bool { return len(w.accepted()) > before })
			w.mu.Lock()
			took = append(took, w.at[before].Sub(committed))
			w.mu.Unlock()
			time.Sleep(time.Duration(i%23) * time.Millisecond) //nolint:forbidigo // so that commits fall anywhere between two questions
		}
		stop()
		slices.Sort(took)
		t.Logf("commit to accepted: p50 %s, p90 %s, p99 %s", took[100], took[180], took[198])
		if took[100] > most {
			t.Errorf("p50 %s, more than %s", took[100], most)
		}
	}
	p := newProducer(t, outbox.Postgres)
	t.Run("told", func(t *testing.T) { measure(t, p, p.url, 5*time.Millisecond) })
	t.Run("asks", func(t *testing.T) {
		before, err := p.pg.PgBouncer(t.Context(), "pool_mode = transaction")
		if err != nil {
			t.Fatal(err)
		}
		defer before.Stop()
		measure(t, p, before.URL(p.name), 30*time.Millisecond)
	})
	t.Run("mariadb", func(t *testing.T) {
		p := newProducer(t, outbox.MariaDB)
		measure(t, p, p.url, 30*time.Millisecond)
	})
}

// TestThroughput compares how fast a full outbox is taken in with posting the same events in batches of a thousand, by
// turns, to one server. Both are on disk when they count.
func TestThroughput(t *testing.T) {
	program := filepath.Join(t.TempDir(), "atlas-webhooks")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../../cmd/atlas-webhooks").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []outbox.Dialect{outbox.Postgres, outbox.MariaDB} {
		t.Run(string(d), func(t *testing.T) {
			p := newProducer(t, d)
			server, err := process.Start(t.Context(), process.Options{Binary: program, Dir: t.TempDir(), Args: []string{"--outbox-url", p.url}})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Kill()
			api, err := client.New(client.Config{URL: server.URL, Key: server.Key})
			if err != nil {
				t.Fatal(err)
			}
			accepted := func() int64 {
				for s, err := range api.Sources(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					return s.Accepted
				}
				return 0
			}
			const rows, size = 30_000, 1000
			var posted, relayed time.Duration
			for round := range 3 {
				var batches [][]client.Publish
				tx := p.begin(t)
				for b := range rows / size {
					var batch []client.Publish
					var list []outbox.Message
					for i := range size {
						n := b*size + i
						company, object, data := fmt.Sprintf("c%d", n%50), fmt.Sprint(n%997), fmt.Appendf(nil, `{"id":"%d","n":%d,"name":"%0200d"}`, n%997, n, n)
						batch = append(batch, client.Publish{CompanyID: company, Event: "customer", ID: fmt.Sprintf("p-%d-%d", round, n), ObjectID: object, Data: json.RawMessage(data)})
						list = append(list, outbox.Event{CompanyID: company, Event: "customer", ObjectID: object, Data: data})
					}
					tx.publish(t, list...)
					batches = append(batches, batch)
				}
				began := time.Now()
				for _, b := range batches {
					if _, err := api.PublishBatch(t.Context(), b); err != nil {
						t.Fatal(err)
					}
				}
				posted += time.Since(began)
				before := accepted()
				began = time.Now()
				tx.commit(t)
				eventually(t, "all is accepted", func() bool { return accepted() == before+rows })
				relayed += time.Since(began)
				p.empty(t)
			}
			ratio := posted.Seconds() / relayed.Seconds()
			t.Logf("posted %.0f/s, relayed %.0f/s, ratio %.2f", 3*rows/posted.Seconds(), 3*rows/relayed.Seconds(), ratio)
			if ratio < 0.8 {
				t.Errorf("the relay reaches %.2f of posting batches, less than 0.8", ratio)
			}
		})
	}
}
