package hook

import "time"

// DeliveryStatus is derived, never stored: above the cursor pending; parked: retrying or held; in a
// skipped range: skipped; else what its live attempts say. Delivered is final.
type DeliveryStatus string

const (
	Pending   DeliveryStatus = "pending"
	Retrying  DeliveryStatus = "retrying"
	Held      DeliveryStatus = "held"
	Delivered DeliveryStatus = "delivered"
	Failed    DeliveryStatus = "failed"
	Skipped   DeliveryStatus = "skipped"
)

// Final reports whether nothing will happen any more, unless somebody asks for it.
func (s DeliveryStatus) Final() bool { return s == Delivered || s == Failed || s == Skipped }

// Kind says on whose wish an attempt is made.
type Kind string

const (
	Live   Kind = "live"   // by the cursor, and every retry by the schedule
	Manual Kind = "manual" // somebody asked for a retry
	Replay Kind = "replay" // a replay covers it
	Test   Kind = "test"   // a test delivery, beside the lane
)

// Delivery is what the attempts of an event for a webhook have in common, and how many there were: those
// of one kind, since each is attempted, parked and counted for itself.
type Delivery struct {
	Kind     Kind
	Attempt  int    // number of the last, 1, 2, 3 …; 0 before the first
	Sequence int64  // the event's among the webhook's matches; 0 on a replay of one that never matched
	Replay   int64  // key of the replay that caused it, 0 for none
	ReplayID string // its id, rpl_…
}

// Outcome is what one attempt came to.
type Outcome string

const (
	OutcomeDelivered Outcome = "delivered" // a final status 200–299 was received in full
	OutcomeRetry     Outcome = "retry"     // failed; the schedule has another step, or stands still
	OutcomeThrottled Outcome = "throttled" // 429, 503 or Retry-After: sent again, no step used
	OutcomeFailed    Outcome = "failed"    // failed, and the schedule is at its end
	OutcomeGone      Outcome = "gone"      // 410: failed for good
)

// ErrorClass names the cause of a failed attempt; the advice of the API is a table over it.
type ErrorClass string

const (
	ErrNone         ErrorClass = ""
	ErrDNS          ErrorClass = "dns"             // the name does not resolve
	ErrAddress      ErrorClass = "address_refused" // the address is private, reserved or denied
	ErrConnect      ErrorClass = "connect"         // refused, reset or unreachable before the request was sent
	ErrTLS          ErrorClass = "tls"             // handshake or certificate
	ErrTimeout      ErrorClass = "timeout"         // the attempt's deadline passed; Phase says where
	ErrReset        ErrorClass = "reset"           // the connection ended before a full answer
	ErrProtocol     ErrorClass = "protocol"        // what came back is not HTTP
	ErrRedirect     ErrorClass = "redirect"        // 3xx, which is never followed
	ErrClientStatus ErrorClass = "status_4xx"
	ErrServerStatus ErrorClass = "status_5xx"
	ErrOtherStatus  ErrorClass = "status_other"   // 1xx as a final answer, 000, 6xx …
	ErrThrottled    ErrorClass = "throttled"      // 429, 503 or Retry-After
	ErrGone         ErrorClass = "gone"           // 410
	ErrOwnFault     ErrorClass = "own_fault"      // ours: no descriptors, no resolver, egress proxy down
	ErrUnrecordable ErrorClass = "unrecordable"   // the store refused the item; set aside
	ErrInternal     ErrorClass = "internal_error" // a panic while the attempt was made
)

// Phases of an attempt. A zero duration means that the phase did not take place (a kept-alive
// connection has no DNS, connect and TLS).
type Phases struct {
	DNS, Connect, TLS, FirstByte, Total time.Duration
}

// Attempt is one HTTP request for a delivery, as it is recorded. Append-only.
type Attempt struct {
	Webhook       WebhookKey
	Offset        Offset
	Number        int   // 1, 2, 3 … of its delivery
	Sequence      int64 // 0 on a replay of an event that was never matched
	Kind          Kind
	Counted       bool   // false where it used no step of the schedule (throttled, probe, replay of a delivered one)
	Version       int64  // Webhook.Version when it started
	TimestampText string // as signed
	Format        DataFormat
	Changes       bool  // its body said what changed
	Replay        int64 // the replay's key, 0 for none
	StartedAt     time.Time
	Phases        Phases
	Reused        bool // it went over a connection that had been used before
	Outcome       Outcome
	StatusCode    int // 0 when no status was received
	ErrorClass    ErrorClass
	ErrorDetail   string // one line, redacted, at most 500 bytes
	RetryAfter    time.Duration
	// Answer is what the receiver said: its header block and the first 16 KiB of its body, as
	// bytes. Kept for failures and the last 20 successes of a webhook; nil otherwise.
	AnswerHeader, AnswerBody []byte
}

// Parked is a delivery that was attempted, is not delivered, and is due again at a known time, or
// held behind an earlier delivery of the same object.
type Parked struct {
	Webhook   WebhookKey
	Kind      Kind // Live, Manual or Replay
	Offset    Offset
	Partition Partition
	Sequence  int64
	ObjectKey string
	Attempts  int        // number of its last attempt of this kind
	Number    int        // of the delivery's last attempt of any kind; filled when read
	Step      int        // steps of the schedule used so far
	Throttles int        // answers in a row that asked to wait
	DueAt     *time.Time // nil = held
	ParkedAt  time.Time  // when it was given its due time
	Reason    string     // why it waits: an ErrorClass, "held" or "requested"
	Replay    int64      // the replay's key, 0 for none
}

// Cursor is a webhook's place on the log: every matching event up to Offset is delivered, parked,
// failed or skipped.
type Cursor struct {
	Webhook  WebhookKey
	Detached bool   // its own place counts; an attached one stands at max(Offset, the partition's swept mark)
	Offset   Offset // never moves back
	Sequence int64  // matched events up to Offset
	// Counters of everything settled, also above Offset. They survive purges.
	Delivered, Failed, Skipped int64
	FailingSince               *time.Time // of the first failure in a row that made it failing; nil when healthy
	FailingHours               int        // distinct hours in which failures were seen since then
	LastFailingHour            int64      // the last of them, hours since the epoch
	LastSuccessAt              *time.Time
	LastFailureAt              *time.Time
	ConsecutiveFailures        int
	ProbeAt                    *time.Time // when a down webhook is probed next; nil unless down
	ProbeStep                  int        // probes made since it went down
	Gate                       Gate
}

// Gate is how long a webhook waits as a whole, because its endpoint asked for that. The zero value is
// open.
type Gate struct {
	NotBefore       *time.Time    // nil when it is open
	Wait            time.Duration // as asked: no more than that is left, whatever was done to the clock
	Reason          string
	EndpointVersion int64 // who asked; another endpoint does not wait
	Throttles       int   // such answers in a row
}
