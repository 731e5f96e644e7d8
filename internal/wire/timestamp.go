package wire

import (
	"strconv"
	"strings"
	"time"
)

// Timestamp is the text that an attempt signs: seconds since the epoch, to the millisecond, with a
// fraction and without trailing zeros, as 1732363200.123 or 1732363200.5. A whole second is moved by
// one millisecond, because languages disagree on how to print such a float ("….0").
//
// Three decimals and not more: then the text has at most 13 significant digits up to the year 2286:
// languages that print a float with "%.14g" keep it (PHP, Lua), and those that go through whole
// milliseconds lose nothing. A clock before the epoch's second second is taken as
// that: its text would not survive.
func Timestamp(t time.Time) string {
	const second = 1_000
	ms := max(t.UnixMilli(), second)
	if ms%second == 0 {
		ms++
	}
	var text [32]byte
	out := strconv.AppendInt(text[:0], ms/second, 10)
	point := len(out)
	out = strconv.AppendInt(out, ms%second+second, 10) // 1fff: the 1 makes room for the point
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
