package wire

import (
	"net/http"
	"strconv"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Request is everything that the headers of one attempt are made from.
type Request struct {
	Body      []byte // as [Body] made it
	Timestamp string // as [Timestamp] made it, fresh for this attempt
	Topic     string
	EventID   string
	WebhookID string
	Attempt   int    // 1, 2, 3 … of its delivery
	Sequence  int64  // 0 = the header is left out
	Test      bool   // a test delivery
	Replay    string // the id of the replay that caused it, "" for none
	Scheme    hook.SignatureScheme
	// Secret signs the Atlas header; Other, "" outside a rotation, signs webhook-signature beside
	// it. They are what [hook.Secrets.At] answers.
	Secret, Other string
	UserAgent     string        // as [UserAgent] makes it
	Custom        []hook.Header // the owner's, as [ValidateHeaders] let them pass
}

// UserAgent is the product's name and version, as every request carries it.
func UserAgent(version string) string { return "Atlas-Webhooks/" + version }

// Header returns the headers of the request, signed. Its errors are those of [Sign].
//
// Content-Length and Host are the transport's. The three webhook-* headers are there if Secret or
// Other has a [StandardKey], signed by each that has one.
func (r *Request) Header() (http.Header, error) {
	signature, err := Sign(r.Scheme, r.Secret, r.Timestamp, r.Body)
	if err != nil {
		return nil, err
	}
	const ours = 15 // at most, below
	h := headers{
		header: make(http.Header, ours+len(r.Custom)),
		values: make([]string, 0, ours+len(r.Custom)),
	}
	for _, custom := range r.Custom {
		h.set(http.CanonicalHeaderKey(custom.Name), custom.Value)
	}
	h.set(HeaderContentType, ContentType)
	h.set(HeaderUserAgent, r.UserAgent)
	h.set(HeaderSignature, signature)
	h.set(HeaderSignatureTimestamp, r.Timestamp)
	h.set(HeaderTimestamp, r.Timestamp)
	h.set(HeaderEventID, r.EventID)
	h.set(HeaderSubscriptionID, r.WebhookID)
	h.set(HeaderTopic, r.Topic)
	h.set(HeaderAttempt, strconv.Itoa(r.Attempt))
	if r.Sequence > 0 {
		h.set(HeaderSequence, strconv.FormatInt(r.Sequence, 10))
	}
	if r.Test {
		h.set(HeaderTest, "true")
	}
	if r.Replay != "" {
		h.set(HeaderReplay, r.Replay)
	}
	r.standard(&h)
	return h.header, nil
}

// standard adds the headers of the Standard Webhooks specification.
func (r *Request) standard(h *headers) {
	seconds := StandardSeconds(r.Timestamp)
	signatures := ""
	for _, secret := range [...]string{r.Secret, r.Other} {
		key, ok := StandardKey(secret)
		if !ok {
			continue
		}
		if signatures != "" {
			signatures += " "
		}
		signatures += SignStandard(key, r.EventID, seconds, r.Body)
	}
	if signatures == "" {
		return
	}
	h.set(HeaderStandardID, r.EventID)
	h.set(HeaderStandardTimestamp, seconds)
	h.set(HeaderStandardSignature, signatures)
}

// headers fills an http.Header whose values share one array: 15 headers, two allocations.
type headers struct {
	header http.Header
	values []string
}

func (h *headers) set(name, value string) {
	h.values = append(h.values, value)
	n := len(h.values)
	h.header[name] = h.values[n-1 : n : n]
}
