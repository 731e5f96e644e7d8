package deliver

import (
	"sync"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// payload is one event that lanes hold, with the bodies composed for it: shared by all of them and
// counted in bytes once.
type payload struct {
	event  *hook.Event
	refs   int       // only the loop counts
	home   *payloads // whose memory it is in
	bodies [2]struct {
		once sync.Once
		text []byte
	}
}

// body is what is sent, composed once for all webhooks of a format.
func (p *payload) body(f hook.DataFormat) []byte {
	i := 0
	if f == hook.DataObject {
		i = 1
	}
	p.bodies[i].once.Do(func() { p.bodies[i].text = wire.Body(p.event.Topic, p.event.Data, f) })
	if p.bodies[i].text == nil {
		panic("the body could not be composed") // it panicked for another webhook; nothing empty is sent
	}
	return p.bodies[i].text
}

// payloads are the events of one partition that lanes hold.
type payloads struct {
	byOffset map[hook.Offset]*payload
	bytes    *int64 // of all partitions
}

// newPayloads returns a partition's, whose bytes are added to those of all.
func newPayloads(bytes *int64) payloads {
	return payloads{byOffset: map[hook.Offset]*payload{}, bytes: bytes}
}

// hold counts an event's bytes once, whoever holds it; the caller owns one reference.
func (h *payloads) hold(e *hook.Event) *payload {
	if x, ok := h.byOffset[e.Offset]; ok {
		x.refs++
		return x
	}
	x := &payload{event: e, home: h, refs: 1}
	h.byOffset[e.Offset] = x
	*h.bytes += int64(len(e.Data))
	return x
}

// drop gives a reference back; that of nothing is none.
func (x *payload) drop() {
	if x == nil {
		return
	}
	if x.refs--; x.refs == 0 {
		h := x.home
		*h.bytes -= int64(len(x.event.Data))
		if h.byOffset[x.event.Offset] == x {
			delete(h.byOffset, x.event.Offset)
			if len(h.byOffset) == 0 {
				h.byOffset = map[hook.Offset]*payload{} // a map keeps the room that a burst took
			}
		}
	}
}

// drop lets go of a delivery's event.
func (it *item) drop() {
	it.payload.drop()
	it.payload = nil
}
