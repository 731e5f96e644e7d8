package intake

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// envelope is a publish, or a change, as its producer wrote it. Missing members are empty.
type envelope struct {
	seen               members
	company, topic, id string
	object             string // its id; of a change, its type
	occurredAt         *time.Time
	deliverAt          *time.Time
	expiresAt          *time.Time
	data               []byte // within the request's body
	before, after      []byte // of a change
}

// members is a set of an envelope's members.
type members uint16

// The members of an envelope.
const (
	memberCompany members = 1 << iota
	memberTopic
	memberData
	memberID
	memberObject
	memberOccurredAt
	memberObjectType
	memberBefore
	memberAfter
	memberDeliverAt
	memberExpiresAt
)

var (
	eventMembers  = memberCompany | memberTopic | memberData | memberID | memberObject | memberOccurredAt | memberDeliverAt | memberExpiresAt
	changeMembers = memberCompany | memberObjectType | memberBefore | memberAfter | memberID | memberOccurredAt | memberExpiresAt
)

// member returns the bit of a name as it is quoted in the text, 0 for an unknown one.
func member(quoted []byte) members {
	switch string(quoted) {
	case `"company_id"`:
		return memberCompany
	case `"event"`:
		return memberTopic
	case `"data"`:
		return memberData
	case `"id"`:
		return memberID
	case `"object_id"`:
		return memberObject
	case `"occurred_at"`:
		return memberOccurredAt
	case `"object_type"`:
		return memberObjectType
	case `"before"`:
		return memberBefore
	case `"deliver_at"`:
		return memberDeliverAt
	case `"expires_at"`:
		return memberExpiresAt
	case `"after"`:
		return memberAfter
	}
	return 0
}

// reader reads envelopes. Duplicate names and odd bytes are for us to judge: an envelope may not
// have them, a document may have the first and package wire refuses the second.
type reader struct {
	buf bytes.Buffer
	dec *jsontext.Decoder
}

var readers = sync.Pool{New: func() any {
	r := &reader{}
	r.dec = jsontext.NewDecoder(&r.buf)
	return r
}}

func (r *reader) reset(text []byte) {
	r.buf = *bytes.NewBuffer(text)
	r.dec.Reset(&r.buf, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func (r *reader) release() {
	r.buf = bytes.Buffer{}
	r.dec.Reset(&r.buf)
	readers.Put(r)
}

// single reads a text that is one envelope, of these members.
func (r *reader) single(text []byte, known members) (envelope, error) {
	if err := checkDepth(text); err != nil {
		return envelope{}, err
	}
	if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte{'['}) {
		return envelope{}, hook.Invalid("", "invalid_type", "an event is an object; an array of events goes to POST /v1/events/batch")
	}
	r.reset(text)
	env, err := r.envelope(known)
	if err == nil {
		err = r.end()
	}
	return env, err
}

// checkDepth refuses a text that nests deeper than any publish can, before the decoder, which
// recurses, sees it. An envelope stands one level above its data, in a batch two.
func checkDepth(text []byte) error {
	const most = wire.MaxDepth + 2
	if bytes.Count(text, []byte{'['})+bytes.Count(text, []byte{'{'}) <= most {
		return nil
	}
	for depth := 0; ; {
		outside, rest, quoted := bytes.Cut(text, []byte{'"'})
		for _, c := range outside {
			switch c {
			case '[', '{':
				if depth++; depth > most {
					return hook.Refuse(hook.KindMalformed, "too_deep", "data may nest %d levels deep", wire.MaxDepth)
				}
			case ']', '}':
				depth--
			}
		}
		if !quoted {
			return nil
		}
		text = behindString(rest)
	}
}

// behindString is what follows the string that a text begins in.
func behindString(text []byte) []byte {
	for from := 0; ; {
		i := bytes.IndexByte(text[from:], '"')
		if i < 0 {
			return nil
		}
		i += from
		escapes := 0
		for escapes < i && text[i-1-escapes] == '\\' {
			escapes++
		}
		if from = i + 1; escapes%2 == 0 {
			return text[from:]
		}
	}
}

// end refuses whatever follows the text's one value.
func (r *reader) end() error {
	_, err := r.dec.ReadToken()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return malformed("something follows the end of the document at byte %d", r.dec.InputOffset())
}

// envelope reads one envelope from where the decoder stands.
func (r *reader) envelope(known members) (env envelope, err error) {
	if kind := r.dec.PeekKind(); kind != '{' {
		if kind == jsontext.KindInvalid {
			_, err := r.dec.ReadToken()
			return env, syntax(err)
		}
		if err := r.dec.SkipValue(); err != nil {
			return env, syntax(err)
		}
		return env, hook.Invalid("", "invalid_type", "an event is an object")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return env, syntax(err)
	}
	for r.dec.PeekKind() != '}' {
		name, err := r.dec.ReadValue()
		if err != nil {
			return env, syntax(err)
		}
		bit := member(name) & known
		if bit == 0 {
			if bit, err = spelled(name, known); err != nil {
				return env, err
			}
		}
		if env.seen&bit != 0 {
			return env, hook.Refuse(hook.KindMalformed, "duplicate_field", "%s stands there twice", name)
		}
		env.seen |= bit
		value, err := r.dec.ReadValue()
		if err != nil {
			return env, syntax(err)
		}
		if err := env.set(bit, value); err != nil {
			return env, err
		}
	}
	_, err = r.dec.ReadToken()
	return env, syntax(err)
}

// spelled resolves a name that is written with escapes, and refuses one that is unknown.
func spelled(quoted []byte, known members) (members, error) {
	name, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return 0, malformed("a member's name is not valid UTF-8")
	}
	if bit := member(strconv.AppendQuote(nil, string(name))) & known; bit != 0 {
		return bit, nil
	}
	detail := "an event has no such field; known are company_id, event, data, id, object_id, occurred_at, deliver_at, expires_at"
	if known == changeMembers {
		detail = "a change has no such field; known are company_id, object_type, before, after, id, occurred_at, expires_at"
	}
	return 0, hook.Invalid(clip(string(name)), "unknown_field", "%s", detail)
}

// set takes a member's value.
func (env *envelope) set(bit members, value []byte) error {
	switch bit {
	case memberCompany:
		return text("company_id", value, &env.company)
	case memberTopic:
		return text("event", value, &env.topic)
	case memberData:
		env.data = value
	case memberID:
		return text("id", value, &env.id)
	case memberObject:
		return text("object_id", value, &env.object)
	case memberObjectType:
		return text("object_type", value, &env.object)
	case memberBefore:
		env.before = value
	case memberAfter:
		env.after = value
	case memberOccurredAt:
		return instant("occurred_at", value, &env.occurredAt)
	case memberDeliverAt:
		return instant("deliver_at", value, &env.deliverAt)
	case memberExpiresAt:
		return instant("expires_at", value, &env.expiresAt)
	}
	return nil
}

// instant takes a member that is a time.
func instant(field string, value []byte, into **time.Time) error {
	var s string
	if err := text(field, value, &s); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339, strings.ToUpper(s)) // RFC 3339 section 5.6: t and z may be lower case
	if err != nil {
		return hook.Invalid(field, "invalid_time", "a time is written as 2026-03-02T09:15:00Z (RFC 3339)")
	}
	t = hook.Now(t)
	*into = &t
	return nil
}

// text takes a member that is a string.
func text(field string, value []byte, into *string) error {
	if value[0] != '"' {
		return hook.Invalid(field, "invalid_type", "must be a string")
	}
	plain := value[1 : len(value)-1]
	if bytes.IndexByte(plain, '\\') >= 0 {
		var err error
		if plain, err = jsontext.AppendUnquote(nil, value); err != nil {
			return malformed("%s is not valid UTF-8", field)
		}
	}
	*into = string(plain)
	return nil
}

func malformed(format string, args ...any) *hook.Error {
	return hook.Refuse(hook.KindMalformed, "invalid_json", format, args...)
}

// syntax is what the decoder found, in our words: its own text quotes the input.
func syntax(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("the document ends too early")
	}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return malformed("not JSON at byte %d: %s", s.ByteOffset, clip(s.Err.Error()))
	}
	return malformed("not JSON")
}

// clip bounds what an answer repeats of a request.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
