package client

import "encoding/json"

// Change is a field of a change that can be left alone (its zero value), set ([To]), or set back to
// what it is by default ([Clear]).
type Change[T any] struct {
	given bool
	value *T
}

// To sets a field.
func To[T any](value T) Change[T] { return Change[T]{given: true, value: &value} }

// Clear sets a field back: no filter, no rate limit, the server's default.
func Clear[T any]() Change[T] { return Change[T]{given: true} }

// IsZero reports whether the field is left alone; encoding/json leaves it out then.
func (c Change[T]) IsZero() bool { return !c.given }

// MarshalJSON is the value, or null.
func (c Change[T]) MarshalJSON() ([]byte, error) { return json.Marshal(c.value) }

// UnmarshalJSON sets the field, or sets it back for null.
func (c *Change[T]) UnmarshalJSON(text []byte) error {
	c.given = true
	return json.Unmarshal(text, &c.value)
}
