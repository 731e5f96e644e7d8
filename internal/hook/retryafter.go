package hook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter bounds the wait that a receiver can ask for.
const MaxRetryAfter = 24 * time.Hour

// RetryAfter reads a Retry-After header: seconds, or a date, which is compared with now. The wait is
// between 0 and [MaxRetryAfter]; ok is false when the text is neither.
func RetryAfter(value string, now time.Time) (wait time.Duration, ok bool) {
	value = strings.TrimSpace(value)
	if digits := strings.Trim(value, "0123456789") == ""; digits && value != "" {
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil || seconds > uint64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(date.Sub(now), 0), MaxRetryAfter), true
}
