// Package store is the log, its cursors and the configuration around them: the one truth that
// everything in memory is a cache of.
//
// An exported method is one transaction. Accepting events is [Store.Append]; everything that the
// engine finds out is [Store.Record]; both return only after the commit has reached the disk.
// Statements whose text can serve both engines are written once, with $n placeholders, against the
// small interface tx; what is particular to an engine stands in its own files (sqlite*.go,
// postgres*.go).
//
// Times are microseconds since 1970 in integer columns. Payloads and everything a receiver said
// are bytes, never text: a NUL in an answer must not be able to refuse a whole group.
package store

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Options is what a store needs to know. MasterKey is required; the zero value of the rest works.
type Options struct {
	// Dir is the directory of the embedded store; it is created when missing.
	Dir string
	// DatabaseURL says where Postgres is, for OpenPostgres.
	DatabaseURL string
	// MasterKey seals secrets at rest: 32 bytes.
	MasterKey []byte
	// Now is the clock of accepted_at and all other times; nil means time.Now, and for accepted_at on
	// Postgres the database's clock, so that the order of times is one on all nodes.
	Now func() time.Time
	// Fatal is called once when a commit failed in a way after which nothing may be acknowledged
	// (a failed fsync). It must end the process without closing the store. Nil panics.
	Fatal func(error)
	// Committed, if set, observes each group commit: how many callers shared it and how long it took.
	Committed func(group int, took time.Duration)
	// Checkpointed, if set, observes each checkpoint of the embedded store's write-ahead log: its
	// size before, in bytes, and how long the checkpoint took.
	Checkpointed func(wal int64, took time.Duration)
	// MinFreeDisk is the low-water mark in bytes below which appends are refused while records
	// still pass; 0 means 64 MiB, negative means none.
	MinFreeDisk int64
	// Judge asks filters about an event, outside of any transaction. Nil takes every filter for a match.
	Judge hook.Judge
	// Caps are how many things a company may have.
	Caps Caps
	// Unfinished opens a store that a copy into was broken off, so that it can go on.
	Unfinished bool
	// Restored says that the store was brought back from a copy, where nothing else shows it.
	Restored bool
	// HoldWhenBack lets a store that went back deliver nothing until [Store.Resume].
	HoldWhenBack bool
	// UnsafeNoSync gives up durability. It exists so that the power-cut test has a control that
	// fails; no setting reaches it.
	UnsafeNoSync bool
	Log          *slog.Logger
}

// At are the options for the store at a place: a URL of Postgres, or a directory.
func (o Options) At(place string) Options {
	o.Dir, o.DatabaseURL = place, ""
	if strings.HasPrefix(place, "postgres://") || strings.HasPrefix(place, "postgresql://") {
		o.Dir, o.DatabaseURL = "", place
	}
	return o
}

// Store is safe for concurrent use. Close it last.
type Store struct {
	engine
	now   func() time.Time
	aead  cipher.AEAD
	judge hook.Judge
	caps  Caps

	companies struct {
		sync.Mutex
		byID map[string]*Company // a cache of immutable facts, emptied when it grows too large
	}
	purges purges
	aged   agedMarks
	shares shares
	begun  *Era // by whoever opened it; set before anybody else uses it
}

// engine is what SQLite and Postgres each do in their own way.
type engine interface {
	// read runs fn on one consistent snapshot.
	read(ctx context.Context, fn func(tx) error) error
	// look is read for a function that asks once: a statement is a snapshot by itself.
	look(ctx context.Context, fn func(tx) error) error
	// write runs fn in one transaction and commits it; fn may run again after a conflict.
	write(ctx context.Context, fn func(tx) error) error
	// lockLog makes the append lock of a partition ours until the end of the transaction and
	// returns the last offset.
	lockLog(ctx context.Context, q tx, p hook.Partition) (hook.Offset, error)
	// head is the last offset that a snapshot holds of a partition.
	head(ctx context.Context, q tx, p hook.Partition) (hook.Offset, error)
	append(ctx context.Context, p hook.Partition, events []*hook.Event) (Batch, error)
	appendAcross(ctx context.Context, events []*hook.Event) (Batch, error)
	record(ctx context.Context, r *Record) (Recorded, error)
	// onAppend is [Store.OnAppend].
	onAppend(fn func(p hook.Partition, events []*hook.Event, configVersion int64))
	// snapshot runs fn on one consistent snapshot, for as long as it takes.
	snapshot(ctx context.Context, fn func(tx) error) error
	// served reports whether a server runs on the database.
	served(ctx context.Context, q tx) (bool, error)
	// backup writes everything into the file of an embedded store.
	backup(ctx context.Context, s *Store, path string) error
	// beginAfter makes the offsets that a partition gives from now on lie after one.
	beginAfter(ctx context.Context, q tx, p hook.Partition, o int64) error
	// lastBeat is when a node said last that it lives; 0 where none does.
	lastBeat(ctx context.Context, q tx) (int64, error)
	// slice is the condition on events that says which lie in a partition.
	slice(p hook.Partition) string
	partitions() int
	close() error
}

// tx is the little of a database that plain statements need.
type tx interface {
	exec(ctx context.Context, query string, args ...any) (affected int64, err error)
	query(ctx context.Context, query string, args ...any) (rows, error)
}

type rows interface {
	Next() bool
	Scan(...any) error
	Err() error
	Close() error
}

// errNoRow is what one returns when there is none.
var errNoRow = errors.New("no such row")

// one scans the single row of a query.
func one(ctx context.Context, q tx, query string, args []any, into ...any) error {
	r, err := q.query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.Next() {
		if err := r.Err(); err != nil {
			return err
		}
		return errNoRow
	}
	if err := r.Scan(into...); err != nil {
		return err
	}
	return r.Close()
}

// each calls scan for every row of a query.
func each(ctx context.Context, q tx, query string, args []any, scan func(rows) error) error {
	r, err := q.query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
		if err := scan(r); err != nil {
			return err
		}
	}
	return r.Err()
}

// Close ends the store; callers have stopped.
func (s *Store) Close() error { return s.engine.close() }

// Partitions is how many slices the log has.
func (s *Store) Partitions() int { return s.engine.partitions() }

// Ping answers whether the store can commit.
func (s *Store) Ping(ctx context.Context) error {
	return s.look(ctx, func(q tx) error {
		var n int64
		return one(ctx, q, `SELECT count(*) FROM owners`, nil, &n)
	})
}

// Unavailable is the error for a store that cannot commit now.
func unavailable(code string, cause error) error {
	return &hook.Error{
		Kind: hook.KindUnavailable, Code: code, Detail: "the store cannot commit now; try again",
		RetryAfter: time.Second, Err: cause,
	}
}

// micros and its kin carry times in and out of integer columns.
func micros(t time.Time) int64 { return t.UnixMicro() }

func microsOrNull(t *time.Time) any {
	if t == nil || t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func microsOrNil(t *time.Time) *int64 {
	if t == nil || t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return &us
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func fromMicrosOrNull(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := fromMicros(*us)
	return &t
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// nextKey hands out the next small integer of a kind.
func nextKey(ctx context.Context, q tx, counter string) (int64, error) {
	var key int64
	err := one(ctx, q, `UPDATE meta SET value = value + 1 WHERE name = $1 RETURNING value`, []any{counter}, &key)
	if err != nil {
		return 0, fmt.Errorf("next %s: %w", counter, err)
	}
	return key, nil
}
