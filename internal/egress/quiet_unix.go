//go:build unix

package egress

import "syscall"

// quiet reports whether the connection is as an idle one must be: open, with nothing to read. It
// costs one system call and does not consume anything. A connection that the receiver has closed,
// or on which it already "answered" the request that is yet to come, is not quiet.
func (m *meter) quiet() bool {
	if m.raw == nil {
		return false
	}
	quiet := false
	// Control and not Read, which would fail once the deadline of the last request has passed.
	err := m.raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return quiet && err == nil
}
