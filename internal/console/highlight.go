package console

import (
	"html/template"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// highlight renders a JSON document with its parts in colours. It reads any text: what is no JSON
// comes out as it is. Every byte of the text goes through the escaper.
func highlight(s string) template.HTML {
	if len(s) > maxHighlighted {
		return template.HTML(template.HTMLEscapeString(s)) //nolint:gosec // escaped
	}
	var b strings.Builder
	b.Grow(2 * len(s))
	for s != "" {
		n, class := token(s)
		if class != "" {
			b.WriteString(`<span class="` + class + `">`)
		}
		template.HTMLEscape(&b, []byte(s[:n]))
		if class != "" {
			b.WriteString(`</span>`)
		}
		s = s[n:]
	}
	return template.HTML(b.String()) //nolint:gosec // every piece is escaped, the classes are ours
}

// readable puts letters where a document has their escapes: bodies are plain ASCII, and people have
// names. What does not print stays escaped.
func readable(s string) string {
	if !strings.Contains(s, `\u`) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		if s[0] != '\\' || len(s) < 2 {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		r, n := escaped(s)
		if n > 0 && r >= 0xa0 && unicode.IsPrint(r) {
			b.WriteRune(r)
			s = s[n:]
			continue
		}
		b.WriteString(s[:2]) // an escaped backslash is not the beginning of another escape
		s = s[2:]
	}
	return b.String()
}

// escaped reads \uXXXX, or two of them that are one character; n is 0 for anything else.
func escaped(s string) (r rune, n int) {
	unit := func(s string) (rune, bool) {
		if len(s) < 6 || s[:2] != `\u` {
			return 0, false
		}
		u, err := strconv.ParseUint(s[2:6], 16, 16)
		return rune(u), err == nil
	}
	high, ok := unit(s)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(high) {
		return high, 6
	}
	low, ok := unit(s[6:])
	if r := utf16.DecodeRune(high, low); ok && r != unicode.ReplacementChar {
		return r, 12
	}
	return 0, 0
}

// maxHighlighted is where colours cost more than they tell.
const maxHighlighted = 128 << 10

// token is the length of the first token and the class of its colour; at least one byte.
func token(s string) (n int, class string) {
	switch c := s[0]; {
	case c == '"':
		n = stringEnd(s)
		if strings.HasPrefix(strings.TrimLeft(s[n:], " "), ":") {
			return n, "j-key"
		}
		return n, "j-str"
	case c >= '0' && c <= '9' || c == '-':
		for n = 1; n < len(s) && strings.IndexByte("0123456789.eE+-", s[n]) >= 0; n++ {
		}
		return n, "j-num"
	case c >= 'a' && c <= 'z':
		for n = 1; n < len(s) && s[n] >= 'a' && s[n] <= 'z'; n++ {
		}
		return n, "j-lit"
	}
	for n = 1; n < len(s) && strings.IndexByte(" \n\t{}[],:", s[n]) >= 0; n++ {
	}
	return n, ""
}

func stringEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}
