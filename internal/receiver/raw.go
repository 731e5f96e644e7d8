package receiver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// raw are the behaviours that take over the connection after the request was read. When one
// returns, the connection is closed.
var raw = map[string]func(t *takenOver){
	"close":        func(*takenOver) {},
	"reset":        func(t *takenOver) { t.reset() },
	"half-close":   func(t *takenOver) { t.halfClose("") },
	"half-answer":  func(t *takenOver) { t.halfClose("HTTP/1.1 200 OK\r\nContent-Le") },
	"garbage":      func(t *takenOver) { t.send("\x00\x01\x02 this is not HTTP\r\n\r\n") },
	"old-http":     func(t *takenOver) { t.send("ICY 200 OK\r\n\r\n") },
	"status-000":   func(t *takenOver) { t.send("HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n") },
	"status-999":   func(t *takenOver) { t.send("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n") },
	"two-lengths":  func(t *takenOver) { t.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\nok") },
	"truncated":    func(t *takenOver) { t.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this") },
	"bad-chunk":    func(t *takenOver) { t.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") },
	"switch":       func(t *takenOver) { t.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"); t.wait() },
	"interim-only": func(t *takenOver) { t.send("HTTP/1.1 103 Early Hints\r\n\r\n") },
	"interim-flood": func(t *takenOver) {
		for t.send(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 64)) == nil {
		}
	},
	"huge-header": func(t *takenOver) {
		t.send("HTTP/1.1 200 OK\r\n")
		for t.send("X-Filler: "+strings.Repeat("f", 16<<10)+"\r\n") == nil {
		}
	},
	"endless-line": func(t *takenOver) {
		t.send("HTTP/1.1 200 ")
		for t.send(strings.Repeat("f", 16<<10)) == nil {
		}
	},
	"endless-body": func(t *takenOver) {
		t.send("HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n")
		for chunk := "4000\r\n" + strings.Repeat("f", 16<<10) + "\r\n"; t.send(chunk) == nil; {
		}
	},
	"tiny-chunks": func(t *takenOver) {
		t.send("HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n")
		for chunk := strings.Repeat("1;"+strings.Repeat("x", 4<<10)+"\r\nf\r\n", 4); t.send(chunk) == nil; {
		}
	},
	"drip-body": func(t *takenOver) {
		t.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000000\r\n\r\n")
		t.drip("f")
	},
	"drip-header": func(t *takenOver) {
		t.send("HTTP/1.1 200 OK\r\n")
		t.drip("X")
	},
	"gzip-bomb": func(t *takenOver) {
		t.send("HTTP/1.1 500 Internal Server Error\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + bomb())
	},
	// One request, two answers: on a shared connection the second would be taken for the answer to
	// somebody else's request.
	"pipelined": func(t *takenOver) {
		const failure = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
		const success = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
		for t.send(failure+success) == nil && t.nextRequest() == nil {
		}
	},
	// As above, with the second answer a moment later, when the connection may be idle already.
	"pipelined-late": func(t *takenOver) {
		const failure = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
		const success = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
		for t.send(failure) == nil && t.send(success) == nil && t.nextRequest() == nil {
		}
	},
}

// takenOver is a connection whose request was read.
type takenOver struct {
	net.Conn
	br  *bufio.Reader
	ctx context.Context
}

func takeOver(w http.ResponseWriter, req *http.Request, behave func(*takenOver)) {
	rc := http.NewResponseController(w)
	nc, rw, err := rc.Hijack()
	if err != nil { // HTTP/2: there is only the stream to break
		panic(http.ErrAbortHandler)
	}
	defer nc.Close()
	behave(&takenOver{Conn: nc, br: rw.Reader, ctx: req.Context()})
}

func (t *takenOver) send(text string) error {
	_, err := io.WriteString(t.Conn, text)
	return err
}

// wait returns when the other side has closed, or the receiver ends.
func (t *takenOver) wait() { io.Copy(io.Discard, t.br) }

// drip sends one byte a second.
func (t *takenOver) drip(b string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for t.send(b) == nil {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
	}
}

// nextRequest reads another request to its end.
func (t *takenOver) nextRequest() error {
	req, err := http.ReadRequest(t.br)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

// tcp finds the socket below what TLS and the listener put on it.
func tcp(nc net.Conn) *net.TCPConn {
	for {
		switch c := nc.(type) {
		case *net.TCPConn:
			return c
		case *tracked:
			nc = c.Conn
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}

func (t *takenOver) reset() {
	if c := tcp(t.Conn); c != nil {
		c.SetLinger(0) // close sends RST
	}
}

func (t *takenOver) halfClose(first string) {
	t.send(first)
	if c := tcp(t.Conn); c != nil {
		c.CloseWrite()
	}
	t.wait()
}

// bomb is a gzip stream of 8 MiB of zeros.
var bomb = sync.OnceValue(func() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 64<<10)
	for range 128 {
		z.Write(zeros)
	}
	z.Close()
	return b.String()
})
