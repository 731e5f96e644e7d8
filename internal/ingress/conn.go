package ingress

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pieceBytes are written under one deadline.
	pieceBytes = 16 << 10
	// sendBuffer is what the kernel holds of an answer. It is small, because the kernel lets a writer go
	// on only when a good part of it was read: with much of it, who reads slowly would look like one who
	// does not read.
	sendBuffer = 128 << 10
)

// Conn is a connection that was accepted. What is written gets as long as it takes, as long as it
// gets on.
type Conn struct {
	net.Conn
	tcp      *net.TCPConn
	listener *Listener
	peer     netip.Prefix
	shared   bool // many stand behind its address
	stall    time.Duration
	last     atomic.Int64 // when something moved, in nanoseconds of the Unix epoch

	mu    sync.Mutex
	until time.Time // the deadline for writing that the server set; zero: none
}

func (c *Conn) moved() { c.last.Store(time.Now().UnixNano()) }

func (c *Conn) lastMoved() time.Time { return time.Unix(0, c.last.Load()) }

func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.moved()
	}
	return n, err
}

// Write ends with an error that is a time-out when the other side has read nothing for as long as an
// answer may stall, or when the deadline that was set has passed.
func (c *Conn) Write(b []byte) (written int, err error) {
	for {
		piece := b[written:min(len(b), written+pieceBytes)]
		passed := c.extend()
		n, err := c.Conn.Write(piece)
		written += n
		if n > 0 {
			c.moved()
		}
		if err != nil && (n == 0 || passed || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return written, err
		}
		if written == len(b) {
			return written, nil
		}
	}
}

// extend gives the next piece its deadline, and reports whether that which was set has passed.
func (c *Conn) extend() (passed bool) {
	if c.stall <= 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	next := now.Add(c.stall)
	if !c.until.IsZero() && c.until.Before(next) {
		next = c.until
	}
	_ = c.Conn.SetWriteDeadline(next) // of a closed one: writing says so
	return !c.until.IsZero() && !now.Before(c.until)
}

// SetWriteDeadline sets a deadline beside that of each piece.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets the deadlines for reading and for writing.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// CloseWrite ends the answer and lets the other side finish.
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// Close gives the connection's place to another.
func (c *Conn) Close() error {
	c.listener.closed(c)
	return c.Conn.Close()
}

// drop closes without waiting for what was not read.
func (c *Conn) drop() { drop(c.tcp) }

func drop(raw *net.TCPConn) {
	_ = raw.SetLinger(0)
	_ = raw.Close()
}
