package wire

import (
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

var (
	errNotDict  = errors.New("the body is not a JSON object whose members are all strings")
	errNotASCII = errors.New("the body's repr is not ASCII, which the reference code cannot encode")
)

// PythonRepr is what Python prints for the parsed body, as {'event': 'conversation', 'data': '{"id": 1}'}:
// the message that the documentation's reference code signs when it is run on a parsed dict.
//
// The body is any JSON object whose members are strings with different names: that is every body
// of [hook.DataString]. A repr that is not pure ASCII is an error, because the reference code
// raises there; our own bodies never give one.
func PythonRepr(body []byte) ([]byte, error) {
	names, values, err := flatObject(body)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(body)+16)
	out = append(out, '{')
	for i := range names {
		if i > 0 {
			out = append(out, ", "...)
		}
		out = appendRepr(out, names[i])
		out = append(out, ": "...)
		out = appendRepr(out, values[i])
	}
	out = append(out, '}')
	if slices.ContainsFunc(out, func(c byte) bool { return c >= utf8.RuneSelf }) {
		return nil, errNotASCII
	}
	return out, nil
}

// flatObject reads a JSON object whose members are strings.
func flatObject(body []byte) (names, values [][]byte, err error) {
	doc, err := Parse(body)
	if err != nil {
		return nil, nil, err
	}
	s := scanner{data: doc.Text}
	if s.peek() != '{' {
		return nil, nil, errNotDict
	}
	next := func() []byte {
		start := s.at
		_ = s.string() // Parse has seen it
		return unquote(s.data[start:s.at])
	}
	for s.at++; ; s.at++ {
		s.space()
		if s.peek() != '"' {
			break // the end of {}
		}
		name := next()
		s.space()
		s.at++ // the colon
		s.space()
		if s.peek() != '"' {
			return nil, nil, errNotDict
		}
		value := next()
		if slices.ContainsFunc(names, func(n []byte) bool { return string(n) == string(name) }) {
			return nil, nil, fmt.Errorf("%w with different names", errNotDict)
		}
		names, values = append(names, name), append(values, value)
		s.space()
		if s.peek() == '}' {
			break
		}
	}
	return names, values, nil
}

// appendRepr writes Python's repr of a string: in single quotes, unless it holds those and no
// double ones; what Python calls not printable as \t \n \r \xNN \uNNNN \UNNNNNNNN.
func appendRepr(out, text []byte) []byte {
	quote := byte('\'')
	if slices.Contains(text, '\'') && !slices.Contains(text, '"') {
		quote = '"'
	}
	out = append(out, quote)
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == quote || c == '\\':
			out = append(out, '\\', c)
		case c >= 0x20 && c < 0x7f:
			out = append(out, c)
		case c == '\t':
			out = append(out, `\t`...)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c < utf8.RuneSelf:
			out = append(out, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			r, size := decodeRune(text[i:])
			out = appendReprRune(out, r)
			i += size - 1
		}
		i++
	}
	return append(out, quote)
}

// appendReprRune writes a character from U+0080 on. Python's "printable" and Go's are one set:
// everything but the categories C and Z.
func appendReprRune(out []byte, r rune) []byte {
	switch {
	case unicode.IsPrint(r):
		return utf8.AppendRune(out, r)
	case r <= 0xff:
		return fmt.Appendf(out, `\x%02x`, r)
	case r <= 0xffff:
		return appendEscape(out, r)
	default:
		return fmt.Appendf(out, `\U%08x`, r)
	}
}

// decodeRune is utf8.DecodeRune that also reads the lone surrogates of [unquote].
func decodeRune(text []byte) (rune, int) {
	if r, size := utf8.DecodeRune(text); r != utf8.RuneError || size > 1 {
		return r, size
	}
	return rune(text[0]&0x0f)<<12 | rune(text[1]&0x3f)<<6 | rune(text[2]&0x3f), 3
}
