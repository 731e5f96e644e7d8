package egress

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// The benchmarks send the same request to the same sink by three clients. Both ends run in this
// process, so the figures include the sink; "bare" is a sink that costs next to nothing.
//
//	go test -run - -bench . -benchmem ./internal/egress
func BenchmarkClient(b *testing.B) {
	for name, sink := range map[string]func(testing.TB) string{"nethttp": netHTTPSink, "bare": bareSink} {
		b.Run("sink="+name, func(b *testing.B) {
			url := sink(b)
			b.Run("by=egress", func(b *testing.B) { benchEgress(b, url) })
			b.Run("by=Transport", func(b *testing.B) {
				t := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
				defer t.CloseIdleConnections()
				benchNetHTTP(b, url, t.RoundTrip)
			})
			b.Run("by=Client", func(b *testing.B) {
				t := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
				defer t.CloseIdleConnections()
				benchNetHTTP(b, url, (&http.Client{Transport: t, Timeout: 15 * time.Second}).Do)
			})
		})
	}
}

const benchConcurrency = 32

var benchBody = bytes.Repeat([]byte(`{"id":1},`), 100)

func benchHeader() http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Atlas-Webhooks/dev"}}
	for _, name := range []string{
		"X-Atlas-Webhook-Signature", "X-Atlas-Webhook-Signature-Timestamp", "X-Atlas-Webhook-Timestamp",
		"X-Atlas-Webhook-Event-Id", "X-Atlas-Webhook-Subscription-Id", "X-Atlas-Webhook-Topic",
		"X-Atlas-Webhook-Attempt", "X-Atlas-Webhook-Sequence", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature",
	} {
		h.Set(name, "0123456789abcdef0123456789abcdef")
	}
	return h
}

func benchEgress(b *testing.B, url string) {
	c, err := New(Config{Policy: loopbackPolicy()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	b.SetParallelism(benchConcurrency / 2)
	b.RunParallel(func(p *testing.PB) {
		ctx, header := context.Background(), header(string(flatten(benchHeader()))+"\r\n")
		for p.Next() {
			a, err := c.Do(ctx, &Request{Webhook: 1, Endpoint: url, Header: header, Body: benchBody, Deadline: time.Now().Add(15 * time.Second)})
			if err != nil || a.Status != 200 {
				b.Error(a.Status, err)
				return
			}
		}
	})
}

func benchNetHTTP(b *testing.B, url string, do func(*http.Request) (*http.Response, error)) {
	b.ReportAllocs()
	b.SetParallelism(benchConcurrency / 2)
	b.RunParallel(func(p *testing.PB) {
		header := benchHeader()
		for p.Next() {
			r, _ := http.NewRequest("POST", url, bytes.NewReader(benchBody))
			r.Header = header
			resp, err := do(r)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

func loopbackPolicy() Policy {
	return Policy{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
}

func netHTTPSink(tb testing.TB) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(200)
	}))
	tb.Cleanup(s.Close)
	return s.URL + "/hook"
}

// bareSink reads requests with a Content-Length and answers each with the same bytes.
func bareSink(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				br := bufio.NewReader(nc)
				for {
					length := 0
					for {
						line, err := br.ReadSlice('\n')
						if err != nil {
							return
						}
						if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
							length, _ = strconv.Atoi(string(bytes.TrimSpace(v)))
						}
						if len(line) == 2 {
							break
						}
					}
					br.Discard(length)
					if _, err := nc.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/hook"
}
