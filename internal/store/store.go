// Package store is the log, its cursors and the configuration around them: the one truth that
// everything in memory is a cache of.
//
// An exported method is one transaction. Accepting events is [Store.Append]; everything that the
// engine finds out is [Store.Record]; both return only after the commit has reached the disk.
// Statements whose text can serve both engines are written once, with $n placeholders, against the
// small interface [sql.Tx]; what is particular to an engine stands in its own files (sqlite*.go,
// postgres*.go).
//
// Times are microseconds since 1970 in integer columns. Payloads and everything a receiver said
// are bytes, never text: a NUL in an answer must not be able to refuse a whole group.
package store

import (
	"context"
	"crypto/cipher"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sqlite"
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

// Caps are how many things a company may have at once; 0 is no limit. Two that are made in the same
// moment on different nodes may both pass.
type Caps struct {
	Webhooks int // where the company has no limit of its own
	Keys     int // that are valid
	Links    int // that wait to be used
	// Scheduled events that wait for their time.
	Scheduled int
}

// At are the options for the store at a place: a URL of Postgres, or a directory.
func (o Options) At(place string) Options {
	o.Dir, o.DatabaseURL = place, ""
	if strings.HasPrefix(place, "postgres://") || strings.HasPrefix(place, "postgresql://") {
		o.Dir, o.DatabaseURL = "", place
	}
	return o
}

// sqlite are the embedded engine's.
func (o Options) sqlite() sqlite.Options {
	return sqlite.Options{
		Dir: o.Dir, Now: o.Now, Fatal: o.Fatal, Committed: o.Committed, Checkpointed: o.Checkpointed, MinFreeDisk: o.MinFreeDisk,
		UnsafeNoSync: o.UnsafeNoSync, Log: o.Log,
	}
}

// OpenSQLite opens the embedded store in opt.Dir, creating or migrating it.
func OpenSQLite(ctx context.Context, opt Options) (*Store, error) {
	aead, err := newSeal(opt.MasterKey)
	if err != nil {
		return nil, err
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	e, err := sqlite.Open(ctx, opt.sqlite())
	if err != nil {
		return nil, err
	}
	s := &Store{engine: e, now: opt.Now, caps: opt.Caps, aead: aead, key: opt.MasterKey, judge: opt.Judge}
	err = s.checkOpened(ctx, opt)
	if err == nil && !opt.Unfinished {
		err = s.enter(ctx, opt)
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	return s, nil
}

// OpenTwin opens an embedded store under the same master key, which a copy of this one is to fill. It is
// not safe from a crash.
func (s *Store) OpenTwin(ctx context.Context, dir string) (*Store, error) {
	return OpenSQLite(ctx, Options{Dir: dir, MasterKey: s.key, Now: s.now, UnsafeNoSync: true, Unfinished: true})
}

// postgres are the other engine's.
func (o Options) postgres() postgres.Options {
	return postgres.Options{URL: o.DatabaseURL, Now: o.Now, Committed: o.Committed, HoldWhenBack: o.HoldWhenBack, Log: o.Log}
}

// OpenPostgres opens the store at opt.DatabaseURL, creating or migrating it.
func OpenPostgres(ctx context.Context, opt Options) (*Store, error) {
	aead, err := newSeal(opt.MasterKey)
	if err != nil {
		return nil, err
	}
	s := &Store{now: opt.Now, caps: opt.Caps, aead: aead, key: opt.MasterKey, judge: opt.Judge}
	if s.ownClock = s.now != nil; !s.ownClock {
		s.now = time.Now
	}
	known := opt.postgres()
	known.Forget = s.forget
	e, err := postgres.Open(ctx, known)
	if err != nil {
		return nil, err
	}
	s.engine = e
	err = s.checkOpened(ctx, opt)
	if err == nil && !opt.Unfinished {
		s.begun, err = e.Settle(ctx, opt.Restored)
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	return s, nil
}

// Store is safe for concurrent use. Close it last.
type Store struct {
	engine Engine
	now    func() time.Time
	// ownClock says that now is not the wall clock, but a test's.
	ownClock bool
	aead     cipher.AEAD
	key      []byte // that it was made of
	judge    hook.Judge
	caps     Caps

	companies struct {
		sync.Mutex
		byID map[string]companyFacts // a cache of immutable facts, emptied when it grows too large
	}
	topics atomic.Pointer[catalogued] // nil before they were read
	// reading keeps one who reads the topics from another.
	reading sync.Mutex
	purges  purges
	aged    agedMarks
	shares  shares
	begun   *Era // by whoever opened it; set before anybody else uses it
}

// Close ends the store; callers have stopped.
func (s *Store) Close() error { return s.engine.Close() }

// Engine is what commits, for whoever moves rows without asking what they mean.
func (s *Store) Engine() Engine { return s.engine }

// Partitions is how many slices the log has.
func (s *Store) Partitions() int { return s.engine.Partitions() }

// Ping answers whether the store can commit.
func (s *Store) Ping(ctx context.Context) error {
	return s.look(ctx, func(q sql.Tx) error {
		var n int64
		return sql.One(ctx, q, `SELECT count(*) FROM owners`, nil, &n)
	})
}

// Disk is the room for an embedded database; ok is false where the database is elsewhere.
func (s *Store) Disk() (d sql.Disk, ok bool) {
	e, embedded := s.engine.(interface{ Disk() (sql.Disk, error) })
	if !embedded {
		return d, false
	}
	d, err := e.Disk()
	return d, err == nil
}

func (s *Store) write(ctx context.Context, fn func(sql.Tx) error) error {
	return s.engine.Write(ctx, fn)
}

func (s *Store) head(ctx context.Context, q sql.Tx, p hook.Partition) (hook.Offset, error) {
	return s.engine.Head(ctx, q, p)
}

func (s *Store) lockLog(ctx context.Context, q sql.Tx, p hook.Partition) (hook.Offset, error) {
	return s.engine.LockLog(ctx, q, p)
}

// read runs fn on one consistent snapshot, in its turn.
func (s *Store) read(ctx context.Context, fn func(sql.Tx) error) error {
	leave, err := s.shares.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.engine.Read(ctx, fn)
}

// look is read for a function that asks once.
func (s *Store) look(ctx context.Context, fn func(sql.Tx) error) error {
	leave, err := s.shares.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.engine.Look(ctx, fn)
}

// Limits of a read.
const (
	// lastOffset lies after every event.
	lastOffset hook.Offset = math.MaxInt64
	// readRows is how many rows one read may examine: a longer one would keep the write-ahead log
	// from being reset.
	readRows = 5000
	// readBytes bounds the payloads that one read may look into.
	readBytes = 16 << 20
	// PageBytes is how much data of events a page of them holds before its last one.
	PageBytes = 1 << 20
	// readSteps bounds what filters are asked for one read: some tenths of a second.
	readSteps = 5_000_000
)

// errEnough ends a walk over rows before their end.
var errEnough = errors.New("enough rows")
