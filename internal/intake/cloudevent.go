package intake

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// cloudEventJSON is the content type of a CloudEvent in structured mode (CloudEvents 1.0, JSON format).
const cloudEventJSON = "application/cloudevents+json"

// mediaType is a content type without its parameters.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// cloudEvent reads a CloudEvent in structured mode as an envelope.
func (r *reader) cloudEvent(body []byte) (env envelope, err error) {
	if err := checkDepth(body); err != nil {
		return env, err
	}
	r.reset(body)
	if r.dec.PeekKind() != '{' {
		return env, hook.Refuse(hook.KindMalformed, "invalid_json", "a CloudEvent is a JSON object")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return env, syntax(err)
	}
	attributes := map[string]string{}
	var data []byte
	for r.dec.PeekKind() != '}' {
		name, value, err := r.attribute()
		if err != nil {
			return env, err
		}
		switch _, twice := attributes[name]; {
		case twice, name == "data" && data != nil:
			return env, hook.Refuse(hook.KindMalformed, "duplicate_field", "%s stands there twice", clip(name))
		case name == "data":
			data = value
		case value[0] == '"':
			var s string
			if err := text(name, value, &s); err != nil {
				return env, err
			}
			attributes[name] = s
		case string(value) != "null":
			attributes[name] = string(value) // a number or a truth value, of an extension
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return env, syntax(err)
	}
	if err := r.end(); err != nil {
		return env, err
	}
	if _, ok := attributes["data_base64"]; ok {
		return env, hook.Invalid("data_base64", "not_json", "data must be JSON: send it as data")
	}
	return binaryEvent(attributes, data)
}

func (r *reader) attribute() (name string, value []byte, err error) {
	quoted, err := r.dec.ReadValue()
	if err != nil {
		return "", nil, syntax(err)
	}
	plain, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return "", nil, malformed("a member's name is not valid UTF-8")
	}
	if value, err = r.dec.ReadValue(); err != nil {
		return "", nil, syntax(err)
	}
	return string(plain), value, nil
}

// binaryEvent is the envelope of a CloudEvent whose attributes stand beside its data. The company is the
// extension companyid, the object its subject. Two sources may use one id for two events, so that both
// together make ours.
func binaryEvent(attributes map[string]string, data []byte) (env envelope, err error) {
	var wrong []hook.FieldError
	required := func(name string) string {
		if attributes[name] == "" {
			wrong = append(wrong, hook.FieldError{Field: name, Code: "required", Detail: "every CloudEvent has one"})
		}
		return attributes[name]
	}
	if version := required("specversion"); version != "" && version != "1.0" {
		wrong = append(wrong, hook.FieldError{Field: "specversion", Code: "unknown_version", Detail: "must be 1.0"})
	}
	id, source := required("id"), required("source")
	env.topic, env.company, env.object = required("type"), attributes["companyid"], attributes["subject"]
	env.seen = memberTopic | memberID
	if env.company != "" {
		env.seen |= memberCompany
	}
	if env.object != "" {
		env.seen |= memberObject
	}
	if content := mediaType(attributes["datacontenttype"]); content != "" && content != "application/json" && !strings.HasSuffix(content, "+json") {
		wrong = append(wrong, hook.FieldError{Field: "datacontenttype", Code: "not_json", Detail: "data must be JSON"})
	}
	if text := attributes["time"]; text != "" {
		t, err := time.Parse(time.RFC3339, strings.ToUpper(text))
		if err != nil {
			wrong = append(wrong, hook.FieldError{Field: "time", Code: "invalid_time", Detail: "a time is written as 2026-03-02T09:15:00Z (RFC 3339)"})
		}
		t = hook.Now(t)
		env.occurredAt, env.seen = &t, env.seen|memberOccurredAt
	}
	if wrong != nil {
		return env, hook.InvalidFields(wrong...)
	}
	env.id = hook.DerivedID(hook.EventPrefix, source+"\n"+id)
	if data = bytes.TrimSpace(data); len(data) > 0 {
		env.data, env.seen = data, env.seen|memberData
	}
	return env, nil
}

// byAttribute names the fields of a refusal as a CloudEvent has them.
func byAttribute(err error) error {
	e, ok := errors.AsType[*hook.Error](err)
	if !ok || e.Kind != hook.KindInvalid || len(e.Fields) == 0 {
		return err
	}
	attributes := map[string]string{"company_id": "companyid", "event": "type", "object_id": "subject", "occurred_at": "time"}
	fields := make([]hook.FieldError, len(e.Fields))
	for i, f := range e.Fields {
		if name, ok := attributes[f.Field]; ok {
			f.Field = name
		}
		fields[i] = f
	}
	return hook.InvalidFields(fields...)
}
