//go:build full && linux

package proof_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// TestGreedyBodies: events of a megabyte are matched by as many webhooks as a company may have, each with an
// endpoint of its own that is dead, so that thousands of attempts are due at a time and again and again,
// each of which signs a megabyte. Another company notices no more of it than of the same events without
// a webhook.
func TestGreedyBodies(t *testing.T) {
	r := newRig(t)
	server := r.start()
	w := &stopwatch{}
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, each: w.arrived})
	w.steady(r, "warm", "conversation", 100, 100)
	alone := w.steady(r, "alone", "conversation", greedy.measured, 50)
	beside := func(company string) []time.Duration {
		var publisher sync.WaitGroup
		publisher.Go(func() {
			for i := range 10 {
				r.persist(r.ctx, &oracle.Event{ID: fmt.Sprintf("%s-%d", company, i), Company: company, Topic: "customer", Data: greedyEvents()[0]})
				pause(r.ctx, time.Second)
			}
		})
		defer publisher.Wait()
		return w.steady(r, "beside-"+company, "conversation", greedy.measured, 50)
	}
	plain := beside("c3")
	for i := range greedy.webhooks {
		r.ask(http.MethodPost, "/v1/webhooks", "c2", string(must(json.Marshal(map[string]any{
			"endpoint": fmt.Sprintf("http://127.2.%d.%d:8089/", i/250, 1+i%250), "events": []string{"customer"},
		}))), nil)
	}
	got := beside("c2")
	t.Logf("10 events of 1 MB for %d webhooks with dead endpoints: another company's p50 %s, p99 %s; without webhooks %s, %s, alone %s, %s; memory %d MiB",
		greedy.webhooks, percentile(got, 50), percentile(got, 99), percentile(plain, 50), percentile(plain, 99), percentile(alone, 50), percentile(alone, 99), r.usage(server).RSS>>20)
	if p99 := percentile(got, 99); p99 > max(2*percentile(alone, 99), 2*percentile(plain, 99), 100*time.Millisecond) {
		t.Errorf("another company's p99 is %s, %s without webhooks, %s alone", p99, percentile(plain, 99), percentile(alone, 99))
	}
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it ended after %s", took)
	}
}

// TestLeasesBesideGreedyFilters: two nodes share a database, with leases as short as they may be, and one of
// them asks a company's greedy filters about large events, for longer than a lease lasts between two
// renewals. Neither is declared dead, the one that asks ends when it is told to, and the other one goes on.
func TestLeasesBesideGreedyFilters(t *testing.T) {
	f := newFleet(t, 2, "--lease-seconds", "3")
	arrived := make(chan struct{}, 10)
	e := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"customer"}}, each: func(receiver.Delivery) { arrived <- struct{}{} }}
	f.subscribe(e)
	f.ask(http.MethodPatch, "/v1/webhooks/"+e.webhook.ID, "c1", `{"filter": "data.last == true"}`, nil)
	for i := range greedy.webhooks - 1 { // the first has the last of its filters
		f.ask(http.MethodPost, "/v1/webhooks", "c1", string(must(json.Marshal(map[string]any{
			"endpoint": fmt.Sprintf("http://127.2.%d.%d:8089/", i/250, 1+i%250), "events": []string{"customer"}, "filter": greedyFilter(i) + " and data.last == true",
		}))), nil)
	}
	owner, _ := f.owner("c1")
	doc := greedyEvents()[0]
	for i := range 2 * greedy.events {
		f.persist(f.ctx, &oracle.Event{ID: fmt.Sprint("large-", i), Company: "c1", Topic: "customer", Data: doc})
	}
	pause(f.ctx, 4*time.Second) // longer than a lease
	began := time.Now()
	f.stopNode(owner)
	took := time.Since(began)
	if took > 15*time.Second {
		t.Errorf("it ended after %s", took)
	}
	f.persist(f.ctx, &oracle.Event{ID: "last", Company: "c1", Topic: "customer", Data: `{"last": true}`})
	began = time.Now()
	select {
	case <-arrived:
		t.Logf("it ended after %s; the other one was through %s later", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	case <-f.ctx.Done():
	}
	if log := f.log.tail(); strings.Contains(log, "lease has run out") {
		t.Errorf("a lease has run out:\n%s", log)
	}
}
