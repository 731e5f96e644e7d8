package wire

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Request is everything that the headers of one attempt are made from.
type Request struct {
	Body      []byte // as [Body] made it
	Timestamp string // as [Timestamp] made it, fresh for this attempt
	Topic     string
	EventID   string
	Object    string // the object's id, 1–256 printable ASCII; "" = the header is left out
	WebhookID string
	Attempt   int    // 1, 2, 3 … of its delivery
	Sequence  int64  // 0 = the header is left out
	Test      bool   // a test delivery
	Replay    string // the id of the replay that caused it, "" for none
	Trace     string // the traceparent of W3C Trace Context, "" for none
	Scheme    hook.SignatureScheme
	// Secret signs the Atlas header; Other, "" outside a rotation, signs webhook-signature beside
	// it. They are what [hook.Secrets.At] answers.
	Secret, Other string
	// Key signs by ed25519 besides; nil for none. Ed25519 asks for v1a in webhook-signature, URL, where it is
	// not nil, for a signature of the message by RFC 9421: it is where the request goes.
	Key       *hook.SigningKey
	Ed25519   bool
	URL       *url.URL
	UserAgent string        // as [UserAgent] makes it
	Custom    []hook.Header // the owner's, as [ValidateHeaders] let them pass
}

// UserAgent is the product's name and version, as every request carries it.
func UserAgent(version string) string { return "Atlas-Webhooks/" + version }

// AppendHeader appends the headers of the request, signed, as lines "Name: value" that end in CR LF.
// Its errors are those of [Sign].
//
// Content-Length and Host are the transport's. The three webhook-* headers are there if Secret or
// Other has a [StandardKey], signed by each that has one.
func (r *Request) AppendHeader(to []byte) ([]byte, error) {
	h := lines{to}
	for _, custom := range r.Custom {
		h.text(http.CanonicalHeaderKey(custom.Name), custom.Value)
	}
	h.ours(HeaderContentType, ContentType)
	h.ours(HeaderUserAgent, r.UserAgent)
	if err := h.sign(r); err != nil {
		return to, err
	}
	h.ours(HeaderSignatureTimestamp, r.Timestamp)
	h.ours(HeaderTimestamp, r.Timestamp)
	h.text(HeaderEventID, r.EventID)
	h.text(HeaderSubscriptionID, r.WebhookID)
	h.text(HeaderTopic, r.Topic)
	if r.Object != "" {
		h.escaped(HeaderObjectID, r.Object)
	}
	h.number(HeaderAttempt, int64(r.Attempt))
	if r.Sequence > 0 {
		h.number(HeaderSequence, r.Sequence)
	}
	if r.Test {
		h.ours(HeaderTest, "true")
	}
	if r.Replay != "" {
		h.text(HeaderReplay, r.Replay)
	}
	if r.Trace != "" {
		h.ours(HeaderTraceparent, r.Trace)
	}
	h.standard(r)
	if r.Key != nil {
		h.text(HeaderKeyID, r.Key.ID)
		if r.URL != nil {
			h.message(r)
		}
	}
	return h.b, nil
}

// Header is [Request.AppendHeader] for those who look at single headers.
func (r *Request) Header() (http.Header, error) {
	text, err := r.AppendHeader(nil)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		header[name] = []string{value}
	}
	return header, nil
}

// lines are header lines that are being written.
type lines struct{ b []byte }

func (h *lines) begin(name string) { h.b = append(append(h.b, name...), ": "...) }

func (h *lines) end() { h.b = append(h.b, "\r\n"...) }

// ours appends a line with a value that nobody else has made.
func (h *lines) ours(name, value string) {
	h.begin(name)
	h.b = append(h.b, value...)
	h.end()
}

// text appends a line. Values were checked when they were saved; a line break that slipped through
// must not become a header of its own.
func (h *lines) text(name, value string) {
	h.begin(name)
	for i := range len(value) {
		if c := value[i]; c >= ' ' || c == '\t' {
			h.b = append(h.b, c)
		}
	}
	h.end()
}

// escaped appends a line whose value is percent-encoded as far as a header cannot carry it: beyond
// printable ASCII, at "%" itself, and at a space at either end, which every parser of headers drops.
func (h *lines) escaped(name, value string) {
	h.begin(name)
	const hex = "0123456789ABCDEF"
	for i := range len(value) {
		c := value[i]
		if c < ' ' || c > '~' || c == '%' || c == ' ' && (i == 0 || i == len(value)-1) {
			h.b = append(h.b, '%', hex[c>>4], hex[c&15])
		} else {
			h.b = append(h.b, c)
		}
	}
	h.end()
}

func (h *lines) number(name string, value int64) {
	h.begin(name)
	h.b = strconv.AppendInt(h.b, value, 10)
	h.end()
}

func (h *lines) sign(r *Request) (err error) {
	h.begin(HeaderSignature)
	if h.b, err = appendSignature(h.b, r.Scheme, r.Secret, r.Timestamp, r.Body); err != nil {
		return err
	}
	h.end()
	return nil
}

// standard appends the headers of the Standard Webhooks specification.
func (h *lines) standard(r *Request) {
	seconds := StandardSeconds(r.Timestamp)
	begun, signed := false, false
	begin := func() {
		if !begun {
			h.text(HeaderStandardID, r.EventID)
			h.ours(HeaderStandardTimestamp, seconds)
			begun = true
		}
	}
	next := func() {
		if begin(); signed {
			h.b = append(h.b, ' ')
		} else {
			h.begin(HeaderStandardSignature)
		}
		signed = true
	}
	for _, secret := range [...]string{r.Secret, r.Other} {
		var room [maxStandardKey]byte
		if key, ok := appendStandardKey(room[:0], secret); ok {
			next()
			h.b = appendStandard(h.b, key, r.EventID, seconds, r.Body)
		}
	}
	if r.Key != nil && r.Ed25519 {
		next()
		h.b = append(h.b, SignEd25519(r.Key.Private, r.EventID, seconds, r.Body)...)
	}
	if signed {
		h.end()
	}
	if r.Key != nil && r.URL != nil {
		begin() // what the signature of the message covers
	}
}
