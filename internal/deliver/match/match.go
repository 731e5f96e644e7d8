// Package match asks filters about events beside the engine's loop.
//
// What filters cost is their company's affair: those of a company are asked one question after
// another, in the order in which they came, and those of different companies beside each other. So the
// order of offsets is kept, and nobody waits for a company whose filters take long. How much may wait
// is bounded by whoever asks.
package match

import (
	"context"
	"fmt"
	"sync"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Question is an event and the filters to ask about it, each text once.
type Question struct {
	Event   *hook.Event
	Filters []string
}

// Answer says of each filter of a question, in their order, whether the event matches it.
type Answer []bool

// Matcher asks. Make it with New.
type Matcher struct {
	judge hook.Judge

	mu    sync.Mutex
	lines map[hook.CompanyKey][]func(context.Context) // there while somebody works on it
	work  sync.WaitGroup
}

// New returns a matcher that asks by a judge.
func New(judge hook.Judge) *Matcher {
	return &Matcher{judge: judge, lines: map[hook.CompanyKey][]func(context.Context){}}
}

// Ask has the questions of a company answered and tells the answers, in their order, from another
// goroutine. It does not wait, and tells nothing when ctx ends before.
func (m *Matcher) Ask(ctx context.Context, company hook.CompanyKey, questions []Question, tell func([]Answer)) {
	do := func(ctx context.Context) {
		if answers, err := All(ctx, m.judge, company, questions); err == nil {
			tell(answers)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	line, busy := m.lines[company]
	m.lines[company] = append(line, do)
	if !busy {
		m.work.Go(func() { m.serve(ctx, company) })
	}
}

// serve works on the line of a company until it is empty.
func (m *Matcher) serve(ctx context.Context, company hook.CompanyKey) {
	for {
		m.mu.Lock()
		line := m.lines[company]
		if len(line) == 0 {
			delete(m.lines, company)
			m.mu.Unlock()
			return
		}
		do := line[0]
		line[0] = nil
		m.lines[company] = line[1:]
		m.mu.Unlock()
		do(ctx)
	}
}

// Wait returns when nothing is under way any more; nobody asks meanwhile.
func (m *Matcher) Wait() { m.work.Wait() }

// All answers questions, in their order.
func All(ctx context.Context, judge hook.Judge, company hook.CompanyKey, questions []Question) ([]Answer, error) {
	answers := make([]Answer, len(questions))
	for i, q := range questions {
		judged, err := judge(ctx, company, q.Event, q.Filters)
		if err != nil {
			return nil, fmt.Errorf("ask filters: %w", err)
		}
		answers[i] = make(Answer, len(judged))
		for k, j := range judged {
			answers[i][k] = j.Matched
		}
	}
	return answers, nil
}
