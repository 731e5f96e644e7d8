package webhook

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Format is how the published document stands in the body: a subscription's data_format.
type Format string

const (
	FormatString Format = "string" // a JSON string that holds the document, the default of Atlas
	FormatObject Format = "object" // the document itself
)

// Event is what a verified request tells.
type Event struct {
	// Topic and Data are the body's, and so authenticated. Data is the published document, in both
	// formats. Where the verifier was not told the format, a string in the body's data counts as
	// holding the document if its text is one. (Only of documents that are a string themselves
	// can that be wrong, as "1": set [Verifier.Format] if your data can be one.)
	Topic string
	Data  json.RawMessage
	// SignedAt is when this attempt was signed. Authenticated.
	SignedAt time.Time

	// ID is the event's id: the same on every attempt, retry and replay, so it is the key to tell
	// that an event was seen before. IDVerified says that webhook-signature vouches for it; with a
	// secret that is not whsec_ and base64 it cannot.
	ID         string
	IDVerified bool
	// Signature is the value that was verified. It differs between attempts; a request that
	// arrives twice with the same one was repeated by somebody else, or by a proxy.
	Signature string

	// What follows comes from headers that nobody signs.
	WebhookID string // the subscription, wh_…
	ObjectID  string // the object that the event is about, decoded; "" if there is none
	Attempt   int    // 1, 2, 3 … of this delivery; 0 if the header is missing
	Sequence  int64  // the gapless count of the events that the subscription matched; 0 if there is none
	Test      bool   // a test delivery
	Replay    string // the replay that caused it, rpl_…; "" for none
}

// Decode parses Data into v, as json.Unmarshal does.
func (e *Event) Decode(v any) error { return json.Unmarshal(e.Data, v) }

// readHeader fills the fields that come from headers.
func (e *Event) readHeader(header http.Header) {
	e.ID = header.Get(wire.HeaderEventID)
	if e.ID == "" {
		e.ID = header.Get(wire.HeaderStandardID)
	}
	e.WebhookID = header.Get(wire.HeaderSubscriptionID)
	e.ObjectID = header.Get(wire.HeaderObjectID)
	if decoded, err := url.PathUnescape(e.ObjectID); err == nil {
		e.ObjectID = decoded
	}
	e.Attempt, _ = strconv.Atoi(header.Get(wire.HeaderAttempt))
	e.Sequence, _ = strconv.ParseInt(header.Get(wire.HeaderSequence), 10, 64)
	e.Test = header.Get(wire.HeaderTest) == "true"
	e.Replay = header.Get(wire.HeaderReplay)
}

// parseBody reads topic and data of a body that was verified.
func parseBody(body []byte, format Format) (*Event, error) {
	var envelope struct {
		Event *string
		Data  json.RawMessage
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, &Error{Code: BodyMalformed, Detail: "the body is genuine but no JSON object with event and data", Err: err}
	}
	if envelope.Event == nil || envelope.Data == nil {
		return nil, refuse(BodyMalformed, "the body is genuine but has no event or no data")
	}
	data, err := document(envelope.Data, format)
	if err != nil {
		return nil, &Error{Code: BodyMalformed, Detail: "the data is not as data_format: " + string(format) + " has it", Err: err}
	}
	return &Event{Topic: *envelope.Event, Data: data}, nil
}

var errNotDocument = errors.New("not a string that holds a JSON document")

// document takes the published document out of the body's data.
func document(data json.RawMessage, format Format) (json.RawMessage, error) {
	if format == FormatObject {
		return data, nil
	}
	var text string
	if data[0] == '"' && json.Unmarshal(data, &text) == nil && json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	if format == FormatString {
		return nil, errNotDocument
	}
	return data, nil
}
