package httpapi

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// nullable is a field of a change that can be left out, be null, or have a value.
type nullable[T any] struct {
	Given bool
	Value *T // nil for null
}

// UnmarshalJSONFrom reads the value; it is called for null, too.
func (n *nullable[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	n.Given = true
	return json.UnmarshalDecode(dec, &n.Value)
}

// Schema is that of the value, or null.
func (n nullable[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), true, "")
	s.Nullable = true
	return &s
}

// anyObject is the schema of a [client.Object].
type anyObject struct{}

// Schema is any object.
func (anyObject) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// Document is any JSON value, kept as it is written.
type Document jsontext.Value

// MarshalJSON is the document itself.
func (d Document) MarshalJSON() ([]byte, error) {
	if len(d) == 0 {
		return []byte("null"), nil
	}
	return d, nil
}

// UnmarshalJSON keeps a copy.
func (d *Document) UnmarshalJSON(b []byte) error {
	*d = append((*d)[:0:0], b...)
	return nil
}

// Schema is any value.
func (d Document) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Any JSON value."}
}
