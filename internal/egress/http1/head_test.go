package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseHead(t *testing.T) {
	tests := []struct {
		name, text string
		status     int // -1: not HTTP
		length     int64
		keep       bool
	}{
		{"plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200, 2, true},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, 0, true},
		{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\n", 200, 2, true},
		{"any case", "HTTP/1.1 200 OK\r\ncontent-LENGTH:2\r\n\r\n", 200, 2, true},
		{"until close", "HTTP/1.1 200 OK\r\n\r\n", 200, untilClose, false},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, 0, true},
		{"no content, but a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, 0, false},
		{"no content of no length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, 0, true},
		{"no content, in chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, 0, false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", 200, 2, false},
		{"close", "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 2\r\n\r\n", 200, 2, false},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", 200, chunkedBody, true},
		{"chunked and a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 200, chunkedBody, false},
		{"a length and chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 200, chunkedBody, false},
		{"other coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 200, unclear, false},
		{"chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 200, unclear, false},
		{"same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", 200, 2, true},
		{"same length in a list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n", 200, 2, true},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", 200, unclear, false},
		{"two lengths, three times", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3, 2\r\n\r\n", 200, unclear, false},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 200, unclear, false},
		{"signed length", "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", 200, unclear, false},
		{"empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", 200, unclear, false},
		{"huge length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", 200, unclear, false},
		{"no colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\n", 200, 2, false},
		{"space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n", 200, untilClose, false},
		{"folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n", 200, 2, false},
		{"status 000", "HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n", 0, 0, true},
		{"status 999", "HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n", 999, 0, true},

		{"empty", "", -1, 0, false},
		{"two digits", "HTTP/1.1 20\r\n\r\n", -1, 0, false},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", -1, 0, false},
		{"no digits", "HTTP/1.1 OK 200\r\n\r\n", -1, 0, false},
		{"signed", "HTTP/1.1 +20 OK\r\n\r\n", -1, 0, false},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", -1, 0, false},
		{"lower case", "http/1.1 200 OK\r\n\r\n", -1, 0, false},
		{"HTTP/2 in text", "HTTP/2.0 200 OK\r\n\r\n", -1, 0, false},
		{"other protocol", "ICY 200 OK\r\n\r\n", -1, 0, false},
		{"leading line", "\r\nHTTP/1.1 200 OK\r\n\r\n", -1, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseHead([]byte(tt.text))
			if err != nil {
				if tt.status >= 0 {
					t.Fatal(err)
				}
				return
			}
			if h.status != tt.status || h.length != tt.length || h.keep != tt.keep {
				t.Errorf("got status %d, length %d, keep %v; want %d, %d, %v", h.status, h.length, h.keep, tt.status, tt.length, tt.keep)
			}
		})
	}
}

func TestKeepAliveHeader(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"timeout=5": 5 * time.Second, "max=100, Timeout=7": 7 * time.Second, "timeout=0": 1, "max=3": 0, "": 0, "timeout=x": 0,
	} {
		if got := keepAlive([]byte(value)); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// However a head is cut into reads, its end is found at the same place.
func FuzzHeadEnd(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), uint8(3))
	f.Add([]byte("HTTP/1.1 200 OK\n\nbody"), uint8(1))
	f.Add([]byte("\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		whole, _ := headEnd(b, 0)
		got, from := 0, 0
		for n := 0; got == 0 && n < len(b); {
			n = min(n+int(piece)+1, len(b))
			got, from = headEnd(b[:n], from)
		}
		if got != whole {
			t.Fatalf("in pieces %d, at once %d", got, whole)
		}
		if whole > 0 {
			if h, err := parseHead(b[:whole]); err == nil && (h.status < 0 || h.status > 999 || h.keep && h.length < 0 && h.length != chunkedBody) {
				t.Fatalf("%+v", h)
			}
		}
	})
}

// Where the standard library accepts an answer and would use its connection again, so do we, with
// the same status and the same body: two readers that disagree are how answers get smuggled.
func FuzzAnswerAgainstTheStandardLibrary(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n00\r\nT: v\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1,1\r\n\r\nx", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		br := bufio.NewReader(bytes.NewReader(b))
		theirs, err := http.ReadResponse(br, &http.Request{Method: "POST"})
		if err != nil {
			return
		}
		defer theirs.Body.Close()
		if theirs.Close || len(b) > 8<<10 || theirs.StatusCode < 200 || theirs.StatusCode > 999 {
			return
		}
		body, err := io.ReadAll(theirs.Body)
		if err != nil {
			return
		}
		end, _ := headEnd(b, 0)
		if end == 0 {
			t.Fatalf("no end found in %q", b)
		}
		h, err := parseHead(b[:end])
		if err != nil {
			return // stricter is allowed
		}
		if h.status != theirs.StatusCode {
			t.Fatalf("status %d, theirs %d", h.status, theirs.StatusCode)
		}
		if !h.keep {
			return
		}
		var ours []byte
		switch h.length {
		case chunkedBody:
			var c chunks
			if ours, _ = c.eat(nil, b[end:]); c.state != chunkDone {
				return
			}
		default:
			ours = b[end:min(len(b), end+int(min(h.length, 1<<20)))]
			if int64(len(ours)) < h.length {
				return
			}
		}
		if !bytes.Equal(ours, body) {
			t.Fatalf("body %q, theirs %q", ours, body)
		}
	})
}

func TestChunks(t *testing.T) {
	tests := []struct {
		text, body string
		state      chunkState
		behind     string
	}{
		{"2\r\nok\r\n0\r\n\r\n", "ok", chunkDone, ""},
		{"2\r\nok\r\n3;ext=\"a\"\r\nabc\r\n0\r\nTrailer: x\r\n\r\nHTTP", "okabc", chunkDone, "HTTP"},
		{"2\nok\n0\n\n", "ok", chunkDone, ""},
		{"A\r\n0123456789\r\n0\r\n\r\n", "0123456789", chunkDone, ""},
		{"5\r\nok", "ok", chunkData, ""},
		{"2\r\nokay\r\n", "ok", chunkBroken, ""},
		{"zz\r\n", "", chunkBroken, ""},
		{"\r\n", "", chunkBroken, ""},
		{"-1\r\n", "", chunkBroken, ""},
		{"ffffffffffffffffffff\r\n", "", chunkBroken, ""},
		{strings.Repeat("0", 100) + "\r\n\r\n", "", chunkDone, ""},
	}
	for _, tt := range tests {
		for piece := 1; piece <= len(tt.text); piece++ {
			var c chunks
			var body []byte
			rest := tt.text
			for len(rest) > 0 && c.state < chunkDone {
				n := min(piece, len(rest))
				var taken int
				body, taken = c.eat(body, []byte(rest[:n]))
				rest = rest[taken:]
			}
			if string(body) != tt.body || c.state != tt.state || c.state == chunkDone && rest != tt.behind {
				t.Errorf("%q in pieces of %d: body %q, state %d, behind %q", tt.text, piece, body, c.state, rest)
			}
		}
	}
}

func TestChunksAreBounded(t *testing.T) {
	var c chunks
	body, _ := c.eat(nil, bytes.Repeat([]byte("1\r\nx\r\n"), maxFraming))
	if len(body) > MaxBody || c.state != chunkBroken {
		t.Errorf("kept %d bytes, state %d", len(body), c.state)
	}
}
