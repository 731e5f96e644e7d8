package change

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// value is a JSON value: nil, bool, number, text, []value or object.
type value any

type (
	// number is the canonical text of a number: digits without zeros at either end, and a power of ten.
	number string
	// text is a string; what cannot be unescaped, such as half a surrogate pair, is kept as written.
	text string
	// object has one value for each name, of several the last.
	object map[string]value
)

// parse reads a document, which is an object or null.
func parse(field string, doc []byte) (object, error) {
	if doc == nil {
		return nil, nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(doc), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	v, err := read(dec)
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return nil, hook.Refuse(hook.KindMalformed, "invalid_json", "%s is not a JSON document", field)
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case object:
		return v, nil
	}
	return nil, hook.Invalid(field, "invalid_type", "must be the object's document, or null where it does not exist")
}

// read reads the next value. Whoever calls has bounded the nesting.
func read(dec *jsontext.Decoder) (value, error) {
	switch dec.PeekKind() {
	case '{':
		_, err := dec.ReadToken()
		o := object{}
		for err == nil && dec.PeekKind() != '}' {
			var name, v value
			if name, err = read(dec); err != nil {
				break
			}
			key, _ := name.(text)
			v, err = read(dec)
			o[string(key)] = v
		}
		if err == nil {
			_, err = dec.ReadToken()
		}
		return o, err
	case '[':
		_, err := dec.ReadToken()
		list := []value{}
		for err == nil && dec.PeekKind() != ']' {
			var v value
			v, err = read(dec)
			list = append(list, v)
		}
		if err == nil {
			_, err = dec.ReadToken()
		}
		return list, err
	default:
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		switch raw[0] {
		case 'n':
			return nil, nil
		case 't', 'f':
			return raw[0] == 't', nil
		case '"':
		default:
			return canonical(raw), nil
		}
		if plain, err := jsontext.AppendUnquote(nil, raw); err == nil {
			return text(plain), nil
		}
		return text(raw), nil
	}
}

// canonical writes a number so that equal ones have equal texts: 10, 10.0 and 1e1 are 1e1.
func canonical(raw []byte) number {
	mantissa, power, _ := bytes.Cut(bytes.ToLower(raw), []byte{'e'})
	sign := ""
	if mantissa[0] == '-' {
		sign, mantissa = "-", mantissa[1:]
	}
	exponent := int64(0)
	if len(power) > 0 {
		var ok bool
		if exponent, ok = digits(power); !ok {
			return number(raw) // no number that anybody means; equal to what is written so
		}
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	exponent -= int64(len(fraction))
	all := bytes.TrimLeft(slices.Concat(whole, fraction), "0")
	if len(all) == 0 {
		return "0"
	}
	kept := bytes.TrimRight(all, "0")
	exponent += int64(len(all) - len(kept))
	return number(sign + string(kept) + "e" + strconv.FormatInt(exponent, 10))
}

// equal compares two values; in objects a name that is absent is one whose value is null.
func equal(a, b value) bool {
	switch a := a.(type) {
	case object:
		b, ok := b.(object)
		if !ok {
			return false
		}
		for name, v := range a {
			if !equal(v, b[name]) {
				return false
			}
		}
		for name, v := range b {
			if _, both := a[name]; !both && v != nil {
				return false
			}
		}
		return true
	case []value:
		b, ok := b.([]value)
		return ok && slices.EqualFunc(a, b, equal)
	}
	switch b.(type) {
	case object, []value:
		return false
	}
	return a == b
}

// raw writes a value as JSON, equal ones in equal texts (a null member counts as absent).
func raw(v value) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(nil, v)
	case number:
		return v.plain()
	case text:
		b, err := jsontext.AppendQuote(nil, v)
		if err != nil { // bytes that are no text cannot come from a document
			return []byte(`""`)
		}
		return b
	case []value:
		b := []byte{'['}
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, raw(e)...)
		}
		return append(b, ']')
	case object:
		b := []byte{'{'}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if v[name] == nil {
				continue
			}
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(append(append(b, raw(text(name))...), ':'), raw(v[name])...)
		}
		return append(b, '}')
	}
	return []byte("null")
}

// plain writes a number of an ordinary size without a power of ten.
func (n number) plain() []byte {
	mantissa, power, _ := bytes.Cut([]byte(n), []byte{'e'})
	zeros, ok := digits(power)
	switch {
	case !ok || zeros < -20 || zeros > 20:
		return []byte(n)
	case zeros >= 0:
		return append(mantissa, bytes.Repeat([]byte{'0'}, int(zeros))...)
	}
	mantissa, negative := bytes.CutPrefix(mantissa, []byte{'-'})
	if missing := int(-zeros) + 1 - len(mantissa); missing > 0 {
		mantissa = append(bytes.Repeat([]byte{'0'}, missing), mantissa...)
	}
	point := len(mantissa) + int(zeros)
	plain := slices.Concat(mantissa[:point], []byte{'.'}, mantissa[point:])
	if negative {
		plain = append([]byte{'-'}, plain...)
	}
	return plain
}

// digits reads a power of ten; ok is false for one that no number needs.
func digits(s []byte) (n int64, ok bool) {
	n, err := strconv.ParseInt(string(s), 10, 32)
	return n, err == nil
}
