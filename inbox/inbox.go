// Package inbox does each event of a webhook once, in order and without gaps.
//
// A receiver gets an event again when its answer was late, or when it crashed between its work and its answer;
// it gets none while it is away. An [Inbox] remembers in the receiver's own database what was done, in the
// transaction in which it was done:
//
//	box := &inbox.Inbox{
//		Store:  inbox.NewSQLStore(db, inbox.Postgres),
//		Client: api, // with a key of scope read: fetches what is missing
//		Handle: func(ctx context.Context, tx *sql.Tx, e *webhook.Event) error {
//			_, err := tx.ExecContext(ctx, `UPDATE invoices SET …`)
//			return err
//		},
//	}
//	http.Handle("POST /atlas", verifier.Handler(box))
//
// What Handle writes with tx happens once, whatever crashes. An event that comes again is answered without a
// call. Where an event is missing, by its webhook's sequence, the server's feed is asked for it first, so that
// the order holds.
package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// Store remembers what was done, for all processes of a receiver.
type Store interface {
	// Position is the highest sequence of a webhook's events that were done; false before the first.
	Position(ctx context.Context, webhookID string) (sequence int64, known bool, err error)
	// Once calls run unless the event was done before, and remembers that it is done; done says whether it
	// called. If run fails, nothing is remembered, and its error is returned. While another call is at the
	// same event, it waits for that one's end. run gets the transaction that remembers, or nil.
	Once(ctx context.Context, e *webhook.Event, run func(tx *sql.Tx) error) (done bool, err error)
}

// Gap is sequences of a webhook, from First to Last, that were neither sent nor to be had so far.
type Gap struct {
	WebhookID   string
	First, Last int64
	Reason      GapReason
}

// GapReason says why events are missing.
type GapReason string

// Why events are missing.
const (
	NoClient GapReason = "no client" // nobody to ask; should they come later, they are done then
	Purged   GapReason = "purged"    // the server keeps them no longer
	NotThere GapReason = "not there" // the feed does not have them yet
)

// Inbox passes each event on once, and in the order of the webhook's sequence. Store and Handle are required.
// Its methods may be called concurrently.
//
// The first event of a webhook that the store sees begins its sequence. An event whose Handle fails holds up
// those behind it until it succeeds: it comes again.
type Inbox struct {
	Store Store
	// Handle does an event. What it writes with tx is one with the memory that it was done; tx is nil where
	// the store has no transactions.
	Handle func(ctx context.Context, tx *sql.Tx, e *webhook.Event) error
	// Client fetches what is missing, with a key of scope read; nil: it is reported, and not waited for.
	Client *client.Client
	// OnGap hears of what is missing and cannot be had. nil: nobody does.
	OnGap func(Gap)
	// UnverifiedIDs allows events whose id nobody vouches for, as with secrets that cannot make
	// webhook-signature: whoever can repeat a request can then repeat it under another id.
	UnverifiedIDs bool
}

// ErrUnverifiedID refuses an event whose id nobody vouches for: a repetition under another id would count as
// new.
var ErrUnverifiedID = errors.New("inbox: webhook-signature does not vouch for the event's id: allow UnverifiedIDs, or use a secret of whsec_ and base64")

// Take does an event, and before it those that are missing. It returns nil when the event is done, now or
// before; else it is to come again.
func (x *Inbox) Take(ctx context.Context, e *webhook.Event) error {
	if !e.IDVerified && !x.UnverifiedIDs {
		return ErrUnverifiedID
	}
	if e.Sequence > 0 {
		if err := x.before(ctx, e); err != nil {
			return err
		}
	}
	_, err := x.once(ctx, e)
	return err
}

// CatchUp does what the feed has of a webhook and this receiver has not, as after an outage. It returns how
// many that were.
func (x *Inbox) CatchUp(ctx context.Context, webhookID string) (n int, err error) {
	if x.Client == nil {
		return 0, errors.New("inbox: there is no client to fetch with")
	}
	position, _, err := x.Store.Position(ctx, webhookID)
	if err != nil {
		return 0, err
	}
	err = x.feed(ctx, webhookID, position, 0, func(e *webhook.Event) error {
		done, err := x.once(ctx, e)
		if done {
			n++
		}
		return err
	})
	return n, err
}

// ServeHTTP takes the event of a request that [webhook.Verifier.Handler] let pass: 204 when it is done, 503
// when it is to come again, 422 where it never can be done.
func (x *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e, ok := webhook.FromContext(r.Context())
	if !ok {
		http.Error(w, "the inbox is not behind the Handler of a webhook.Verifier", http.StatusInternalServerError)
		return
	}
	switch err := x.Take(r.Context(), e); {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, ErrUnverifiedID):
		http.Error(w, "id_missing", http.StatusUnprocessableEntity)
	default:
		http.Error(w, "not done", http.StatusServiceUnavailable) // the error is the receiver's affair
	}
}

// before does what is missing between what was done and an event.
func (x *Inbox) before(ctx context.Context, e *webhook.Event) error {
	position, known, err := x.Store.Position(ctx, e.WebhookID)
	if err != nil || !known || e.Sequence <= position+1 {
		return err
	}
	if x.Client == nil {
		x.gap(e.WebhookID, position+1, e.Sequence-1, NoClient)
		return nil
	}
	return x.feed(ctx, e.WebhookID, position, e.Sequence, func(missing *webhook.Event) error {
		_, err := x.once(ctx, missing)
		return err
	})
}

// feed passes on the feed's events behind a sequence and before another (0: to the end), and reports holes.
func (x *Inbox) feed(ctx context.Context, webhookID string, position, until int64, do func(*webhook.Event) error) error {
	next := position + 1
	for fed, err := range x.Client.PullEvents(ctx, webhookID, position) {
		if err != nil {
			return fmt.Errorf("inbox: fetch what is missing: %w", err)
		}
		last := fed.Sequence
		if until > 0 {
			last = min(last, until)
		}
		if last > next && (position > 0 || until > 0) {
			x.gap(webhookID, next, last-1, Purged)
		}
		next = fed.Sequence + 1
		if until > 0 && fed.Sequence >= until {
			return nil
		}
		if err := do(eventOf(webhookID, &fed)); err != nil {
			return err
		}
	}
	if next < until {
		x.gap(webhookID, next, until-1, NotThere)
	}
	return nil
}

func (x *Inbox) gap(webhookID string, first, last int64, why GapReason) {
	if x.OnGap != nil {
		x.OnGap(Gap{webhookID, first, last, why})
	}
}

func (x *Inbox) once(ctx context.Context, e *webhook.Event) (done bool, err error) {
	return x.Store.Once(ctx, e, func(tx *sql.Tx) error { return x.Handle(ctx, tx, e) })
}

// eventOf is an event of the feed: what the server says over a connection that it is known by.
func eventOf(webhookID string, fed *client.FedEvent) *webhook.Event {
	e := &webhook.Event{
		Topic: fed.Event, Data: fed.Data, SignedAt: time.Now(), ID: fed.EventID, IDVerified: true, WebhookID: webhookID, Sequence: fed.Sequence,
	}
	if fed.ObjectID != nil {
		e.ObjectID = *fed.ObjectID
	}
	return e
}
