package send

import (
	"fmt"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// classify is the contract's table of answers. A Retry-After that can be understood makes a
// throttle of every failure but 410, which is final.
func classify(status int, retryAfter bool) (hook.ErrorClass, string) {
	if status >= 200 && status <= 299 {
		return hook.ErrNone, ""
	}
	answer := fmt.Sprintf("the receiver answered %03d", status)
	if text := http.StatusText(status); text != "" {
		answer += " " + text
	}
	switch {
	case status == http.StatusGone:
		return hook.ErrGone, answer
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable, retryAfter:
		return hook.ErrThrottled, answer
	case status == http.StatusSwitchingProtocols:
		return hook.ErrOtherStatus, answer + " instead of a final status"
	case status >= 300 && status <= 399:
		return hook.ErrRedirect, answer + "; redirects are not followed, so the endpoint must be the final URL"
	case status >= 400 && status <= 499:
		return hook.ErrClientStatus, answer
	case status >= 500 && status <= 599:
		return hook.ErrServerStatus, answer
	}
	return hook.ErrOtherStatus, answer + ", which is no status of HTTP"
}
