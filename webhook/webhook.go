// Package webhook verifies the webhooks that Atlas sends.
//
// A receiver wraps its handler, and is only called for requests that are genuine and fresh:
//
//	v := &webhook.Verifier{Secrets: []string{secret}}
//	http.Handle("POST /atlas", v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
//		event, _ := webhook.FromContext(r.Context())
//		log.Println(event.Topic, event.ID)
//	})))
//
// One that is no net/http server calls [Verify] with the headers and the body.
//
// # Four things that go wrong
//
// The body must be the raw bytes that arrived. The bytes are made so that printing the parsed body
// compactly gives them back in most languages, but any other change to them (an added newline, a
// proxy that re-encodes) does not verify.
//
// The key is the whole text of the secret. Other systems decode what follows whsec_; Atlas's own
// header does not (the webhook-* headers, and so [Standard], do).
//
// The timestamp is signed as text. Do not parse it and print it again.
//
// The answer must come soon: take the event, answer 2xx, work afterwards. An answer that is late
// or is none causes the same event to be sent again, with the same [Event.ID].
//
// [Verifier.Diagnose] finds out which mistake it is.
//
// # What is authenticated
//
// The Atlas header signs the timestamp and the body, hence [Event.Topic], [Event.Data] and
// [Event.SignedAt]. The other fields come from headers that nobody signs, except the id: it is
// also in webhook-id, which webhook-signature covers. [Event.IDVerified] says that this was
// checked. A receiver that guards against replayed requests keys on [Event.ID] where IDVerified is
// true, else on [Event.Signature].
package webhook

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Scheme is how a subscription's requests are signed: its signature_scheme.
type Scheme string

// The schemes of X-Atlas-Webhook-Signature, and Standard for the webhook-* headers.
const (
	Hex          Scheme = "hex"           // hex(HMAC-SHA256(secret, timestamp + "." + body)), the default
	Base64       Scheme = "base64"        // base64(HMAC-SHA256(secret, timestamp + body))
	Base64Dotted Scheme = "base64-dotted" // base64(HMAC-SHA256(secret, timestamp + "." + body))
	PythonDict   Scheme = "python-dict"   // as hex, over what Python prints for the parsed body
	// Standard verifies webhook-signature by the Standard Webhooks specification instead. It needs
	// a secret of whsec_ and base64.
	Standard Scheme = "standard"
	// Ed25519 verifies the signature v1a of webhook-signature by the public key that the request names. It needs
	// Keys, and no secret: of a webhook with signature_ed25519.
	Ed25519 Scheme = "ed25519"
)

// DefaultTolerance is how far the signed time may lie from now, in either direction.
const DefaultTolerance = 5 * time.Minute

// Verifier verifies the requests of one subscription, or of several with the same scheme. Its zero
// value needs Secrets only. It is not changed by its methods, which may be called concurrently.
type Verifier struct {
	// Secrets holds the subscription's secret; several while a rotation runs, or for several
	// subscriptions. A request is genuine if one of them signed it. There must be one and none may
	// be empty.
	Secrets   []string
	Scheme    Scheme           // "" is Hex
	Keys      *KeySet          // of Ed25519, which needs no secret
	Format    Format           // the subscription's data_format; "" tells it from each body, see [Event.Data]
	Tolerance time.Duration    // 0 is DefaultTolerance; below 0 the time is not checked
	Now       func() time.Time // nil is time.Now

	// MaxBody bounds the bytes of a body that Handler reads. 0 is DefaultMaxBody.
	MaxBody int64
	// Refused, if set, is told of every request that Handler refuses, for logs.
	Refused func(*http.Request, error)
}

// Verify verifies a request by the default scheme. See [Verifier.Verify].
func Verify(header http.Header, body []byte, secrets ...string) (*Event, error) {
	v := Verifier{Secrets: secrets}
	return v.Verify(header, body)
}

// Verify returns the event of a request whose signature is by one of the secrets and whose time is
// within the tolerance. The body is the raw bytes that arrived.
//
// Its errors are of type [*Error]; errors.Is tells them apart by their [Code]. The signature is
// checked before the time, so that [TimestampTooOld] and [TimestampTooNew] are said of genuine
// requests only. Secrets and signatures are compared in constant time.
func (v *Verifier) Verify(header http.Header, body []byte) (*Event, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	var signed signedParts
	var err error
	switch v.Scheme {
	case Ed25519:
		signed, err = v.verifyEd25519(header, body)
	case Standard:
		signed, err = v.verifyStandard(header, body)
	default:
		signed, err = v.verifyAtlas(header, body)
	}
	if err != nil {
		return nil, err
	}
	if err := v.checkTime(signed.at); err != nil {
		return nil, err
	}
	event, err := parseBody(body, v.Format)
	if err != nil {
		return nil, err
	}
	event.SignedAt, event.Signature = signed.at, signed.signature
	event.readHeader(header)
	if v.Scheme == Standard || v.Scheme == Ed25519 || signed.sameSecond(header) && v.standardSigned(header, body) {
		event.ID, event.IDVerified = header.Get(wire.HeaderStandardID), true
	}
	return event, nil
}

// signedParts is what a verified signature vouches for.
type signedParts struct {
	timestamp string
	at        time.Time
	signature string
}

// sameSecond reports whether the webhook-* headers are of the same signing as the Atlas header, so
// that nobody can put the genuine id of one request on another that has the same body.
func (s signedParts) sameSecond(header http.Header) bool {
	return header.Get(wire.HeaderStandardTimestamp) == wire.StandardSeconds(s.timestamp)
}

// check finds what is wrong with the verifier itself.
func (v *Verifier) check() error {
	if v.Scheme == Ed25519 {
		if v.Keys == nil {
			return refuse(KeysMissing, "no set of public keys was given")
		}
		return nil
	}
	if len(v.Secrets) == 0 || slices.Contains(v.Secrets, "") {
		return refuse(SecretMissing, "no secret was given, or an empty one, which would let anybody sign")
	}
	switch v.Scheme {
	case "", Hex, Base64, Base64Dotted, PythonDict, Standard:
		return nil
	default:
		return refuse(SchemeUnknown, "there is no scheme %q", v.Scheme)
	}
}

func (v *Verifier) verifyAtlas(header http.Header, body []byte) (signedParts, error) {
	signature := header.Get(wire.HeaderSignature)
	if signature == "" {
		return signedParts{}, refuse(SignatureMissing, "the request has no %s", wire.HeaderSignature)
	}
	timestamp, at, err := readTimestamp(header, wire.HeaderSignatureTimestamp, wire.HeaderTimestamp)
	if err != nil {
		return signedParts{}, err
	}
	genuine := 0
	for _, secret := range v.Secrets {
		expected, err := wire.Sign(hook.SignatureScheme(v.Scheme), secret, timestamp, body)
		if err != nil {
			return signedParts{}, &Error{Code: SignatureMismatch, Detail: "the body cannot have been signed by this scheme", Err: err}
		}
		genuine |= subtle.ConstantTimeCompare([]byte(signature), []byte(expected))
	}
	if genuine == 0 {
		return signedParts{}, refuse(SignatureMismatch, "no secret given here gives this signature for this timestamp and body")
	}
	return signedParts{timestamp, at, signature}, nil
}

func (v *Verifier) verifyStandard(header http.Header, body []byte) (signedParts, error) {
	signature := header.Get(wire.HeaderStandardSignature)
	switch {
	case signature == "":
		return signedParts{}, refuse(SignatureMissing, "the request has no webhook-signature")
	case header.Get(wire.HeaderStandardID) == "":
		return signedParts{}, refuse(IDMissing, "the request has no webhook-id")
	}
	timestamp, at, err := readTimestamp(header, wire.HeaderStandardTimestamp)
	if err != nil {
		return signedParts{}, err
	}
	if !slices.ContainsFunc(v.Secrets, isStandard) {
		return signedParts{}, refuse(SecretMalformed, "a secret for the webhook-* headers is whsec_ and the base64 of 24–64 bytes")
	}
	if !v.standardSigned(header, body) {
		return signedParts{}, refuse(SignatureMismatch, "no secret given here gives a signature of webhook-signature for this id, timestamp and body")
	}
	return signedParts{timestamp, at, signature}, nil
}

// standardSigned reports whether webhook-signature holds a signature by one of the secrets.
func (v *Verifier) standardSigned(header http.Header, body []byte) bool {
	id, seconds := header.Get(wire.HeaderStandardID), header.Get(wire.HeaderStandardTimestamp)
	signatures := strings.Fields(header.Get(wire.HeaderStandardSignature))
	if id == "" || seconds == "" || len(signatures) > maxSignatures {
		return false
	}
	genuine := 0
	for _, secret := range v.Secrets {
		key, ok := wire.StandardKey(secret)
		if !ok {
			continue
		}
		expected := []byte(wire.SignStandard(key, id, seconds, body))
		for _, signature := range signatures {
			genuine |= subtle.ConstantTimeCompare([]byte(signature), expected)
		}
	}
	return genuine == 1
}

// maxSignatures bounds the work that a stranger's header can cause. A rotation needs two.
const maxSignatures = 16

func isStandard(secret string) bool {
	_, ok := wire.StandardKey(secret)
	return ok
}

// readTimestamp reads the first of the named headers that the request has.
func readTimestamp(header http.Header, names ...string) (text string, at time.Time, err error) {
	for _, name := range names {
		if len(header.Values(name)) == 0 {
			continue
		}
		text = header.Get(name)
		at, ok := wire.ParseTimestamp(text)
		if !ok {
			return "", time.Time{}, refuse(TimestampMalformed, "%s is %.40q, not seconds since the epoch", name, text)
		}
		return text, at, nil
	}
	return "", time.Time{}, refuse(TimestampMissing, "the request has no %s", names[0])
}

func (v *Verifier) checkTime(at time.Time) error {
	tolerance := v.Tolerance
	switch {
	case tolerance < 0:
		return nil
	case tolerance == 0:
		tolerance = DefaultTolerance
	}
	switch age := v.now().Sub(at); {
	case age > tolerance:
		return &Error{Code: TimestampTooOld, Detail: "it was signed " + roughly(age) + " ago, more than " + tolerance.String(), Age: age}
	case age < -tolerance:
		return &Error{Code: TimestampTooNew, Detail: "it was signed " + roughly(-age) + " in the future, more than " + tolerance.String(), Age: age}
	}
	return nil
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

func roughly(d time.Duration) string { return d.Round(time.Second).String() }
