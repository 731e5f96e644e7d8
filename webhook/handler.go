package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// DefaultMaxBody is more than Atlas sends: at most 1 MiB of body in its default configuration.
const DefaultMaxBody = 4 << 20

type contextKey struct{}

// FromContext returns the event of a request that [Verifier.Handler] let pass.
func FromContext(ctx context.Context) (*Event, bool) {
	event, ok := ctx.Value(contextKey{}).(*Event)
	return event, ok
}

// Handler is middleware: next gets the requests that verify, with the [Event] in their context and
// their body to be read as if nobody had. The others are answered with the error's code as
// text, which Atlas shows to the subscription's owner: 401, or 413 and 400 for a body that is too
// large or does not arrive, 422 for a genuine one that is no event. A verifier that could verify
// nothing (no secret) answers 500, one that cannot fetch the keys 503.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, body, err := v.read(w, r)
		if err != nil {
			if v.Refused != nil {
				v.Refused(r, err)
			}
			answer(w, err)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), contextKey{}, event))
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength = int64(len(body))
		next.ServeHTTP(w, r)
	})
}

// read takes in a bounded body and verifies it.
func (v *Verifier) read(w http.ResponseWriter, r *http.Request) (*Event, []byte, error) {
	limit := v.MaxBody
	if limit == 0 {
		limit = DefaultMaxBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, nil, refuse(BodyTooLarge, "the body has more than %d bytes", limit)
	}
	if err != nil {
		return nil, nil, &Error{Code: BodyUnreadable, Detail: "the body did not arrive in full", Err: err}
	}
	event, err := v.Verify(r.Header, body)
	return event, body, err
}

// statusOf holds the answers other than 401.
var statusOf = map[Code]int{
	BodyTooLarge:    http.StatusRequestEntityTooLarge,
	BodyUnreadable:  http.StatusBadRequest,
	BodyMalformed:   http.StatusUnprocessableEntity,
	SecretMissing:   http.StatusInternalServerError,
	SecretMalformed: http.StatusInternalServerError,
	SchemeUnknown:   http.StatusInternalServerError,
	KeysMissing:     http.StatusInternalServerError,
	KeysUnavailable: http.StatusServiceUnavailable, // to be sent again
}

func answer(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: SignatureMismatch}
	}
	status, ok := statusOf[e.Code]
	if !ok {
		status = http.StatusUnauthorized
	}
	text := string(e.Code) + "\n"
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that is gone has no use for it
}
