package hook

import "time"

// Validation is what becomes of an event whose document its topic's schema forbids.
type Validation string

const (
	ValidateOff    Validation = "off"    // nobody looks
	ValidateWarn   Validation = "warn"   // it is accepted, counted, and shown with what is wrong
	ValidateReject Validation = "reject" // it is refused
)

// Known reports whether it is one of them.
func (v Validation) Known() bool {
	return v == ValidateOff || v == ValidateWarn || v == ValidateReject
}

func (v Validation) strictness() int {
	switch v {
	case ValidateReject:
		return 3
	case ValidateWarn:
		return 2
	case ValidateOff:
		return 1
	}
	return 0
}

// Validation is what holds for the topic's events of a company: the stricter of what topic and company ask for;
// where neither asks for anything, warn. A topic without a schema has nothing to look at.
func (t Topic) Validation(company Validation) Validation {
	switch {
	case t.Schema == "":
		return ValidateOff
	case t.Validate.strictness() >= company.strictness() && t.Validate != "":
		return t.Validate
	case company != "":
		return company
	}
	return ValidateWarn
}

// Violation is a place of a document that its topic's schema forbids. It never holds a value.
type Violation struct {
	Pointer string `json:"pointer"` // RFC 6901; of what is missing or too much, its own
	Keyword string `json:"keyword"` // of the schema; "steps" or "number" where it could not be checked
}

// Breach is an event whose document its topic's schema forbids.
type Breach struct {
	EventID    string      `json:"event_id"`
	CompanyID  string      `json:"company_id"`
	At         time.Time   `json:"at"`
	Rejected   bool        `json:"rejected" doc:"It was refused, and is nowhere."`
	Violations []Violation `json:"violations"`
}

// MaxBreaches is how many of the last ones are kept of a topic.
const MaxBreaches = 10

// Checks counts what became of a topic's events.
type Checks struct {
	Checked    int64    `json:"checked"`
	Violations int64    `json:"violations" doc:"Events of them that the schema forbids, the refused ones too."`
	Rejected   int64    `json:"rejected" doc:"Of those, the refused ones."`
	Unchecked  int64    `json:"unchecked" doc:"Events that were accepted and not checked, because too many came at once."`
	Last       []Breach `json:"last,omitempty" doc:"The last events that the schema forbids, newest first; at most ten."`
}

// Add adds what was counted later.
func (c *Checks) Add(later Checks) {
	c.Checked += later.Checked
	c.Violations += later.Violations
	c.Rejected += later.Rejected
	c.Unchecked += later.Unchecked
	c.Last = append(later.Last, c.Last...)
	c.Last = c.Last[:min(len(c.Last), MaxBreaches)]
}
