package console

import (
	"html/template"
	"strings"
)

// highlight renders a JSON document with its parts in colours. It reads any text: what is no JSON
// comes out as it is. Every byte of the text goes through the escaper.
func highlight(text any) template.HTML {
	s := pretty(text)
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
