// Package topic is what a topic of the platform's own may be, and the file that an operator writes of them.
//
// The documentation's fifteen are built in (see package hook) and never change. Every other topic is data: it
// is put by the API or named by topics_file, and [Check] judges it alike in both cases.
package topic

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic/schema"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Bounds of one topic.
const (
	maxText   = 1024 // characters of its description, and of its summary
	maxSample = 16 << 10
)

var category = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,31}$`)

// defaultSample is that of a topic without one: something to publish when it is tried out.
const defaultSample = `{"id": "1"}`

// Check returns a topic of the platform's own as it is kept, or everything that is wrong with it, by field.
func Check(t hook.Topic) (hook.Topic, []hook.FieldError) {
	var wrong []hook.FieldError
	refuse := func(field, code, detail string) {
		wrong = append(wrong, hook.FieldError{Field: field, Code: code, Detail: detail})
	}
	if !hook.ValidTopic(t.Name) {
		refuse("topic", "invalid_topic", "must be 1–64 of a-z, 0-9 and _, in parts between dots")
	}
	switch {
	case t.Category == "":
		refuse("category", "required", "every topic has a category, as CONVERSATION")
	case !category.MatchString(t.Category):
		refuse("category", "invalid_category", "must be 1–32 of A-Z, 0-9 and _, and begin with a letter")
	}
	if t.Description == "" {
		refuse("description", "required", "every topic says what happened")
	}
	for _, text := range []struct{ field, value string }{{"description", t.Description}, {"summary", t.Summary}} {
		if utf8.RuneCountInString(text.value) > maxText {
			refuse(text.field, "too_long", "at most "+strconv.Itoa(maxText)+" characters")
		}
	}
	if utf8.RuneCountInString(t.Since) > 32 {
		refuse("since", "too_long", "at most 32 characters")
	}
	checkDerive(t, refuse)
	given := t.Sample != ""
	if !given {
		t.Sample = defaultSample
	}
	if len(t.Sample) > maxSample {
		refuse("sample", "too_large", "at most "+strconv.Itoa(maxSample)+" bytes")
	} else if doc, err := wire.Parse([]byte(t.Sample)); err != nil {
		refuse("sample", "invalid_json", err.Error())
	} else if doc.Encoded() {
		refuse("sample", "data_already_encoded", "is a string that holds JSON: write the document itself")
	}
	switch {
	case t.Validate != "" && !t.Validate.Known():
		refuse("validate", "invalid_validate", "must be off, warn or reject, or left out")
	case t.Validate != "" && t.Schema == "":
		refuse("validate", "schema_required", "there is no schema to check documents against")
	}
	if t.Schema == "" {
		return t, wrong
	}
	compiled, problems := schema.Compile(t.Schema)
	for _, p := range problems {
		refuse("schema"+p.Pointer, "invalid_schema", p.Detail)
	}
	if wrong != nil {
		return t, wrong
	}
	for _, v := range compiled.Validate([]byte(t.Sample)) {
		detail := "is against the schema (" + v.Keyword + ")"
		if !given {
			detail += "; without a sample it is " + defaultSample + ": give one"
		}
		refuse("sample"+v.Pointer, "schema_violation", detail)
	}
	return t, wrong
}

// Bounds of a rule by which a topic is derived.
const maxPaths = 16

var objectType = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

func checkDerive(t hook.Topic, refuse func(field, code, detail string)) {
	paths := strings.Split(t.DerivePaths, "\n")
	switch {
	case t.DeriveFrom == "" && t.DerivePaths == "":
		return
	case t.DeriveFrom == "":
		refuse("derive.object_type", "required", "whose changes the topic is derived from, as conversation")
	case !objectType.MatchString(t.DeriveFrom):
		refuse("derive.object_type", "invalid_object_type", "must be 1–32 of a-z, 0-9 and _, and begin with a letter")
	}
	switch {
	case t.DerivePaths == "":
	case len(paths) > maxPaths:
		refuse("derive.paths", "too_many", "at most "+strconv.Itoa(maxPaths)+" paths")
	default:
		for i, p := range paths {
			if !validPath(p) {
				refuse("derive.paths["+strconv.Itoa(i)+"]", "invalid_path", "must be a JSON pointer to a member, as /status, of at most 256 bytes without blanks")
			}
		}
	}
}

func validPath(p string) bool {
	return strings.HasPrefix(p, "/") && len(p) <= 256 && !strings.ContainsFunc(p, unicode.IsSpace) && jsontext.Pointer(p).IsValid()
}
