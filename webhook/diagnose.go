package webhook

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
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
		if mistakes := v.altered(header, body); mistakes != nil {
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

// altered finds an Atlas header that was changed on the way: a signature that lost its end, or a
// timestamp that stands for another text. The text that was signed is sought among the milliseconds
// of the seconds that it can have been.
func (v *Verifier) altered(header http.Header, body []byte) []Mistake {
	signature := strings.TrimSpace(header.Get(wire.HeaderSignature))
	if v.Scheme == Standard || len(signature) < 8 {
		return nil
	}
	used := header.Get(wire.HeaderSignatureTimestamp)
	if used == "" {
		used = header.Get(wire.HeaderTimestamp)
	}
	for _, secret := range v.Secrets {
		expected, err := wire.Sign(hook.SignatureScheme(v.Scheme), secret, used, body)
		if rest, cut := strings.CutPrefix(expected, signature); err == nil && cut && rest != "" {
			return []Mistake{{"signature_cut", fmt.Sprintf("the signature has %d of its %d characters: what stores or passes on the header cuts it", len(signature), len(expected))}}
		}
		for _, second := range signedSeconds(header, len(body)) {
			for ms := range int64(1000) {
				text := wire.Timestamp(time.UnixMilli(second*1000 + ms))
				expected, err := wire.Sign(hook.SignatureScheme(v.Scheme), secret, text, body)
				if err == nil && subtle.ConstantTimeCompare([]byte(expected), []byte(signature)) == 1 {
					return []Mistake{{"timestamp_altered", fmt.Sprintf("the timestamp that was signed is %s; it arrived as %.40q: something parsed it and printed it again", text, used)}}
				}
			}
		}
	}
	return nil
}

// signedSeconds are the seconds in which a request may have been signed: that of webhook-timestamp,
// or else those around the altered text, unless the body is so large that many signatures take long.
func signedSeconds(header http.Header, size int) []int64 {
	if at, ok := wire.ParseTimestamp(header.Get(wire.HeaderStandardTimestamp)); ok {
		return []int64{at.Unix()}
	}
	const small = 64 << 10
	if size > small {
		return nil
	}
	for _, name := range []string{wire.HeaderSignatureTimestamp, wire.HeaderTimestamp} {
		text := strings.Trim(header.Get(name), " \t\"'")
		if at, err := time.Parse(time.RFC3339, strings.Replace(text, " ", "T", 1)); err == nil {
			return []int64{at.Unix()}
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f < 1 {
			continue
		}
		for f > 1e11 { // milli-, micro- or nanoseconds
			f /= 1000
		}
		return []int64{int64(f), int64(f) - 1, int64(f) + 1}
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
	if v.Scheme != Standard && header.Get(wire.HeaderSignature) != "" && header.Get(wire.HeaderSignatureTimestamp) == "" && header.Get(wire.HeaderTimestamp) == "" {
		suspect("timestamp_missing", "neither "+wire.HeaderSignatureTimestamp+" nor "+wire.HeaderTimestamp+" is there: without the text that was signed nothing can be said about secret and body")
		return found
	}
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
	for _, secret := range v.Secrets {
		if code, detail := notASecret(secret); code != "" {
			suspect(code, detail)
		}
	}
	if found != nil {
		return found
	}
	if v.Scheme != Standard && v.standardSigned(header, body) {
		if len(strings.Fields(header.Get(wire.HeaderStandardSignature))) > 1 {
			suspect("secret_rotated", "secret and body are right, webhook-signature says so: while a rotation runs the Atlas header is signed by the other secret; give both")
		} else {
			suspect("header_altered", "secret and body are right, webhook-signature proves it: the Atlas signature or its timestamp was changed on the way")
		}
		return found
	}
	if mistake, differs := lengthMistake(header, body); differs {
		return []Mistake{mistake}
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

// notASecret knows what is given for a secret and is something else.
func notASecret(text string) (code, detail string) {
	text = strings.Trim(text, " \t\r\n\"'`")
	switch {
	case strings.HasPrefix(text, "wh_"):
		return "secret_is_id", "what was given for the secret is a webhook's id; the secret is shown in the console and by GET /v1/webhooks/{id}/secret"
	case strings.HasPrefix(text, "awo_"), strings.HasPrefix(text, "awc_"), strings.HasPrefix(text, "awp_"):
		return "secret_is_api_key", "what was given for the secret is an API key; each webhook has a secret of its own"
	case strings.ContainsAny(text, "•…*") || strings.HasSuffix(text, "..."):
		return "secret_masked", "the secret was given as it is shown masked; copy it whole"
	case strings.HasPrefix(text, "$") || strings.HasPrefix(text, "{{") || strings.HasPrefix(text, "<"):
		return "secret_placeholder", "what was given for the secret is the name of a variable that was not replaced"
	}
	return "", ""
}

// lengthMistake compares the body with the length that the request announced.
func lengthMistake(header http.Header, body []byte) (m Mistake, differs bool) {
	sent, err := strconv.Atoi(header.Get("Content-Length"))
	if err != nil || sent == len(body) {
		return m, false
	}
	if len(body) < sent {
		return Mistake{"body_cut", fmt.Sprintf("the body has %d of %d bytes: it was cut, or parsed and printed shorter", len(body), sent)}, true
	}
	detail := fmt.Sprintf("the body has %d bytes and had %d when it was sent: it was changed", len(body), sent)
	if backslashes := bytes.Count(body, []byte(`\\`)); backslashes > 0 && len(body)-backslashes == sent {
		detail += "; the backslashes were doubled"
	}
	return Mistake{"body_grown", detail}, true
}

func hasMisspelt(header http.Header) bool {
	for name := range header {
		if name != wire.HeaderSignature && strings.EqualFold(name, wire.HeaderSignature) {
			return true
		}
	}
	return false
}
