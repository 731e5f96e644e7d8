// Package oracle knows from outside what must have arrived, and says what did not.
//
// Producers write down what they published and what they were told ([Oracle.Publishing],
// [Oracle.Answered]); receivers write down every request that reached them ([Oracle.Received]).
// Both journals live outside the server, whose crashes they outlive. [Oracle.Check] compares them.
// It shares no code with the server: bodies are made anew here, by the words of the contract.
package oracle

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// Webhook is a subscription as its owner made it.
type Webhook struct {
	ID      string
	Company string
	Topics  []string // exact names
	Object  bool     // data_format: object
	// Hopeless says that its endpoint never accepts anything: its deliveries need not have been
	// delivered.
	Hopeless bool
}

// Event is what a producer published.
type Event struct {
	ID       string
	Company  string
	Topic    string
	ObjectID string
	Data     string // the document as it was published
}

// Fate is what a producer knows of an event.
type Fate string

// Unknown is an event whose publish timed out or was reset: it may have been accepted, wholly or
// not at all.
const (
	Unknown Fate = "unknown"
	Acked   Fate = "acked"
	Refused Fate = "refused" // a definite no: it must not exist
)

// Receipt is one request that reached a receiver.
type Receipt struct {
	Webhook  string // that the receiver belongs to
	Named    string // the webhook that the request says it is for
	Event    string
	Topic    string // as the header says
	Attempt  int
	Sequence int64 // 0 = none was given
	Body     [sha256.Size]byte
	Forged   string // why the signature does not verify, "" when it does
	Accepted bool   // it was answered 2xx
	At       time.Time
}

// Oracle collects. It is safe for concurrent use.
type Oracle struct {
	mu       sync.Mutex
	webhooks map[string]Webhook
	events   map[string]*published
	receipts []Receipt
	accepted map[pair]bool
	crashes  []time.Time
}

type published struct {
	Event
	fate Fate
	at   time.Time // when the fate became known
}

type pair struct{ webhook, event string }

// New returns an oracle that knows nothing yet.
func New() *Oracle {
	return &Oracle{webhooks: map[string]Webhook{}, events: map[string]*published{}, accepted: map[pair]bool{}}
}

// Subscribed notes a webhook, before anything is published that it matches.
func (o *Oracle) Subscribed(w Webhook) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.webhooks[w.ID] = w
}

// Publishing notes an event before it is sent; its fate is unknown from then on.
func (o *Oracle) Publishing(e Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.events[e.ID] == nil {
		o.events[e.ID] = &published{Event: e, fate: Unknown}
	}
}

// Answered notes what the server said of an event.
func (o *Oracle) Answered(id string, f Fate) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events[id].fate, o.events[id].at = f, time.Now()
}

// Received notes a request.
func (o *Oracle) Received(r Receipt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.receipts = append(o.receipts, r)
	if r.Accepted {
		o.accepted[pair{r.Webhook, r.Event}] = true
	}
}

// Crashed notes that the server was killed, at a moment when it was surely dead.
func (o *Oracle) Crashed(at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.crashes = append(o.crashes, at)
}

// Missing is the deliveries of acknowledged events that have not been accepted yet: the ids of the
// events by webhook.
func (o *Oracle) Missing() map[string][]string { return o.MissingSince(time.Now()) }

// MissingSince is those of events that were acknowledged until a moment.
func (o *Oracle) MissingSince(until time.Time) map[string][]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	missing := map[string][]string{}
	for _, e := range o.events {
		for _, w := range o.webhooks {
			if e.fate == Acked && !e.at.After(until) && w.matches(e) && !w.Hopeless && !o.accepted[pair{w.ID, e.ID}] {
				missing[w.ID] = append(missing[w.ID], e.ID)
			}
		}
	}
	return missing
}

// Events are the ids of the events with a fate.
func (o *Oracle) Events(f Fate) (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e.fate == f {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// Company is the company of a webhook.
func (o *Oracle) Company(webhook string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.webhooks[webhook].Company
}

// Counts are how many events were published with each fate, and how many requests arrived.
func (o *Oracle) Counts() (fates map[Fate]int, receipts int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fates = map[Fate]int{}
	for _, e := range o.events {
		fates[e.fate]++
	}
	return fates, len(o.receipts)
}

// Tampered is a copy whose receipts went through a function: a control. What the function returns
// takes the place of all receipts.
func (o *Oracle) Tampered(change func([]Receipt) []Receipt) *Oracle {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := New()
	c.webhooks, c.events, c.crashes = o.webhooks, o.events, o.crashes
	for _, r := range change(append([]Receipt(nil), o.receipts...)) {
		c.Received(r)
	}
	return c
}

func (w *Webhook) matches(e *published) bool {
	return w.Company == e.Company && slices.Contains(w.Topics, e.Topic)
}
