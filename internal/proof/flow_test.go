package proof_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// flow publishes at a steady rate until it is ended.
type flow struct {
	r         *rig
	perSecond float64
	stop      context.CancelFunc
	all       sync.WaitGroup
	published atomic.Int64 // to the end
}

// publishers is how many connections publish at once.
const publishers = 16

// flow begins one. Most events are published until they are acknowledged; every tenth once only.
func (r *rig) flow(dice *rand.Rand, companies []string, perSecond float64) *flow {
	var n atomic.Int64
	return r.flowOf(dice, companies, perSecond, func(e *oracle.Event) {
		if n.Add(1)%10 == 0 {
			r.publish(r.ctx, e)
		} else {
			r.persist(r.ctx, e)
		}
	})
}

// flowOf begins one of events that are published in a way.
func (r *rig) flowOf(dice *rand.Rand, companies []string, perSecond float64, publish func(*oracle.Event)) *flow {
	f := &flow{r: r, perSecond: perSecond}
	var mu sync.Mutex
	next := func() *oracle.Event {
		mu.Lock()
		defer mu.Unlock()
		r.numbered++
		return someEvent(dice, r.numbered, companies)
	}
	ctx, stop := context.WithCancel(r.ctx)
	f.stop = stop
	limit := rate.NewLimiter(rate.Limit(perSecond), 10)
	for range publishers {
		f.all.Go(func() {
			for limit.Wait(ctx) == nil {
				publish(next())
				f.published.Add(1)
			}
		})
	}
	r.t.Cleanup(func() {
		r.giveUp()
		f.end()
	})
	return f
}

// end returns when everything that was begun has been acknowledged.
func (f *flow) end() {
	f.stop()
	f.all.Wait()
}

// recovers waits until events are accepted and delivered at the rate at which they are published.
func (f *flow) recovers(within time.Duration, after string) {
	f.r.t.Helper()
	began, before := time.Now(), f.published.Load()
	for f.r.ctx.Err() == nil {
		pause(f.r.ctx, time.Second/2)
		accepted, late := f.published.Load()-before, f.r.late(time.Second)
		took := time.Since(began)
		if float64(accepted) > 0.8*f.perSecond/2 && late == 0 {
			f.r.t.Logf("events flow as before %s after %s", took.Round(10*time.Millisecond), after)
			return
		}
		if took > within {
			f.r.t.Fatalf("%s after %s %d events are accepted in half a second, and %d deliveries are late", took, after, accepted, late)
		}
		before = f.published.Load()
	}
}

// late counts deliveries of events that were acknowledged some time ago and have not been accepted.
func (r *rig) late(by time.Duration) (n int) {
	for _, events := range r.oracle.MissingSince(time.Now().Add(-by)) {
		n += len(events)
	}
	return n
}

// sound subscribes webhooks that accept everything, one of them slowly.
func sound(r *rig, companies []string) {
	r.t.Helper()
	var topics []string
	for _, topic := range hook.Topics() {
		topics = append(topics, topic.Name)
	}
	for i := range 2 * len(companies) {
		e := &endpoint{webhook: oracle.Webhook{Company: companies[i%len(companies)], Topics: topics[i%2:], Object: i%2 == 1}, settings: patient}
		if i == 1 {
			e.script = []string{"slow 30ms"}
		}
		r.subscribe(e)
	}
}

// foundInLog checks that the log has every event that was acknowledged.
func (r *rig) foundInLog(companies []string) {
	r.t.Helper()
	acked := r.oracle.Events(oracle.Acked)
	if missing := r.missingFromLog(companies, acked); missing > 0 {
		r.t.Errorf("%d of %d acknowledged events are not in the log", missing, len(acked))
	}
}

// missingFromLog counts events that the server does not know.
func (r *rig) missingFromLog(companies, ids []string) (missing int) {
	r.t.Helper()
	kept := map[string]bool{}
	for _, company := range companies {
		for cursor := ""; ; {
			var page struct {
				Data []struct{ ID string }
				Next *string `json:"next_cursor"`
			}
			status, answer, err := r.call(r.ctx, http.MethodGet, "/v1/events?limit=250&cursor="+cursor, company, nil)
			if status == http.StatusNotFound {
				break // not even the company is there
			}
			if err != nil || status != http.StatusOK {
				r.t.Fatalf("list events: %d %s %v", status, answer, err)
			}
			decode(r.t, answer, &page)
			for _, e := range page.Data {
				kept[e.ID] = true
			}
			if page.Next == nil {
				break
			}
			cursor = *page.Next
		}
	}
	for _, id := range ids {
		if !kept[id] {
			missing++
		}
	}
	return missing
}
