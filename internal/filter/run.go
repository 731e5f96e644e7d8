package filter

import (
	"context"
	"errors"
	"runtime"
)

// MaxSteps is what one filter may use up on one event. A step is a node of the expression, an element
// or a member looked at, or some bytes of a text; it takes some tens of nanoseconds, and never depends on
// anything but the expression and the event. So the verdict is the same whenever it is asked for, and
// what the filters of a company cost together is no more than their number allows.
const MaxSteps = 20_000

// Bytes of text that are a step.
const (
	perCompared = 64 // of two that are compared
	perSearched = 8  // in which another is searched
	perCopied   = 4  // that are changed or read as something else
)

// ErrBudget is the error of an expression that used up its steps.
var ErrBudget = errors.New("the filter looks at too much of this event: it used up its 20,000 steps")

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
	runtime.Gosched()
	if r.pace.ctx.Err() != nil {
		return stopped{r.pace.ctx.Err()}
	}
	r.pace.left = breather
	r.rest = max(r.left-breather, 0)
	return nil
}

// pace is how far it is to the next look around, over the filters that are asked one after another.
type pace struct {
	ctx  context.Context //nolint:containedctx // of one call
	left int
}

// settle carries over what a run leaves.
func (r *run) settle() {
	r.pace.left = max(r.left-r.rest, 0)
}

// breather is after how many steps others get a turn: some ten microseconds.
const breather = 1000

// stopped is the error of an evaluation that nobody waits for any more. It is no verdict.
type stopped struct{ error }
