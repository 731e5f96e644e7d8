package store

import (
	"context"
	"errors"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Delivery is the pair of an event and a webhook that wants it, with its derived status.
type Delivery struct {
	Webhook       hook.WebhookKey
	Offset        hook.Offset
	EventID       string
	Topic         string
	ObjectKey     string
	AcceptedAt    time.Time
	Sequence      *int64 // nil where it was never matched, or where counting would take too long
	Status        hook.DeliveryStatus
	Reason        string // why it waits, failed or was skipped; "" when there is nothing to say
	Attempts      int    // requests made, of every kind
	LastStatus    int    // status code of the last attempt, 0 for none
	LastDuration  time.Duration
	LastAttemptAt *time.Time
	NextAttemptAt *time.Time // nil when none is due at a known time
}

// ObjectID is the id of the object that the event is about.
func (d *Delivery) ObjectID() string { return (&hook.Event{ObjectKey: d.ObjectKey}).ObjectID() }

// DeliveryQuery narrows a list of deliveries; zero fields do not.
type DeliveryQuery struct {
	Status     hook.DeliveryStatus
	Topic      string
	ObjectID   string
	StatusCode int         // of the last attempt
	From, To   *time.Time  // of the event's acceptance: From ≤ t < To
	Before     hook.Offset // where the last page ended; 0 for the first page
	Limit      int
}

var errUnbuilt = errors.New("not built yet")

// Deliveries lists a webhook's deliveries, newest event first. A page that took too much reading
// ends early; more is where the next one begins (Before), 0 at the end.
func (s *Store) Deliveries(ctx context.Context, key hook.WebhookKey, query DeliveryQuery) (list []Delivery, more hook.Offset, err error) {
	return nil, 0, errUnbuilt
}

// DeliveryDetail is one delivery with everything that is known about it.
type DeliveryDetail struct {
	Delivery
	Event       *hook.Event
	History     []hook.Attempt // by number; the answers of the last successes are filled in
	HistoryMore bool           // there were more attempts than are shown: the first and the last ones are
}

// Delivery reads one delivery of a webhook; [hook.NotFound] when the webhook never matched the
// event and nothing was sent.
func (s *Store) Delivery(ctx context.Context, key hook.WebhookKey, eventID string) (*DeliveryDetail, error) {
	return nil, errUnbuilt
}

// RequestRetry wishes for an attempt now; see API.md. It returns the delivery as it was.
func (s *Store) RequestRetry(ctx context.Context, key hook.WebhookKey, eventID string, a Audit) (*Delivery, error) {
	return nil, errUnbuilt
}
