package lane

import "time"

// Window is a lane's adaptive concurrency: it starts small, grows while it is full and succeeds,
// and shrinks when the endpoint shows that it has enough. It is TCP's: exponential up to the last
// known good size, then slowly.
type Window struct {
	Size      float64
	Threshold float64   // beyond it growth is slow
	shrunk    time.Time // attempts started before do not shrink it again
}

// windowStart is how many requests may be in flight to an endpoint of which nothing is known.
const windowStart = 4

// newWindow returns the window of such an endpoint.
func newWindow() Window { return Window{Size: windowStart, Threshold: 1 << 20} }

// Limit is how many requests may be in flight.
func (w *Window) Limit(most int) int { return max(1, min(int(w.Size), most)) }

func (w *Window) grow(most int) {
	if w.Size < w.Threshold {
		w.Size++
	} else {
		w.Size += 1 / w.Size
	}
	w.Size = min(w.Size, float64(most))
}

func (w *Window) shrink(startedAt, now time.Time) {
	if startedAt.Before(w.shrunk) {
		return
	}
	w.Threshold = max(w.Size/2, 2)
	w.Size = max(w.Size/2, 1)
	w.shrunk = now
}
