package receiver

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want Behaviour
	}{
		{"ok", Behaviour{Name: "ok"}},
		{"ok:3", Behaviour{Name: "ok", Count: 3}},
		{"fail 503:3", Behaviour{Name: "fail", Status: 503, Count: 3}},
		{"status 410", Behaviour{Name: "status", Status: 410}},
		{"slow 10s", Behaviour{Name: "slow", Delay: 10 * time.Second}},
		{"slow 250ms:2", Behaviour{Name: "slow", Delay: 250 * time.Millisecond, Count: 2}},
		{"retry-after 7:1", Behaviour{Name: "retry-after", Value: "7", Count: 1}},
		{"retry-after Mon, 23 Nov 2026 12:01:00 GMT", Behaviour{Name: "retry-after", Value: "Mon, 23 Nov 2026 12:01:00 GMT"}},
		{"redirect 302 http://127.0.0.1:9/", Behaviour{Name: "redirect", Status: 302, Value: "http://127.0.0.1:9/"}},
		{"garbage", Behaviour{Name: "garbage"}},
		{"reset:2", Behaviour{Name: "reset", Count: 2}},
		{"never-reads", Behaviour{Name: "never-reads"}},
	}
	for _, tt := range tests {
		if got, err := Parse(tt.text); err != nil || got != tt.want {
			t.Errorf("%q: %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "nonsense", "fail", "fail x", "fail 99", "fail 600", "slow", "slow x", "slow -1s", "redirect 302", "redirect x y", "garbage 7"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

// A script fails as often as it says and then recovers; signatures are checked all the while.
func TestScript(t *testing.T) {
	const secret = "0123456789abcdef"
	got := make(chan Delivery, 1)
	r, err := New(Config{
		Secret: secret, Script: []Behaviour{{Name: "fail", Status: 503, Count: 2}, {Name: "reset", Count: 1}},
		Journal: func(d Delivery) { got <- d },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for i, want := range []int{503, 503, 0, 200, 200} {
		signed := secret
		if i == 4 {
			signed = "another secret, which is wrong"
		}
		status := post(t, client, r.URL(), signed)
		if status != want {
			t.Errorf("request %d: status %d, want %d", i, status, want)
		}
		if d := <-got; (d.Invalid == nil) != (i != 4) {
			t.Errorf("request %d: %v", i, d.Invalid)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func post(t *testing.T, client *http.Client, url, secret string) (status int) {
	t.Helper()
	body := wire.Body("conversation", []byte("{}"), "")
	request := wire.Request{Body: body, Timestamp: wire.Timestamp(time.Now()), Topic: "conversation", EventID: "e", WebhookID: "w", Attempt: 1, Secret: secret}
	q, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if q.Header, err = request.Header(); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(q)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Whatever a behaviour is doing, it ends with the receiver.
func TestEveryBehaviourEnds(t *testing.T) {
	for _, usage := range Names() {
		name, _, _ := strings.Cut(usage, "[")
		text, ok := map[string]string{
			"fail STATUS": "fail 500", "status STATUS": "status 500", "slow DURATION": "slow 1h",
			"retry-after VALUE": "retry-after 1", "redirect STATUS LOCATION": "redirect 301 /x",
		}[name]
		if !ok {
			text = name
		}
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			b, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			r, err := New(Config{Script: []Behaviour{b}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- r.Run(ctx) }()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 300 * time.Millisecond}
			post(t, client, r.URL(), "0123456789abcdef")
			stop()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("it did not end")
			}
		})
	}
}
