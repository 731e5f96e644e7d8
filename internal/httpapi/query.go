package httpapi

import (
	"net/url"
	"regexp"
	"strings"
)

// instants are the query parameters that are times.
var instants = []string{"from", "to"}

var (
	dateTime    = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[tT]`)
	dateAlone   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	spaceOffset = regexp.MustCompile(`^[0-9-]+[tT][0-9:.]+ [0-9]{2}:?[0-9]{2}$`)
)

// readQuery refuses a parameter that stands there twice, which two readers may take in two ways, and
// writes times as the parser wants them (RFC 3339 section 5.6 allows t and z in lower case).
func (x *exchange) readQuery() error {
	if x.r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return badParameter("", "invalid_parameter", "the query cannot be read: check its percent-encoding")
	}
	for name, values := range query {
		if len(values) > 1 {
			return errRepeated(name)
		}
	}
	changed := false
	for _, name := range instants {
		if value := query.Get(name); dateTime.MatchString(value) && value != strings.ToUpper(value) {
			query.Set(name, strings.ToUpper(value))
			changed = true
		}
	}
	if changed {
		x.r.URL.RawQuery = query.Encode()
	}
	return nil
}

func errRepeated(name string) error {
	return badParameter(name, "repeated_parameter", "stands there more than once; give it one value")
}

// timeWords says what is wrong with a time.
func timeWords(value string) string {
	switch {
	case dateAlone.MatchString(value):
		return "a date alone is no instant: write " + value + "T00:00:00Z"
	case spaceOffset.MatchString(value):
		return "a + in a query is a space: write " + strings.ReplaceAll(value, " ", "%2B")
	case dateTime.MatchString(value) && !strings.ContainsAny(value[10:], "zZ+-"):
		return "the offset from UTC is missing: write " + value + "Z"
	default:
		return "a time is written as 2026-11-29T09:15:00Z (RFC 3339)"
	}
}
