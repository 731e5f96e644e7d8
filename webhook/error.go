package webhook

import (
	"fmt"
	"time"
)

// Code names why a request was refused. It is stable, and an error, so that
// errors.Is(err, webhook.SignatureMismatch) works.
type Code string

const (
	SignatureMissing   Code = "signature_missing"
	SignatureMismatch  Code = "signature_mismatch" // body, timestamp, secret or scheme is not what was signed
	TimestampMissing   Code = "timestamp_missing"
	TimestampMalformed Code = "timestamp_malformed"
	TimestampTooOld    Code = "timestamp_too_old" // genuine, but a repetition of an old request, or a clock is wrong
	TimestampTooNew    Code = "timestamp_too_new"
	IDMissing          Code = "id_missing"       // Standard only
	BodyMalformed      Code = "body_malformed"   // genuine, but no event of this format
	BodyTooLarge       Code = "body_too_large"   // Handler only
	BodyUnreadable     Code = "body_unreadable"  // Handler only: the connection ended within the body
	SecretMissing      Code = "secret_missing"   // the verifier has none, or an empty one
	SecretMalformed    Code = "secret_malformed" // Standard only: none of the secrets can be one
	SchemeUnknown      Code = "scheme_unknown"
	KeysMissing        Code = "keys_missing"     // Ed25519 only: the verifier has no set of keys
	KeyMissing         Code = "key_missing"      // Ed25519 only: the request names none
	KeyUnknown         Code = "key_unknown"      // Ed25519 only: it is not in the set
	KeysUnavailable    Code = "keys_unavailable" // Ed25519 only: the set cannot be fetched now
)

// Error returns the code's text.
func (c Code) Error() string { return string(c) }

// Error is why a request was refused. It never holds a secret or a signature that would verify.
type Error struct {
	Code   Code
	Detail string        // a sentence for people
	Age    time.Duration // with TimestampTooOld, and negative with TimestampTooNew: now − signed time
	Err    error         // the cause, if there is one
}

func (e *Error) Error() string {
	s := "verify webhook: " + string(e.Code) + ": " + e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the code and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}
