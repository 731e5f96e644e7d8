package egress

import "time"

// trait is what a client has learnt about an endpoint. It outlives the connections that taught it.
type trait struct {
	http1  bool          // it chose HTTP/2 and does not serve it
	proven time.Duration // the longest idleness after which a kept connection served
	idle   time.Duration // how long connections are kept, because one was found closed; 0: as configured
	since  time.Time     // when that was learnt
}

// traits are those of all endpoints.
type traits map[poolKey]trait

// Bounds of what is remembered.
const (
	mostTraits = 1 << 14 // endpoints; beyond, they are learnt anew
	// learntFor is how long a receiver's idle time is believed: it may have been a restart.
	learntFor = time.Hour
	// leastIdle is an idleness that says nothing about the receiver's idle time.
	leastIdle = 500 * time.Millisecond
)

// served notes that a connection served a request after it had been idle.
func (m traits) served(key poolKey, idle time.Duration) {
	if x := m[key]; idle > max(x.proven, leastIdle) {
		x.proven = idle
		m.put(key, x)
	}
}

// closed notes that a connection was found closed which had been idle for that long, and open a
// moment before. One that had served after longer was closed for another reason: a restart.
func (m traits) closed(key poolKey, idle time.Duration, now time.Time) {
	x := m[key]
	if idle < leastIdle || idle <= x.proven {
		return
	}
	keep := max(idle-time.Second, idle/2)
	if x.idle == 0 || keep < x.idle || now.Sub(x.since) > learntFor {
		x.idle, x.since = keep, now
		m.put(key, x)
	}
}

// keep is how long a connection may be idle, at most the given time.
func (m traits) keep(key poolKey, most time.Duration, now time.Time) time.Duration {
	if x := m[key]; x.idle > 0 && now.Sub(x.since) <= learntFor {
		return min(most, x.idle)
	}
	return most
}

func (m traits) put(key poolKey, x trait) {
	if len(m) >= mostTraits {
		clear(m)
	}
	m[key] = x
}
