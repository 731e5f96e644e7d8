package wire

import (
	"bytes"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Document is a published JSON document that was found well-formed, with its text escaped.
type Document struct {
	// Text is the document in pure ASCII (U+0009, U+000A, U+000D, U+0020–U+007E). It is the
	// caller's slice where nothing had to be rewritten.
	Text []byte
	id   []byte // the value of the last top-level "id", within the text that was parsed
}

// Parse checks that data is one JSON document by RFC 8259 and escapes it: characters outside
// U+0000–U+007E become lower-case \uXXXX, in pairs above U+FFFF. All else is kept as it was written:
// number forms, order, inner spacing, duplicate names, escapes (also of lone surrogates and NUL).
// White space around the document is not part of it and is left out, as it would be around a
// member of an envelope.
//
// Errors are of kind malformed. Code invalid_json: no JSON, raw invalid UTF-8, a byte order mark, a
// raw control character in a string, bytes after the document. Code too_deep: nesting deeper than
// [MaxDepth]. The detail names the byte.
//
// It reads data once, front to back, with constant memory besides the text that it must rewrite.
func Parse(data []byte) (Document, error) {
	s := scanner{data: data}
	s.space()
	start := s.at
	s.copied = start
	end, err := s.document()
	if err != nil {
		return Document{}, err
	}
	doc := Document{Text: data[start:end], id: data[s.idStart:s.idEnd]}
	if s.out != nil {
		doc.Text = append(s.out, data[s.copied:end]...)
	}
	return doc, nil
}

// Escape is [Parse] for callers that want the text only.
func Escape(data []byte) ([]byte, error) {
	doc, err := Parse(data)
	return doc.Text, err
}

// ID is the document's top-level id where that is a string (its text) or an integer (its digits as
// written); ok is false where there is none of that kind. Of several the last counts, as it does
// for the parsers of Python and JavaScript. The text can hold anything that a JSON string can.
func (d Document) ID() (id string, ok bool) {
	switch {
	case len(d.id) == 0:
		return "", false
	case d.id[0] == '"' && bytes.IndexByte(d.id, '\\') < 0:
		return string(d.id[1 : len(d.id)-1]), true
	case d.id[0] == '"':
		return string(unquote(d.id)), true
	case isInteger(d.id):
		return string(d.id), true
	default:
		return "", false
	}
}

// Encoded reports whether the document is a string whose own text is a JSON object or array: its
// producer encoded it twice.
func (d Document) Encoded() bool {
	if d.Text[0] != '"' || len(d.Text) < 4 {
		return false
	}
	inner := scanner{data: unquote(d.Text)}
	inner.space()
	if c := inner.peek(); c != '{' && c != '[' {
		return false
	}
	_, err := inner.document()
	return err == nil
}

func isInteger(number []byte) bool {
	for i, c := range number {
		if (c < '0' || c > '9') && (c != '-' || i > 0) {
			return false
		}
	}
	return true
}

// refuse is the error for the byte at s.at.
func (s *scanner) refuse(format string, args ...any) error {
	args = append(args, s.at)
	return hook.Refuse(hook.KindMalformed, "invalid_json", format+" at byte %d", args...)
}

func (s *scanner) unexpected(wanted string) error {
	if s.at >= len(s.data) {
		return s.refuse("the document ends where %s is expected,", wanted)
	}
	if s.at+3 <= len(s.data) && string(s.data[s.at:s.at+3]) == "\xef\xbb\xbf" {
		return s.refuse("a byte order mark")
	}
	return s.refuse("%q where %s is expected,", s.data[s.at:s.at+1], wanted)
}
