package sqlite

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// session is one connection to SQLite with its prepared statements: each text is prepared once, on
// the connection that runs it. It belongs to one goroutine at a time.
type session struct {
	conn  *stdsql.Conn
	stmts map[string]*stdsql.Stmt
}

func newSession(conn *stdsql.Conn) *session {
	return &session{conn: conn, stmts: map[string]*stdsql.Stmt{}}
}

func (s *session) prepared(ctx context.Context, query string) (*stdsql.Stmt, error) {
	if stmt, ok := s.stmts[query]; ok {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	s.stmts[query] = stmt
	return stmt, nil
}

func (s *session) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	stmt, err := s.prepared(ctx, query) //nolint:sqlclosecheck // kept for the life of the connection
	if err != nil {
		return 0, err
	}
	r, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (s *session) Query(ctx context.Context, query string, args ...any) (sql.Rows, error) {
	stmt, err := s.prepared(ctx, query) //nolint:sqlclosecheck // kept for the life of the connection
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...) //nolint:rowserrcheck // each and one do
}

func (s *session) close() error {
	var errs []error
	for _, stmt := range s.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// readers are the connections that only read. A reader holds one for its whole transaction and
// waits for nothing else meanwhile. The one that was used last is used next: when little is read,
// few hold a cache.
type readers struct {
	db   *stdsql.DB
	turn chan struct{} // holds one for each connection that is not in use
	quit chan struct{} // closed when no reader is let in any more

	mu   sync.Mutex
	idle []*session // open ones, the last used last
}

func newReaders(db *stdsql.DB, n int) *readers {
	db.SetMaxOpenConns(n)
	r := &readers{db: db, turn: make(chan struct{}, n), quit: make(chan struct{})}
	for range n {
		r.turn <- struct{}{}
	}
	return r
}

// Readers is how many reads may run at once.
const Readers = 8

// FreeReaders is how many of them nobody holds; for tests.
func (l *Engine) FreeReaders() int { return len(l.readers.turn) }

// Texts are the statements that are prepared on the connections of an engine that is at rest; for tests.
func (l *Engine) Texts() (texts []string) {
	for _, r := range l.readers.idle {
		texts = slices.AppendSeq(texts, maps.Keys(r.stmts))
	}
	return slices.AppendSeq(texts, maps.Keys(l.writer.stmts))
}

// read runs fn on a snapshot. The statements of a cancelled caller are interrupted.
func (r *readers) read(ctx context.Context, fn func(sql.Tx) error) (err error) {
	select {
	case <-r.turn:
	case <-r.quit:
		return sql.Unavailable("store_closed", errors.New("the store is closed"))
	case <-ctx.Done():
		return sql.Unavailable("store_busy", ctx.Err())
	}
	defer func() { r.turn <- struct{}{} }()
	s, err := r.take(ctx)
	if err != nil {
		return err
	}
	if _, err := s.Exec(ctx, "BEGIN"); err != nil {
		return errors.Join(err, s.close()) // it may have begun nevertheless
	}
	defer func() {
		if _, end := s.Exec(context.WithoutCancel(ctx), "ROLLBACK"); end != nil {
			s.close() // nothing is known of this connection any more
			err = errors.Join(err, end)
			return
		}
		r.give(s)
	}()
	return fn(s)
}

// take returns a connection that nobody uses, if need be a new one.
func (r *readers) take(ctx context.Context) (*session, error) {
	r.mu.Lock()
	if last := len(r.idle) - 1; last >= 0 {
		s := r.idle[last]
		r.idle = r.idle[:last]
		r.mu.Unlock()
		return s, nil
	}
	r.mu.Unlock()
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return newSession(conn), nil
}

func (r *readers) give(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = append(r.idle, s)
}

// close waits for the readers.
func (r *readers) close() error {
	close(r.quit)
	var errs []error
	for range cap(r.turn) {
		<-r.turn
	}
	for _, s := range r.idle {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, r.db.Close())...)
}
