package deliver

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
)

// told is what was logged and counted.
type told struct {
	sync.Mutex
	log    bytes.Buffer
	phases []string
}

func (x *told) Write(p []byte) (int, error) {
	x.Lock()
	defer x.Unlock()
	return x.log.Write(p)
}

func (x *told) OwnFault(phase string) {
	x.Lock()
	defer x.Unlock()
	x.phases = append(x.phases, phase)
}

func (x *told) count(text string) int {
	x.Lock()
	defer x.Unlock()
	return strings.Count(x.log.String(), text)
}

func (x *told) Attempt(*hook.Attempt, *hook.Webhook, *hook.Event) {}
func (x *told) Engine(Gauges)                                     {}
func (x *told) Disabled(string)                                   {}

// A fault of ours is told at once: to operators in the log, once a minute however many attempts meet it,
// in a metric and to whoever asks the engine; to the webhook's owner as the reason why nothing is sent.
// It counts against nobody, and is over when attempts do not meet it any more.
func TestOwnFaultIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		x := &told{}
		w.config = func(c *Config) { c.Log, c.Observe = slog.New(slog.NewTextHandler(x, nil)), x }
		const detail = "the egress proxy refuses every destination (status 407)"
		var mended shared[bool]
		w.sender.answer = func(send.Request) send.Result {
			if mended.get() {
				return status(200)
			}
			return send.Result{Class: hook.ErrOwnFault, Phase: egress.PhaseProxy, Detail: detail}
		}
		w.start()
		h := w.webhook(nil)
		if f, err := w.engine.OwnFault(t.Context()); f != nil || err != nil {
			t.Errorf("before anything happened: %+v, %v", f, err)
		}
		began := time.Now()
		w.publish(5, nil)
		w.settle("an attempt", 100*time.Millisecond, func() bool { return len(w.sender.received()) > 0 })
		w.settle("told", 100*time.Millisecond, func() bool { return x.count(detail) == 1 })
		health, _, err := w.engine.Health(t.Context(), h.Key)
		if err != nil || !strings.Contains(health.Reason, detail) || health.State != lane.Healthy || health.ConsecutiveFailures != 0 {
			t.Errorf("at once: %+v, %v", health, err)
		}
		time.Sleep(5*time.Minute - time.Second)
		f, err := w.engine.OwnFault(t.Context())
		if err != nil || f == nil || f.Reason != detail || f.Since.Sub(began) > time.Second || time.Since(f.LastAt) > faultLasts {
			t.Errorf("while it lasts: %+v, %v", f, err)
		}
		if n := x.count(detail); n < 4 || n > 6 {
			t.Errorf("logged %d times in 5 minutes", n)
		}
		x.Lock()
		if made := len(w.sender.received()); len(x.phases) != made || slices.ContainsFunc(x.phases, func(p string) bool { return p != "proxy" }) {
			t.Errorf("%d attempts, counted %v", made, x.phases)
		}
		x.Unlock()
		mended.set(true)
		w.settle("delivered", time.Minute, func() bool { return w.delivered() == 5 })
		time.Sleep(2 * faultLasts)
		if f, err := w.engine.OwnFault(t.Context()); f != nil || err != nil {
			t.Errorf("after it was over: %+v, %v", f, err)
		}
		if health, _, _ := w.engine.Health(t.Context(), h.Key); health.Reason != "" {
			t.Errorf("afterwards it waits: %q", health.Reason)
		}
	})
}
