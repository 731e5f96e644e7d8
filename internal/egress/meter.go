package egress

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// meter is a TCP connection that counts. What has been written tells whether a request can have
// left this machine; what may be read bounds a receiver that talks on an HTTP/2 connection without
// being asked.
type meter struct {
	net.Conn
	outer   *tls.Conn       // TLS to the egress proxy, which Conn then is; nil for none
	raw     syscall.RawConn // nil where the system has none
	written atomic.Int64
	credit  atomic.Int64 // bytes that may still be read; used when limited
	limited atomic.Bool
}

var errFlood = errors.New("the receiver sent far more than was asked for")

func newMeter(nc net.Conn) *meter {
	m := &meter{Conn: nc}
	if s, ok := nc.(syscall.Conn); ok {
		m.raw, _ = s.SyscallConn()
	}
	return m
}

// idle reports that nothing has arrived, neither in the kernel nor in what TLS to the proxy has read
// ahead.
func (m *meter) idle() bool { return m.quiet() && (m.outer == nil || nothingRead(m.outer)) }

// nothingRead reports that TLS holds nothing that it has read and nobody asked for.
func nothingRead(c *tls.Conn) bool {
	var b [1]byte
	if c.SetReadDeadline(time.Unix(1, 0)) != nil { // only what is there already
		return false
	}
	n, err := c.Read(b[:])
	return n == 0 && timedOut(err)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if m.limited.Load() && m.credit.Add(-int64(n)) < 0 {
		m.Conn.Close()
		return n, errFlood
	}
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.written.Add(int64(n))
	return n, err
}
