package ingress

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// trickle reads a little at a time, and tells how much there was.
func trickle(r io.Reader, bytes int, pause time.Duration) (total int) {
	b := make([]byte, bytes)
	for {
		n, err := r.Read(b)
		if total += n; err != nil {
			return total
		}
		time.Sleep(pause) //nolint:forbidigo // virtual
	}
}

// Who reads slowly is served to the end, though that takes many times as long as an answer may stall;
// who stops is not waited for. The control has one deadline for the whole.
func TestWriteDeadlineMoves(t *testing.T) {
	const size, stall = 1 << 20, time.Minute
	for name, c := range map[string]struct {
		fixed bool // control
		pause time.Duration
		whole bool
		takes time.Duration // at most
	}{
		"slow":    {pause: time.Second, whole: true, takes: time.Hour},
		"stops":   {pause: 24 * time.Hour, takes: 2 * stall},
		"control": {fixed: true, pause: time.Second, takes: 2 * stall},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				conn := &Conn{Conn: ours, stall: stall}
				if c.fixed {
					conn.stall = 0
					_ = ours.SetWriteDeadline(time.Now().Add(stall))
				}
				got := make(chan int)
				go func() { got <- trickle(theirs, 1000, c.pause) }()
				begun := time.Now()
				n, err := conn.Write(make([]byte, size))
				took := time.Since(begun)
				ours.Close()
				if (err == nil) != c.whole || (n == size) != c.whole || took > c.takes {
					t.Errorf("%d bytes in %v: %v", n, took, err)
				}
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v is no time-out", err)
				}
				if read := <-got; read < n {
					t.Errorf("%d bytes were read, %d written", read, n)
				}
			})
		})
	}
}

// A deadline that is set ends a write that gets on, too.
func TestWriteIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		conn := &Conn{Conn: ours, stall: time.Minute}
		got := make(chan int)
		go func() { got <- trickle(theirs, 1000, time.Second) }()
		time.AfterFunc(10*time.Second, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
		begun := time.Now()
		if n, err := conn.Write(make([]byte, 1<<20)); n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) > 11*time.Second {
			t.Errorf("%d bytes in %v: %v", n, time.Since(begun), err)
		}
		ours.Close()
		<-got
	})
}
