package intake

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// findings are the words for each code, in the order in which they are told.
var findings = [...]struct{ code, detail string }{
	{"deep_nesting", "nests deeper than 31 levels: MariaDB refuses the document"},
	{"lone_surrogate", `an escape \ud800–\udfff without its other half: PHP, orjson, msgspec, rapidjson, simdjson, Postgres' jsonb and MariaDB refuse the whole document`},
	{"nul_character", `\u0000 in a text: Postgres' jsonb refuses the document`},
	{"duplicate_name", "a name stands twice in an object: the first counts in MariaDB and SQLite, the last one elsewhere, and some parsers refuse the document"},
	{"proto_name", `a member __proto__ (or constructor with a member prototype): with data_format object Fastify and koa answer 400`},
	{"integer_beyond_double", "an integer beyond 2^53: JavaScript, jq and Go's float64 read another number; send it as a text"},
	{"number_beyond_double", "a number that no double holds: many parsers read infinity or refuse the document"},
	{"number_long", "a number of more than 1,000 characters: several parsers refuse it, Python integers of more than 4,300 digits"},
}

// What some receivers can read at most.
const (
	readableDepth  = 31
	readableDigits = 1000
)

// Lint says what in a published document some receivers cannot read: each code once, with the first
// place and how many there are. The document has passed wire.Parse; nothing is wrong with it.
func Lint(data []byte) []hook.Finding {
	l := linter{dec: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))}
	for l.next() {
	}
	found := []hook.Finding{}
	for _, f := range findings {
		if at := l.found[f.code]; at != nil {
			detail := f.detail
			if at.count > 1 {
				detail += fmt.Sprintf(" (%d places)", at.count)
			}
			found = append(found, hook.Finding{Code: f.code, Pointer: at.pointer, Detail: detail})
		}
	}
	return found
}

type linter struct {
	dec   *jsontext.Decoder
	names []map[string]bool // of the objects that are open; nil for an array
	found map[string]*place
}

type place struct {
	pointer string
	count   int
}

func (l *linter) tell(code string) {
	if at := l.found[code]; at != nil {
		at.count++
		return
	}
	if l.found == nil {
		l.found = map[string]*place{}
	}
	l.found[code] = &place{string(l.dec.StackPointer()), 1}
}

// next looks at one token; false at the end.
func (l *linter) next() bool {
	switch kind := l.dec.PeekKind(); kind {
	case '{', '[':
		_, _ = l.dec.ReadToken()
		var names map[string]bool
		if kind == '{' {
			names = map[string]bool{}
		}
		if l.names = append(l.names, names); len(l.names) == readableDepth+1 {
			l.tell("deep_nesting")
		}
	case '}', ']':
		_, _ = l.dec.ReadToken()
		l.names = l.names[:len(l.names)-1]
	case '"':
		isName := l.atName()
		raw, err := l.dec.ReadValue()
		if err != nil {
			return false
		}
		l.text(raw)
		if isName {
			l.name(raw)
		}
	case '0':
		raw, err := l.dec.ReadValue()
		if err != nil {
			return false
		}
		l.number(raw)
	default:
		_, err := l.dec.ReadToken()
		return err == nil
	}
	return true
}

// atName reports whether the next string is a member's name.
func (l *linter) atName() bool {
	kind, length := l.dec.StackIndex(l.dec.StackDepth())
	return kind == '{' && length%2 == 0
}

func (l *linter) name(raw []byte) {
	name := string(raw)
	if bytes.IndexByte(raw, '\\') >= 0 {
		plain, _ := jsontext.AppendUnquote(nil, raw)
		name = strconv.Quote(string(plain))
	}
	names := l.names[len(l.names)-1]
	if names[name] {
		l.tell("duplicate_name")
	}
	names[name] = true
	if name == `"__proto__"` || name == `"prototype"` && l.within("constructor") {
		l.tell("proto_name")
	}
}

// within reports whether the open object is the value of a member of this name.
func (l *linter) within(name string) bool {
	outer := l.dec.StackPointer().Parent()
	return len(l.names) > 1 && outer.LastToken() == name && l.names[len(l.names)-2] != nil
}

// text looks at the escapes of a string.
func (l *linter) text(raw []byte) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if i++; raw[i] != 'u' {
			continue
		}
		r := rune(unit(raw[i+1:]))
		i += 4
		switch {
		case r == 0:
			l.tell("nul_character")
		case utf16.IsSurrogate(r):
			if r < 0xdc00 && bytes.HasPrefix(raw[i+1:], []byte(`\u`)) {
				if low := unit(raw[i+3:]); low >= 0xdc00 && low < 0xe000 {
					i += 6
					continue
				}
			}
			l.tell("lone_surrogate")
		}
	}
}

func unit(hex []byte) uint64 {
	n, _ := strconv.ParseUint(string(hex[:4]), 16, 16)
	return n
}

func (l *linter) number(raw []byte) {
	if len(raw) > readableDigits {
		l.tell("number_long")
	}
	if bytes.ContainsAny(raw, ".eE") {
		if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
			l.tell("number_beyond_double")
		}
		return
	}
	const exact = 1 << 53
	if n, err := strconv.ParseInt(string(raw), 10, 64); err != nil || n > exact || n < -exact {
		l.tell("integer_beyond_double")
	}
}
