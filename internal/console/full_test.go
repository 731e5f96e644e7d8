//go:build full

package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// TestMillionDeliveries reports what the lists of deliveries take where there are a million: 200,000
// events to each of five webhooks. The aim is 300 ms; the test fails where it is far from that.
func TestMillionDeliveries(t *testing.T) {
	const events, webhooks, batch = 200_000, 5, 1000
	s := apptest.Start(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Atlas-Webhook-Sequence") == "77777" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	defer receiver.Close()
	var ids []string
	for n := range webhooks {
		ids = append(ids, call(t, s, "POST", "/v1/webhooks", map[string]any{
			"endpoint": fmt.Sprintf("%s/%d", receiver.URL, n), "events": []string{"*"}, "max_concurrency": 256, "retry_schedule_seconds": []int{},
		})["id"].(string))
	}
	start := time.Now()
	var producers sync.WaitGroup
	for p := range 4 {
		producers.Go(func() {
			for n := p * batch; n < events; n += 4 * batch {
				list := make([]map[string]any, batch)
				for i := range list {
					list[i] = map[string]any{"company_id": "c1", "event": "customer.updated", "data": map[string]any{"id": fmt.Sprint((n + i) % 1000)}}
				}
				call(t, s, "POST", "/v1/events/batch", list)
			}
		})
	}
	producers.Wait()
	t.Logf("%d events published in %v", events, time.Since(start))
	limit := time.Now().Add(20 * time.Minute)
	for _, id := range ids {
		for {
			stats := call(t, s, "GET", "/v1/webhooks/"+id, nil)["health"].(map[string]any)["backlog"].(map[string]any)
			if stats["count"] == 0.0 {
				break
			}
			if time.Now().After(limit) {
				t.Fatal("they are not delivered")
			}
			<-time.After(time.Second)
		}
	}
	t.Logf("%d deliveries made in %v", events*webhooks, time.Since(start))
	p := signedIn(t, s, s.Key)
	one := "/console/webhooks/" + ids[0]
	for _, path := range []string{
		"/console/deliveries", one + "/deliveries", one + "/deliveries?object_id=7", one + "/deliveries?status=failed", one + "/deliveries?event=customer.updated&status=delivered", one, "/console/", "/console/webhooks",
	} {
		p.get(path).status(200)
		took := make([]time.Duration, 15)
		for i := range took {
			begun := time.Now()
			p.get(path).status(200)
			took[i] = time.Since(begun)
		}
		slices.Sort(took)
		t.Logf("%-60s median %v, longest %v", path, took[len(took)/2].Round(100*time.Microsecond), took[len(took)-1].Round(100*time.Microsecond))
		if took[len(took)/2] > 3*time.Second {
			t.Errorf("%s takes %v", path, took[len(took)/2])
		}
	}
}
