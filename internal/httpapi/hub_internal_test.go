package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// An attempt is rendered once, however many watch; a reader takes a few at a time and hears of what it
// missed; what is kept is bounded in bytes, and goes when nobody watches any more.
func TestHub(t *testing.T) {
	now := time.Unix(1e9, 0)
	h := newHub(now, 3, 2)
	a := &API{hub: h, forwarder: newForwarder(), opt: Options{Now: func() time.Time { return now }}}
	w, e := &hook.Webhook{ID: "wh_1", Key: 1, Company: 1}, &hook.Event{ID: "evt_1"}
	tell := func(n int) {
		for i := range n {
			a.Attempted(&hook.Attempt{Number: i, ErrorDetail: strings.Repeat("x", 500)}, w, e)
		}
	}
	tell(1)
	if len(h.rings) != 0 {
		t.Error("it is kept although nobody watches")
	}
	r, err := h.enter(1, now)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = h.enter(1, now)
	if _, err := h.enter(1, now); Describe(err).Status != 429 {
		t.Errorf("a third of one company: %v", err)
	}
	_, _ = h.enter(2, now)
	if _, err := h.enter(3, now); Describe(err).Status != 503 {
		t.Errorf("a fourth in all: %v", err)
	}

	tell(100)
	list, next, wait, lost, _ := r.after(1)
	if len(list) != atATime || next != 1+atATime || wait != nil || lost {
		t.Errorf("%d up to %d, wait %v, lost %v", len(list), next, wait, lost)
	}
	again, _, _, _, _ := r.after(1)
	if one, other := list[0].render(), again[0].render(); &one[0] != &other[0] {
		t.Error("it was rendered twice")
	}
	if list, next, wait, _, _ = r.after(next); len(list) != 36 || next != 101 || wait == nil {
		t.Errorf("%d up to %d, wait %v", len(list), next, wait)
	}
	if from, known := r.place(r.epoch + "-7"); from != 8 || !known {
		t.Errorf("%d %v", from, known)
	}

	tell(10_000)
	_, _, _, lost, _ = r.after(1)
	if r.bytes > mostRing || !lost || r.next != 10_101 {
		t.Errorf("%d bytes are kept, lost %v, next %d", r.bytes, lost, r.next)
	}
	if list, _, wait, _, _ := r.after(1 << 60); len(list) != 0 || wait == nil {
		t.Errorf("of the future: %d", len(list))
	}
	for range 2 {
		h.leave(r, now)
	}
	now = now.Add(ringKept)
	tell(1)
	if h.rings[1] == nil {
		t.Error("who comes back finds nothing")
	}
	now = now.Add(time.Second)
	tell(1)
	if h.rings[1] != nil || h.readers != 1 {
		t.Error("it is kept for nobody")
	}
}

// BenchmarkAttempted is what an attempt costs the engine's loop: where nobody watches, and where somebody does.
func BenchmarkAttempted(b *testing.B) {
	for name, watched := range map[string]bool{"nobody": false, "somebody": true} {
		b.Run(name, func(b *testing.B) {
			a := &API{hub: newHub(time.Now(), 3, 2), opt: Options{Now: time.Now}}
			w, e := &hook.Webhook{ID: "wh_1", Key: 1, Company: 1}, &hook.Event{ID: "evt_1"}
			if watched {
				_, _ = a.hub.enter(1, time.Now())
			}
			for b.Loop() {
				a.Attempted(&hook.Attempt{Number: 1}, w, e)
			}
		})
	}
}
