package wire

import (
	"strconv"
	"strings"
	"time"
)

// Timestamp is the text that an attempt signs: seconds since the epoch, to the microsecond, with a
// fraction and without trailing zeros, as 1732363200.123457 or 1732363200.5. A whole second is
// moved by one microsecond, because languages disagree on how to print such a float ("….0").
//
// Up to the year 2242 (2^33 seconds) a double tells all microseconds apart and the shortest text of each is the
// one written here, so that it survives a receiver's parsing and printing. A clock before the
// epoch's second second is taken as that: its text would not survive.
func Timestamp(t time.Time) string {
	const second = 1_000_000
	us := max(t.UnixMicro(), second)
	if us%second == 0 {
		us++
	}
	var text [32]byte
	out := strconv.AppendInt(text[:0], us/second, 10)
	point := len(out)
	out = strconv.AppendInt(out, us%second+second, 10) // 1ffffff: the 1 makes room for the point
	out[point] = '.'
	for out[len(out)-1] == '0' {
		out = out[:len(out)-1]
	}
	return string(out)
}

// ParseTimestamp reads the text of a timestamp header: 1–15 digits and, optionally, a point and
// 1–15 more. Signs, exponents, spaces and names are refused. What lies below a nanosecond is cut off.
func ParseTimestamp(text string) (t time.Time, ok bool) {
	const most = 15
	whole, fraction, point := strings.Cut(text, ".")
	if !isDigits(whole, most) || point && !isDigits(fraction, most) {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, nanos).UTC(), true
}

func isDigits(s string, most int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= most
}
