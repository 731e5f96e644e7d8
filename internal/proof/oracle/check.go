package oracle

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is a way in which journals disagree.
type Kind string

// All of these must not be, but duplicates, of which a crash explains as many as were in flight.
const (
	Lost         Kind = "lost"           // acknowledged, and not delivered to a webhook that wants it
	Phantom      Kind = "phantom"        // nobody published it, or it was refused, or the webhook does not want it
	Corrupt      Kind = "corrupt"        // another body, topic or webhook than it must have
	WrongCompany Kind = "wrong company"  // it went to another company's webhook
	Forged       Kind = "forged"         // the signature does not verify
	Duplicate    Kind = "duplicate"      // accepted before, and sent again; explained by a crash in between
	Unexplained  Kind = "unexplained"    // a duplicate without a crash in between
	OutOfOrder   Kind = "out of order"   // an object's later event came first
	Misnumbered  Kind = "wrong sequence" // its number changed, is another event's, or one is missing
)

// Kinds is all of them, in the order in which a report lists them.
var Kinds = []Kind{Lost, Phantom, Corrupt, WrongCompany, Forged, Duplicate, Unexplained, OutOfOrder, Misnumbered}

// Report is what a check found: a line for each finding.
type Report map[Kind][]string

func (r Report) add(k Kind, format string, args ...any) {
	r[k] = append(r[k], fmt.Sprintf(format, args...))
}

// shown is how many findings of a kind a report prints.
const shown = 5

func (r Report) String() string {
	var b strings.Builder
	for i, k := range Kinds {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %s", len(r[k]), k)
	}
	for _, k := range Kinds {
		for _, line := range r[k][:min(shown, len(r[k]))] {
			fmt.Fprintf(&b, "\n  %s: %s", k, line)
		}
	}
	return b.String()
}

// Faults is the report without the duplicates that crashes explain.
func (r Report) Faults() Report {
	f := Report{}
	for k, lines := range r {
		if k != Duplicate {
			f[k] = lines
		}
	}
	return f
}

// Check compares the journals, once everything has come to its end.
func (o *Oracle) Check() Report {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Report{}
	slices.SortStableFunc(o.receipts, func(a, b Receipt) int { return a.At.Compare(b.At) })
	for _, x := range o.receipts {
		o.checkReceipt(r, &x)
	}
	o.checkLost(r)
	o.checkDuplicates(r)
	o.checkSequences(r)
	o.checkOrder(r)
	return r
}

// checkReceipt compares one request with what was published.
func (o *Oracle) checkReceipt(r Report, x *Receipt) {
	w, e := o.webhooks[x.Webhook], o.events[x.Event]
	if x.Forged != "" {
		r.add(Forged, "%s to %s: %s", x.Event, x.Webhook, x.Forged)
	}
	switch {
	case e == nil:
		r.add(Phantom, "%q reached %s; nobody published it", x.Event, x.Webhook)
	case e.fate == Refused:
		r.add(Phantom, "%s reached %s; its publish was refused", x.Event, x.Webhook)
	case e.Company != w.Company:
		r.add(WrongCompany, "%s of %s reached %s of %s", x.Event, e.Company, x.Webhook, w.Company)
	case !w.matches(e):
		r.add(Phantom, "%s (%s) reached %s, which is not subscribed to it", x.Event, e.Topic, x.Webhook)
	case x.Body != sha256.Sum256([]byte(Body(e.Topic, e.Data, w.Object))):
		r.add(Corrupt, "%s reached %s with another body", x.Event, x.Webhook)
	case x.Topic != e.Topic || x.Named != x.Webhook || x.Attempt < 1:
		r.add(Corrupt, "%s reached %s as topic %q, webhook %q, attempt %d", x.Event, x.Webhook, x.Topic, x.Named, x.Attempt)
	}
}

// checkLost finds what did not arrive. An event of unknown fate that reached one webhook exists, and
// must reach all.
func (o *Oracle) checkLost(r Report) {
	exists := map[string]bool{}
	for _, x := range o.receipts {
		exists[x.Event] = true
	}
	for _, e := range o.events {
		if e.fate == Refused || e.fate == Unknown && !exists[e.ID] {
			continue
		}
		for _, w := range o.webhooks {
			if w.matches(e) && !w.Hopeless && !o.accepted[pair{w.ID, e.ID}] {
				r.add(Lost, "%s (%s) was not delivered to %s", e.ID, e.fate, w.ID)
			}
		}
	}
}

// slack is how long a request may take from the server's socket into a receiver's journal: what the
// server sent just before it died is written down after.
const slack = 2 * time.Second

// checkDuplicates finds deliveries that were made again after they had been accepted.
func (o *Oracle) checkDuplicates(r Report) {
	first := map[pair]time.Time{}
	for _, x := range o.receipts {
		p := pair{x.Webhook, x.Event}
		at, before := first[p]
		if x.Accepted && !before {
			first[p] = x.At
		}
		if !before {
			continue
		}
		kind := Unexplained
		if slices.ContainsFunc(o.crashes, func(crash time.Time) bool { return at.Before(crash.Add(slack)) && x.At.After(crash) }) {
			kind = Duplicate
		}
		r.add(kind, "%s reached %s %s after it was accepted, as attempt %d", x.Event, x.Webhook, x.At.Sub(at), x.Attempt)
	}
}

// checkSequences finds numbers that are no gapless count of a webhook's events.
func (o *Oracle) checkSequences(r Report) {
	number := map[pair]int64{}
	owner := map[string]map[int64]string{}
	for _, x := range o.receipts {
		p := pair{x.Webhook, x.Event}
		if owner[x.Webhook] == nil {
			owner[x.Webhook] = map[int64]string{}
		}
		if was, known := number[p]; known && was != x.Sequence {
			r.add(Misnumbered, "%s reached %s as number %d and as %d", x.Event, x.Webhook, was, x.Sequence)
		}
		if other, known := owner[x.Webhook][x.Sequence]; known && other != x.Event {
			r.add(Misnumbered, "%s reached %s as number %d, which is %s", x.Event, x.Webhook, x.Sequence, other)
		}
		number[p], owner[x.Webhook][x.Sequence] = x.Sequence, x.Event
	}
	for id, numbers := range owner {
		for n := range int64(len(numbers)) {
			if _, ok := numbers[n+1]; !ok && !o.webhooks[id].Hopeless {
				r.add(Misnumbered, "%s got %d events, and none has number %d", id, len(numbers), n+1)
				break
			}
		}
	}
}

// checkOrder finds events whose first attempt came before that of an earlier one of their object:
// under every order setting two events of an object are never in flight together.
func (o *Oracle) checkOrder(r Report) {
	type line struct{ webhook, object string }
	last := map[line]Receipt{}
	seen := map[pair]bool{}
	for _, x := range o.receipts {
		e := o.events[x.Event]
		p := pair{x.Webhook, x.Event}
		if e == nil || e.ObjectID == "" || seen[p] {
			continue
		}
		seen[p] = true
		l := line{x.Webhook, category(e.Topic) + e.ObjectID}
		if before, ok := last[l]; ok && before.Sequence > x.Sequence {
			r.add(OutOfOrder, "%s (number %d) reached %s after %s (number %d) of the same object", x.Event, x.Sequence, x.Webhook, before.Event, before.Sequence)
			continue
		}
		last[l] = x
	}
}

// category is what an object's key begins with: the topic's first word stands for it.
func category(topic string) string {
	name, _, _ := strings.Cut(topic, ".")
	return name + "/"
}
