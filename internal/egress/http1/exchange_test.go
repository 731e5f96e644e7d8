package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a connection on which an answer lies ready, in pieces; then it ends with err.
type script struct {
	pieces   []string
	end      error
	written  bytes.Buffer
	writeErr error
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, s.end
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	return s.written.Write(p)
}

func (s *script) SetWriteDeadline(time.Time) error { return nil }

var small = &Request{Prelude: []byte("POST /x HTTP/1.1\r\nHost: h\r\n"), Header: []byte("A: b\r\n"), Body: []byte("{}")}

func TestExchange(t *testing.T) {
	c := &script{pieces: []string{"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=9\r\nConte", "nt-Length: 2\r\n\r", "\nok"}, end: io.EOF}
	var a Answer
	if err := Exchange(c, small, &a); err != nil {
		t.Fatal(err)
	}
	if want := "POST /x HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 2\r\n\r\n{}"; c.written.String() != want {
		t.Errorf("sent %q, want %q", c.written.String(), want)
	}
	if a.Status != 200 || string(a.Body) != "ok" || !a.Keep || a.KeepFor != 5*time.Second || a.FirstByte <= 0 || a.Truncated {
		t.Errorf("%+v", a)
	}
}

// How far it came is what decides whether anybody may send it again.
func TestStages(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name     string
		pieces   []string
		writeErr error
		stage    Stage
		first    bool // a byte of the answer came
	}{
		{"closed before the answer", nil, nil, Waiting, false},
		{"cannot be written", nil, broken, Sending, false},
		{"closed in the head", []string{"HTTP/1.1 2"}, nil, Reading, true},
		{"closed after an interim answer", []string{"HTTP/1.1 103 Early\r\n\r\n"}, nil, Reading, true},
		{"not HTTP", []string{"SSH-2.0-x\r\n"}, nil, Malformed, true},
		{"no end of interim answers", []string{strings.Repeat("HTTP/1.1 103 Early\r\n\r\n", maxInterim+1)}, nil, Malformed, true},
		{"a head without end", []string{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", MaxHead)}, nil, Malformed, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var a Answer
			err := Exchange(&script{pieces: test.pieces, end: io.EOF, writeErr: test.writeErr}, small, &a)
			var e *Error
			if !errors.As(err, &e) || e.Stage != test.stage || (a.FirstByte > 0) != test.first || a.Keep {
				t.Errorf("%v, %+v, want stage %d", err, a, test.stage)
			}
		})
	}
}

// An answer counts although the request could not be written, as long as the whole head has come; but
// the connection does not.
func TestAnswerBeforeABrokenWrite(t *testing.T) {
	var a Answer
	c := &script{pieces: []string{"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"}, end: io.EOF, writeErr: io.ErrClosedPipe}
	if err := Exchange(c, small, &a); err != nil || a.Status != 413 || a.Keep {
		t.Errorf("%+v, %v", a, err)
	}
}

// A request that does not fit the socket's buffers does not keep an early answer from being read, and
// its writer has ended when Exchange returns.
func TestLargeRequest(t *testing.T) {
	for name, answer := range map[string]string{"answered early": "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", "never read": ""} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe() // has no buffer at all
			defer ours.Close()
			go func() {
				io.ReadFull(theirs, make([]byte, 10))
				io.WriteString(theirs, answer)
				if answer == "" {
					ours.SetReadDeadline(time.Unix(1, 0))
				}
			}()
			r := *small
			r.Body = make([]byte, inline+1)
			var a Answer
			err := Exchange(ours, &r, &a)
			var e *Error
			if answer != "" && (err != nil || a.Status != 413 || a.Keep) {
				t.Errorf("%+v, %v", a, err)
			}
			if answer == "" && (!errors.As(err, &e) || e.Stage != Sending) {
				t.Errorf("%v, want it to have stood still while sending", err)
			}
			theirs.Close()
		})
	}
}

// What follows the head of a proxy's answer is left on the connection.
func TestReadStatus(t *testing.T) {
	r := strings.NewReader("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nrest")
	status, err := ReadStatus(r)
	rest, _ := io.ReadAll(r)
	if status != 200 || err != nil || string(rest) != "rest" {
		t.Errorf("%d, %v, left %q", status, err, rest)
	}
	if _, err := ReadStatus(strings.NewReader("HTTP/1.1 200 Conn")); !errors.Is(err, io.EOF) {
		t.Errorf("cut short: %v", err)
	}
}
