package filter

import (
	"runtime"
	"sync/atomic"
)

// Hands are how many events are judged at once, over all companies and whoever asks: half of the cores
// are left to everything else. Whoever waits for a hand has a turn in the order of coming, and whoever
// has one lets those who wait go first every breather. So a filter that is done soon does not wait until
// the dear ones of another company are.
type Hands struct {
	busy  chan struct{}
	await atomic.Int32 // how many wait
}

// NewHands returns as many as this machine should use.
func NewHands() *Hands { return &Hands{busy: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))} }

// take waits for a hand. It fails only when the context of the pace ends.
func (p *pace) take() error {
	if p.hands == nil {
		return nil
	}
	select {
	case p.hands.busy <- struct{}{}:
		p.holds = true
		return nil
	default:
	}
	p.hands.await.Add(1)
	defer p.hands.await.Add(-1)
	select {
	case p.hands.busy <- struct{}{}:
		p.holds = true
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// give ends what take began.
func (p *pace) give() {
	if p.holds {
		p.holds = false
		<-p.hands.busy
	}
}

// step aside for those who wait.
func (p *pace) aside() error {
	if p.holds && p.hands.await.Load() > 0 {
		p.give()
		return p.take()
	}
	runtime.Gosched()
	return p.ctx.Err()
}
