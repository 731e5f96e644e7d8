package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// scanner reads one JSON document, front to back and without recursion.
type scanner struct {
	data []byte
	at   int // the next byte to read

	out    []byte // what was rewritten so far; nil while nothing had to be
	copied int    // data up to here is in out

	idStart, idEnd int // the value of the last top-level "id" within data; equal = none
}

// document reads a value, with s.at on its first byte, and the white space behind it. It returns
// where the value ends and refuses anything behind that.
func (s *scanner) document() (end int, err error) {
	var (
		open    uint64 // a bit for each open container, the innermost lowest: 1 = object
		depth   int
		idAt    = -1 // where the value of a top-level "id" began, while that value is being read
		isValue bool // the last thing read completed a value
	)
	for {
		switch c := s.peek(); c {
		case '{', '[':
			if depth == MaxDepth {
				return 0, hook.Refuse(hook.KindMalformed, "too_deep", "the document nests deeper than %d, at byte %d", MaxDepth, s.at)
			}
			s.at++
			s.space()
			isValue = s.peek() == c+2 // { and }, [ and ] are two apart
			if isValue {
				s.at++
				break
			}
			depth++
			open <<= 1
			if c == '{' {
				open |= 1
				if idAt, err = s.name(depth, idAt); err != nil {
					return 0, err
				}
			}
		case '"':
			isValue, err = true, s.string()
		case 't':
			isValue, err = true, s.literal("true")
		case 'f':
			isValue, err = true, s.literal("false")
		case 'n':
			isValue, err = true, s.literal("null")
		default:
			isValue, err = true, s.number()
		}
		if err != nil {
			return 0, err
		}
		for isValue {
			if depth == 1 && idAt >= 0 {
				s.idStart, s.idEnd, idAt = idAt, s.at, -1
			}
			end = s.at
			s.space()
			if depth == 0 {
				if s.at < len(s.data) {
					return 0, s.refuse("more bytes after the document")
				}
				return end, nil
			}
			object := open&1 == 1
			switch c := s.peek(); {
			case c == ',':
				s.at++
				s.space()
				isValue = false
				if object {
					if idAt, err = s.name(depth, idAt); err != nil {
						return 0, err
					}
				}
			case c == '}' && object, c == ']' && !object:
				s.at++
				depth--
				open >>= 1
			case object:
				return 0, s.unexpected("',' or '}'")
			default:
				return 0, s.unexpected("',' or ']'")
			}
		}
	}
}

// name reads a member's name, the colon and the space around it. It returns where the member's
// value begins if this is the name "id" at the top level, else idAt as it was.
func (s *scanner) name(depth, idAt int) (int, error) {
	start := s.at
	if s.peek() != '"' {
		return 0, s.unexpected("a member's name")
	}
	if err := s.string(); err != nil {
		return 0, err
	}
	end := s.at
	s.space()
	if s.peek() != ':' {
		return 0, s.unexpected("':'")
	}
	s.at++
	s.space()
	if depth == 1 && isID(s.data[start:end]) {
		return s.at, nil
	}
	return idAt, nil
}

// isID reports whether a quoted name reads id, also where it is written with escapes.
func isID(name []byte) bool {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name) == `"id"`
	}
	return len(name) <= len(`"\u0069\u0064"`) && string(unquote(name)) == "id"
}

// string reads a string with s.at on its opening quote and rewrites what is not ASCII.
func (s *scanner) string() error {
	s.at++
	for {
		s.plain()
		switch c := s.peek(); {
		case c == '"':
			s.at++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c >= 0x7f:
			if err := s.rewrite(); err != nil {
				return err
			}
		case s.at >= len(s.data):
			return s.refuse("the document ends within a string,")
		default:
			return s.refuse("a raw control character U+%04X in a string", c)
		}
	}
}

// plain moves over the characters of a string that stand for themselves: U+0020–U+007E without the
// quote and the backslash. It takes eight bytes at a time: each line below sets the high bit of
// the bytes it is about. (A borrow can set it in a byte above a true hit too, never below.)
func (s *scanner) plain() {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	data, at := s.data, s.at
	for ; at+8 <= len(data); at += 8 {
		w := binary.LittleEndian.Uint64(data[at:])
		quote, slash := w^ones*'"', w^ones*'\\'
		stop := w | (w + ones) | // 0x80–0xff, and 0x7f
			(w-ones*0x20)&^w | // below 0x20
			(quote-ones)&^quote |
			(slash-ones)&^slash
		if stop &= highs; stop != 0 {
			at += bits.TrailingZeros64(stop) / 8
			break
		}
	}
	for at < len(data) && isPlain(data[at]) {
		at++
	}
	s.at = at
}

func isPlain(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }

// escape reads one escape sequence. Surrogates need not be paired.
func (s *scanner) escape() error {
	rest := s.data[s.at:]
	if len(rest) < 2 {
		return s.refuse("the document ends within an escape,")
	}
	switch rest[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at += 2
		return nil
	case 'u':
		if _, ok := hex4(rest); ok {
			s.at += 6
			return nil
		}
	}
	return s.refuse("no escape of JSON: %q", rest[:min(6, len(rest))])
}

// rewrite reads one character from U+007F on and writes its escape.
func (s *scanner) rewrite() error {
	r, size := utf8.DecodeRune(s.data[s.at:])
	if r == utf8.RuneError && size == 1 {
		return s.refuse("invalid UTF-8")
	}
	if s.out == nil {
		s.out = make([]byte, 0, len(s.data)+len(s.data)/8+64)
	}
	s.out = append(s.out, s.data[s.copied:s.at]...)
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		s.out = appendEscape(s.out, high)
		r = low
	}
	s.out = appendEscape(s.out, r)
	s.at += size
	s.copied = s.at
	return nil
}

const hexDigits = "0123456789abcdef"

func appendEscape(out []byte, r rune) []byte {
	return append(out, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// number reads a number (RFC 8259 section 6), of any length and size.
func (s *scanner) number() error {
	start := s.at
	if s.peek() == '-' {
		s.at++
	}
	switch c := s.peek(); {
	case c == '0':
		s.at++
	case c >= '1' && c <= '9':
		s.digits()
	case s.at > start:
		return s.unexpected("a digit")
	default:
		return s.unexpected("a value")
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if s.peek()|0x20 == 'e' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

// digits reads as many as there are and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.data) && s.data[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at > start
}

func (s *scanner) literal(text string) error {
	if len(s.data)-s.at < len(text) || string(s.data[s.at:s.at+len(text)]) != text {
		return s.unexpected("a value")
	}
	s.at += len(text)
	return nil
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end (which no token begins with).
func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}
