package intake

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic/schema"
)

// CheckLog keeps what was found of events by their topic's schema.
type CheckLog interface {
	AddChecks(ctx context.Context, fresh map[string]*hook.Checks) error
}

// Bounds of the checks that are made beside publishing, of events that are accepted whatever is found: what
// comes beyond them is counted as unchecked. They are a few hundredths of a core.
const (
	checksWaiting = 4096
	checksBytes   = 16 << 20
	checksASecond = 1000
)

// keepEvery is how often what was counted is kept.
const keepEvery = time.Second

// checks finds out whether documents are what their topics' schemas say.
type checks struct {
	cache   schema.Cache
	waiting chan check
	bytes   atomic.Int64 // of the documents that wait
	rate    *rate.Limiter

	mu    sync.Mutex
	fresh map[string]*hook.Checks // since it was last kept, by topic
}

// check is an accepted event that is to be checked.
type check struct {
	event *hook.Event
	topic hook.Topic
}

func newChecks() *checks {
	return &checks{waiting: make(chan check, checksWaiting), rate: rate.NewLimiter(checksASecond, checksWaiting), fresh: map[string]*hook.Checks{}}
}

// violations are what the topic's schema forbids of a document; nil where it has none.
func (c *checks) violations(t hook.Topic, data []byte) []hook.Violation {
	if t.Schema == "" {
		return nil
	}
	s := c.cache.Get(t.Schema)
	if s == nil { // another version saved it
		return nil
	}
	return s.Validate(data)
}

func (c *checks) count(topic string, found hook.Checks) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fresh[topic] == nil {
		c.fresh[topic] = &hook.Checks{}
	}
	c.fresh[topic].Add(found)
}

// found counts one event that was checked.
func (c *checks) found(e *hook.Event, at time.Time, violations []hook.Violation, rejected bool) {
	found := hook.Checks{Checked: 1}
	if len(violations) > 0 {
		found.Violations = 1
		if rejected {
			found.Rejected = 1
		}
		found.Last = []hook.Breach{{EventID: e.ID, CompanyID: e.CompanyID, At: hook.Now(at), Rejected: rejected, Violations: violations}}
	}
	c.count(e.Topic, found)
}

// refusal refuses a document that its topic's schema forbids where such are rejected. field is what the producer
// calls the document.
func (in *Intake) refusal(e *hook.Event, topic hook.Topic, field string) *hook.Error {
	if topic.Schema == "" || topic.Validation(in.opt.Validation(e.CompanyID)) != hook.ValidateReject {
		return nil
	}
	violations := in.checks.violations(topic, e.Data)
	in.checks.found(e, in.opt.Now(), violations, true)
	if len(violations) == 0 {
		return nil
	}
	fields := make([]hook.FieldError, len(violations))
	for i, v := range violations {
		fields[i] = hook.FieldError{Field: field + v.Pointer, Code: "schema_violation", Detail: "is against the schema of " + topic.Name + " (" + v.Keyword + ")"}
	}
	return hook.InvalidFields(fields...)
}

// watch has an event checked that was accepted, where its topic's schema only warns.
func (in *Intake) watch(e *hook.Event) {
	topic, ok := in.opt.Catalogue().Lookup(e.Topic)
	if !ok || topic.Schema == "" || in.opt.Checks == nil || topic.Validation(in.opt.Validation(e.CompanyID)) != hook.ValidateWarn {
		return
	}
	c := in.checks
	size := int64(len(e.Data))
	if c.bytes.Add(size) <= checksBytes && c.rate.Allow() {
		select {
		case c.waiting <- check{e, topic}:
			return
		default:
		}
	}
	c.bytes.Add(-size)
	c.count(e.Topic, hook.Checks{Unchecked: 1})
}

// Check makes the checks that nobody waits for, until ctx ends, and keeps what they found.
func (in *Intake) Check(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			_ = in.keep(context.WithoutCancel(ctx)) // what is lost are counts
			return
		case w := <-in.checks.waiting:
			in.checks.bytes.Add(-int64(len(w.event.Data)))
			in.checks.found(w.event, in.opt.Now(), in.checks.violations(w.topic, w.event.Data), false)
		case <-tick.C:
			err := in.keep(ctx)
			if err != nil && !failing && !errors.Is(err, context.Canceled) {
				log.Warn("what was found of events by their topics' schemas cannot be kept; it will be", "error", err)
			}
			failing = err != nil
		}
	}
}

// keep hands over what was counted. What cannot be kept is added to what comes.
func (in *Intake) keep(ctx context.Context) error {
	c := in.checks
	c.mu.Lock()
	fresh := c.fresh
	c.fresh = map[string]*hook.Checks{}
	c.mu.Unlock()
	if len(fresh) == 0 || in.opt.Checks == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := in.opt.Checks.AddChecks(bounded, fresh)
	if err != nil {
		for _, topic := range slices.Sorted(maps.Keys(fresh)) {
			c.restore(topic, *fresh[topic])
		}
	}
	return err
}

func (c *checks) restore(topic string, earlier hook.Checks) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if later := c.fresh[topic]; later != nil {
		earlier.Add(*later)
	}
	c.fresh[topic] = &earlier
}

// Violations are what of an event the schema that its topic has now forbids; nil where nobody looks.
func (in *Intake) Violations(e *hook.Event) []hook.Violation {
	topic, ok := in.opt.Catalogue().Lookup(e.Topic)
	if !ok || topic.Validation(in.opt.Validation(e.CompanyID)) == hook.ValidateOff {
		return nil
	}
	if found := in.checks.violations(topic, e.Data); found != nil {
		return found
	}
	return []hook.Violation{}
}

// lint is what of an event some receivers cannot read, and what its topic's schema forbids.
func (in *Intake) lint(e *hook.Event) []hook.Finding {
	found := Lint(e.Data)
	for _, v := range in.Violations(e) {
		found = append(found, hook.Finding{Code: "schema_violation", Pointer: v.Pointer, Detail: "is against the topic's schema (" + v.Keyword + ")"})
	}
	return found
}
