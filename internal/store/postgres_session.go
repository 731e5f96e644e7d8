package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// pgSession is a transaction on Postgres. Its statements run under the transaction's own context,
// which ends even if the caller's never does.
type pgSession struct {
	ctx      context.Context
	e        *elephant
	tx       pgx.Tx
	versions map[hook.Partition]int64 // of the configuration, after the commit
}

func (s *pgSession) exec(_ context.Context, query string, args ...any) (int64, error) {
	tag, err := s.tx.Exec(s.ctx, query, args...)
	return tag.RowsAffected(), s.e.mapError(err)
}

func (s *pgSession) query(_ context.Context, query string, args ...any) (rows, error) {
	r, err := s.tx.Query(s.ctx, query, args...)
	if err != nil {
		return nil, s.e.mapError(err)
	}
	return &answer{r, s.e}, nil
}

// changed remembers a change of configuration until its commit.
func (s *pgSession) changed(p hook.Partition, version int64) {
	if s.versions == nil {
		s.versions = map[hook.Partition]int64{}
	}
	s.versions[p] = version
}

// tell lets the engine of this process hear of committed changes before it polls.
func (s *pgSession) tell() {
	if s.e.notify == nil {
		return
	}
	for p, version := range s.versions {
		s.e.notify(p, nil, version)
	}
}

// insertAttempts inserts any number in one statement.
func (s *pgSession) insertAttempts(ctx context.Context, attempts []*hook.Attempt) error {
	if len(attempts) == 0 {
		return nil
	}
	_, err := s.exec(ctx, insertAttemptArrays, attemptArrays(attempts)...)
	return err
}

// answer is the rows of a query.
type answer struct {
	pgx.Rows
	e *elephant
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
