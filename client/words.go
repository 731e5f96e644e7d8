package client

import "github.com/atlas-webhooks/atlas-webhooks/internal/hook"

// Status is what a webhook may be.
type Status = hook.Status

// A webhook that is PAUSED or INACTIVE stands still and loses nothing.
const (
	Active   = hook.Active
	Paused   = hook.Paused
	Inactive = hook.Inactive
)

// DeliveryStatus is what became of an event for a webhook.
type DeliveryStatus = hook.DeliveryStatus

// The first three are on their way, the last three are final.
const (
	Pending   = hook.Pending  // not attempted yet
	Retrying  = hook.Retrying // attempted, due again at a known time
	Held      = hook.Held     // waits for an earlier delivery of the same object
	Delivered = hook.Delivered
	Failed    = hook.Failed
	Skipped   = hook.Skipped
)

// Outcome is what came of an attempt.
type Outcome = hook.Outcome

// What came of an attempt.
const (
	OutcomeDelivered = hook.OutcomeDelivered
	OutcomeRetry     = hook.OutcomeRetry     // it failed, and will be made again
	OutcomeThrottled = hook.OutcomeThrottled // the receiver asked to wait
	OutcomeFailed    = hook.OutcomeFailed    // it failed for good
	OutcomeGone      = hook.OutcomeGone      // the receiver answered 410
)

// Kind is why an attempt was made.
type Kind = hook.Kind

// Why an attempt was made.
const (
	Live         = hook.Live
	Manual       = hook.Manual
	KindOfReplay = hook.Replay
	KindOfTest   = hook.Test
)

// SignatureScheme is how X-Atlas-Webhook-Signature is made.
type SignatureScheme = hook.SignatureScheme

// Ways to sign; see docs/verify.md.
const (
	Hex          = hook.SchemeHex
	Base64       = hook.SchemeBase64
	Base64Dotted = hook.SchemeBase64Dotted
	PythonDict   = hook.SchemePythonDict
)

// DataFormat is the form of a body's data.
type DataFormat = hook.DataFormat

// A string that holds the document, or the document itself.
const (
	DataString = hook.DataString
	DataObject = hook.DataObject
)

// Ordering is which deliveries wait for which.
type Ordering = hook.Ordering

// Relaxed: in order for each object, unless a retry intervenes. PerObject: strictly in order for
// each object. PerWebhook: strictly in order.
const (
	Relaxed    = hook.Relaxed
	PerObject  = hook.ObjectOrder
	PerWebhook = hook.WebhookOrder
)

// HTTPVersion is what is spoken to an endpoint.
type HTTPVersion = hook.HTTPVersion

// HTTP/2 where the endpoint chooses it, or HTTP/1.1 always.
const (
	HTTPAuto = hook.HTTPAuto
	HTTP11   = hook.HTTP11
)

// Scope is what a key may do.
type Scope string

// What a key may do. Operator is no scope of a company's key: it may do everything.
const (
	Read        Scope = "read"
	Write       Scope = "write"
	PublishOnly Scope = "publish"
	Operator    Scope = "operator"
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

// Undelivered ones are those that failed, that were skipped, and that wait for their retry.
const (
	All             Extent = "all"
	OnlyFailed      Extent = "failed"
	OnlyUndelivered Extent = "undelivered"
)

// Rules says by which rule a replay decides whether the webhook wants an event.
type Rules string

// The rules of a replay: that which was in force when the event was accepted, or for all events that which is
// in force when the replay is made. Then it covers also what never matched.
const (
	RulesThen    Rules = "then"
	RulesCurrent Rules = "current"
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

// Cause is what a delivery waits for.
type Cause string

// Causes for which deliveries wait.
const (
	CausePending   Cause = "pending"   // its turn
	CauseThrottled Cause = "throttled" // the endpoint asked to wait
	CauseDown      Cause = "down"      // the endpoint does not answer
	CauseOwnFault  Cause = "own_fault" // the server cannot ask the endpoint
	CausePaused    Cause = "paused"    // the webhook is PAUSED or INACTIVE
	CauseParked    Cause = "parked"    // it failed, and its retry has a time
	CauseHeld      Cause = "held"      // an earlier one of its object is not delivered
)
