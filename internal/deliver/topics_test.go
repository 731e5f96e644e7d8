package deliver

import (
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Events of a topic that is not built in reach whom their text matches, also where a company has so many
// webhooks that they are found by topic, whether the catalogue has the topic or not.
func TestOwnTopicsAreDelivered(t *testing.T) {
	for _, others := range []int{0, 2 * manyPlaces} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			wants := map[string]bool{}
			for _, topics := range [][]string{{"*"}, {"order.*", "customer"}, {"order.shipped"}, {"order"}, {"customer"}, {"orders.*"}} {
				h := w.webhook(func(h *hook.Webhook) { h.Topics = topics })
				wants[h.ID] = hook.MatchTopics(topics).Has("order.shipped")
			}
			for range others {
				w.webhook(func(h *hook.Webhook) { h.Topics = []string{"conversation"} })
			}
			w.publishOf("order.shipped", 3)
			w.settle("its deliveries", time.Minute, func() bool { return w.delivered() >= 9 })
			w.balanced()
			for _, r := range w.sender.received() {
				if !wants[r.webhook] {
					t.Errorf("%s got %s", r.webhook, r.topic)
				}
			}
			if n := w.delivered(); n != 9 {
				t.Errorf("%d deliveries, want 9", n)
			}
		})
	}
}
