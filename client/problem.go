package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is an answer of the server that is an error (RFC 9457).
type Problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail"`           // for people
	Code      string       `json:"code"`             // for programs; stable; "" if something before the server answered
	RequestID string       `json:"request_id"`       // finds the request in the server's log
	Errors    []FieldError `json:"errors,omitempty"` // for 400 and 422: what is wrong with each field
	// ExistingID is the webhook that is there already, for the code duplicate_webhook.
	ExistingID string `json:"existing_id,omitempty"`
	// IDs are the events that may or may not have been accepted, for the code outcome_unknown:
	// publish them again under these ids.
	IDs []string `json:"ids,omitempty"`

	// RetryAfter is the pause that the server asks for; 0 if it does not.
	RetryAfter time.Duration `json:"-"`
}

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field  string `json:"field"` // as it was sent: "headers.X-Foo", in a batch "[3].event"
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error is the code, the detail and the request's id.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Code == "" {
		fmt.Fprintf(&b, "the server answered %d %s", p.Status, http.StatusText(p.Status))
	} else {
		fmt.Fprintf(&b, "%s (%d)", p.Code, p.Status)
	}
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	for i, f := range p.Errors {
		if i == 0 && p.Detail == f.Field+": "+f.Detail {
			continue // the detail repeats the first
		}
		b.WriteString("; " + f.Field + ": " + f.Detail)
	}
	if p.RequestID != "" {
		b.WriteString(" [request " + p.RequestID + "]")
	}
	return b.String()
}

// maxProblem bounds how much of an answer that is an error is read.
const maxProblem = 1 << 20

// problemOf reads an answer that is an error. Something between here and the server may have
// answered, with no problem document at all.
func problemOf(r *http.Response) *Problem {
	p := &Problem{}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxProblem))
	if err != nil || json.Unmarshal(text, p) != nil {
		p = &Problem{}
	}
	p.Status = r.StatusCode
	if p.RequestID == "" {
		p.RequestID = r.Header.Get("X-Request-Id")
	}
	p.RetryAfter = retryAfter(r.Header, time.Now())
	return p
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
