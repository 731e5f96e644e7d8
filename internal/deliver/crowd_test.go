package deliver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// crowd is many webhooks of several companies. Time is virtual: what a latency shows is waiting for
// others, not work.
type crowd struct {
	*world
	companies []*store.Company
	accepted  map[string]time.Time // by event; written while no endpoint reads it
	index     map[string]int       // of a webhook, by its id
	arrivals  shared[[]arrival]
}

type arrival struct {
	webhook int
	took    time.Duration // from acceptance to answer
	at      time.Time
}

// answer is how long a webhook takes, and what it answers.
type answer func(webhook int) (time.Duration, send.Result)

// newCrowd subscribes webhooks and lets each succeed once: nobody is unknown.
func newCrowd(t *testing.T, companies, webhooks int, tamper func(*Engine)) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t), accepted: map[string]time.Time{}, index: map[string]int{}}
	for i := range companies {
		c.companies = append(c.companies, c.in(fmt.Sprint("company-", i)))
		for j := range webhooks / companies {
			c.index[c.webhook(nil).ID] = i*(webhooks/companies) + j
		}
	}
	c.tamper = tamper
	return c
}

func (c *crowd) behave(a answer) {
	c.sender.Lock()
	defer c.sender.Unlock()
	c.sender.answer = func(r send.Request) send.Result {
		i := c.index[r.Webhook.ID]
		took, result := a(i)
		time.Sleep(min(took, r.Webhook.Timeout))
		if took > r.Webhook.Timeout {
			result = send.Result{Class: hook.ErrTimeout}
		}
		if result.StatusCode == 200 {
			c.arrivals.Lock()
			c.arrivals.value = append(c.arrivals.value, arrival{i, time.Since(c.accepted[r.EventID]), time.Now()})
			c.arrivals.Unlock()
		}
		return result
	}
}

// tick publishes events of a company.
func (c *crowd) tick(company, n int) {
	c.company = c.companies[company]
	now := time.Now()
	c.arrivals.Lock()
	defer c.arrivals.Unlock()
	for _, id := range c.publish(n, nil) {
		c.accepted[id] = now
	}
}

// warm publishes one event for everybody, and forgets it.
func (c *crowd) warm() {
	c.behave(func(int) (time.Duration, send.Result) { return 20 * time.Millisecond, status(200) })
	c.start()
	for i := range c.companies {
		c.tick(i, 1)
	}
	c.settle("everybody has succeeded once", 10*time.Minute, func() bool { return len(c.arrivals.get()) == len(c.index) })
	c.arrivals.set(nil)
}

// latencies of those webhooks that a test is about, in order.
func (c *crowd) latencies(of func(webhook int) bool) (list []time.Duration) {
	for _, a := range c.arrivals.get() {
		if of(a.webhook) {
			list = append(list, a.took)
		}
	}
	slices.Sort(list)
	return list
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

// In a crowd of which a tenth hangs and a tenth takes 5 s, and then half is dead, the others keep
// their latency and their throughput.
func TestBadNeighbours(t *testing.T) {
	const perCompany, seconds = 5, 40
	companies, slots := crowdOf/perCompany, crowdOf/2
	healthy := func(i int) bool { return i%10 > 1 }
	run := func(t *testing.T, what string, a answer, tamper func(*Engine)) (p99 time.Duration, delivered int) {
		t.Helper()
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCrowd(t, companies, crowdOf, tamper)
				c.config = func(e *Config) { e.MaxInFlight = slots }
				c.warm()
				c.behave(a)
				for range seconds {
					for i := range companies {
						c.tick(i, 1)
					}
					time.Sleep(time.Second)
				}
				list := c.latencies(healthy)
				p99, delivered = percentile(list, 99), len(list)
				t.Logf("%s: %d delivered by healthy webhooks, p50 %s, p99 %s", what, len(list), percentile(list, 50), p99)
				c.behave(func(int) (time.Duration, send.Result) { return 0, status(200) })
				c.settle("everything ends", 4*time.Hour, func() bool { return len(c.arrivals.get()) >= seconds*crowdOf })
				for _, company := range c.companies {
					c.company = company
					c.balanced()
				}
			})
		})
		return p99, delivered
	}
	quick := func(int) (time.Duration, send.Result) { return 20 * time.Millisecond, status(200) }
	hang := func(i int) (time.Duration, send.Result) {
		switch i % 10 {
		case 0:
			return time.Hour, status(200)
		case 1:
			return 5 * time.Second, status(200)
		}
		return quick(i)
	}
	alone, most := run(t, "alone", quick, nil)
	p99, n := run(t, "a fifth is slow", hang, nil)
	if p99 > 2*alone || n < most*9/10 {
		t.Errorf("with slow neighbours p99 %s (alone %s), %d delivered (alone %d)", p99, alone, n, most)
	}
	p99, n = run(t, "control: no slow pool", hang, func(e *Engine) { e.core.slots.mostSlow, e.core.slots.reserve = slots, 0 })
	if p99 <= 2*alone && n >= most*9/10 {
		t.Errorf("control: without the slow pool p99 is %s still (alone %s), %d of %d delivered", p99, alone, n, most)
	}
}
