package client

// Status is what a webhook may be.
type Status string

// A webhook that is PAUSED or INACTIVE stands still and loses nothing.
const (
	Active   Status = "ACTIVE"
	Paused   Status = "PAUSED"
	Inactive Status = "INACTIVE"
)

// DeliveryStatus is what became of an event for a webhook.
type DeliveryStatus string

// The first three are on their way, the last three are final.
const (
	Pending   DeliveryStatus = "pending"  // not attempted yet
	Retrying  DeliveryStatus = "retrying" // attempted, due again at a known time
	Held      DeliveryStatus = "held"     // waits for an earlier delivery of the same object
	Delivered DeliveryStatus = "delivered"
	Failed    DeliveryStatus = "failed"
	Skipped   DeliveryStatus = "skipped"
)

// Final reports whether nothing will happen any more, unless somebody asks for it.
func (s DeliveryStatus) Final() bool { return s == Delivered || s == Failed || s == Skipped }

// Outcome is what came of an attempt.
type Outcome string

// What came of an attempt.
const (
	OutcomeDelivered Outcome = "delivered"
	OutcomeRetry     Outcome = "retry"     // it failed, and will be made again
	OutcomeThrottled Outcome = "throttled" // the receiver asked to wait
	OutcomeFailed    Outcome = "failed"    // it failed for good
	OutcomeGone      Outcome = "gone"      // the receiver answered 410
)

// Kind is why an attempt was made.
type Kind string

// Why an attempt was made.
const (
	Live         Kind = "live"
	Manual       Kind = "manual"
	KindOfReplay Kind = "replay"
	KindOfTest   Kind = "test"
)

// SignatureScheme is how X-Atlas-Webhook-Signature is made.
type SignatureScheme string

// Ways to sign; see docs/verify.md.
const (
	Hex          SignatureScheme = "hex"
	Base64       SignatureScheme = "base64"
	Base64Dotted SignatureScheme = "base64-dotted"
	PythonDict   SignatureScheme = "python-dict"
)

// DataFormat is the form of a body's data.
type DataFormat string

// A string that holds the document, or the document itself.
const (
	DataString DataFormat = "string"
	DataObject DataFormat = "object"
)

// Ordering is which deliveries wait for which.
type Ordering string

// Relaxed: in order for each object, unless a retry intervenes. PerObject: strictly in order for
// each object. PerWebhook: strictly in order.
const (
	Relaxed    Ordering = "relaxed"
	PerObject  Ordering = "object"
	PerWebhook Ordering = "webhook"
)

// HTTPVersion is what is spoken to an endpoint.
type HTTPVersion string

// HTTP/2 where the endpoint chooses it, or HTTP/1.1 always.
const (
	HTTPAuto HTTPVersion = "auto"
	HTTP11   HTTPVersion = "1.1"
)

// Scope is what a company's key may do.
type Scope string

// What a company's key may do.
const (
	Read  Scope = "read"
	Write Scope = "write"
)

// Resume is what becomes of the events that waited while a webhook stood still.
type Resume string

// Deliver what waited, or skip it.
const (
	ResumeBacklog Resume = "backlog"
	ResumeNow     Resume = "now"
)

// State is how an endpoint fares.
type State string

// Failing: slowed down. Down: probed now and then.
const (
	Healthy State = "healthy"
	Failing State = "failing"
	Down    State = "down"
)

// Verdict is what a webhook made of an event.
type Verdict string

// What a webhook made of an event.
const (
	Matched            Verdict = "matched"
	TopicNotSubscribed Verdict = "topic_not_subscribed"
	FilterFailed       Verdict = "filter_failed"
	CreatedAfter       Verdict = "created_after"
)

// Extent is which deliveries a replay covers.
type Extent string

// Undelivered ones are those that failed and those that were skipped.
const (
	All             Extent = "all"
	OnlyFailed      Extent = "failed"
	OnlyUndelivered Extent = "undelivered"
)

// ReplayStatus is how far a replay is.
type ReplayStatus string

// How far a replay is.
const (
	ReplayRunning   ReplayStatus = "running"
	ReplayDone      ReplayStatus = "done"
	ReplayCancelled ReplayStatus = "cancelled"
)

// Window is the stretch of time that figures are about, up to now.
type Window string

// The stretches that can be asked for.
const (
	Hour  Window = "1h"
	Day   Window = "24h"
	Week  Window = "7d"
	Month Window = "30d"
)

// Format is the form of an export.
type Format string

// The forms of an export.
const (
	NDJSON Format = "ndjson"
	CSV    Format = "csv"
)
