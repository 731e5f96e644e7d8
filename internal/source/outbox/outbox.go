// Package outbox takes events from the table that producers write in their own transactions (package outbox of
// this module's root), on Postgres, MariaDB or MySQL.
//
// A row is read, accepted into the log, and deleted. There is no cursor: a transaction that commits late has a
// lower id than rows that were read long ago, and a cursor behind it would never come back. There is no horizon
// either, which a transaction in another database could hold up. What is visible is read in order of the ids.
// That is the order of an object's changes where producers take the id while they have the object's lock: then
// who sees a row sees all earlier ones of its object.
//
// It follows that what a reader takes of an object always begins with its oldest row, and is accepted whole, in
// order, and once, by the row's uuid. So two readers of the same rows, as there may be for a moment when nodes
// come and go, or when one stood still and goes on, double nothing and reorder nothing: the rest is work done in
// vain. Hence there are no leases in the producer's database, and no state of a session: poolers may stand
// between. A row is deleted by its uuid, too, because TRUNCATE lets ids begin anew.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Partitions is in how many parts companies are divided among the nodes that read an outbox. All events of an
// object are of one company.
const Partitions = 64

// Bounds of what is read at once.
const (
	MaxRows  = 1000
	MaxBytes = 8 << 20
	// maxText is how much is read of a document: with more than this it is refused, whatever stands behind it.
	maxText = MaxBytes + 1
)

// Row is one row of the table.
type Row struct {
	ID         int64
	UUID       string
	CompanyID  string
	Event      string // the topic; "" for a change
	ObjectType string // of a change
	ObjectID   string // "" where none is named
	Data       []byte // nil for NULL, as are the next two
	Before     []byte
	After      []byte
	OccurredAt *time.Time
	Age        time.Duration // since it was written, by the clock of its database
}

func (r *Row) size() int { return len(r.Data) + len(r.Before) + len(r.After) }

// Table is an outbox.
type Table interface {
	// Read returns what is visible and belongs to some of the partitions, in the order of the ids: at most limit
	// rows, and none of these ids.
	Read(ctx context.Context, partitions []int, limit int, except ...int64) ([]Row, error)
	// Delete removes rows that were read. Those that are no longer there are none of its concern.
	Delete(ctx context.Context, rows []Row) error
	// Wait returns when something may have been written, at the latest when the time is over; heard says that it
	// was told.
	Wait(ctx context.Context, longest time.Duration) (heard bool)
	// Listens says whether Wait is told of what is written.
	Listens() bool
	// Lag is what waits in some of the partitions.
	Lag(ctx context.Context, partitions []int) (Lag, error)
	// Objects returns objects of the producer's own, the last changed first, at most [MaxObjects].
	Objects(ctx context.Context, o Objects) ([]Object, error)
	Close()
}

// Lag is what waits.
type Lag struct {
	Rows int64         // counted up to maxCounted
	Age  time.Duration // of the first
}

// maxCounted bounds how many rows are counted.
const maxCounted = 100_000

// Open knows the table that a URL names: postgres://… or mariadb://…. It does not connect.
func Open(address string) (Table, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errMalformed
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		return openPostgres(address)
	case "mariadb", "mysql":
		return openMariaDB(u)
	}
	return nil, errors.New("the URL of an outbox begins with postgres:// or mariadb://")
}

// errMalformed does not repeat the URL, which may hold a password.
var errMalformed = errors.New("the URL is malformed")

// All is every partition, for the only node.
func All() []int { return Share(0, 1) }

// Share is what the index-th of so many nodes reads.
func Share(index, of int) (partitions []int) {
	for p := index; p < Partitions; p += of {
		partitions = append(partitions, p)
	}
	return partitions
}

// errNoTable is said instead of what the database says.
func errNoTable(err error) error {
	return fmt.Errorf("there is no table atlas_webhooks_outbox there, which `atlas-webhooks outbox sql` makes: %w", err)
}

// taken collects rows while they are few enough bytes. What is left out is read again.
type taken struct {
	rows  []Row
	bytes int
}

// highest is the last of some ids, 0 for none.
func highest(ids []int64) (most int64) {
	for _, id := range ids {
		most = max(most, id)
	}
	return most
}

func bytesOf(rows []Row) (sum int) {
	for i := range rows {
		sum += rows[i].size()
	}
	return sum
}

func (t *taken) add(r *Row) {
	if t.bytes += r.size(); t.bytes <= MaxBytes || len(t.rows) == 0 {
		t.rows = append(t.rows, *r)
	}
}
