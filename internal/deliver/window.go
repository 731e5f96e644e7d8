package deliver

import "time"

// window is a lane's adaptive concurrency: it starts small, grows while it is full and succeeds,
// and shrinks when the endpoint shows that it has enough. It is TCP's: exponential up to the last
// known good size, then slowly.
type window struct {
	size      float64
	threshold float64   // beyond it growth is slow
	shrunk    time.Time // attempts started before do not shrink it again
}

const windowStart = 4

func newWindow() window { return window{size: windowStart, threshold: 1 << 20} }

// limit is how many requests may be in flight.
func (w *window) limit(most int) int { return max(1, min(int(w.size), most)) }

func (w *window) grow(most int) {
	if w.size < w.threshold {
		w.size++
	} else {
		w.size += 1 / w.size
	}
	w.size = min(w.size, float64(most))
}

func (w *window) shrink(startedAt, now time.Time) {
	if startedAt.Before(w.shrunk) {
		return
	}
	w.threshold = max(w.size/2, 2)
	w.size = max(w.size/2, 1)
	w.shrunk = now
}
