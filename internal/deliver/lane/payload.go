package lane

import (
	"sync"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Payload is one event that lanes hold, with the bodies composed for it: shared by all of them and
// counted in bytes once.
type Payload struct {
	Event  *hook.Event
	Refs   int       // only the loop counts
	home   *Payloads // whose memory it is in
	bodies [4]struct {
		once sync.Once
		text []byte
	}
}

// Body is what is sent, composed once for all webhooks of a format, with or without what changed.
func (p *Payload) Body(f hook.DataFormat, changes bool) []byte {
	i, with := 0, []byte(nil)
	if f == hook.DataObject {
		i = 1
	}
	if changes && p.Event.Changes != nil {
		i, with = i+2, p.Event.Changes
	}
	p.bodies[i].once.Do(func() { p.bodies[i].text = wire.BodyWithChanges(p.Event.Topic, p.Event.Data, with, f) })
	if p.bodies[i].text == nil {
		panic("the body could not be composed") // it panicked for another webhook; nothing empty is sent
	}
	return p.bodies[i].text
}

// Payloads are the events of one partition that lanes hold.
type Payloads struct {
	ByOffset map[hook.Offset]*Payload
	bytes    *int64 // of all partitions
}

// NewPayloads returns a partition's, whose bytes are added to those of all.
func NewPayloads(bytes *int64) Payloads {
	return Payloads{ByOffset: map[hook.Offset]*Payload{}, bytes: bytes}
}

// Hold counts an event's bytes once, whoever holds it; the caller owns one reference.
func (h *Payloads) Hold(e *hook.Event) *Payload {
	if x, ok := h.ByOffset[e.Offset]; ok {
		x.Refs++
		return x
	}
	x := &Payload{Event: e, home: h, Refs: 1}
	h.ByOffset[e.Offset] = x
	*h.bytes += e.Size()
	return x
}

// Drop gives a reference back; that of nothing is none.
func (x *Payload) Drop() {
	if x == nil {
		return
	}
	if x.Refs--; x.Refs == 0 {
		h := x.home
		*h.bytes -= x.Event.Size()
		if h.ByOffset[x.Event.Offset] == x {
			delete(h.ByOffset, x.Event.Offset)
			if len(h.ByOffset) == 0 {
				h.ByOffset = map[hook.Offset]*Payload{} // a map keeps the room that a burst took
			}
		}
	}
}

// Drop lets go of a delivery's event.
func (it *Item) Drop() {
	it.Payload.Drop()
	it.Payload = nil
}
