package hook

import "context"

// Judged is what a filter says about an event.
type Judged struct {
	Matched bool
	// Clause is the part that said no: of clauses joined by and, the first that is false.
	Clause string
	// Problem is what went wrong, in a sentence for the filter's author; then it counts as a match, so
	// that no event is lost to a slip in an expression.
	Problem string
	// Steps are what it took to say so.
	Steps int
}

// Judge asks filters about an event of a company, which is taken apart once for all of them, and
// answers in their order. What that costs is bounded in steps, not in time, so that the answers are
// the same whenever somebody asks. It fails only when its context ends.
type Judge func(ctx context.Context, company CompanyKey, e *Event, filters []string) ([]Judged, error)
