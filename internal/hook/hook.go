// Package hook is the domain: the words in which every other package speaks.
//
// An [Event] is appended once to a durable log. A [Webhook] is a subscription: an endpoint, the
// topics it wants, and a cursor on that log. The pair of an event and a webhook that wants it is a
// delivery; each HTTP request made for a delivery is an [Attempt]. A delivery that was attempted
// and is not delivered is [Parked] until it is due again. Nothing here does any I/O.
//
// Times are held to the microsecond, in UTC, because that is what the store and the signed
// timestamp can carry.
package hook

import "time"

// CompanyKey and WebhookKey are the store's small integers for a company and a webhook. They are
// what hot tables carry; they never leave the process (the API speaks ids).
type (
	CompanyKey int64
	WebhookKey int64
)

// Offset is an event's place in its partition: gapless, ordered by commit, starting at 1.
// The zero Offset lies before the first event.
type Offset int64

// Partition is the slice of the log that a company lives in.
type Partition int32

// Now returns t as the store keeps it: UTC, truncated to the microsecond.
func Now(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Page limits of every list.
const (
	DefaultLimit = 50
	MaxLimit     = 250
)
