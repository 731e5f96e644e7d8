package lane

import (
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func TestNothingEmptyIsSent(t *testing.T) {
	p := Payload{Event: &hook.Event{Topic: "conversation", Data: []byte(`{}`)}}
	p.bodies[0].once.Do(func() {}) // as after a panic
	defer func() {
		if recover() == nil {
			t.Error("a body that could not be composed was sent")
		}
	}()
	t.Errorf("%q", p.Body(hook.DataString, false))
}

// What lanes held of a partition is let go of with the last of them, wherever the events came from.
func TestPayloadsEndWithTheirLanes(t *testing.T) {
	var bytes int64
	p := NewPayloads(&bytes)
	for o := range hook.Offset(1000) {
		p.Hold(&hook.Event{Offset: o + 1, Data: []byte("{}")}).Drop()
	}
	if len(p.ByOffset) != 0 || bytes != 0 {
		t.Errorf("%d events stay in memory, %d bytes are counted", len(p.ByOffset), bytes)
	}
	held := p.Hold(&hook.Event{Offset: 1, Data: []byte("{}")})
	p.Hold(held.Event)
	if held.Drop(); len(p.ByOffset) != 1 || bytes != 2 {
		t.Error("control: an event that a lane holds is gone")
	}
}
