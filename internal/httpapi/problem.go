package httpapi

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/go-json-experiment/json"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// statusOf is the one table from kinds of error to statuses.
var statusOf = map[hook.ErrorKind]int{
	hook.KindMalformed:    http.StatusBadRequest,
	hook.KindUnauthorized: http.StatusUnauthorized,
	hook.KindForbidden:    http.StatusForbidden,
	hook.KindNotFound:     http.StatusNotFound,
	hook.KindConflict:     http.StatusConflict,
	hook.KindPrecondition: http.StatusPreconditionFailed,
	hook.KindTooLarge:     http.StatusRequestEntityTooLarge,
	kindMediaType:         http.StatusUnsupportedMediaType,
	hook.KindInvalid:      http.StatusUnprocessableEntity,
	hook.KindLimited:      http.StatusTooManyRequests,
	hook.KindUnavailable:  http.StatusServiceUnavailable,
}

// problem is what huma writes as an error.
type problem struct{ client.Problem }

// GetStatus is the answer's status.
func (p *problem) GetStatus() int { return p.Status }

// ContentType is that of a problem.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// problemOf turns an error into what a caller may see of it.
func problemOf(err error, requestID string) *client.Problem {
	p := &client.Problem{Type: "about:blank", RequestID: requestID}
	var e *hook.Error
	if errors.As(err, &e) && statusOf[e.Kind] != 0 {
		p.Status, p.Code, p.Detail, p.Errors = statusOf[e.Kind], e.Code, e.Detail, e.Fields
		p.RetryAfter = e.RetryAfter
		p.ExistingID, _ = e.Extra["existing_id"].(string)
		p.IDs, _ = e.Extra["ids"].([]string)
		if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
			p.RetryAfter = max(p.RetryAfter, time.Second)
		}
	} else {
		p.Status, p.Code = http.StatusInternalServerError, "internal_error"
		p.Detail = "something went wrong on this side; the request id finds it in the log"
	}
	p.Title = http.StatusText(p.Status)
	return p
}

func problemJSON(p *client.Problem) []byte {
	body, err := json.Marshal(p)
	if err != nil {
		return []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal_error"}`)
	}
	return append(body, '\n')
}

func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}

// tellHuma makes huma's errors ours. They are globals of that package; every API sets the same.
var tellHuma = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.ValidateStrictCasing = true
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return &problem{*humaProblem(status, msg, errs, "")}
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		_, w := humago.Unwrap(ctx)
		x := w.(*exchange)
		var cause error
		if status == http.StatusInternalServerError && len(errs) == 1 {
			cause = errs[0]
			p := problemOf(cause, x.id)
			x.note(p, cause)
			return &problem{*p}
		}
		p := humaProblem(status, msg, errs, x.id)
		x.note(p, errors.Join(append(errs, errors.New(msg))...))
		return &problem{*p}
	}
})

// humaProblem puts what huma's own checks found into our words.
func humaProblem(status int, msg string, errs []error, requestID string) *client.Problem {
	p := &client.Problem{Type: "about:blank", Status: status, Detail: msg, RequestID: requestID}
	switch status {
	case http.StatusRequestEntityTooLarge:
		p.Code, p.Detail = "body_too_large", "the body is larger than this route takes"
	case http.StatusRequestTimeout:
		p.Code, p.Detail = "body_incomplete", "the body did not arrive in time"
	case http.StatusUnsupportedMediaType:
		p.Code, p.Detail = "unsupported_media_type", "send Content-Type: application/json"
	case http.StatusBadRequest:
		p.Code = "body_required"
		if len(errs) > 0 {
			p.Code, p.Detail = cutCode(fieldError(errs[0]).Detail)
		}
	default:
		for _, err := range errs {
			p.Errors = append(p.Errors, fieldError(err))
			if location(err) == "query" || location(err) == "header" {
				p.Status = http.StatusBadRequest
			}
		}
		p.Code = "invalid"
		if len(p.Errors) > 0 {
			p.Code, p.Detail = p.Errors[0].Code, p.Errors[0].String()
		}
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// cutCode takes the code off the text of a [hook.Error].
func cutCode(text string) (code, detail string) {
	code, detail, ok := strings.Cut(text, ": ")
	if !ok || strings.ContainsAny(code, " ()") {
		return "invalid_json", text
	}
	return code, detail
}

func location(err error) string {
	var d *huma.ErrorDetail
	if !errors.As(err, &d) {
		return ""
	}
	where, _, _ := strings.Cut(d.Location, ".")
	return where
}

// fieldError is one finding of huma's validation: the field without huma's prefix, a stable code.
func fieldError(err error) hook.FieldError {
	var d *huma.ErrorDetail
	if !errors.As(err, &d) {
		return hook.FieldError{Code: "invalid", Detail: err.Error()}
	}
	where, field, _ := strings.Cut(d.Location, ".")
	f := hook.FieldError{Field: field, Code: codeOf(d.Message, where), Detail: d.Message}
	if strings.HasPrefix(d.Message, "invalid date/time for format") || d.Message == validation.MsgExpectedRFC3339DateTime {
		text, _ := d.Value.(string)
		f.Detail = timeWords(text)
	}
	if f.Code == "required" {
		name := strings.TrimSuffix(strings.TrimPrefix(d.Message, "expected required property "), " to be present")
		if !strings.Contains(name, " ") && name != d.Message {
			f.Field = strings.TrimPrefix(f.Field+"."+name, ".")
		}
		f.Detail = "is required"
	}
	return f
}

func codeOf(message, where string) string {
	switch {
	case message == validation.MsgUnexpectedProperty:
		return "unknown_field"
	case message == "unknown query parameter":
		return "unknown_parameter"
	case where == "query" || where == "header":
		return "invalid_parameter"
	case strings.HasPrefix(message, "expected required property"), strings.HasPrefix(message, "required "):
		return "required"
	}
	switch message {
	case validation.MsgExpectedBoolean, validation.MsgExpectedNumber, validation.MsgExpectedInteger,
		validation.MsgExpectedString, validation.MsgExpectedArray, validation.MsgExpectedObject:
		return "invalid_type"
	}
	return "invalid_value"
}
