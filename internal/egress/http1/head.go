package http1

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// Bounds on what a receiver may make us read for one answer.
const (
	MaxHead = 32 << 10 // all status lines and header sections, interim ones included
	MaxBody = 16 << 10 // of the body; an answer with more costs the connection

	maxInterim = 16       // 1xx answers before the final one
	maxFraming = 64 << 10 // bytes of a chunked body on the wire, its framing included
)

var (
	errNotHTTP      = errors.New("what came back is not HTTP")
	errTLS          = errors.New("what came back is not HTTP but TLS: the endpoint must begin with https://")
	errHeadTooLarge = errors.New("the answer's headers are larger than 32 KiB")
	errInterim      = errors.New("too many interim (1xx) answers")
)

// How far an answer's body reaches (RFC 9112 section 6.3), where that is not a number of bytes.
const (
	untilClose  = -1
	chunkedBody = -2
	unclear     = -3 // contradictory framing: no byte behind the head means anything
)

// head is one status line with its header section.
type head struct {
	status    int
	length    int64         // of the body: bytes, or one of the constants above
	keep      bool          // the connection may be used again
	keepFor   time.Duration // as its Keep-Alive header says; 0 = it says nothing
	retry     []byte        // the value of Retry-After
	fields    []byte        // the header section as it came, without the empty line
	hasLength bool
	transfer  bool // there was a Transfer-Encoding
}

// headEnd finds the empty line that ends a head. It looks from offset from on and returns the
// length of the head, or 0 and where to go on when more bytes have come.
func headEnd(b []byte, from int) (end, resume int) {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0, len(b)
		}
		i += from
		switch rest := b[i+1:]; {
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
			return 0, i
		case rest[0] == '\n':
			return i + 2, i
		case rest[0] == '\r' && rest[1] == '\n':
			return i + 3, i
		}
		from = i + 1
	}
}

// mayBeHTTP reports whether b can be the beginning of an answer, so that garbage is known at once.
func mayBeHTTP(b []byte) bool {
	const start = "HTTP/1."
	n := min(len(b), len(start))
	return string(b[:n]) == start[:n]
}

// parseHead reads a head that headEnd has delimited. Only the status line can be wrong: a header
// line that is malformed costs the connection, not the delivery, for the status has arrived.
// Lines may end in LF alone (RFC 9112 section 2.2).
func parseHead(b []byte) (head, error) {
	line, rest := cutLine(b)
	h := head{length: untilClose}
	if err := h.statusLine(line); err != nil {
		return h, err
	}
	h.fields = bytes.TrimRight(rest, "\r\n")
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if len(line) > 0 {
			h.field(line)
		}
	}
	switch {
	case h.status == 204 || h.status == 304 || h.status < 200:
		if h.length > 0 || h.transfer {
			// It announces a body that must not be: what some servers then send, Django's under gunicorn
			// for one, would stand before the next answer (RFC 9110 section 15.3.5).
			h.keep = false
		}
		h.length = 0
	case h.transfer && h.hasLength:
		h.keep = false // RFC 9112 section 6.1: an attempt at smuggling, perhaps
	case h.length == untilClose:
		h.keep = false
	}
	if h.length == unclear {
		h.keep = false
	}
	return h, nil
}

func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}

// strange says what an answer that is no HTTP may be: TLS servers answer a plain request with an alert
// (RFC 8446 section 5.1: its type, and a version that begins with 3).
func strange(b []byte) error {
	if len(b) > 1 && b[0] == 0x15 && b[1] == 3 {
		return errTLS
	}
	return errNotHTTP
}

// statusLine reads "HTTP/1.x NNN[ reason]".
func (h *head) statusLine(line []byte) error {
	if len(line) < len("HTTP/1.1 200") || !mayBeHTTP(line) || line[7] < '0' || line[7] > '9' || line[8] != ' ' {
		return errNotHTTP
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return errNotHTTP
		}
		h.status = h.status*10 + int(c-'0')
	}
	if len(line) > 12 && line[12] != ' ' {
		return errNotHTTP
	}
	h.keep = line[7] != '0'
	return nil
}

// field takes from one header line what concerns us.
func (h *head) field(line []byte) {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t\x00") {
		// Also a folded line (section 5.2): nobody who means well sends one.
		h.keep = false
		return
	}
	if len(name) < len("Connection") {
		return
	}
	value = bytes.Trim(value, " \t")
	switch {
	case fold(name, "content-length"):
		h.contentLength(value)
	case fold(name, "transfer-encoding"):
		h.transferEncoding(value)
	case fold(name, "connection"):
		for token := range bytes.SplitSeq(value, []byte{','}) {
			if fold(bytes.Trim(token, " \t"), "close") {
				h.keep = false
			}
		}
	case fold(name, "keep-alive"):
		h.keepFor = keepAlive(value)
	case fold(name, "retry-after"):
		if h.retry == nil {
			h.retry = value
		}
	}
}

// fold compares without regard to case; lower must be in lower case.
func fold(b []byte, lower string) bool {
	return len(b) == len(lower) && bytes.EqualFold(b, []byte(lower))
}

// contentLength accepts one length, also repeated; two different ones make the framing unclear.
func (h *head) contentLength(value []byte) {
	for v := range bytes.SplitSeq(value, []byte{','}) {
		v = bytes.Trim(v, " \t")
		n, err := strconv.ParseUint(string(v), 10, 62)
		switch {
		case err != nil || v[0] == '+' || h.hasLength && h.length >= 0 && h.length != int64(n):
			h.length = unclear
		case h.length == untilClose:
			h.length = int64(n)
		}
		h.hasLength = true
	}
}

// transferEncoding overrides Content-Length (section 6.3). Codings that we did not ask for cannot
// be told from the end of the body, so it lasts until the connection ends.
func (h *head) transferEncoding(value []byte) {
	switch {
	case h.transfer:
		h.length = unclear
	case fold(value, "chunked"):
		h.length = chunkedBody
	default:
		h.length = unclear
	}
	h.transfer = true
}

// keepAlive reads "timeout=5, max=100": how long the receiver keeps an idle connection.
func keepAlive(value []byte) time.Duration {
	for p := range bytes.SplitSeq(value, []byte{','}) {
		name, n, _ := bytes.Cut(bytes.Trim(p, " \t"), []byte{'='})
		if seconds, err := strconv.ParseUint(string(n), 10, 20); err == nil && fold(name, "timeout") {
			return max(time.Duration(seconds)*time.Second, time.Nanosecond)
		}
	}
	return 0
}
