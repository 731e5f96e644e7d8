package egress

import (
	"crypto/tls"
	"encoding/binary"
	"slices"
	"sync"
)

// frames is an HTTP/2 connection that looks at the frames which pass. The standard library's client
// tells in words only what the receiver said in numbers: whether it has acted on a stream, and
// whether it wants HTTP/1.1 instead.
type frames struct {
	*tls.Conn

	mu      sync.Mutex
	in      frameScan
	out     frameScan
	opened  uint32    // the last stream whose HEADERS were written
	streams []*stream // those in flight
	away    *goAway   // the last one received
	text    bool      // what came first was an answer of HTTP/1
}

// goAway is the receiver's word that it takes no more streams (RFC 9113 section 6.8).
type goAway struct{ last, code uint32 }

// stream is one request on a connection.
type stream struct {
	id      uint32 // 0: its HEADERS were not written
	interim bool   // a 1xx answer came
	reset   bool   // by the receiver, with the code
	code    uint32
}

// Frame types and error codes (RFC 9113 sections 6 and 7).
const (
	frameHeaders   = 1
	frameRSTStream = 3
	frameGoAway    = 7

	codeRefusedStream      = 0x7
	codeInadequateSecurity = 0xc
	codeHTTP11Required     = 0xd

	clientPreface = 24 // bytes before the first frame that we write
	frameHead     = 9
	frameShown    = 8 // bytes of a payload that are looked at
)

func watchFrames(nc *tls.Conn) *frames {
	return &frames{Conn: nc, out: frameScan{skip: clientPreface}}
}

func (f *frames) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.in.eat(p[:n], f.received)
	return n, err
}

func (f *frames) Write(p []byte) (int, error) {
	n, err := f.Conn.Write(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.eat(p[:n], func(kind byte, id uint32, _ []byte) {
		if kind == frameHeaders {
			f.opened = id
		}
	})
	return n, err
}

func (f *frames) received(kind byte, id uint32, payload []byte) {
	if f.in.frames == 1 && string(f.in.head[:4]) == "HTTP" {
		f.text = true
	}
	switch {
	case kind == frameGoAway && len(payload) >= 8:
		f.away = &goAway{binary.BigEndian.Uint32(payload) &^ (1 << 31), binary.BigEndian.Uint32(payload[4:])}
	case kind == frameRSTStream && len(payload) >= 4:
		for _, s := range f.streams {
			if s.id == id {
				s.reset, s.code = true, binary.BigEndian.Uint32(payload)
			}
		}
	}
}

// begin is called when a request's HEADERS have been written, before any other's are.
func (f *frames) begin(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.id = f.opened
	f.streams = append(f.streams, s)
}

func (f *frames) end(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams = slices.DeleteFunc(f.streams, func(x *stream) bool { return x == s })
}

// fate is what the receiver has said of a stream without an answer.
type fate struct {
	unprocessed bool // it has not acted on the request, by its own word or because it never saw it
	wantsHTTP1  bool // it does not take requests over HTTP/2 here
	leaving     bool // it has said that it takes no more, but this one it may have taken
	interim     bool // a 1xx answer came
}

// of judges a stream by what has passed (RFC 9113 sections 7, 8.7 and 9.2.2).
func (f *frames) of(s *stream) fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	verdict := fate{interim: s.interim, leaving: f.away != nil}
	verdict.unprocessed = s.id == 0 || f.text || s.reset && s.code == codeRefusedStream || f.away != nil && f.away.last < s.id
	verdict.wantsHTTP1 = f.text || s.reset && s.code == codeHTTP11Required ||
		f.away != nil && (f.away.code == codeHTTP11Required || f.away.code == codeInadequateSecurity)
	return verdict
}

// frameScan finds the frames in a stream of bytes, whatever pieces it comes in.
type frameScan struct {
	skip   int // bytes until the next head
	head   [frameHead + frameShown]byte
	have   int // bytes of head
	frames int // found so far
}

func (s *frameScan) eat(b []byte, seen func(kind byte, stream uint32, payload []byte)) {
	for len(b) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(b))
			s.skip -= n
			b = b[n:]
			continue
		}
		want := frameHead
		if s.have >= frameHead {
			want += min(s.length(), frameShown)
		}
		n := copy(s.head[s.have:want], b)
		s.have += n
		b = b[n:]
		if s.have < frameHead || s.have < frameHead+min(s.length(), frameShown) {
			continue
		}
		s.frames++
		seen(s.head[3], binary.BigEndian.Uint32(s.head[5:])&^(1<<31), s.head[frameHead:s.have])
		s.skip, s.have = s.length()-(s.have-frameHead), 0
	}
}

func (s *frameScan) length() int {
	return int(s.head[0])<<16 | int(s.head[1])<<8 | int(s.head[2])
}
