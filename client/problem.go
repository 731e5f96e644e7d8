package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Problem is an answer of the server that is an error (RFC 9457).
type Problem struct {
	Type   string `json:"type" example:"about:blank" doc:"Always about:blank: the code says more than a type could."`
	Title  string `json:"title" example:"Unprocessable Entity" doc:"The status in words."`
	Status int    `json:"status" example:"422"`
	Detail string `json:"detail" example:"event: there is no such topic; did you mean conversation.status?" doc:"What is wrong, for people."`
	// Code is "" if something before the server answered.
	Code       string       `json:"code" example:"unknown_topic" doc:"What is wrong, for programs. Stable."`
	RequestID  string       `json:"request_id" doc:"The X-Request-Id of this answer."`
	Errors     []FieldError `json:"errors,omitempty" doc:"What is wrong with each field, for 400 and 422."`
	ExistingID string       `json:"existing_id,omitempty" doc:"What is there already, for duplicate_webhook and replay_running."`
	IDs        []string     `json:"ids,omitempty" doc:"For outcome_unknown: the ids to publish the same events under again."`

	// RetryAfter is the pause that the server asks for; 0 if it does not.
	RetryAfter time.Duration `json:"-"`
}

// FieldError says what is wrong with one field of a request: the field as it was sent
// ("headers.X-Foo", in a batch "[3].event"), a stable code, a sentence.
type FieldError = hook.FieldError

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
		if i == 0 && p.Detail == f.String() {
			continue // the detail repeats the first
		}
		b.WriteString("; " + f.String())
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
