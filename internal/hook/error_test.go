package hook_test

import (
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// TestErrorWithoutAField: what is wrong with a body as a whole begins with what is wrong.
func TestErrorWithoutAField(t *testing.T) {
	e := hook.InvalidFields(
		hook.FieldError{Code: "invalid_type", Detail: "an event is an object"},
		hook.FieldError{Field: "topic", Code: "required", Detail: "is required"},
	)
	if e.Detail != "an event is an object" {
		t.Errorf("the detail is %q", e.Detail)
	}
	if want := "invalid_type: an event is an object; an event is an object; topic: is required"; e.Error() != want {
		t.Errorf("the error is %q", e.Error())
	}
	if e := hook.Invalid("topic", "required", "is required"); e.Detail != "topic: is required" {
		t.Errorf("with a field the detail is %q", e.Detail)
	}
}
