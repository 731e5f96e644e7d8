package store

import (
	"context"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Engine is what SQLite and Postgres each do in their own way.
type Engine interface {
	// Read runs fn on one consistent snapshot.
	Read(ctx context.Context, fn func(sql.Tx) error) error
	// Look is Read for a function that asks once: a statement is a snapshot by itself.
	Look(ctx context.Context, fn func(sql.Tx) error) error
	// Write runs fn in one transaction and commits it; fn may run again after a conflict.
	Write(ctx context.Context, fn func(sql.Tx) error) error
	// LockLog makes the append lock of a partition ours until the end of the transaction and
	// returns the last offset.
	LockLog(ctx context.Context, q sql.Tx, p hook.Partition) (hook.Offset, error)
	// Head is the last offset that a snapshot holds of a partition.
	Head(ctx context.Context, q sql.Tx, p hook.Partition) (hook.Offset, error)
	// EachEvent calls fn for the events at some offsets, in their order; those that are purged are left out.
	EachEvent(ctx context.Context, q sql.Tx, p hook.Partition, offsets []hook.Offset, fn func(*hook.Event)) error
	Append(ctx context.Context, p hook.Partition, events []*hook.Event) (log.Batch, error)
	AppendAcross(ctx context.Context, events []*hook.Event) (log.Batch, error)
	// AppendFrom locks the logs of some partitions, runs fn, and appends the events that it returns, each to
	// the partition that it names; all in one transaction. fn may run again after a conflict.
	AppendFrom(ctx context.Context, partitions []hook.Partition, fn func(sql.Tx) ([]*hook.Event, error)) error
	Record(ctx context.Context, r *log.Record) (log.Recorded, error)
	// OnAppend is [Store.OnAppend].
	OnAppend(fn func(p hook.Partition, events []*hook.Event, configVersion int64))
	// Snapshot runs fn on one consistent snapshot, for as long as it takes.
	Snapshot(ctx context.Context, fn func(sql.Tx) error) error
	// Served reports whether a server runs on the database.
	Served(ctx context.Context, q sql.Tx) (bool, error)
	// BeginAfter makes the offsets that a partition gives from now on lie after one.
	BeginAfter(ctx context.Context, q sql.Tx, p hook.Partition, o int64) error
	// LastBeat is when a node said last that it lives; 0 where none does.
	LastBeat(ctx context.Context, q sql.Tx) (int64, error)
	// Slice is the condition on events that says which lie in a partition.
	Slice(p hook.Partition) string
	Partitions() int
	Close() error
}

// What an append and a record say has its own package, which the engines know, too.
type (
	Batch        = log.Batch
	Record       = log.Record
	Recorded     = log.Recorded
	Item         = log.Item
	ParkedKey    = log.ParkedKey
	Repair       = log.Repair
	Skip         = log.Skip
	CursorMove   = log.CursorMove
	GateMove     = log.GateMove
	Health       = log.Health
	StatusChange = log.StatusChange
	Stat         = log.Stat
	Answer       = log.Answer
	Notice       = log.Notice
	ReplayMove   = log.ReplayMove
)

// ErrFenced is the answer to a node that is no longer alive: nothing was written.
var ErrFenced = log.ErrFenced
