// Package outbox publishes events in the transaction that changes a producer's own data.
//
// A producer that commits and then calls the API loses an event when it ends in between, and one that calls
// first publishes what never happened. So it writes the event into a table of its own database, in its own
// transaction; the relay of a server whose outbox_url names that database takes what was committed from
// there, in order for each object, and accepts each once.
//
//	tx, err := pool.Begin(ctx)
//	…
//	_, err = tx.Exec(ctx, `UPDATE conversations SET status = 'closed' WHERE id = $1`, id)
//	…
//	err = outbox.Publish(ctx, tx, outbox.Event{CompanyID: "c1", Event: "conversation.status", Data: document})
//	…
//	err = tx.Commit(ctx)
//
// [Publish] takes a transaction of pgx, [PublishSQL] one of database/sql, on Postgres, MariaDB or MySQL. The
// events of one object arrive in the order of its changes if they are published behind the statement that
// changed it: then the number that orders them is given while the transaction has the object's lock.
//
// The table is made by what [Schema] returns, which `atlas-webhooks outbox sql` prints. [Watch] makes
// triggers that write the changes of a table of the producer's by themselves.
package outbox

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Table is the outbox, in whichever schema or database the producer's sessions are in.
const Table = "atlas_webhooks_outbox"

// Channel is what the relay listens to on Postgres.
const Channel = Table

// Dialect is the kind of database that the table is in.
type Dialect string

// The kinds of databases. MySQL is spoken to as MariaDB.
const (
	Postgres Dialect = "postgres"
	MariaDB  Dialect = "mariadb"
)

var (
	//go:embed postgres.sql
	postgresSQL string
	//go:embed postgres-notify.sql
	notifySQL string
	//go:embed mariadb.sql
	mariadbSQL string
)

// Schema returns the statements that make the table and its functions. They may be run again. notify adds
// what wakes the relay at each commit, on Postgres.
func Schema(d Dialect, notify bool) string {
	switch {
	case d == MariaDB:
		return mariadbSQL
	case notify:
		return postgresSQL + notifySQL
	}
	return postgresSQL
}

// Event is what is published.
type Event struct {
	// ID is a UUID: what is published again under the same one is accepted once. Empty: a new one.
	ID        string
	CompanyID string
	Event     string // the topic
	ObjectID  string // what the event is about; empty: the id in Data
	// Data is the document: bytes and a json.RawMessage as they are, anything else is encoded.
	Data       any
	OccurredAt time.Time // zero: not said
}

// Change is what became of an object, of which the events are derived (POST /v1/changes).
type Change struct {
	ID         string // as that of an [Event]
	CompanyID  string
	ObjectType string // conversation, customer, customer_note or account
	Before     any    // the document before; nil: the object was created
	After      any    // the document after; nil: it was deleted
	OccurredAt time.Time
}

// Message is an [Event] or a [Change].
type Message interface {
	row() ([columns]any, error)
}

// columns of a row that is written, as [insert] names them.
const columns = 9

const insert = `INSERT INTO ` + Table + ` (uuid, company_id, event, object_type, object_id, data, before_data, after_data, occurred_at) VALUES `

// MaxMessages bounds what one call publishes: it is one statement.
const MaxMessages = 1000

// Querier is what [Publish] needs of pgx: a pgx.Tx has it, and so have *pgxpool.Tx and *pgx.Conn.
type Querier[Result any] interface {
	Exec(ctx context.Context, query string, args ...any) (Result, error)
}

// Publish writes messages into the outbox of Postgres, within a transaction of pgx. Nothing is published
// before that commits. At most [MaxMessages].
func Publish[Result any](ctx context.Context, tx Querier[Result], messages ...Message) error {
	query, args, err := statement(Postgres, messages)
	if err != nil || len(args) == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, query, args...); err != nil {
		return fmt.Errorf("publish into the outbox: %w", err)
	}
	return nil
}

// QuerierSQL is what [PublishSQL] needs of database/sql: a *sql.Tx has it, and so has *sql.Conn.
type QuerierSQL interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// PublishSQL is [Publish] within a transaction of database/sql.
func PublishSQL(ctx context.Context, tx QuerierSQL, d Dialect, messages ...Message) error {
	query, args, err := statement(d, messages)
	if err != nil || len(args) == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("publish into the outbox: %w", err)
	}
	return nil
}

// statement writes one row for each message.
func statement(d Dialect, messages []Message) (query string, args []any, err error) {
	if len(messages) > MaxMessages {
		return "", nil, fmt.Errorf("publish into the outbox: %d messages, at most %d at once", len(messages), MaxMessages)
	}
	var b strings.Builder
	b.WriteString(insert)
	for i, m := range messages {
		row, err := m.row()
		if err != nil {
			return "", nil, fmt.Errorf("publish into the outbox: message %d: %w", i, err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for j, v := range row {
			if j > 0 {
				b.WriteByte(',')
			}
			args = append(args, argument(d, v))
			b.WriteString(placeholder(d, len(args), j))
		}
		b.WriteByte(')')
	}
	return b.String(), args, nil
}

// argument is a value as a driver takes it. That of MariaDB would write a time in a zone of its own.
func argument(d Dialect, v any) any {
	if t, ok := v.(time.Time); ok && d == MariaDB {
		return t.Format("2006-01-02 15:04:05.000000")
	}
	return v
}

// placeholder stands for the n-th argument, which is that of a column. A uuid that is missing is the default.
func placeholder(d Dialect, n, column int) string {
	if d == MariaDB {
		if column == 0 {
			return "COALESCE(?,UUID())"
		}
		return "?"
	}
	p := "$" + strconv.Itoa(n)
	switch column {
	case 0:
		return "COALESCE(CAST(" + p + " AS uuid),gen_random_uuid())"
	case 5, 6, 7:
		return "CAST(CAST(" + p + " AS text) AS json)" // a driver may send what it takes for JSON in a form of its own
	case 8:
		return "CAST(" + p + " AS timestamptz)"
	}
	return "CAST(" + p + " AS text)"
}

func (e Event) row() (row [columns]any, err error) {
	if e.CompanyID == "" || e.Event == "" {
		return row, errors.New("an event has a CompanyID and an Event")
	}
	data, err := document(e.Data)
	if err != nil {
		return row, fmt.Errorf("its Data: %w", err)
	}
	if data == nil {
		data = "null" // a document, too
	}
	return [columns]any{orNull(e.ID), e.CompanyID, e.Event, nil, orNull(e.ObjectID), data, nil, nil, moment(e.OccurredAt)}, nil
}

func (c Change) row() (row [columns]any, err error) {
	if c.CompanyID == "" || c.ObjectType == "" {
		return row, errors.New("a change has a CompanyID and an ObjectType")
	}
	before, err := document(c.Before)
	if err != nil {
		return row, fmt.Errorf("its Before: %w", err)
	}
	after, err := document(c.After)
	if err != nil {
		return row, fmt.Errorf("its After: %w", err)
	}
	return [columns]any{orNull(c.ID), c.CompanyID, nil, c.ObjectType, nil, nil, before, after, moment(c.OccurredAt)}, nil
}

// document is the text of a value, nil for nil.
func document(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []byte:
		return asText(v)
	case json.RawMessage:
		return asText(v)
	}
	text, err := json.Marshal(v)
	return string(text), err
}

// asText refuses what is no JSON here: MariaDB takes any text, and it would be set aside later.
func asText(b []byte) (any, error) {
	switch {
	case b == nil:
		return nil, nil
	case !json.Valid(b):
		return nil, errors.New("is not JSON")
	}
	return string(b), nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC()
}
