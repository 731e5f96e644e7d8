package sql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Tx is the little of a database that plain statements need.
type Tx interface {
	Exec(ctx context.Context, query string, args ...any) (affected int64, err error)
	Query(ctx context.Context, query string, args ...any) (Rows, error)
}

// Rows is what a query answers.
type Rows interface {
	Next() bool
	Scan(into ...any) error
	Err() error
	Close() error
}

// ErrNoRow is what [One] returns when there is none.
var ErrNoRow = errors.New("no such row")

// One scans the single row of a query.
func One(ctx context.Context, q Tx, query string, args []any, into ...any) error {
	r, err := q.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.Next() {
		if err := r.Err(); err != nil {
			return err
		}
		return ErrNoRow
	}
	if err := r.Scan(into...); err != nil {
		return err
	}
	return r.Close()
}

// Each calls scan for every row of a query.
func Each(ctx context.Context, q Tx, query string, args []any, scan func(Rows) error) error {
	r, err := q.Query(ctx, query, args...)
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

// Savepoint runs fn so that its failure undoes only what fn did.
func Savepoint(ctx context.Context, q Tx, fn func() error) error {
	if _, err := q.Exec(ctx, "SAVEPOINT one"); err != nil {
		return err
	}
	err := fn()
	if err != nil {
		if _, undo := q.Exec(ctx, "ROLLBACK TO one"); undo != nil {
			return errors.Join(err, undo)
		}
	}
	_, release := q.Exec(ctx, "RELEASE one")
	return errors.Join(err, release)
}

// NextKey hands out the next small integer of a kind.
func NextKey(ctx context.Context, q Tx, counter string) (int64, error) {
	var key int64
	err := One(ctx, q, `UPDATE meta SET value = value + 1 WHERE name = $1 RETURNING value`, []any{counter}, &key)
	if err != nil {
		return 0, fmt.Errorf("next %s: %w", counter, err)
	}
	return key, nil
}

// SetMeta writes a number under a name, whatever was there.
func SetMeta(ctx context.Context, q Tx, name string, value int64) error {
	_, err := q.Exec(ctx, `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

// DiskUnavailable is [Unavailable] for want of room.
func DiskUnavailable(code string, cause error) error {
	return &hook.Error{
		Kind: hook.KindUnavailable, Code: code, Detail: "the server's disk has no room: nothing is accepted until there is; try again",
		RetryAfter: time.Second, Err: cause,
	}
}

// Unavailable is the error for a store that cannot commit now.
func Unavailable(code string, cause error) error {
	return &hook.Error{
		Kind: hook.KindUnavailable, Code: code, Detail: "the store cannot commit now; try again",
		RetryAfter: time.Second, Err: cause,
	}
}
