package intake

import (
	"context"
	"sync"
)

// turns lets so many comparisons of changes run at a time, since each may take a processor for a while; no company
// has more than half of them, or waits for more.
type turns struct {
	run chan struct{} // holds a token for each that runs

	mu  sync.Mutex
	own map[string]*ownTurns // of companies that have some, or wait
}

type ownTurns struct {
	run   chan struct{}
	users int // who has one or waits
}

func newTurns(n int) *turns {
	return &turns{run: make(chan struct{}, n), own: map[string]*ownTurns{}}
}

// enter waits for a company's turn; leave ends it.
func (t *turns) enter(ctx context.Context, company string) (leave func(), err error) {
	own := t.of(company)
	for i, run := range []chan struct{}{own.run, t.run} {
		select {
		case run <- struct{}{}:
		case <-ctx.Done():
			if i > 0 {
				<-own.run
			}
			t.let(company, own)
			return nil, ctx.Err()
		}
	}
	return func() {
		<-t.run
		<-own.run
		t.let(company, own)
	}, nil
}

func (t *turns) of(company string) *ownTurns {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.own[company]
	if own == nil {
		own = &ownTurns{run: make(chan struct{}, max(1, cap(t.run)/2))}
		t.own[company] = own
	}
	own.users++
	return own
}

func (t *turns) let(company string, own *ownTurns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.own, company)
	}
}
