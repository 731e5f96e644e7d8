package store

import (
	"context"
	"errors"
	"sync"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// readsOfOne is how many reads for one company may run at once; more of them wait for each other, and
// leave readers to the others.
const readsOfOne = 3

type shareKey struct{}

// Share marks the reads of a context as a company's: they take no more than its share of the readers.
func Share(ctx context.Context, company hook.CompanyKey) context.Context {
	return context.WithValue(ctx, shareKey{}, company)
}

// shares are the reads of companies that run or wait.
type shares struct {
	mu    sync.Mutex
	turns map[hook.CompanyKey]*share
}

type share struct {
	turn chan struct{}
	held int // by those who have a turn or wait for one
}

// enter waits for a turn among the reads of the context's company, if it has one.
func (s *shares) enter(ctx context.Context) (leave func(), err error) {
	company, ok := ctx.Value(shareKey{}).(hook.CompanyKey)
	if !ok {
		return func() {}, nil
	}
	s.mu.Lock()
	if s.turns == nil {
		s.turns = map[hook.CompanyKey]*share{}
	}
	x := s.turns[company]
	if x == nil {
		x = &share{turn: make(chan struct{}, readsOfOne)}
		s.turns[company] = x
	}
	x.held++
	s.mu.Unlock()
	forget := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if x.held--; x.held == 0 {
			delete(s.turns, company)
		}
	}
	select {
	case x.turn <- struct{}{}:
		return func() { <-x.turn; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, sql.Unavailable("store_busy", errors.Join(errors.New("wait for a reader"), ctx.Err()))
	}
}
