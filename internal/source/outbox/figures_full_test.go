//go:build full

package outbox

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
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
// turns on one store.
func TestThroughput(t *testing.T) {
	for _, d := range []outbox.Dialect{outbox.Postgres, outbox.MariaDB} {
		t.Run(string(d), func(t *testing.T) {
			p, w := newProducer(t, d), newWorld(t)
			const rows = 20_000
			var posted, relayed time.Duration
			for round := range 3 {
				began := time.Now()
				for b := range rows / intake.MaxBatchEvents {
					batch := []byte{'['}
					for i := range intake.MaxBatchEvents {
						n := b*intake.MaxBatchEvents + i
						batch = fmt.Appendf(batch, `{"company_id":"c%d","event":"customer","id":"p-%d-%d","object_id":"%d","data":{"id":"%d","n":%d,"name":"%0200d"}},`, n%50, round, n, n%997, n%997, n, n)
					}
					batch[len(batch)-1] = ']'
					if _, err := w.intake.PublishBatch(t.Context(), batch, intake.Publishing{}); err != nil {
						t.Fatal(err)
					}
				}
				posted += time.Since(began)
				for b := range rows / outbox.MaxMessages {
					var list []outbox.Message
					for i := range outbox.MaxMessages {
						n := b*outbox.MaxMessages + i
						list = append(list, outbox.Event{CompanyID: fmt.Sprintf("c%d", n%50), Event: "customer", ObjectID: fmt.Sprint(n % 997), Data: fmt.Appendf(nil, `{"id":"%d","n":%d,"name":"%0200d"}`, n%997, n, n)})
					}
					p.publish(t, list...)
				}
				before := len(w.accepted())
				began = time.Now()
				_, stop := w.relay(t, p.url)
				eventually(t, "all is accepted", func() bool { return len(w.accepted()) == before+rows })
				relayed += time.Since(began)
				p.empty(t)
				stop()
			}
			ratio := posted.Seconds() / relayed.Seconds()
			t.Logf("posted %.0f/s, relayed %.0f/s, ratio %.2f", 3*rows/posted.Seconds(), 3*rows/relayed.Seconds(), ratio)
			if ratio < 0.8 {
				t.Errorf("the relay reaches %.2f of posting batches, less than 0.8", ratio)
			}
		})
	}
}
