// Package source takes in events that somebody else holds until we have them: a broker, or a table of the
// producer's.
//
// A [Source] knows how to receive messages and how to say that they need not come again. What both are worth
// is the [Runner]'s affair: it receives, has the events committed to the log, and only then commits at the
// source, so that nothing is lost whoever is killed when. What is received twice is dropped by its id, which
// is the message's own or made of its place. Messages stay in the order in which they are received.
//
// Where the intake takes nothing (the store is busy, or its disk low), the runner holds what it has and
// receives no more: nothing is given back, because brokers put what is given back behind what is newer. A
// message that can never be accepted becomes a dead letter, with the reason, and the source goes on.
package source

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
)

// Limits of a batch that a source should return.
const (
	MaxMessages = 500
	MaxBytes    = 4 << 20
)

// Message is an event, or a change, that a source holds.
type Message struct {
	intake.Message
	Key       string    // names the message within its source, for ever
	WrittenAt time.Time // when its producer wrote it; zero: the source does not tell
	Unnamed   bool      // neither the message nor its place gives an id: when it comes again it is another event
}

// Batch is what was received at once, in order.
type Batch struct {
	Messages []Message
	// Lost is closed when the messages are no longer ours, so that whoever holds them drops them: they are
	// received again, here or by others. nil: that does not happen.
	Lost <-chan struct{}
	// Expired is how many messages the source let go of, since the last batch, before they were received.
	Expired int64
}

// Lag is how far behind a reader is.
type Lag struct {
	Messages int64     // that are not committed; negative: not known
	Oldest   time.Time // when the oldest of them was written; zero: there is none, or it is not known
}

// Source is a connection to where messages come from. It is used by one goroutine, but for Lag.
type Source interface {
	// Receive waits for messages, and returns none when there are none for a while. An error ends the
	// connection.
	Receive(ctx context.Context) (Batch, error)
	// Commit says that what Receive returned last need not come again. An error ends the connection: what it
	// was about comes again.
	Commit(ctx context.Context) error
	// Lag is asked now and then, by another goroutine.
	Lag(ctx context.Context) (Lag, error)
	// Close lets go of everything; what was not committed is received again by whoever comes next.
	Close()
}

// Definition is a source as it is configured.
type Definition struct {
	Name    string
	Kind    string // "kafka", "nats", "rabbitmq" …
	Where   string // for people: addresses and what is read, without a password
	Company string // the only one that it may publish for; "" for any
	// Alone says that order is lost where two nodes read at once, so that one of them does.
	Alone   bool
	Secrets []string // masked in errors
	Open    func(ctx context.Context) (Source, error)
}
