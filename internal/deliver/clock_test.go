package deliver

import (
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
)

// The wall clock is set ahead and back: nothing is lost, nothing is sent twice, and what fails
// afterwards is retried by its schedule.
func TestClockIsSet(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				var offset shared[time.Duration]
				w.config = func(c *Config) { c.Now = func() time.Time { return time.Now().Add(offset.get()) } }
				w.sender.answer = func(r send.Request) send.Result {
					if r.Attempt == 1 {
						return status(418)
					}
					return status(200)
				}
				w.start()
				w.webhook(func(h *hook.Webhook) { h.RetrySchedule = []time.Duration{5 * time.Second, time.Minute} })
				for i, at := range []time.Duration{0, jump, 0, jump} {
					offset.set(at)
					w.publish(20, nil)
					w.settle("the retries", 2*time.Minute, func() bool { return w.delivered() == 20*(i+1) })
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
