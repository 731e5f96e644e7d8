package proof_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// ends are how an exchange can end, and whether the event counts as delivered: if and only if a final
// status of 200–299 arrived.
var ends = []struct {
	behaviour string
	delivered bool
}{
	{"ok", true},
	{"status 201", true},
	{"status 204", true},
	{"status 299", true},
	{"truncated", true},
	{"bad-chunk", true},
	{"status 300", false},
	{"status 304", false},
	{"status 400", false},
	{"status 404", false},
	{"status 500", false},
	{"status 599", false},
	{"redirect 301 /elsewhere", false},
	{"redirect 302 /elsewhere", false},
	{"redirect 303 /elsewhere", false},
	{"redirect 307 /elsewhere", false},
	{"redirect 308 /elsewhere", false},
	{"status-000", false},
	{"status-999", false},
	{"two-lengths", true},
	{"switch", false},
	{"interim-only", false},
	{"interim-flood", false},
	{"close", false},
	{"reset", false},
	{"half-close", false},
	{"half-answer", false},
	{"garbage", false},
	{"old-http", false},
	{"huge-header", false},
	{"endless-line", false},
	{"endless-body", false},
	{"drip-header", false},
	{"drip-body", false},
	{"gzip-bomb", false},
	{"pipelined", false},
	{"hang", false},
	{"slow 3s", false},
	{"never-reads", false},
	{"hangs-up", false},
	{"speaks-first", false},
}

// TestAmbiguousEnds is D9 of the test plan: whatever a receiver does to one attempt, the binary that
// users run calls it what it is, within its time-out, and makes it once.
func TestAmbiguousEnds(t *testing.T) {
	r := newRig(t)
	r.start()
	type row struct {
		endpoint
		requests int
		paths    []string
	}
	var mu sync.Mutex
	rows := make([]*row, len(ends))
	for i, end := range ends {
		x := &row{endpoint: endpoint{
			webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}, Hopeless: true}, script: []string{end.behaviour},
			settings: `, "retry_schedule_seconds": [], "timeout_ms": 1500`,
		}}
		x.each = func(d receiver.Delivery) {
			mu.Lock()
			defer mu.Unlock()
			x.requests++
			x.paths = append(x.paths, d.Path)
		}
		r.subscribe(&x.endpoint)
		rows[i] = x
	}
	r.persist(r.ctx, &oracle.Event{ID: "the-event", Company: "c1", Topic: "conversation", Data: `{"id": 1}`})
	for i, end := range ends {
		var d struct {
			Status   string
			Attempts []struct {
				Outcome    string
				ErrorClass *string `json:"error_class"`
				Timing     struct {
					Total float64 `json:"total_ms"`
				}
			}
		}
		eventually(t, 10*time.Second, end.behaviour+" ends", func() bool {
			r.ask(http.MethodGet, "/v1/webhooks/"+rows[i].webhook.ID+"/deliveries/the-event", "c1", "", &d)
			return d.Status == "delivered" || d.Status == "failed"
		})
		if (d.Status == "delivered") != end.delivered || len(d.Attempts) != 1 || d.Attempts[0].Timing.Total > 2500 {
			t.Errorf("%s: %+v", end.behaviour, d)
		}
		mu.Lock()
		if rows[i].requests > 1 || strings.Contains(fmt.Sprint(rows[i].paths), "elsewhere") {
			t.Errorf("%s: %d requests to %v for one attempt", end.behaviour, rows[i].requests, rows[i].paths)
		}
		mu.Unlock()
	}
	for _, b := range r.conservation("c1", true) {
		if b.Delivered+b.Failed != b.Matched {
			t.Errorf("%+v", b)
		}
	}
	r.accounted("c1")
	r.stop()
}
