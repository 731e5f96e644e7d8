package send

import (
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Every status there can be has the class of the contract's table, with and without Retry-After.
func TestClassify(t *testing.T) {
	for status := range 1000 {
		for _, retryAfter := range []bool{false, true} {
			var want hook.ErrorClass
			switch {
			case status/100 == 2:
				want = hook.ErrNone
			case status == 410:
				want = hook.ErrGone
			case status == 429 || status == 503 || retryAfter:
				want = hook.ErrThrottled
			case status/100 == 3:
				want = hook.ErrRedirect
			case status/100 == 4:
				want = hook.ErrClientStatus
			case status/100 == 5:
				want = hook.ErrServerStatus
			default:
				want = hook.ErrOtherStatus
			}
			got, detail := classify(status, retryAfter)
			if got != want || (detail == "") != (want == hook.ErrNone) {
				t.Errorf("%03d, Retry-After %v: %q (%s), want %q", status, retryAfter, got, detail, want)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 500, time.UTC)
	tests := []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"0", 0, true},
		{"7", 7 * time.Second, true},
		{" 120 ", 2 * time.Minute, true},
		{"86400", hook.MaxRetryAfter, true},
		{"86401", hook.MaxRetryAfter, true},
		{"99999999999999999999999", hook.MaxRetryAfter, true},
		{"Mon, 23 Nov 2026 12:01:00 GMT", time.Minute - 500, true},
		{"Monday, 23-Nov-26 12:01:00 GMT", time.Minute - 500, true},
		{"Mon Nov 23 12:01:00 2026", time.Minute - 500, true},
		{"Mon, 23 Nov 2026 11:00:00 GMT", 0, true},
		{"Fri, 31 Dec 9999 23:59:59 GMT", hook.MaxRetryAfter, true},
		{"", 0, false},
		{"-1", 0, false},
		{"+1", 0, false},
		{"1.5", 0, false},
		{"1e3", 0, false},
		{"soon", 0, false},
		{"2026-11-23T12:01:00Z", 0, false},
	}
	for _, tt := range tests {
		if got, ok := hook.RetryAfter(tt.value, now); got != tt.want || ok != tt.ok {
			t.Errorf("%q: %v %v, want %v %v", tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7")
	f.Add("Mon, 23 Nov 2026 12:01:00 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		if got, ok := hook.RetryAfter(value, now); got < 0 || got > hook.MaxRetryAfter || !ok && got != 0 {
			t.Fatalf("%q: %v %v", value, got, ok)
		}
	})
}
