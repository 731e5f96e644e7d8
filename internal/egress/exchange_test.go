package egress

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress/http1"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// What is sent is what was asked for, on one connection, whatever the size of the body.
func TestRequestOnTheWire(t *testing.T) {
	var mu sync.Mutex
	var got []receiver.Delivery
	r := newReceiver(t, receiver.Config{Journal: func(d receiver.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, d)
	}})
	c := newClient(t)
	sizes := []int{0, 1, 1000, 64<<10 - 200, 64 << 10, 64<<10 + 1, 1 << 20}
	for _, size := range sizes {
		q := request(r.URL()+"a%20b?c=d", 10*time.Second)
		q.Body = bytes.Repeat([]byte("x"), size)
		a, err := c.Do(t.Context(), q)
		if err != nil || a.Status != 200 {
			t.Fatalf("%d bytes: status %d, %v", size, a.Status, err)
		}
	}
	for i, d := range got {
		if len(d.Body) != sizes[i] || d.Path != "/a%20b?c=d" || d.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request %d: %s, %d bytes, %v", i, d.Path, len(d.Body), d.Header)
		}
		for _, name := range []string{"Accept-Encoding", "Transfer-Encoding", "Idempotency-Key", "Expect"} {
			if v := d.Header.Get(name); v != "" {
				t.Errorf("%s: %s was sent", name, v)
			}
		}
	}
	if len(got) != len(sizes) || r.Connections() != 1 {
		t.Errorf("%d requests on %d connections, want %d on 1", len(got), r.Connections(), len(sizes))
	}
}

// Answers as bytes: what becomes of them, and whether the connection is used again.
func TestAnswers(t *testing.T) {
	big := strings.Repeat("b", http1.MaxBody)
	tests := []struct {
		name, answer string
		status       int
		class        hook.ErrorClass // when status is -1
		body         string
		truncated    bool
		reused       bool
	}{
		{"with a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "", "ok", false, true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "", "ok", false, true},
		{"after interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", "", false, true},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", "", false, true},
		{"two answers", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 500, "", "", false, false},
		{"more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", 200, "", "ok", false, false},
		{"exactly what is kept", "HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n" + big, 200, "", big, false, true},
		{"more than is kept", "HTTP/1.1 200 OK\r\nContent-Length: 16385\r\n\r\n" + big + "b", 200, "", big, true, false},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 200, "", "", false, false},
		{"says close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "", "ok", false, false},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nxxxx", 101, "", "", false, false},
		{"000", "HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n", 0, "", "", false, true},
		{"too many interim answers", strings.Repeat("HTTP/1.1 103 Early\r\n\r\n", 17), -1, hook.ErrProtocol, "", false, false},
		{"garbage", "SSH-2.0-OpenSSH_9.2\r\n", -1, hook.ErrProtocol, "", false, false},
		{"headers too large", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", http1.MaxHead) + "\r\n\r\n", -1, hook.ErrProtocol, "", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			conns := 0
			address := rawServer(t, func(nc net.Conn) {
				mu.Lock()
				conns++
				mu.Unlock()
				serveRaw(nc, tt.answer)
			})
			c := newClient(t)
			for range 2 {
				a, err := c.Do(t.Context(), request("http://"+address+"/", 5*time.Second))
				if tt.status < 0 {
					wantClass(t, err, tt.class)
					continue
				}
				if err != nil || a.Status != tt.status || string(a.Body) != tt.body || a.Truncated != tt.truncated {
					t.Fatalf("status %d, body %d bytes %.20q, truncated %v, %v", a.Status, len(a.Body), a.Body, a.Truncated, err)
				}
			}
			if mu.Lock(); tt.reused != (conns == 1) {
				t.Errorf("%d connections, want reused = %v", conns, tt.reused)
			}
			mu.Unlock()
		})
	}
}

// serveRaw answers every request on a connection with the same bytes.
func serveRaw(nc net.Conn, answer string) {
	buf := make([]byte, 64<<10)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		_ = n // requests of these tests come in one piece
		if _, err := io.WriteString(nc, answer); err != nil {
			return
		}
	}
}

// An answer that comes in pieces of any size is the same answer.
func TestAnswerInPieces(t *testing.T) {
	const answer = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 500 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
	for _, piece := range []int{1, 2, 3, 7} {
		address := rawServer(t, func(nc net.Conn) {
			nc.Read(make([]byte, 64<<10))
			for at := 0; at < len(answer); at += piece {
				io.WriteString(nc, answer[at:min(at+piece, len(answer))])
			}
			io.Copy(io.Discard, nc)
		})
		a, err := newClient(t).Do(t.Context(), request("http://"+address+"/", 5*time.Second))
		if err != nil || a.Status != 500 || string(a.Body) != "body" || a.RetryAfter != "7" ||
			string(a.Header) != "Retry-After: 7\r\nTransfer-Encoding: chunked" {
			t.Errorf("pieces of %d: %+v, %v", piece, a, err)
		}
	}
}

// A receiver may answer before it has read the request, and never read the rest.
func TestAnswerBeforeTheRequestIsThrough(t *testing.T) {
	for name, answer := range map[string]string{
		"and hangs":  "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
		"and closes": "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			address := rawServer(t, func(nc net.Conn) {
				nc.Read(make([]byte, 10))
				io.WriteString(nc, answer)
				if name == "and hangs" {
					<-release
				}
			})
			defer close(release)
			q := request("http://"+address+"/", 10*time.Second)
			q.Body = make([]byte, 32<<20)
			a, err := newClient(t).Do(t.Context(), q)
			if name == "and hangs" && (err != nil || a.Status != 413) {
				t.Errorf("status %d, %v", a.Status, err)
			}
			if a.Phases.Total > 5*time.Second {
				t.Errorf("it took %v", a.Phases.Total)
			}
		})
	}
}

// Each phase has its timeout, and its name.
func TestTimeouts(t *testing.T) {
	tests := []struct {
		script string
		phase  Phase
		body   int
	}{
		{"hang", PhaseFirstByte, 10}, {"drip-header", PhaseHead, 10}, {"never-reads", PhaseFirstByte, 10}, {"never-reads", PhaseSend, 32 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			r := newReceiver(t, receiver.Config{}, tt.script)
			body := make([]byte, tt.body)
			q := request(r.URL(), 300*time.Millisecond)
			q.Body = body
			a, err := newClient(t).Do(t.Context(), q)
			if e := wantClass(t, err, hook.ErrTimeout); e.Phase != tt.phase {
				t.Errorf("phase %s, want %s", e.Phase, tt.phase)
			}
			if a.Phases.Total < 290*time.Millisecond || a.Phases.Total > 1300*time.Millisecond {
				t.Errorf("it took %v", a.Phases.Total)
			}
		})
	}
}

// Once the status has come, the body cannot make the attempt fail; it only ends with the deadline.
func TestDeadlineInTheBody(t *testing.T) {
	r := newReceiver(t, receiver.Config{}, "drip-body")
	a, err := newClient(t).Do(t.Context(), request(r.URL(), 300*time.Millisecond))
	if err != nil || a.Status != 500 || !a.Truncated || a.Phases.Total > 1300*time.Millisecond {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestCancelledIsOurFault(t *testing.T) {
	r := newReceiver(t, receiver.Config{}, "hang")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := newClient(t).Do(ctx, request(r.URL(), 10*time.Second))
	wantClass(t, err, hook.ErrOwnFault)
}

// A kept connection follows the context of the exchange that it serves, and no earlier one.
func TestConnectionFollowsItsContext(t *testing.T) {
	r := newReceiver(t, receiver.Config{}, "status 200:2", "hang")
	c := newClient(t)
	first, end := context.WithCancel(t.Context())
	if _, err := c.Do(first, request(r.URL(), 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	end()
	if _, err := c.Do(first, request(r.URL(), 10*time.Second)); err == nil {
		t.Error("an exchange began under a context that had ended")
	}
	second, end := context.WithCancel(t.Context())
	defer end()
	if a, err := c.Do(second, request(r.URL(), 10*time.Second)); err != nil || a.Status != 200 {
		t.Fatalf("after another context has ended: %d, %v", a.Status, err)
	}
	time.AfterFunc(100*time.Millisecond, end)
	_, err := c.Do(second, request(r.URL(), 10*time.Second))
	wantClass(t, err, hook.ErrOwnFault)
}

func TestMay(t *testing.T) {
	var received atomic.Int64
	r := newReceiver(t, receiver.Config{Journal: func(receiver.Delivery) { received.Add(1) }})
	c := newClient(t)
	q := request(r.URL(), 10*time.Second)
	q.May = func() bool { return false }
	_, err := c.Do(t.Context(), q)
	wantClass(t, err, hook.ErrOwnFault)
	if r.Connections() != 0 {
		t.Error("it connected although it may not send")
	}
	// It is asked again once the connection stands.
	asked := 0
	q.May = func() bool { asked++; return asked == 1 }
	_, err = c.Do(t.Context(), q)
	wantClass(t, err, hook.ErrOwnFault)
	for end := time.Now().Add(5 * time.Second); r.Connections() == 0 && time.Now().Before(end); {
		<-time.After(time.Millisecond) // the receiver may not have got to accept it yet
	}
	if r.Connections() != 1 || received.Load() != 0 {
		t.Errorf("%d connections, %d requests", r.Connections(), received.Load())
	}
}

// S4: a redirect is an answer like any other.
func TestRedirectsAreNotFollowed(t *testing.T) {
	target := newReceiver(t, receiver.Config{})
	for _, status := range []string{"300", "301", "302", "303", "307", "308"} {
		for _, location := range []string{target.URL(), "//" + target.URL()[len("http://"):], "/other"} {
			r := newReceiver(t, receiver.Config{}, "redirect "+status+" "+location)
			a, err := newClient(t).Do(t.Context(), request(r.URL(), 5*time.Second))
			if err != nil || a.Status < 300 || a.Status > 308 || r.Connections() != 1 {
				t.Errorf("%s to %s: status %d on %d connections, %v", status, location, a.Status, r.Connections(), err)
			}
		}
	}
	if target.Connections() != 0 {
		t.Errorf("%d connections to the target", target.Connections())
	}
}
