package hook

import (
	"crypto/ed25519"
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// Status says whether a webhook's cursor moves.
type Status string

const (
	Active   Status = "ACTIVE"
	Paused   Status = "PAUSED"   // by its owner; stands still and loses nothing
	Inactive Status = "INACTIVE" // by its owner, by a 410, or by five days of failure; stands still and loses nothing
)

// Why the engine made a webhook INACTIVE (Webhook.StatusReason).
const (
	ReasonGone    = "gone"    // the endpoint answered 410
	ReasonFailing = "failing" // five days without a success
)

// SignatureScheme chooses what X-Atlas-Webhook-Signature carries (see package wire).
type SignatureScheme string

const (
	SchemeHex          SignatureScheme = "hex"
	SchemeBase64       SignatureScheme = "base64"
	SchemeBase64Dotted SignatureScheme = "base64-dotted"
	SchemePythonDict   SignatureScheme = "python-dict"
)

// DataFormat chooses how the published document stands in the body.
type DataFormat string

const (
	DataString DataFormat = "string" // a JSON string holding the document
	DataObject DataFormat = "object" // the document itself
)

// HTTPVersion chooses what is spoken to the endpoint.
type HTTPVersion string

const (
	HTTPAuto HTTPVersion = "auto" // HTTP/2 where the receiver chooses it during the TLS handshake
	HTTP11   HTTPVersion = "1.1"  // HTTP/1.1 always
)

// Ordering chooses what an undelivered event holds back.
type Ordering string

const (
	Relaxed       Ordering = "relaxed" // events of one object are never in flight together
	ObjectOrder   Ordering = "object"  // later events of an object wait until the earlier is settled
	WebhookOrder  Ordering = "webhook" // later events of the webhook wait until the earlier is settled
	DefaultWindow          = 64        // default MaxConcurrency
)

// Webhook is a subscription: where to deliver, what, and how. It belongs to one company.
type Webhook struct {
	Key             WebhookKey
	ID              string
	Company         CompanyKey
	CompanyID       string
	Partition       Partition
	Endpoint        string
	EndpointVersion int64 // counts changes of what it is asked, and activations, so that a late 410 cannot hit a new endpoint
	EndpointSince   time.Time
	Status          Status
	StatusReason    string   // "" unless the engine set Status
	Topics          []string // as the owner wrote them: exact names, "prefix.*", "*"
	Filter          string   // expr-lang source, "" for none
	Description     string
	Metadata        json.RawMessage // a JSON object
	Scheme          SignatureScheme
	Format          DataFormat
	AllowNetworks   []netip.Prefix // the company's own, filled in for sending
	Headers         []Header       // the owner's own, in the order they were saved; values are secrets
	Ordering        Ordering
	MaxConcurrency  int
	RateLimit       float64 // requests per second; 0 = unlimited
	Timeout         time.Duration
	HTTPVersion     HTTPVersion
	IncludeChanges  bool            // its bodies say what changed, where the event knows
	TLSCompat       bool            // TLS without the key shares that old middleboxes swallow
	Ed25519         bool            // webhook-signature also carries v1a, by the company's key
	HTTPSignature   bool            // requests are signed by RFC 9421 as well, by the same key
	SigningKeys     []SigningKey    // the company's, the earliest first, filled in where one of these asks for them
	RetrySchedule   []time.Duration // delays after the first attempt
	Secrets         Secrets
	Version         int64 // counts changes; the ETag
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

// AsksOtherwise says that an attempt asks the endpoint something else than before, or asks another one: what
// the one of before answered says nothing about it.
func (w *Webhook) AsksOtherwise(before *Webhook, now time.Time) bool {
	secret, _ := w.Secrets.At(now)
	known, _ := before.Secrets.At(now)
	return w.Endpoint != before.Endpoint || secret != known || w.Scheme != before.Scheme || w.Format != before.Format || w.IncludeChanges != before.IncludeChanges ||
		!slices.Equal(w.Headers, before.Headers) || w.Timeout != before.Timeout || w.HTTPVersion != before.HTTPVersion || w.TLSCompat != before.TLSCompat ||
		w.Ed25519 != before.Ed25519 || w.HTTPSignature != before.HTTPSignature
}

// SignsWithKey says that requests are signed by a key of the company, besides the secret.
func (w *Webhook) SignsWithKey() bool { return w.Ed25519 || w.HTTPSignature }

// SigningKey is a pair of ed25519 keys of a company, for signatures that need no shared secret.
type SigningKey struct {
	ID      string // the kid that receivers know
	Public  ed25519.PublicKey
	Private ed25519.PrivateKey // nil where only what is public was asked for
	From    time.Time          // it signs from then on, until the next one does
}

// SigningKeyAt is the key that signs at an instant; nil for none.
func (w *Webhook) SigningKeyAt(now time.Time) *SigningKey {
	for i := len(w.SigningKeys) - 1; i >= 0; i-- {
		if !now.Before(w.SigningKeys[i].From) {
			return &w.SigningKeys[i]
		}
	}
	if len(w.SigningKeys) > 0 {
		return &w.SigningKeys[0] // the clock was set back
	}
	return nil
}

// Header is one of the owner's own request headers.
type Header struct{ Name, Value string }

// Secrets is what a webhook signs with. Outside a rotation only Current is set.
type Secrets struct {
	Current string // what a receiver should verify with from now on (or from the end of the overlap)
	// Previous is the secret that a rotation replaces; "" outside a rotation. Until
	// PreviousExpires it signs webhook-signature beside Current.
	Previous        string
	PreviousExpires time.Time
	// Activated says that the Atlas header is signed by Current already, although the overlap
	// still runs.
	Activated bool
}

// At resolves a rotation at an instant: the secret that signs the Atlas header, and the other one
// that webhook-signature also carries ("" for none).
func (s Secrets) At(now time.Time) (atlas, other string) {
	switch {
	case s.Previous == "" || !now.Before(s.PreviousExpires):
		return s.Current, ""
	case s.Activated:
		return s.Current, s.Previous
	default:
		return s.Previous, s.Current
	}
}

// Rule is what a webhook wants from a given offset on. Whether an event matches is a pure function
// of the event and the rule in force at its offset.
type Rule struct {
	Webhook WebhookKey
	From    Offset
	Topics  TopicSet
	Filter  string // "" for none
	// Leap is what the number of a match is higher by than the count of matches up to it.
	Leap int64
	// Off says that nothing matches from here on (the webhook was deleted).
	Off bool
}

// DefaultRetrySchedule is the Standard Webhooks recommendation: the delays after the first attempt.
func DefaultRetrySchedule() []time.Duration {
	return []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// DefaultTimeout bounds connect, TLS, headers and body of one attempt together.
const DefaultTimeout = 15 * time.Second
