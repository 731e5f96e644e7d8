// Package log is the rows of the log and of what becomes of its events: their tables, what an append
// answers, and what a record says, with its writing one row at a time. Both engines write by it, each in
// its own way, and know no more of what a store means.
package log

import (
	"context"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Batch is what an append answers.
type Batch struct {
	Appended      []hook.Appended // in the order of the events given
	ConfigVersion int64           // of the partition; 0 across several
}

// EventID tells events apart.
type EventID struct {
	Company hook.CompanyKey
	ID      string
}

// ID is an event's.
func ID(e *hook.Event) EventID { return EventID{e.Company, e.ID} }

// HeadColumns are those of an event without its data, in the order in which [ScanHead] reads them, and
// EventColumns all, for [ScanEvent].
const (
	HeadColumns  = `"offset", id, company, topic, object_key, digest, occurred_at, accepted_at`
	EventColumns = HeadColumns + `, data, expires_at, changes`
)

// withChanges is what the text of an attempt's format ends in where its body said what changed.
const withChanges = "+changes"

// BodyForm is the text of an attempt's format, [ParseBodyForm] its inverse.
func BodyForm(a *hook.Attempt) string {
	if a.Changes {
		return string(a.Format) + withChanges
	}
	return string(a.Format)
}

// ParseBodyForm reads what [BodyForm] wrote.
func ParseBodyForm(a *hook.Attempt, form string) {
	format, changes := strings.CutSuffix(form, withChanges)
	a.Format, a.Changes = hook.DataFormat(format), changes
}

// ScanHead reads an event without its data.
func ScanHead(r sql.Rows) (*hook.Event, error) { return scan(&hook.Event{}, r) }

// ScanEvent reads an event.
func ScanEvent(r sql.Rows) (*hook.Event, error) {
	e := &hook.Event{}
	var expires *int64
	if _, err := scan(e, r, &e.Data, &expires, &e.Changes); err != nil {
		return nil, err
	}
	e.ExpiresAt = sql.FromMicrosOrNull(expires)
	return e, nil
}

func scan(e *hook.Event, r sql.Rows, rest ...any) (*hook.Event, error) {
	var digest []byte
	var occurred *int64
	var accepted int64
	if err := r.Scan(append([]any{&e.Offset, &e.ID, &e.Company, &e.Topic, &e.ObjectKey, &digest, &occurred, &accepted}, rest...)...); err != nil {
		return nil, err
	}
	copy(e.Digest[:], digest)
	e.OccurredAt, e.AcceptedAt = sql.FromMicrosOrNull(occurred), sql.FromMicros(accepted)
	return e, nil
}

// EachEvent calls fn for the events that a query of [EventColumns] finds.
func EachEvent(ctx context.Context, q sql.Tx, query string, args []any, fn func(*hook.Event)) error {
	return sql.Each(ctx, q, query, args, func(r sql.Rows) error {
		e, err := ScanEvent(r)
		if err == nil {
			fn(e)
		}
		return err
	})
}
