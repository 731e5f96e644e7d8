package egress

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

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

// http1 is one exchange on a connection that this goroutine alone uses. It writes and reads in
// place, without a goroutine or a channel in between: that is what makes it cheap, and what makes
// plain which byte was sent when.
type http1 struct {
	c       *conn
	r       *Request
	s       *scratch
	answer  *Answer
	writing chan error // a large request's writer; nil when the request is written
	began   time.Time
}

// exchange sends the request and reads the answer; keep says whether the connection can serve
// another. The caller has set the connection's deadline.
func (c *conn) exchange(r *Request, a *Answer) (keep bool, err error) {
	x := http1{c: c, r: r, s: scratches.Get().(*scratch), answer: a, began: time.Now()}
	defer x.s.put()
	writeErr := x.write()
	failpoint.Hit(failpoint.Sent)
	h, err := x.readHead()
	if err != nil {
		_ = x.finishWriting(true) // the error of reading is the one that counts
		return false, x.explain(err, writeErr)
	}
	a.Status = h.status
	keep = x.readBody(&h) && h.keep && len(x.s.in) == 0
	if err := x.finishWriting(!keep); err != nil || writeErr != nil {
		keep = false
	}
	c.keepFor = h.keepFor
	return keep, nil
}

// write sends head and body. A request too large for the socket's buffers is written beside the
// reading, because a receiver may answer (413, say) and never read the rest.
func (x *http1) write() error {
	out := append(x.s.out[:0], x.c.pool.target.prelude...)
	out = append(out, x.r.Header...)
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(len(x.r.Body)), 10)
	out = append(out, "\r\n\r\n"...)
	x.s.out = out
	if len(out)+len(x.r.Body) <= inline {
		x.s.out = append(out, x.r.Body...)
		_, err := x.c.nc.Write(x.s.out)
		return err
	}
	x.writing = make(chan error, 1)
	go func() {
		_, err := x.c.nc.Write(out)
		if err == nil {
			_, err = x.c.nc.Write(x.r.Body)
		}
		x.writing <- err
	}()
	return nil
}

// finishWriting waits for the writer, which reads the caller's memory. With abandon, or when the
// answer came before the request was through, it ends the writer first.
func (x *http1) finishWriting(abandon bool) error {
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
	x.c.meter.SetWriteDeadline(time.Unix(1, 0))
	return <-x.writing
}

var errAbandoned = errors.New("the answer came before the request was sent in full")

// fill reads once more into the buffer, which holds at most limit bytes.
func (x *http1) fill(limit int) error {
	in := x.s.in
	if len(in) == cap(in) {
		if len(in) >= limit {
			return errHeadTooLarge
		}
		grown := make([]byte, len(in), min(2*cap(in), limit))
		copy(grown, in)
		in = grown
	}
	n, err := x.c.nc.Read(in[len(in):min(cap(in), limit)])
	x.s.in = in[:len(in)+n]
	if n > 0 {
		return nil
	}
	return err
}

// readHead reads up to the final head and leaves in the buffer what came behind it.
func (x *http1) readHead() (head, error) {
	spent, resume := 0, 0
	for interim := 0; ; {
		end, next := headEnd(x.s.in, resume)
		if resume = next; end == 0 {
			if spent+len(x.s.in) >= maxHead {
				return head{}, errHeadTooLarge
			}
			first := x.answer.Phases.FirstByte == 0
			if err := x.fill(maxHead); err != nil {
				return head{}, err
			}
			if first {
				x.answer.Phases.FirstByte = max(time.Since(x.began), 1)
			}
			if !mayBeHTTP(x.s.in) {
				return head{}, errNotHTTP
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
func (x *http1) keepHead(h *head, behind []byte) {
	room := 512
	if h.length >= 0 {
		room = int(min(h.length, maxBody))
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
func (x *http1) readBody(h *head) (whole bool) {
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
			x.take(maxBody)
		default:
			x.take(int(min(h.length, maxBody)))
			done = int64(len(x.answer.Body)) == h.length
		}
		if done {
			return true
		}
		if len(x.answer.Body) >= maxBody {
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
func (x *http1) take(size int) {
	n := min(len(x.s.in), size-len(x.answer.Body))
	x.answer.Body = append(x.answer.Body, x.s.in[:n]...)
	x.consume(n)
}

func (x *http1) consume(n int) { x.s.in = x.s.in[:copy(x.s.in, x.s.in[n:])] }

// explain says why there is no answer. An error of writing is the cause of one of reading, not the
// other way round.
func (x *http1) explain(err, writeErr error) error {
	switch {
	case errors.Is(err, errNotHTTP), errors.Is(err, errHeadTooLarge), errors.Is(err, errInterim):
		return fail(hook.ErrProtocol, PhaseHead, err, "%s", err)
	case writeErr != nil:
		return networkError(PhaseSend, writeErr)
	case len(x.s.in) > 0:
		return networkError(PhaseHead, err)
	case x.stalled():
		return networkError(PhaseSend, err)
	}
	return networkError(PhaseFirstByte, err)
}

// stalled reports that the request was not written in full when the answer failed to come.
func (x *http1) stalled() bool {
	return x.writing != nil && x.c.meter.written.Load()-x.c.sentBefore < int64(len(x.r.Body))
}
