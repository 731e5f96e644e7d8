package proof_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// greedyFilter is the i-th filter of a company that has as many as it may, each as dear as it may be on the
// documents below: all of them look at most of it, and none is over its budget on the first of them.
func greedyFilter(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf(`any(data.l ?? [], .k == "k%d")`, i)
	case 1:
		return fmt.Sprintf(`data.t matches "(a|aa)*b?%dc"`, i)
	case 2:
		return fmt.Sprintf(`count(data.l ?? [], .n %% %d == 1) > 100000`, i+2)
	default:
		return fmt.Sprintf(`lower(data.t ?? "") contains "%d" or data["x%d"] == 1`, i, i)
	}
}

// greedyEvents are documents of about a mebibyte, of many shapes.
func greedyEvents() (docs []string) {
	const size = 1_000_000
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `{"k": "v%d", "n": %d, "pad": "%s"}, `, i, 2*i, strings.Repeat("p", 900))
	}
	docs = append(docs, `{"l": [`+b.String()+`{"k": "", "n": 0}], "t": "`+strings.Repeat("a", 1000)+`"}`)
	docs = append(docs, `{"m": [`+strings.Repeat("0,", size/2)+`0]}`)
	docs = append(docs, `{"m": [`+strings.Repeat("[[]],", size/5)+`0]}`)
	b.Reset()
	for i := range size / 20 {
		fmt.Fprintf(&b, `"key%07d": %d, `, i, i%10)
	}
	docs = append(docs, `{`+b.String()+`"t": "x"}`)
	return docs
}

// greed is what a company does with large events and what others measure meanwhile.
type greed struct {
	beside  []time.Duration // another company's deliveries
	others  []time.Duration // another company's reads
	slowest time.Duration   // of the company's own reads
	path    string
	memory  uint64 // the most that the server had
}

// greed publishes large events of many shapes in the name of a company, while clients read about them,
// of which most leave before they are answered.
func (r *rig) greed(server *process.Server, w *stopwatch, company string) (g greed) {
	r.t.Helper()
	docs := greedyEvents()
	ctx, end := context.WithCancel(r.ctx)
	var crowd sync.WaitGroup
	var mu sync.Mutex
	crowd.Go(func() {
		for i := 0; ctx.Err() == nil && i < greedy.events; i++ {
			r.persist(ctx, &oracle.Event{ID: fmt.Sprintf("%s-%d", company, i), Company: company, Topic: "customer", Data: docs[i%len(docs)]})
			pause(ctx, 100*time.Millisecond)
		}
	})
	event := "/v1/events/" + company + "-0"
	for _, path := range []string{event, event + "/matches?limit=100", "/v1/webhooks?limit=100"} {
		crowd.Go(func() { // reads, and waits for the answer
			for ctx.Err() == nil {
				began := time.Now()
				status, _, err := r.call(ctx, http.MethodGet, path, company, nil)
				took := time.Since(began)
				mu.Lock()
				if err == nil && status == http.StatusOK && took > g.slowest {
					g.slowest, g.path = took, path
				}
				g.memory = max(g.memory, uint64(r.usage(server).RSS))
				mu.Unlock()
				pause(ctx, 500*time.Millisecond)
			}
		})
	}
	for range 10 {
		crowd.Go(func() { // asks, and leaves
			for ctx.Err() == nil {
				brief, leave := context.WithTimeout(ctx, 100*time.Millisecond)
				_, _, _ = r.call(brief, http.MethodGet, event, company, nil)
				leave()
				pause(ctx, time.Second)
			}
		})
	}
	eventually(r.t, 20*time.Second, "a large event is there", func() bool {
		status, _, err := r.call(r.ctx, http.MethodGet, event, company, nil)
		return err == nil && status == http.StatusOK
	})
	g.beside = w.steady(r, "beside-"+company, "conversation", greedy.measured, 50)
	for range 20 {
		began := time.Now()
		r.ask(http.MethodGet, "/v1/events/beside-"+company+"-1", "c1", "", nil)
		g.others = append(g.others, time.Since(began))
	}
	slices.Sort(g.others)
	end()
	crowd.Wait()
	return g
}

// TestGreedyFilters: a company has as many webhooks with filters as it may, each as dear as it may be, and
// publishes large events of many shapes, while others read about them and leave. Another company notices
// no more of it than of a company that does the same without a filter, nor does memory, and the server ends
// when it is asked to.
func TestGreedyFilters(t *testing.T) {
	r := newRig(t)
	server := r.start()
	w := &stopwatch{}
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, each: w.arrived})
	w.steady(r, "warm", "conversation", 100, 100)
	alone := w.steady(r, "alone", "conversation", greedy.measured, 50)
	plain := r.greed(server, w, "c3") // has no webhook
	for i := range greedy.webhooks {
		r.ask(http.MethodPost, "/v1/webhooks", "c2", string(must(json.Marshal(map[string]any{
			"endpoint": fmt.Sprintf("http://127.2.%d.%d:8089/", i/250, 1+i%250), "events": []string{"customer"}, "filter": greedyFilter(i),
		}))), nil)
	}
	g := r.greed(server, w, "c2")
	t.Logf("%d webhooks with filters, %d events of 1 MB: another company's p99 %s, without filters %s, alone %s; its reads at most %s; the greedy one's at most %s (%s), without filters %s; memory %d MiB, without filters %d",
		greedy.webhooks, greedy.events, percentile(g.beside, 99), percentile(plain.beside, 99), percentile(alone, 99), percentile(g.others, 100), g.slowest, g.path, plain.slowest, g.memory>>20, plain.memory>>20)
	for i := range len(greedyEvents()) { // else deliveries of a megabyte each are measured with the filters
		var one struct{ Matched int }
		status, text, err := r.call(r.ctx, http.MethodGet, fmt.Sprintf("/v1/events/c2-%d", i), "c2", nil)
		if err == nil && status == http.StatusOK {
			err = json.Unmarshal(text, &one)
		}
		if err != nil || one.Matched > 0 {
			t.Errorf("%d filters match event %d, %v", one.Matched, i, err)
		}
	}
	if greedy.strict && percentile(g.beside, 99) > max(2*percentile(alone, 99), 2*percentile(plain.beside, 99), 100*time.Millisecond) || slowed(g.beside, plain.beside) {
		t.Errorf("p99 %s beside filters, %s without them, %s alone", percentile(g.beside, 99), percentile(plain.beside, 99), percentile(alone, 99))
	}
	if g.slowest > greedy.patience || percentile(g.others, 100) > 2*time.Second {
		t.Errorf("a read took %s, another company's %s", g.slowest, percentile(g.others, 100))
	}
	if g.memory > plain.memory+greedy.memory {
		t.Errorf("%d MiB with filters, %d without", g.memory>>20, plain.memory>>20)
	}
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it ended after %s", took)
	}
	r.start()
	r.accounted("c1")
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
