package wire

import (
	"bytes"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Body is the request's body: exactly {"event":"<topic>","data":<data>}. The topic is a name of the
// catalogue and data a document that [Parse] has escaped; both are taken as they are. The
// empty format is [hook.DataString].
func Body(topic string, data []byte, format hook.DataFormat) []byte {
	return body(topic, data, nil, format)
}

// BodyWithChanges is [Body] with what the event changed, an escaped object: as a member "changes" behind data, in
// string format as the last member of the document. Without changes, or where the document is no object, it is Body.
func BodyWithChanges(topic string, data, changes []byte, format hook.DataFormat) []byte {
	if len(changes) == 0 || format == hook.DataObject {
		return body(topic, data, changes, format)
	}
	return body(topic, withMember(data, changes), nil, format)
}

const changesMember = `"changes":`

// withMember adds the member to a document's text, which stays as it is otherwise.
func withMember(data, changes []byte) []byte {
	text := bytes.TrimRight(data, " \t\r\n")
	inside, object := bytes.CutSuffix(text, []byte{'}'})
	if !object {
		return data
	}
	separator := ","
	if rest := bytes.TrimLeft(inside, " \t\r\n"); len(bytes.TrimRight(rest, " \t\r\n")) == 1 {
		separator = "" // {} is empty
	}
	return slices.Concat(inside, []byte(separator+changesMember), changes, data[len(inside):])
}

func body(topic string, data, changes []byte, format hook.DataFormat) []byte {
	const head, middle, tail = `{"event":"`, `","data":`, `}`
	size := len(head) + len(topic) + len(middle) + len(data) + len(tail)
	if format != hook.DataObject {
		size += 2 + countEscapes(data)
	}
	if len(changes) > 0 {
		size += 1 + len(changesMember) + len(changes)
	}
	body := make([]byte, 0, size)
	body = append(body, head...)
	body = append(body, topic...)
	body = append(body, middle...)
	if format == hook.DataObject {
		body = append(body, data...)
	} else {
		body = appendQuoted(body, data)
	}
	if len(changes) > 0 {
		body = append(append(append(body, ','), changesMember...), changes...)
	}
	return append(body, tail...)
}

// inString holds, for each byte that the outer string must escape, the letter behind the
// backslash. Escaped data has no other byte that JSON could not hold raw, and both
// JSON.stringify and json.dumps write these five, and no others, the same way.
var inString = [256]byte{'"': '"', '\\': '\\', '\t': 't', '\n': 'n', '\r': 'r'}

func countEscapes(data []byte) (n int) {
	for _, c := range data {
		if inString[c] != 0 {
			n++
		}
	}
	return n
}

// appendQuoted goes byte by byte: the runs between quotes are too short for eight at a time to pay.
func appendQuoted(body, data []byte) []byte {
	body = append(body, '"')
	copied := 0
	for i, c := range data {
		if letter := inString[c]; letter != 0 {
			body = append(append(body, data[copied:i]...), '\\', letter)
			copied = i + 1
		}
	}
	return append(append(body, data[copied:]...), '"')
}
