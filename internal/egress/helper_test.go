package egress

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

func TestMain(m *testing.M) {
	if runNetworkNamespaceChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// newClient makes a client that may reach the loopback interface, closed at the test's end.
func newClient(t testing.TB, change ...func(*Config)) *Client {
	t.Helper()
	config := Config{Policy: loopbackPolicy()}
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newReceiver runs a receiver with a script until the test's end.
func newReceiver(t testing.TB, config receiver.Config, script ...string) *receiver.Receiver {
	t.Helper()
	for _, text := range script {
		b, err := receiver.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Script = append(config.Script, b)
	}
	r, err := receiver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("receiver: %v", err)
		}
	})
	return r
}

// request is a small request to a URL for webhook 1.
func request(url string, timeout time.Duration) *Request {
	return &Request{
		Webhook: 1, Endpoint: url, Header: header("Content-Type: application/json\r\n"),
		Body: []byte(`{"event":"conversation","data":"{}"}`), Deadline: time.Now().Add(timeout),
	}
}

func header(lines string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(lines), nil }
}

// wantClass fails the test unless err is an *Error of the class.
func wantClass(t *testing.T, err error, class hook.ErrorClass) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an error of class %s", err, class)
	}
	if e.Class != class {
		t.Fatalf("got class %s (%s: %v), want %s", e.Class, e.Detail, e.Err, class)
	}
	return e
}

// rawServer serves each connection with f until the test's end.
func rawServer(t testing.TB, f func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	closed := false
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if open[nc] = true; closed {
				nc.Close()
			}
			mu.Unlock()
			serving.Go(func() {
				f(nc)
				nc.Close()
				mu.Lock()
				delete(open, nc)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		closed = true
		for nc := range open {
			nc.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return l.Addr().String()
}
