package hook

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrorKind is one of the few kinds of error that cross package borders; httpapi maps each to a
// status in one table.
type ErrorKind string

const (
	KindMalformed    ErrorKind = "malformed"    // 400
	KindUnauthorized ErrorKind = "unauthorized" // 401
	KindForbidden    ErrorKind = "forbidden"    // 403
	KindNotFound     ErrorKind = "not_found"    // 404
	KindConflict     ErrorKind = "conflict"     // 409
	KindPrecondition ErrorKind = "precondition" // 412
	KindTooLarge     ErrorKind = "too_large"    // 413
	KindInvalid      ErrorKind = "invalid"      // 422, by field
	KindLimited      ErrorKind = "limited"      // 429
	KindUnavailable  ErrorKind = "unavailable"  // 503
)

// Error is an error that a caller may see. Code is stable; Detail is a sentence that names the rule.
type Error struct {
	Kind       ErrorKind
	Code       string
	Detail     string
	Fields     []FieldError   // for KindInvalid
	Extra      map[string]any // further members of the problem document, as existing_id
	RetryAfter time.Duration  // for KindLimited and KindUnavailable
	Err        error          // the cause, for logs only
}

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field  string `json:"field"` // as the caller wrote it: "headers.X-Foo", "[3].event"
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Hint   string `json:"-"` // more, for an operator's eyes alone; "" for none
}

// String names the field where there is one, and says what is wrong.
func (f FieldError) String() string {
	if f.Field == "" {
		return f.Detail
	}
	return f.Field + ": " + f.Detail
}

func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString(e.Code)
	if e.Detail != "" {
		s.WriteString(": " + e.Detail)
	}
	for _, f := range e.Fields {
		s.WriteString("; " + f.String())
	}
	if e.Err != nil {
		s.WriteString(": " + e.Err.Error())
	}
	return s.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Invalid is a refusal of one field.
func Invalid(field, code, format string, args ...any) *Error {
	return InvalidFields(FieldError{Field: field, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// InvalidFields is a refusal of several fields. Its code is that of the first.
func InvalidFields(fields ...FieldError) *Error {
	return &Error{Kind: KindInvalid, Code: fields[0].Code, Detail: fields[0].String(), Fields: fields}
}

// Refuse is an error of a kind with a stable code and a sentence.
func Refuse(kind ErrorKind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// NotFound is the answer for an unknown id, which is also the answer for a foreign one.
func NotFound(what string) *Error {
	return Refuse(KindNotFound, "not_found", "no such %s", what)
}

// IsKind reports whether err is, or wraps, an *Error of the kind.
func IsKind(err error, kind ErrorKind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
