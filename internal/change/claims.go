package change

// Claims are what changed, as a JSON object: by pointer what was there before and what is there now, as
// {"/status": {"old": "OPEN", "new": "CLOSED"}}. Values are written so that equal ones have equal texts; what is
// absent is null. nil where the object was created or deleted.
//
// The text has at most so many bytes. Where the places do not fit, or are too many, the object's own fields are
// claimed as wholes; where their values do not fit, without values, as {"/notes": {}}; and where even that does not
// fit, the whole document, as {"": {}}. A claim without values says that something there changed.
func (e Event) Claims(most int) []byte {
	if len(e.places) == 0 {
		return nil
	}
	if !e.more {
		if text, ok := claims(e.places, most, true); ok {
			return text
		}
	}
	if text, ok := claims(e.fields, most, true); ok {
		return text
	}
	if text, ok := claims(e.fields, most, false); ok {
		return text
	}
	return []byte(`{"":{}}`)
}

func claims(places []place, most int, values bool) ([]byte, bool) {
	b := []byte{'{'}
	for i, p := range places {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, raw(text(p.at))...), ":{"...)
		if values {
			b = append(append(b, `"old":`...), raw(p.before)...)
			b = append(append(b, `,"new":`...), raw(p.after)...)
		}
		if b = append(b, '}'); len(b) > most {
			return nil, false
		}
	}
	return append(b, '}'), len(b) < most
}
