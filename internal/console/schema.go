package console

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// schema is what the sample of a topic tells of the documents that are published under it, as a JSON
// Schema: which fields there are and what they hold. It demands none and forbids none, because a
// topic may get more fields; of one that is null in the sample it says nothing.
func schema(sample string) string {
	var b strings.Builder
	b.WriteString(`{"$schema": "https://json-schema.org/draft/2020-12/schema", `)
	d := jsontext.NewDecoder(strings.NewReader(sample))
	if err := describe(&b, d, ""); err != nil {
		return ""
	}
	return pretty(b.String())
}

// describe writes what the next value of a document is: the inside of an object and its end. before
// is what opens it.
func describe(b *strings.Builder, d *jsontext.Decoder, before string) error {
	b.WriteString(before)
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	switch t.Kind() {
	case '{':
		return describeObject(b, d)
	case '[':
		return describeList(b, d)
	case '"':
		b.WriteString(`"type": "string"` + format(t.String()) + `}`)
	case '0':
		kind := "number"
		if _, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			kind = "integer"
		}
		b.WriteString(`"type": "` + kind + `"}`)
	case 't', 'f':
		b.WriteString(`"type": "boolean"}`)
	default:
		b.WriteString(`}`)
	}
	return nil
}

func describeObject(b *strings.Builder, d *jsontext.Decoder) error {
	b.WriteString(`"type": "object", "properties": {`)
	for n := 0; d.PeekKind() == '"'; n++ {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if n > 0 {
			b.WriteString(`, `)
		}
		if err := describe(b, d, jsonQuote(name.String())+`: {`); err != nil {
			return err
		}
	}
	b.WriteString(`}}`)
	_, err := d.ReadToken()
	return err
}

// describeList takes the first item for all.
func describeList(b *strings.Builder, d *jsontext.Decoder) error {
	b.WriteString(`"type": "array"`)
	if d.PeekKind() != ']' {
		if err := describe(b, d, `, "items": {`); err != nil {
			return err
		}
	}
	b.WriteString(`}`)
	for d.PeekKind() != ']' {
		if err := d.SkipValue(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// format names what a text is, where its form says so.
func format(text string) string {
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return `, "format": "date-time"`
	}
	if len(text) == 36 && strings.Count(text, "-") == 4 && strings.Trim(text, "0123456789abcdef-") == "" {
		return `, "format": "uuid"`
	}
	return ""
}
