// Package http1 speaks HTTP/1.1 (RFC 9112) on a connection that somebody else has made: one request
// is written, one answer is read.
//
// [Exchange] writes and reads in place, without a goroutine or a channel in between. That is what
// makes it cheap, and what makes plain which byte was sent when: an [Error] says how far the
// exchange had come.
//
// What a receiver may make us read is bounded: heads at [MaxHead], of a body [MaxBody] are kept, and
// an answer with more costs the connection. How long it takes is bounded by the connection's own
// deadlines.
package http1

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
)

// Conn is what an exchange needs of a connection. A write deadline in the past must end a write that
// is under way.
type Conn interface {
	io.ReadWriter
	SetWriteDeadline(t time.Time) error
}

// Request is what is written. Nobody changes it until Exchange returns.
type Request struct {
	Prelude []byte // the request line and headers of the connection's owner, each ended by CR LF
	Header  []byte // further header lines, each ended by CR LF; Content-Length is added
	Body    []byte
}

// Answer is what came back.
type Answer struct {
	Status     int           // three digits as received, 000 included
	RetryAfter string        // the header's value, "" if there is none
	Header     []byte        // header lines as received, separated by line ends
	Body       []byte        // the first MaxBody bytes
	Truncated  bool          // there was more of the body, or should have been
	FirstByte  time.Duration // from the start to the first byte of the answer; 0: none came
	Keep       bool          // the connection can serve another exchange
	KeepFor    time.Duration // how long the receiver keeps it idle, by its own word; 0: it says nothing
}

// Stage is how far an exchange came that has no answer.
type Stage int

// The stages, in their order.
const (
	Sending   Stage = iota // the request was not written in full
	Waiting                // it was, and not one byte came back
	Reading                // the answer's head ended early
	Malformed              // what came is no answer of HTTP, or one beyond all measure
)

// Error is why there is no answer. Nothing is known about what the receiver did with the request.
type Error struct {
	Stage Stage
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// inline is the size of request up to which it is written before the answer is looked for. It fits
// every socket buffer, so a receiver that answers without reading cannot stall us.
const inline = 64 << 10

// scratch is what one exchange needs while it runs; an idle connection holds no buffers.
type scratch struct {
	out []byte
	in  []byte // len = bytes received and not consumed
}

var scratches = sync.Pool{New: func() any {
	return &scratch{out: make([]byte, 0, 4<<10), in: make([]byte, 0, 4<<10)}
}}

// put gives the buffers back, unless a large request or answer has blown them up.
func (s *scratch) put() {
	if cap(s.out) <= 16<<10 && cap(s.in) <= 16<<10 {
		s.out, s.in = s.out[:0], s.in[:0]
		scratches.Put(s)
	}
}

// exchange is one exchange on a connection that this goroutine alone uses.
type exchange struct {
	conn    Conn
	s       *scratch
	answer  *Answer
	writing chan error // a large request's writer; nil when the request is written
	began   time.Time
}

// Exchange sends the request and reads the answer into a. Its error is an [*Error]; a.FirstByte is
// set with it, too. An answer whose body is cut short is an answer: a.Truncated says so.
func Exchange(conn Conn, r *Request, a *Answer) error {
	x := exchange{conn: conn, s: scratches.Get().(*scratch), answer: a, began: time.Now()}
	defer x.s.put()
	writeErr := x.write(r)
	failpoint.Hit(failpoint.Sent)
	h, err := x.readHead()
	if err != nil {
		return x.explain(err, writeErr, x.finishWriting(true))
	}
	a.Status, a.KeepFor = h.status, h.keepFor
	a.Keep = x.readBody(&h) && h.keep && len(x.s.in) == 0
	if err := x.finishWriting(!a.Keep); err != nil || writeErr != nil {
		a.Keep = false
	}
	return nil
}

// write sends head and body. A request too large for the socket's buffers is written beside the
// reading, because a receiver may answer (413, say) and never read the rest.
func (x *exchange) write(r *Request) error {
	out := append(x.s.out[:0], r.Prelude...)
	out = append(out, r.Header...)
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(len(r.Body)), 10)
	out = append(out, "\r\n\r\n"...)
	x.s.out = out
	if len(out)+len(r.Body) <= inline {
		x.s.out = append(out, r.Body...)
		_, err := x.conn.Write(x.s.out)
		return err
	}
	conn, body, writing := x.conn, r.Body, make(chan error, 1)
	x.writing = writing
	go func() {
		_, err := conn.Write(out)
		if err == nil {
			_, err = conn.Write(body)
		}
		writing <- err
	}()
	return nil
}

// finishWriting waits for the writer, which reads the caller's memory. With abandon, or when the
// answer came before the request was through, it ends the writer first.
func (x *exchange) finishWriting(abandon bool) error {
	if x.writing == nil {
		return nil
	}
	if !abandon {
		select {
		case err := <-x.writing:
			return err
		default:
		}
	}
	_ = x.conn.SetWriteDeadline(time.Unix(1, 0)) // a connection that knows no deadline has ended
	return <-x.writing
}

// fill reads once more into the buffer, which holds at most limit bytes.
func (x *exchange) fill(limit int) error {
	in := x.s.in
	if len(in) == cap(in) {
		if len(in) >= limit {
			return errHeadTooLarge
		}
		grown := make([]byte, len(in), min(2*cap(in), limit))
		copy(grown, in)
		in = grown
	}
	n, err := x.conn.Read(in[len(in):min(cap(in), limit)])
	x.s.in = in[:len(in)+n]
	if n > 0 {
		return nil
	}
	return err
}

// readHead reads up to the final head and leaves in the buffer what came behind it.
func (x *exchange) readHead() (head, error) {
	spent, resume := 0, 0
	for interim := 0; ; {
		end, next := headEnd(x.s.in, resume)
		if resume = next; end == 0 {
			if spent+len(x.s.in) >= MaxHead {
				return head{}, errHeadTooLarge
			}
			first := x.answer.FirstByte == 0
			if err := x.fill(MaxHead); err != nil {
				return head{}, err
			}
			if first && len(x.s.in) > 0 {
				x.answer.FirstByte = max(time.Since(x.began), 1)
			}
			if !mayBeHTTP(x.s.in) {
				return head{}, strange(x.s.in)
			}
			continue
		}
		h, err := parseHead(x.s.in[:end])
		if err != nil {
			return h, err
		}
		if h.status < 100 || h.status > 199 || h.status == http.StatusSwitchingProtocols {
			x.keepHead(&h, x.s.in[end:])
			return h, nil
		}
		if interim++; interim > maxInterim {
			return h, errInterim
		}
		spent += end
		resume = 0
		x.s.in = x.s.in[:copy(x.s.in, x.s.in[end:])]
	}
}

// keepHead copies what outlives the buffer into one piece of memory, with room for the body, and
// moves the bytes behind the head to the buffer's front.
func (x *exchange) keepHead(h *head, behind []byte) {
	room := 512
	if h.length >= 0 {
		room = int(min(h.length, MaxBody))
	}
	kept := make([]byte, len(h.fields), len(h.fields)+room)
	copy(kept, h.fields)
	x.answer.Header = slices.Clip(kept)
	x.answer.Body = kept[len(kept):]
	x.answer.RetryAfter = string(h.retry)
	x.s.in = x.s.in[:copy(x.s.in, behind)]
	if h.status == http.StatusSwitchingProtocols {
		// What follows is another protocol. It is closed unread.
		h.length, h.keep = unclear, false
	}
}

// readBody reads the body as far as it is kept. It reports whether the body came to its end, which
// it does not when the receiver says more than we want to hear; that is no failure.
func (x *exchange) readBody(h *head) (whole bool) {
	var c chunks
	for {
		done := false
		switch {
		case h.length == unclear:
			return false
		case h.length == chunkedBody:
			var n int
			x.answer.Body, n = c.eat(x.answer.Body, x.s.in)
			x.consume(n)
			if c.state == chunkBroken {
				x.answer.Truncated = true
				return false
			}
			done = c.state == chunkDone
		case h.length == untilClose:
			x.take(MaxBody)
		default:
			x.take(int(min(h.length, MaxBody)))
			done = int64(len(x.answer.Body)) == h.length
		}
		if done {
			return true
		}
		if len(x.answer.Body) >= MaxBody {
			x.answer.Truncated = true
			return false
		}
		if err := x.fill(cap(x.s.in)); err != nil {
			x.answer.Truncated = h.length != untilClose
			return false
		}
	}
}

// take moves received bytes to the body until that has the size.
func (x *exchange) take(size int) {
	n := min(len(x.s.in), size-len(x.answer.Body))
	x.answer.Body = append(x.answer.Body, x.s.in[:n]...)
	x.consume(n)
}

func (x *exchange) consume(n int) { x.s.in = x.s.in[:copy(x.s.in, x.s.in[n:])] }

// explain says why there is no answer. An error of writing is the cause of one of reading, not the
// other way round; a large request's writer that had to be ended had not come through.
func (x *exchange) explain(err, writeErr, stalled error) *Error {
	switch {
	case errors.Is(err, errNotHTTP), errors.Is(err, errTLS), errors.Is(err, errHeadTooLarge), errors.Is(err, errInterim):
		return &Error{Malformed, err}
	case writeErr != nil:
		return &Error{Sending, writeErr}
	case x.answer.FirstByte != 0:
		return &Error{Reading, err}
	case stalled != nil:
		return &Error{Sending, err}
	}
	return &Error{Waiting, err}
}

// ReadStatus reads the head of an answer one byte at a time, because what follows it already belongs
// to somebody else: the tunnel behind a proxy.
func ReadStatus(r io.Reader) (status int, err error) {
	text := make([]byte, 0, 512)
	for from := 0; ; {
		if len(text) == MaxHead {
			return 0, errHeadTooLarge
		}
		var b [1]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, err
		}
		text = append(text, b[0])
		end, resume := headEnd(text, from)
		if from = resume; end == 0 {
			continue
		}
		h, err := parseHead(text[:end])
		return h.status, err
	}
}
