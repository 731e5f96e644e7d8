// Package log is the rows of the log and of what becomes of its events: their tables, what an append
// answers, and what a record says, with its writing one row at a time. Both engines write by it, each in
// its own way, and know no more of what a store means.
package log

import (
	stdsql "database/sql"

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

// ScanHead reads an event without its data.
func ScanHead(r sql.Rows) (*hook.Event, error) {
	e := &hook.Event{}
	var digest stdsql.RawBytes
	var occurred *int64
	var accepted int64
	if err := r.Scan(&e.Offset, &e.ID, &e.Company, &e.Topic, &e.ObjectKey, &digest, &occurred, &accepted); err != nil {
		return nil, err
	}
	copy(e.Digest[:], digest)
	e.OccurredAt, e.AcceptedAt = sql.FromMicrosOrNull(occurred), sql.FromMicros(accepted)
	return e, nil
}
