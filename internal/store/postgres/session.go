package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// pgSession is a transaction on Postgres. Its statements run under the transaction's own context,
// which ends even if the caller's never does.
type pgSession struct {
	ctx context.Context
	e   *Engine
	tx  interface {
		Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
		Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	}
	versions map[hook.Partition]int64 // of the configuration, after the commit
}

func (s *pgSession) Exec(_ context.Context, query string, args ...any) (int64, error) {
	tag, err := s.tx.Exec(s.ctx, query, args...)
	return tag.RowsAffected(), s.e.mapError(err)
}

func (s *pgSession) Query(_ context.Context, query string, args ...any) (sql.Rows, error) {
	r, err := s.tx.Query(s.ctx, query, args...)
	if err != nil {
		return nil, s.e.mapError(err)
	}
	return &answer{r, s.e}, nil
}

// changed remembers a change of configuration until its commit.
func (s *pgSession) Changed(p hook.Partition, version int64) {
	if s.versions == nil {
		s.versions = map[hook.Partition]int64{}
	}
	s.versions[p] = version
}

// announce lets the engine of this process hear of committed changes before it polls.
func (s *pgSession) announce() {
	if s.e.notify == nil {
		return
	}
	for p, version := range s.versions {
		s.e.notify(p, nil, version)
	}
}

// insertAttempts inserts any number in one statement.
func (s *pgSession) InsertAttempts(ctx context.Context, attempts []*hook.Attempt) error {
	if len(attempts) == 0 {
		return nil
	}
	_, err := s.Exec(ctx, log.InsertAttemptArrays, log.Attempts.Arrays(attempts)...)
	return err
}

// AtFault reports whether an error is about the database rather than about what was to be written.
func (s *pgSession) AtFault(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && !ownFault(e)
}

// snapshot is a transaction that reads. It begins together with its first question: a turn less.
type snapshot struct {
	c     *pgx.Conn
	begun bool
}

const beginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

func (s *snapshot) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	r, err := s.Query(ctx, query, args...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	r.Close()
	return r.CommandTag(), r.Err()
}

func (s *snapshot) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	if s.begun {
		return s.c.Query(ctx, query, args...)
	}
	s.begun = true
	var b pgx.Batch
	b.Queue(beginSnapshot)
	b.Queue(query, args...)
	r := s.c.SendBatch(ctx, &b)
	_, err := r.Exec()
	if err == nil {
		var first pgx.Rows
		if first, err = r.Query(); err == nil {
			return &firstRows{first, r}, nil
		}
	}
	_ = r.Close() // its error is the one that is known
	return nil, err
}

// end ends what has begun.
func (s *snapshot) end(ctx context.Context) error {
	if !s.begun {
		return nil
	}
	_, err := s.c.Exec(ctx, commit)
	return err
}

// firstRows are the answer to the first question.
type firstRows struct {
	pgx.Rows
	batch pgx.BatchResults
}

func (f *firstRows) Close() {
	f.Rows.Close()
	_ = f.batch.Close() // its error is that of the rows
}

// answer is the rows of a query.
type answer struct {
	pgx.Rows
	e *Engine
}

func (a *answer) Err() error { return a.e.mapError(a.Rows.Err()) }

func (a *answer) Close() error {
	a.Rows.Close()
	return a.Err()
}

// Scan reads flags, which are integers in both engines, into booleans.
func (a *answer) Scan(into ...any) error {
	fields := a.FieldDescriptions()
	var flags []func()
	for i := range into {
		b, ok := into[i].(*bool)
		if !ok || i >= len(fields) || fields[i].DataTypeOID == pgtype.BoolOID {
			continue
		}
		n := new(int64)
		into[i] = n
		flags = append(flags, func() { *b = *n != 0 })
	}
	if err := a.Rows.Scan(into...); err != nil {
		return err
	}
	for _, set := range flags {
		set()
	}
	return nil
}
