package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Delivery is the pair of an event and a webhook that wants it, with its derived status.
type Delivery struct {
	Webhook       hook.WebhookKey
	Offset        hook.Offset
	EventID       string
	Topic         string
	ObjectKey     string
	AcceptedAt    time.Time
	ExpiresAt     *time.Time // of the event; nil for never
	Unmatched     bool       // no rule wanted it; a replay sent it all the same
	Sequence      *int64     // nil where it was never matched, or where counting would take too long
	Status        hook.DeliveryStatus
	Reason        string // why it waits, failed or was skipped, or who else delivered it; "" when there is nothing to say
	Attempts      int    // requests made, of every kind
	LastStatus    int    // status code of the last attempt, 0 for none
	LastDuration  time.Duration
	LastAttemptAt *time.Time
	NextAttemptAt *time.Time // nil when none will be made at a known time
}

// ObjectID is the id of the object that the event is about.
func (d *Delivery) ObjectID() string { return (&hook.Event{ObjectKey: d.ObjectKey}).ObjectID() }

// history is what the attempts of a delivery say together.
type history struct {
	requests  int   // of every kind
	number    int   // the highest attempt number
	sequence  int64 // 0 when none carries one
	live      bool  // the cursor or the schedule made one of them
	delivered hook.Kind
	settled   bool // a live one was delivered, or failed for good
	won       bool // a live one was delivered
}

func (v *view) history(ctx context.Context, o hook.Offset) (h history, err error) {
	var live, won, lost int64
	err = sql.One(ctx, v.q, `
		SELECT count(*), coalesce(max(number), 0), coalesce(max(sequence), 0),
			coalesce(max(CASE WHEN kind = 'live' THEN 1 ELSE 0 END), 0),
			coalesce(max(CASE WHEN kind = 'live' AND outcome = 'delivered' THEN 1 ELSE 0 END), 0),
			coalesce(max(CASE WHEN kind = 'live' AND outcome IN ('failed', 'gone') THEN 1 ELSE 0 END), 0),
			coalesce(max(CASE WHEN outcome = 'delivered' THEN kind ELSE '' END), '')
		FROM attempts WHERE webhook = $1 AND "offset" = $2`,
		[]any{int64(v.key), int64(o)}, &h.requests, &h.number, &h.sequence, &live, &won, &lost, &h.delivered)
	h.live, h.won, h.settled = live > 0, won > 0, won+lost > 0
	return h, err
}

// waiting are the parked rows of a delivery, by kind.
func (v *view) waiting(ctx context.Context, o hook.Offset) (parked map[hook.Kind]hook.Parked, err error) {
	err = sql.Each(ctx, v.q, `SELECT `+log.ParkedColumns+` FROM parked WHERE webhook = $1 AND kind IN ('live', 'manual', 'replay') AND "offset" = $2`,
		[]any{int64(v.key), int64(o)}, func(r sql.Rows) error {
			p, err := log.ScanParked(r)
			if parked == nil {
				parked = map[hook.Kind]hook.Parked{}
			}
			parked[p.Kind] = p
			return err
		})
	return parked, err
}

// derive says what became of an event for the webhook; nil when it never matched and nothing was
// sent, or when want refuses it.
func (v *view) derive(ctx context.Context, o hook.Offset, want func(*Delivery) bool) (*Delivery, error) {
	d := &Delivery{Webhook: v.key, Offset: o}
	var accepted int64
	var expires *int64
	err := sql.One(ctx, v.q, `SELECT id, topic, object_key, accepted_at, expires_at FROM events WHERE company = $1 AND "offset" = $2`,
		[]any{int64(v.company), int64(o)}, &d.EventID, &d.Topic, &d.ObjectKey, &accepted, &expires)
	v.rows--
	if errors.Is(err, sql.ErrNoRow) {
		return nil, nil // purged
	}
	if err != nil {
		return nil, fmt.Errorf("derive delivery: %w", err)
	}
	d.AcceptedAt, d.ExpiresAt = sql.FromMicros(accepted), sql.FromMicrosOrNull(expires)
	if want != nil && !want(d) {
		return nil, nil
	}
	h, err := v.history(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("derive delivery: %w", err)
	}
	parked, err := v.waiting(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("derive delivery: %w", err)
	}
	v.rows -= 2 + h.requests
	live, isParked := parked[hook.Live]
	if !h.live && !isParked {
		if ok, err := v.matches(ctx, Ref{Offset: o, Topic: d.Topic}); err != nil || !ok && h.requests == 0 && len(parked) == 0 {
			return nil, err
		} else if !ok {
			d.Unmatched = true
			d.Status, d.Reason = replayed(h, parked)
			return d, v.fill(ctx, d, h, parked)
		}
	}
	d.Status, d.Reason = v.statusOf(o, h, live, isParked)
	return d, v.fill(ctx, d, h, parked)
}

// statusOf is the derivation itself. Delivered is final. What is parked waits. Above the place, what
// is not settled is pending. Below it, what was given up has failed; what is in a skipped range was
// skipped; and what was attempted, waits no more and did not fail has expired.
//
// A failed or skipped delivery that somebody sent again with success is delivered, and says by
// what; the counters of conservation stay as they were.
func (v *view) statusOf(o hook.Offset, h history, live hook.Parked, isParked bool) (hook.DeliveryStatus, string) {
	skip := v.skipAt(o)
	switch {
	case h.won:
		return hook.Delivered, ""
	case isParked && live.DueAt == nil:
		return hook.Held, live.Reason
	case isParked:
		return hook.Retrying, live.Reason
	case o > v.place && !h.settled && v.status != hook.Active:
		return hook.Pending, strings.ToLower(string(v.status)) // why it does not move
	case o > v.place && !h.settled:
		return hook.Pending, ""
	case h.delivered != "":
		return hook.Delivered, string(h.delivered)
	case h.settled:
		return hook.Failed, ""
	case skip != nil:
		return hook.Skipped, skip.Reason
	case h.live:
		return hook.Skipped, reasonExpired
	default:
		return hook.Failed, string(hook.ErrUnrecordable)
	}
}

// reasonExpired is why a delivery that was attempted without success is given up by retention.
const reasonExpired = "expired"

// replayed is the status of what was never matched, but sent by a replay.
func replayed(h history, parked map[hook.Kind]hook.Parked) (hook.DeliveryStatus, string) {
	switch {
	case h.delivered != "":
		return hook.Delivered, string(h.delivered)
	case len(parked) > 0:
		return hook.Retrying, parked[hook.Replay].Reason
	default:
		return hook.Failed, ""
	}
}

// bound makes the next attempt's time one that will come: never one that is past, or before what the
// endpoint asked for; and none while the webhook stands still, or is down and some delivery or other is its
// next probe.
func (v *view) bound(d *Delivery) {
	now := hook.Now(v.s.now())
	gate := v.cursor.Gate.NotBefore
	switch closed := gate != nil && gate.After(now); {
	case v.status != hook.Active, v.cursor.ProbeAt != nil:
		d.NextAttemptAt = nil
	case closed && d.Status == hook.Pending:
		d.NextAttemptAt, d.Reason = gate, string(hook.ErrThrottled)
	case d.NextAttemptAt == nil:
	case closed && d.NextAttemptAt.Before(*gate):
		d.NextAttemptAt = gate
	case d.NextAttemptAt.Before(now):
		d.NextAttemptAt = &now
	}
}

// fill adds what the attempts and the parked rows say beyond the status.
func (v *view) fill(ctx context.Context, d *Delivery, h history, parked map[hook.Kind]hook.Parked) error {
	d.Attempts = h.requests
	if sequence := max(h.sequence, parked[hook.Live].Sequence); sequence > 0 {
		d.Sequence = &sequence
	} else if n, ok := v.sequences[d.Offset]; ok {
		d.Sequence = &n
	}
	for _, kind := range []hook.Kind{hook.Replay, hook.Manual, hook.Live} {
		if p, ok := parked[kind]; ok && p.DueAt != nil && (d.NextAttemptAt == nil || p.DueAt.Before(*d.NextAttemptAt)) {
			d.NextAttemptAt = p.DueAt
		}
	}
	if d.NextAttemptAt != nil && d.ExpiresAt != nil && !d.NextAttemptAt.Before(*d.ExpiresAt) {
		d.NextAttemptAt = nil // it is given up then
	}
	v.bound(d)
	if h.requests == 0 {
		return nil
	}
	var started, took int64
	var class string
	err := sql.One(ctx, v.q, `
		SELECT status_code, total_us, started_at, error_class FROM attempts WHERE webhook = $1 AND "offset" = $2 ORDER BY number DESC LIMIT 1`,
		[]any{int64(v.key), int64(d.Offset)}, &d.LastStatus, &took, &started, &class)
	at := sql.FromMicros(started)
	d.LastDuration, d.LastAttemptAt = time.Duration(took)*time.Microsecond, &at
	if d.Status == hook.Failed {
		d.Reason = class
	}
	return err
}
