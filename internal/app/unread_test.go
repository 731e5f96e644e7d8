package app_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// Sixty large answers that nobody reads hold at most 64 MiB, and another company is answered. In the
// control, where nothing bounds them, they hold more.
func TestUnreadAnswers(t *testing.T) {
	for _, bounded := range []bool{true, false} {
		t.Run(fmt.Sprint("bounded ", bounded), func(t *testing.T) {
			s := apptest.StartLogging(t, slog.New(slog.DiscardHandler), func(c *config.Config) {
				if !bounded {
					c.MaxAnswerBytes, c.MaxAnswerBytesPerCompany = 64<<30, 64<<30
				}
			})
			event := `{"company_id":"c1","event":"customer","data":{"id":"1","text":"` + strings.Repeat("x", 1000<<10) + `"}}`
			for range 3 {
				if status := ask(t, s, "c1", "POST", "/v1/events", event); status != http.StatusAccepted {
					t.Fatal("publish: ", status)
				}
			}
			before := heap()
			answered := make(chan string, 60)
			for range cap(answered) {
				go func() { answered <- begin(t, s, "/v1/events") }()
			}
			count := map[string]int{}
			for range cap(answered) {
				count[<-answered]++
			}
			grown := int64(heap()-before) >> 20
			t.Logf("grown by %d MiB; %v", grown, count)
			if bounded && (grown > 64 || count["200"] < 4 || count["200"]+count["429"] != 60) || !bounded && (grown <= 64 || count["200"] != 60) {
				t.Errorf("grown by %d MiB; %v", grown, count)
			}
			if status := ask(t, s, "c2", "GET", "/v1/events", ""); status != http.StatusOK {
				t.Errorf("another company: %d", status)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func ask(t *testing.T, s *apptest.Server, company, method, path, body string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Key)
	r.Header.Set("X-Atlas-Company-Id", company)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r) //nolint:forbidigo // a client of loopback
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body) // the status is what counts
	return answer.StatusCode
}

// begin asks for something of company c1 and reads no more than the status.
func begin(t *testing.T, s *apptest.Server, path string) (status string) {
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		return err.Error()
	}
	t.Cleanup(func() { c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(32 << 10)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nX-Atlas-Company-Id: c1\r\n\r\n", path, s.Key)
	line := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(c, line); err != nil {
		return err.Error()
	}
	return string(bytes.TrimPrefix(line, []byte("HTTP/1.1 ")))
}
