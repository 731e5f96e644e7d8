package wire

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unquote is the text of a well-formed JSON string, quotes and escapes resolved. A lone surrogate
// stands in the result in the three bytes that UTF-8 would give it if it allowed that (WTF-8), so
// that nothing is lost.
func unquote(quoted []byte) []byte {
	text := quoted[1 : len(quoted)-1]
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		c := text[i]
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		if text[i+1] != 'u' {
			out = append(out, unescaped(text[i+1]))
			i += 2
			continue
		}
		r, _ := hex4(text[i:])
		i += 6
		if utf16.IsSurrogate(r) {
			low, _ := hex4(text[i:])
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				out = utf8.AppendRune(out, pair)
				i += 6
				continue
			}
			out = append(out, 0xe0|byte(r>>12), 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f))
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return c // the quote, the backslash and the slash stand for themselves
	}
}

// hex4 is the code unit of a \uXXXX escape that text begins with.
func hex4(text []byte) (unit rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | rune(c)
	}
	return unit, true
}
