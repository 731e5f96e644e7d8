package webhook

import (
	"errors"
	"net/http"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Diagnosis is what [Verifier.Diagnose] found out.
type Diagnosis struct {
	Err *Error // what Verify says; nil if it verifies, and then there is nothing else
	// Mistakes are what to mend. Empty if nothing was found: then the secret is another
	// subscription's, or the body was changed beyond recognition.
	Mistakes []Mistake
	// Proven says that with all of Mistakes undone the signature verifies. Otherwise they are
	// what looks wrong.
	Proven bool
}

// Mistake is one of the ways in which verification goes wrong.
type Mistake struct {
	Code   string // stable, as body_newline
	Detail string // what it is and how to mend it
}

// Diagnose says which mistake makes a request not verify. It undoes the usual ones, up to three at
// a time, until the signature verifies: a body that was parsed and printed again, got a newline,
// lost its envelope or was base64 encoded; a secret with white space or quotes, without whsec_, or
// decoded; another scheme; the text of another timestamp. It makes up to some thousand signatures, so it
// is for people (the command verify, a receiver's log while it is built), not for each request.
func (v *Verifier) Diagnose(header http.Header, body []byte) Diagnosis {
	_, err := v.Verify(header, body)
	var e *Error
	if !errors.As(err, &e) {
		return Diagnosis{}
	}
	switch e.Code {
	case TimestampTooOld, TimestampTooNew:
		return Diagnosis{Err: e, Mistakes: []Mistake{clockMistake(e, header)}, Proven: true}
	case SignatureMissing, SignatureMismatch, TimestampMissing, TimestampMalformed, SecretMalformed:
		if mistakes := v.search(header, body); mistakes != nil {
			return Diagnosis{Err: e, Mistakes: mistakes, Proven: true}
		}
		return Diagnosis{Err: e, Mistakes: v.suspicions(header, body)}
	default: // the error says it all
		return Diagnosis{Err: e}
	}
}

func clockMistake(e *Error, header http.Header) Mistake {
	const millisecondsFrom = 100_000_000_000 // as seconds this is the year 5138
	if at, ok := wire.ParseTimestamp(header.Get(wire.HeaderSignatureTimestamp)); ok && at.Unix() > millisecondsFrom {
		return Mistake{"timestamp_milliseconds", "the timestamp counts milliseconds; it must be seconds with a fraction"}
	}
	if e.Code == TimestampTooNew {
		return Mistake{"clock", "the signature is right: this machine's clock is behind (by about " + roughly(-e.Age) + "), or the sender's is ahead"}
	}
	return Mistake{"clock", "the signature is right: the request is an old one (about " + roughly(e.Age) + ") that was sent again or kept, or this machine's clock is ahead"}
}

// maxMistakes bounds how many are undone together.
const maxMistakes = 3

// search returns the fewest mistakes that explain the signature, nil if none do. An empty list is
// never returned: Verify has tried that.
func (v *Verifier) search(header http.Header, body []byte) []Mistake {
	claims, keys, bodies := v.claims(header), keys(v.Secrets, v.Scheme == Standard), bodies(header, body)
	for most := 1; most <= maxMistakes; most++ {
		for _, claim := range claims {
			for _, key := range keys {
				for _, b := range bodies {
					if len(claim.mistakes)+len(key.mistakes)+len(b.mistakes) == most && claim.explainedBy(key.value, b.value) {
						return together(claim.mistakes, key.mistakes, b.mistakes)
					}
				}
			}
		}
	}
	return nil
}

func together(lists ...[]Mistake) (all []Mistake) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// suspicions are what looks wrong when no list of mistakes could be proved.
func (v *Verifier) suspicions(header http.Header, body []byte) (found []Mistake) {
	suspect := func(code, detail string) { found = append(found, Mistake{code, detail}) }
	if v.Scheme != Standard && header.Get(wire.HeaderSignature) == "" {
		switch {
		case header.Get(wire.HeaderStandardSignature) != "":
			suspect("headers_standard_only", "only the webhook-* headers are there: something removed the X-Atlas-* ones, or use the scheme standard")
		case hasMisspelt(header):
			suspect("headers_not_canonical", "the headers are there under names that http.Header does not find: fill it by Set or Add")
		default:
			suspect("headers_missing", "none of the signature headers are there: something on the way removed them, or the request is not from Atlas")
		}
		return found
	}
	if v.Scheme != Standard && v.standardSigned(header, body) {
		suspect("secret_rotated", "secret and body are right, webhook-signature says so: while a rotation runs the Atlas header is signed by the other secret; give both")
		return found
	}
	text := strings.TrimSpace(string(body))
	switch {
	case text == "":
		suspect("body_empty", "the body is empty: something read it before")
	case strings.HasPrefix(text, "[object "):
		suspect("body_stringified", "the body is a parsed object turned into text; keep the raw bytes")
	case !strings.HasPrefix(text, `{"event":"`):
		suspect("body_reserialized", `the body does not begin as Atlas's do, with {"event":": it was parsed and printed again, or it is another's; keep the raw bytes`)
	case strings.ContainsFunc(text, func(r rune) bool { return r > 0x7e }):
		suspect("body_reserialized", `the body is not pure ASCII, as Atlas's always are: it was parsed and printed again; keep the raw bytes`)
	}
	return found
}

func hasMisspelt(header http.Header) bool {
	for name := range header {
		if name != wire.HeaderSignature && strings.EqualFold(name, wire.HeaderSignature) {
			return true
		}
	}
	return false
}
