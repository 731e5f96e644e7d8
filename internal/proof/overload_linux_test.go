package proof_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// batchOf is how many events the batches of these tests have.
const batchOf = 50

func someBatch(company string, n int) []byte {
	body := []byte("[")
	for i := range batchOf {
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"company_id": %q, "event": "conversation.status", "data": {"id": %d, "status": "OPEN"}}`, company, n*batchOf+i)
	}
	return append(body, ']')
}

// TestPublishOverCapacity is O13 of the test plan: three times as much is published as the server
// can commit. What is too much is refused at once, politely; nobody waits long; nothing that was
// accepted is lost, and memory stays where it was.
func TestPublishOverCapacity(t *testing.T) {
	r := newRig(t)
	server := r.start()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: patient})
	r.ask(http.MethodPost, "/v1/webhooks", "c2", `{"endpoint": "http://127.0.0.1:8089/", "event": "conversation.status", "status": "PAUSED"}`, nil)

	body := func(n int) []byte { return someBatch("c2", n) }
	capacity := r.flood(16, 0, overload.measure, "/v1/events/batch", body)
	perSecond := float64(len(capacity.took)) / overload.measure.Seconds()
	half := r.flood(16, perSecond/2, overload.measure, "/v1/events/batch", body)
	if half.answers[http.StatusAccepted] != len(half.took) {
		t.Errorf("control: of half of what it can take it refuses some: %v", half.answers)
	}
	// Some of it is checked one by one: a producer that comes again until it is accepted.
	const checked = 40
	var patiently sync.WaitGroup
	patiently.Go(func() {
		for n := range checked {
			r.persist(r.ctx, &oracle.Event{ID: fmt.Sprintf("event-%d", n), Company: "c1", Topic: "conversation", Data: fmt.Sprintf(`{"id": %d}`, n)})
		}
	})
	over := r.flood(overload.connections, 3*perSecond, overload.length, "/v1/events/batch", body)
	patiently.Wait()
	used, err := process.UsageOf(server.PID)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("can take %.0f batches of %d a second, p99 %s; of %.0f offered: %v, p50 %s, p99 %s, most memory %d MiB",
		perSecond, batchOf, percentile(capacity.took, 99), float64(len(over.took))/overload.length.Seconds(), over.answers,
		percentile(over.took, 50), percentile(over.took, 99), used.Peak>>20)
	accepted, refused := over.answers[http.StatusAccepted], over.answers[http.StatusServiceUnavailable]+over.answers[http.StatusTooManyRequests]
	if refused == 0 || accepted == 0 || accepted+refused != len(over.took) || over.impolite > 0 {
		t.Errorf("answers %v, %d of them refused without Retry-After", over.answers, over.impolite)
	}
	if p99 := percentile(over.took, 99); p99 > 2*time.Second {
		t.Errorf("p99 %s", p99)
	}
	if used.Peak > 256<<20 {
		t.Errorf("it grew to %d MiB", used.Peak>>20)
	}
	r.settled([]string{"c1"}, time.Minute)
	if report := r.oracle.Check(); len(report) > 0 {
		t.Error(report)
	}
	// The log has no gaps: its end counts what was appended.
	total, end := int64(batchOf*(len(capacity.took)+len(half.took)+accepted)+checked), int64(0)
	eventually(t, 30*time.Second, "the engine has seen the log to its end", func() bool {
		var nodes struct {
			Data []struct{ Partitions []struct{ Tail int64 } }
		}
		r.ask(http.MethodGet, "/v1/nodes", "", "", &nodes)
		before := end
		end = nodes.Data[0].Partitions[0].Tail
		return end == before
	})
	if end != total {
		t.Errorf("%d events were accepted, and the log has %d", total, end)
	}
	for _, b := range r.conservation("c2", false) {
		if b.Delivered+b.Failed+b.Skipped > 0 {
			t.Errorf("%+v", b)
		}
	}
	r.accounted("c2")
	r.stop()
}
