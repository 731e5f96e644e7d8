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
	index     map[string]int       // of a webhook, by its id
	accepted  map[string]time.Time // by event; behind the lock of arrivals
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
			c.arrivals.value = append(c.arrivals.value, arrival{i, time.Since(c.accepted[r.Event.ID]), time.Now()})
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
	const perCompany, seconds = 5, 25
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

// One company bursts; ten others publish as always, and notice nothing.
func TestBurstOfOneCompany(t *testing.T) {
	const seconds, slots = 10, 48
	others := func(i int) bool { return i > 0 }
	run := func(what string, burst int, tamper func(*Engine)) (p99 time.Duration) {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCrowd(t, 11, 11, tamper)
				c.config = func(e *Config) { e.MaxInFlight = slots }
				c.warm()
				c.behave(func(i int) (time.Duration, send.Result) {
					if i == 0 {
						return 900 * time.Millisecond, status(200) // just not slow
					}
					return 20 * time.Millisecond, status(200)
				})
				c.tick(0, burst)
				for range 10 * seconds {
					for i := range 10 {
						c.tick(1+i, 1)
					}
					time.Sleep(100 * time.Millisecond)
				}
				list := c.latencies(others)
				p99 = percentile(list, 99)
				t.Logf("%s: %d of others, p50 %s, p99 %s", what, len(list), percentile(list, 50), p99)
				if len(list) < 95*seconds && tamper == nil {
					t.Errorf("%d of %d were delivered", len(list), 100*seconds)
				}
				c.behave(func(int) (time.Duration, send.Result) { return 0, status(200) })
				c.settle("everything ends", time.Hour, func() bool { return len(c.arrivals.get()) == burst+100*seconds })
				c.company = c.companies[0]
				c.balanced()
			})
		})
		return p99
	}
	alone := run("alone", 1, nil)
	if p99 := run("beside a burst", burstOf, nil); p99 > 2*alone || p99 > 2*time.Second {
		t.Errorf("p99 %s beside a burst, %s alone", p99, alone)
	}
	// Who is first in line when the burst begins decides how much it hurts: the worst of some tells.
	var worst time.Duration
	for range 40 {
		if worst = max(worst, run("control: no reserve", burstOf, func(e *Engine) { e.core.slots.reserve = 0 })); worst > 2*alone {
			return
		}
	}
	t.Errorf("control: without the reserve p99 is %s, %s alone", worst, alone)
}

// A company with many webhooks at a tarpit fills the share of the slow and no more.
func TestTarpit(t *testing.T) {
	const seconds, slots = 15, 128
	run := func(what string, trapped int, tamper func(*Engine)) (p99 time.Duration, delivered int) {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCrowd(t, 10, 10, tamper)
				c.config = func(e *Config) { e.MaxInFlight = slots }
				c.companies = append(c.companies, c.in("tarpit"))
				for i := range trapped {
					c.index[c.webhook(func(h *hook.Webhook) { h.Topics = []string{"customer"} }).ID] = 10 + i
				}
				c.behave(func(i int) (time.Duration, send.Result) {
					if i >= 10 {
						return time.Hour, status(200)
					}
					return 20 * time.Millisecond, status(200)
				})
				c.start()
				for range 10 * seconds {
					for i := range 10 {
						c.tick(i, 1)
					}
					c.company = c.companies[10]
					c.publishOf("customer", 1)
					time.Sleep(100 * time.Millisecond)
				}
				list := c.latencies(func(i int) bool { return i < 10 })
				p99, delivered = percentile(list, 99), len(list)
				t.Logf("%s: %d of others, p50 %s, p99 %s", what, len(list), percentile(list, 50), p99)
			})
		})
		return p99, delivered
	}
	alone, most := run("alone", 1, nil)
	if p99, n := run("beside a tarpit", tarpitOf, nil); p99 > 2*alone || n < most*95/100 {
		t.Errorf("p99 %s beside a tarpit, %s alone; %d of %d", p99, alone, n, most)
	}
	off := func(e *Engine) { e.core.slots.reserve, e.core.slots.mostSlow = 0, slots }
	if p99, n := run("control: no shares", tarpitOf, off); p99 <= 2*alone && n >= most*95/100 {
		t.Errorf("control: without shares p99 is %s, %s alone; %d of %d", p99, alone, n, most)
	}
}

// Half of a crowd is dead: the other half keeps its latency, and a dead endpoint gets some fifty
// requests and then no more than a probe an interval.
func TestHalfAreDead(t *testing.T) {
	const minutes = 15
	bubble(t, func(t *testing.T) {
		companies := crowdOf / 10
		c := newCrowd(t, companies, crowdOf/2, nil)
		c.warm()
		c.behave(func(i int) (time.Duration, send.Result) {
			if i%2 == 1 {
				return 0, send.Result{Class: hook.ErrConnect}
			}
			return 20 * time.Millisecond, status(200)
		})
		began := time.Now()
		c.sender.Lock()
		c.sender.journal = nil
		c.sender.Unlock()
		for range minutes * 12 {
			for i := range companies {
				c.tick(i, 1)
			}
			time.Sleep(5 * time.Second)
		}
		list := c.latencies(func(i int) bool { return i%2 == 0 })
		if want := minutes * 12 * crowdOf / 4; len(list) < want*9/10 || percentile(list, 99) > 80*time.Millisecond {
			t.Errorf("%d of %d delivered to those alive, p99 %s", len(list), want, percentile(list, 99))
		}
		times := map[int][]time.Duration{}
		for _, r := range c.sender.received() {
			if i := c.index[r.webhook]; i%2 == 1 {
				times[i] = append(times[i], r.at.Sub(began))
			}
		}
		// Each is down two minutes after it died at the latest: from there on by intervals.
		crowdedProbes := func(at []time.Duration, from time.Duration) (crowded, n int) {
			for k := 1; k < len(at); k++ {
				if at[k-1] < from {
					continue
				}
				if n++; at[k]-at[k-1] < 10*time.Second {
					crowded++
				}
			}
			return crowded, n
		}
		most := 0
		for i, at := range times {
			most = max(most, len(at))
			if crowded, n := crowdedProbes(at, 2*time.Minute); crowded > 0 || n > 10 {
				t.Errorf("dead endpoint %d got %d probes, %d of them too soon: %s", i, n, crowded, at)
			}
			if crowded, _ := crowdedProbes(at, 0); crowded == 0 {
				t.Error("control: a failing endpoint passes for one that is down")
			}
		}
		t.Logf("%d alive: p99 %s; %d dead: at most %d requests each in %d minutes", crowdOf/4, percentile(list, 99), len(times), most, minutes)
		c.behave(func(int) (time.Duration, send.Result) { return 0, status(200) })
		c.settle("everything ends", 4*time.Hour, func() bool { return len(c.arrivals.get()) >= minutes*12*crowdOf/2 })
		c.balanced()
	})
}
