package proof_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// producer publishes over a connection of its own, and costs little: many of them, and one that
// measures, fit beside a server on two cores. Nobody writes down what it publishes.
type producer struct {
	t    *testing.T
	nc   net.Conn
	in   *bufio.Reader
	head string
	out  []byte
}

// producer connects to the server that runs now.
func (r *rig) producer() *producer {
	r.t.Helper()
	s, err := r.current(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &producer{t: r.t}
	host := strings.TrimPrefix(s.URL, "http://")
	if p.nc, err = net.DialTimeout("tcp", host, 10*time.Second); err != nil {
		r.t.Fatal(err)
	}
	p.in = bufio.NewReader(p.nc)
	p.head = " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + s.Key + "\r\nContent-Type: application/json\r\nContent-Length: "
	return p
}

func (p *producer) close() { p.nc.Close() }

// post makes one request and reads its answer. The error is that no answer came.
func (p *producer) post(path string, body []byte) (status int, retryAfter bool, err error) {
	p.out = append(append(p.out[:0], "POST "...), path...)
	p.out = append(strconv.AppendInt(append(p.out, p.head...), int64(len(body)), 10), "\r\n\r\n"...)
	p.out = append(p.out, body...)
	if err := p.nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, false, err
	}
	if _, err := p.nc.Write(p.out); err != nil {
		return 0, false, err
	}
	length := 0
	for first := true; ; first = false {
		line, err := p.in.ReadString('\n')
		if err != nil {
			return 0, false, err
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); {
		case first:
			if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
				return 0, false, fmt.Errorf("%q: %w", line, err)
			}
		case name == "":
			_, err := io.CopyN(io.Discard, p.in, int64(length))
			return status, retryAfter, err
		case strings.EqualFold(name, "Content-Length"):
			length, _ = strconv.Atoi(value) // what is no number leaves the rest unread, and the next answer wrong
		case strings.EqualFold(name, "Retry-After"):
			retryAfter = true
		}
	}
}

// latencies publishes n events, one every so often, and returns how long each took, in order. Each
// must be accepted.
func (r *rig) latencies(company string, n int, every time.Duration) []time.Duration {
	r.t.Helper()
	p := r.producer()
	defer p.close()
	var all []time.Duration
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range n {
		body := fmt.Appendf(nil, `{"company_id": %q, "event": "customer.updated", "data": {"id": %d}}`, company, i)
		began := time.Now()
		status, _, err := p.post("/v1/events", body)
		if err != nil || status != http.StatusAccepted {
			r.t.Fatalf("publish: %d %v", status, err)
		}
		all = append(all, time.Since(began))
		select {
		case <-tick.C:
		case <-r.ctx.Done():
		}
	}
	slices.Sort(all)
	return all
}

// percentile of durations in order.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(100 * time.Microsecond)
}

// volley is what came of many requests.
type volley struct {
	mu       sync.Mutex
	took     []time.Duration
	answers  map[int]int // by status; 0 for none
	impolite int         // 429 and 503 without Retry-After
}

// flood posts bodies over many connections for a while: as many a second as are wanted, whatever the
// answers, or as many as the connections can when perSecond is 0.
func (r *rig) flood(connections int, perSecond float64, length time.Duration, path string, body func(n int) []byte) *volley {
	r.t.Helper()
	v := &volley{answers: map[int]int{}}
	var next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range connections {
		p := r.producer()
		all.Go(func() {
			defer p.close()
			var took []time.Duration
			for time.Since(began) < length && r.ctx.Err() == nil {
				n := next.Add(1) - 1
				if perSecond > 0 {
					pause(r.ctx, time.Until(began.Add(time.Duration(float64(n)/perSecond*float64(time.Second)))))
				}
				start := time.Now()
				status, polite, err := p.post(path, body(int(n)))
				took = append(took, time.Since(start))
				v.mu.Lock()
				v.answers[status]++
				if (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) && !polite {
					v.impolite++
				}
				v.mu.Unlock()
				if err != nil {
					r.t.Errorf("post: %v", err)
					return
				}
			}
			v.mu.Lock()
			v.took = append(v.took, took...)
			v.mu.Unlock()
		})
	}
	all.Wait()
	slices.Sort(v.took)
	return v
}
