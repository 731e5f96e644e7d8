package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// MemoryStore remembers in this process, for tests and for receivers whose effects end with it. Its zero value
// is empty. One event at a time.
type MemoryStore struct {
	mu        sync.Mutex
	running   sync.Mutex
	done      map[[2]string]bool
	positions map[string]int64
}

// Position is that of [Store].
func (s *MemoryStore) Position(_ context.Context, webhookID string) (int64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, known := s.positions[webhookID]
	return n, known, nil
}

// Once is that of [Store]; run gets nil.
func (s *MemoryStore) Once(_ context.Context, e *webhook.Event, run func(*sql.Tx) error) (bool, error) {
	s.running.Lock()
	defer s.running.Unlock()
	key := [2]string{e.WebhookID, e.ID}
	s.mu.Lock()
	known := s.done[key]
	s.mu.Unlock()
	if known {
		return false, nil
	}
	if err := run(nil); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done, s.positions = map[[2]string]bool{}, map[string]int64{}
	}
	s.done[key] = true
	if e.Sequence > 0 {
		s.positions[e.WebhookID] = max(s.positions[e.WebhookID], e.Sequence)
	}
	return true, nil
}

// Dialect is the kind of database that a [SQLStore] is in.
type Dialect string

// The kinds of databases. MySQL is spoken to as MariaDB.
const (
	Postgres Dialect = "postgres"
	MariaDB  Dialect = "mariadb"
	SQLite   Dialect = "sqlite" // with a busy time-out, and PRAGMA synchronous = FULL: done means on disk
)

// statements of a dialect.
type statements struct{ claim, position, advance, prune, bytes string }

var dialects = map[Dialect]statements{
	Postgres: {
		`INSERT INTO atlas_inbox_events (webhook_id, event_id, done_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		`SELECT sequence FROM atlas_inbox_positions WHERE webhook_id = $1`,
		`INSERT INTO atlas_inbox_positions AS p (webhook_id, sequence) VALUES ($1, $2) ON CONFLICT (webhook_id) DO UPDATE SET sequence = greatest(p.sequence, excluded.sequence)`,
		`DELETE FROM atlas_inbox_events WHERE done_at < $1`,
		``,
	},
	SQLite: {
		`INSERT INTO atlas_inbox_events (webhook_id, event_id, done_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		`SELECT sequence FROM atlas_inbox_positions WHERE webhook_id = ?`,
		`INSERT INTO atlas_inbox_positions (webhook_id, sequence) VALUES (?, ?) ON CONFLICT (webhook_id) DO UPDATE SET sequence = max(sequence, excluded.sequence)`,
		`DELETE FROM atlas_inbox_events WHERE done_at < ?`,
		``,
	},
	MariaDB: {
		`INSERT IGNORE INTO atlas_inbox_events (webhook_id, event_id, done_at) VALUES (?, ?, ?)`,
		`SELECT sequence FROM atlas_inbox_positions WHERE webhook_id = ?`,
		`INSERT INTO atlas_inbox_positions (webhook_id, sequence) VALUES (?, ?) ON DUPLICATE KEY UPDATE sequence = GREATEST(sequence, VALUES(sequence))`,
		`DELETE FROM atlas_inbox_events WHERE done_at < ?`,
		`CHARACTER SET ascii COLLATE ascii_bin`, // by default "a" and "A" are one key there
	},
}

// tables serve all dialects, BYTES standing for what makes texts differ where their bytes do. Ids are at most
// 255 bytes of ASCII.
var tables = []string{
	`CREATE TABLE IF NOT EXISTS atlas_inbox_events (webhook_id VARCHAR(64) BYTES NOT NULL, event_id VARCHAR(255) BYTES NOT NULL, done_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (webhook_id, event_id))`,
	`CREATE TABLE IF NOT EXISTS atlas_inbox_positions (webhook_id VARCHAR(64) BYTES PRIMARY KEY, sequence BIGINT NOT NULL)`,
}

// SQLStore remembers in a database, by whichever driver. What the handler writes with its transaction and the
// memory that the event is done are one: a crash undoes both or none.
type SQLStore struct {
	db *sql.DB
	statements
}

// NewSQLStore is a store in a database, whose tables [SQLStore.Create] makes.
func NewSQLStore(db *sql.DB, d Dialect) *SQLStore {
	s, known := dialects[d]
	if !known {
		panic(fmt.Sprintf("inbox: %q is no dialect", d))
	}
	return &SQLStore{db, s}
}

// Create makes the tables where they are missing. Processes that start at the same time may both call it.
func (s *SQLStore) Create(ctx context.Context) error {
	for _, t := range tables {
		t = strings.ReplaceAll(t, "BYTES", s.bytes)
		_, err := s.db.ExecContext(ctx, t)
		if err != nil { // Postgres says so where another process made it in the same moment
			_, err = s.db.ExecContext(ctx, t)
		}
		if err != nil {
			return fmt.Errorf("inbox: create the tables: %w", err)
		}
	}
	return nil
}

// Position is that of [Store].
func (s *SQLStore) Position(ctx context.Context, webhookID string) (n int64, known bool, err error) {
	err = s.db.QueryRowContext(ctx, s.position, webhookID).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return n, err == nil, err
}

// Once is that of [Store].
func (s *SQLStore) Once(ctx context.Context, e *webhook.Event, run func(*sql.Tx) error) (done bool, err error) {
	if len(e.WebhookID) > 64 || len(e.ID) > 255 || e.ID == "" {
		return false, fmt.Errorf("inbox: %.80q of %.80q is no id of an event", e.ID, e.WebhookID)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // after the commit there is nothing to undo
	// Who is at the same event waits here for its end.
	claimed, err := tx.ExecContext(ctx, s.claim, e.WebhookID, e.ID, float64(time.Now().UnixMilli())/1000)
	if err != nil {
		return false, err
	}
	if n, err := claimed.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	if err := run(tx); err != nil {
		return false, err
	}
	if e.Sequence > 0 {
		if _, err := tx.ExecContext(ctx, s.advance, e.WebhookID, e.Sequence); err != nil {
			return false, err
		}
	}
	err = tx.Commit()
	return err == nil, err
}

// Prune forgets what was done longer ago than the server keeps its events (retention_days; 40 days are enough
// for the default), and returns how many that were.
func (s *SQLStore) Prune(ctx context.Context, age time.Duration) (int64, error) {
	r, err := s.db.ExecContext(ctx, s.prune, float64(time.Now().Add(-age).UnixMilli())/1000)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
