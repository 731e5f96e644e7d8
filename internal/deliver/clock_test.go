package deliver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// wallClock is a clock that can be set while an engine runs, unlike the one that time itself goes by.
type wallClock struct{ ahead shared[time.Duration] }

func (c *wallClock) now() time.Time { return time.Now().Add(c.ahead.get()) }

func clocked(t *testing.T) (*world, *wallClock) {
	w, clock := newWorld(t), &wallClock{}
	w.config = func(c *Config) { c.Now = clock.now }
	return w, clock
}

// The wall clock is set ahead and back: nothing is lost, nothing is sent twice, and what fails
// afterwards is retried by its schedule.
func TestClockIsSet(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, clock := clocked(t)
				w.sender.answer = func(r send.Request) send.Result {
					if r.Attempt == 1 {
						return status(418)
					}
					return status(200)
				}
				w.start()
				w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{5 * time.Second, time.Minute} })
				for i, at := range []time.Duration{0, jump, 0, jump} {
					clock.ahead.set(at)
					w.publish(20, nil)
					w.settle("the retries", 10*time.Second, func() bool { return w.delivered() == 20*(i+1) })
				}
				time.Sleep(48 * time.Hour)
				if n := len(w.sender.received()); n != 2*80 {
					t.Errorf("%d requests for 80 events that each failed once", n)
				}
				w.balanced()
			})
		})
	}
}

// heedless is a store that changes no due time when the clock was set back.
type heedless struct{ Store }

func (s heedless) Record(ctx context.Context, r *store.Record) (store.Recorded, error) {
	r.Rewind = nil
	return s.Store.Record(ctx, r)
}

// What was parked before the clock was set back waits for its step and not for the clock too, be it
// set while the server runs, idle or busy, or while it is stopped.
func TestClockIsSetBackWhileParked(t *testing.T) {
	const step = 10 * time.Minute
	retried := func(t *testing.T, jump time.Duration, restart, busy bool, change func(*Config)) (last time.Duration) {
		bubble(t, func(t *testing.T) {
			w, clock := clocked(t)
			w.config = func(c *Config) {
				c.Now = clock.now
				if change != nil {
					change(c)
				}
			}
			w.sender.answer = func(r send.Request) send.Result {
				if r.Attempt == 1 && r.Event.Topic == "conversation" {
					return status(418)
				}
				return status(200)
			}
			w.start()
			w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{step} })
			w.publish(1200, nil) // more than one record rewinds
			w.settle("parked", time.Minute, func() bool { return len(w.sender.received()) == 1200 })
			time.Sleep(time.Minute)
			if restart {
				w.halt()
			}
			clock.ahead.set(jump)
			if restart {
				w.start()
			}
			set := time.Now()
			for range 60 * 60 {
				if busy {
					w.publishOf("customer", 1)
				}
				time.Sleep(time.Minute)
				if n := w.retried(); n == 1200 {
					break
				}
			}
			for _, r := range w.sender.received() {
				if r.attempt > 1 {
					last = max(last, r.at.Sub(set))
				}
			}
			w.balanced()
		})
		return last
	}
	// The step with its jitter, a look at the clock, and what reading and sending take.
	const most = step*12/10 + lookAtClock + time.Minute
	for _, jump := range []time.Duration{-time.Hour, -24 * time.Hour} {
		for _, how := range []struct{ restart, busy bool }{{false, false}, {false, true}, {true, false}} {
			t.Run(fmt.Sprint(jump, how), func(t *testing.T) {
				if last := retried(t, jump, how.restart, how.busy, nil); last > most {
					t.Errorf("the last retry came %s after the clock was set by %s, want %s at most", last, jump, most)
				}
			})
		}
	}
	t.Run("control", func(t *testing.T) {
		change := func(c *Config) { c.Store = heedless{c.Store} }
		if last := retried(t, -24*time.Hour, false, false, change); last < 23*time.Hour {
			t.Errorf("control: with due times as they were the last retry came after %s already", last)
		}
	})
}

// retried counts the events that were delivered by a second attempt.
func (w *world) retried() (n int) {
	for _, r := range w.sender.received() {
		if r.ok && r.attempt == 2 {
			n++
		}
	}
	return n
}

// A clock that goes a day ahead and comes back: no second sees more requests than the limit allows,
// and none of the following minutes passes without any.
func TestClockOneDayAheadAndBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const perSecond = 10
		w, clock := clocked(t)
		w.sender.answer = func(r send.Request) send.Result {
			if r.Attempt == 1 && r.Sequence%3 == 0 {
				return status(418)
			}
			return status(200)
		}
		w.start()
		w.webhook(func(h *hook.Webhook) {
			h.RateLimit, h.RetrySchedule = perSecond, []time.Duration{time.Minute, time.Minute, time.Minute}
		})
		began := time.Now()
		const events = 12_000
		w.publish(events, nil)
		for _, ahead := range []time.Duration{0, 24 * time.Hour, 0, -24 * time.Hour, 0} {
			clock.ahead.set(ahead)
			time.Sleep(5 * time.Minute)
		}
		w.settle("all delivered", 2*time.Hour, func() bool { return w.delivered() == events })
		times := []time.Time{}
		for _, r := range w.sender.received() {
			times = append(times, r.at)
		}
		slices.SortFunc(times, time.Time.Compare)
		gap, burst := time.Duration(0), 0
		for i, at := range times {
			if i > 0 && at.Sub(began) < 25*time.Minute {
				gap = max(gap, at.Sub(times[i-1]))
			}
			if at.Sub(began) < 2*time.Second {
				continue // the bucket is full at first
			}
			n, _ := slices.BinarySearchFunc(times[i:], at.Add(time.Second), time.Time.Compare)
			burst = max(burst, n)
		}
		if burst > perSecond*12/10 || gap > 2*time.Second {
			t.Errorf("up to %d requests within a second, up to %s without one; want %d at most, and no gap", burst, gap, perSecond*12/10)
		}
		if n := len(times); n > events*4/3*12/10 {
			t.Errorf("%d requests for %d events of which a third failed once", n, events)
		}
		w.balanced()
	})
}
