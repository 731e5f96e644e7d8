package filter

import (
	"context"
	"errors"
)

// MaxSteps is what one filter may use up on one event. A step is a node of the expression, an element
// or a member looked at, or some bytes of a text; it takes some tens of nanoseconds, and never depends on
// anything but the expression and the event. So the verdict is the same whenever it is asked for. The
// filters of a company share nothing that could make the verdict of one depend on another's: each has its
// part of 10,000,000 steps for an event, some tenths of a second, by the most that a company may have, 1,000.
const MaxSteps = 10_000

// Bytes of text that are a step.
const (
	perCompared = 64 // of two that are compared
	perSearched = 8  // in which another is searched
	perCopied   = 4  // that are changed or read as something else
)

// perBig is what an operation costs whose numbers leave 64 bits on the way.
const perBig = 16

// ErrBudget is the error of an expression that used up its steps.
var ErrBudget = errors.New("the filter looks at too much of this event: it used up its 10,000 steps")

// run is one evaluation.
type run struct {
	doc     *Document
	event   string
	element value // what # is
	left    int   // steps
	rest    int   // at how many steps left it is time to look around
	pace    *pace
}

func newRun(d *Document, event string, steps int, p *pace) run {
	return run{doc: d, event: event, left: steps, rest: max(steps-p.left, 0), pace: p}
}

// spend takes steps from the budget.
func (r *run) spend(steps int) error {
	if r.left -= steps; r.left >= r.rest {
		return nil
	}
	return r.lookAround()
}

// lookAround ends an evaluation whose budget is used up, or that nobody waits for any more; and it lets
// others run, who must not notice.
func (r *run) lookAround() error {
	if r.left < 0 {
		return ErrBudget
	}
	if err := r.pace.aside(); err != nil {
		return stopped{err}
	}
	r.pace.left = breather
	r.rest = max(r.left-breather, 0)
	return nil
}

// pace is how far it is to the next look around, over the filters that are asked one after another.
type pace struct {
	ctx   context.Context //nolint:containedctx // of one call
	left  int
	hands *Hands // nil for nobody to share with
	holds bool   // one of them
}

// settle carries over what a run leaves.
func (r *run) settle() {
	r.pace.left = max(r.left-r.rest, 0)
}

// breather is after how many steps others get a turn: some ten microseconds.
const breather = 1000

// stopped is the error of an evaluation that nobody waits for any more. It is no verdict.
type stopped struct{ error }
