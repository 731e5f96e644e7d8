package httpapi

import (
	"cmp"
	"context"
	"maps"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// failingAfter is how many failures in a row make a webhook failing (CONTRACT.md).
const failingAfter = 10

// refusesAfter is how many attempts without a success make a webhook one whose endpoint refuses everything.
const refusesAfter = 10

// health joins what the store knows with what the webhook's lane knows, if it runs here.
func (a *API) health(ctx context.Context, w *hook.Webhook) (*client.Health, error) {
	s, err := a.opt.Store.Standing(ctx, w.Key)
	if err != nil {
		return nil, err
	}
	h := a.stored(w, &s.Cursor)
	if a.opt.Engine != nil {
		live, err := a.opt.Engine.Health(ctx, w)
		if err != nil {
			return nil, err
		}
		if live.Live && live.State != "" {
			h = live
		}
		h.Live = live.Live
	}
	if h.LastError == nil && h.LastFailureAt != nil && !h.LastFailureAt.Before(w.EndpointSince) {
		last, err := a.opt.Store.LastFailure(ctx, w.Key)
		if err != nil {
			return nil, err
		}
		if last != nil && !last.StartedAt.Before(w.EndpointSince) {
			f := advice.FailureOf(last, w)
			h.LastError = LastError(&f)
		}
	}
	t, err := a.opt.Store.Tally(ctx, w, &s.Cursor)
	if err != nil {
		return nil, err
	}
	measured(w, &h, &t)
	h.Backlog, h.OldestPendingAt, h.Parked = client.Backlog{Count: s.Backlog, Exact: s.BacklogExact}, s.OldestPendingAt, s.Parked
	if s.OldestPendingAt != nil && a.opt.Config.RetentionDays > 0 {
		end := s.OldestPendingAt.Add(time.Duration(a.opt.Config.RetentionDays) * 24 * time.Hour)
		h.ExpiresAt = &end
	}
	a.bound(w, &h)
	h.Waiting = waiting(w, &h, s)
	h.Sentence = advice.Sentence(standing(w, &h, s.Backlog+s.Parked))
	return &h, nil
}

// waiting says for what the deliveries of a webhook wait: each for one thing.
func waiting(w *hook.Webhook, h *client.Health, s *store.Standing) map[client.Cause]client.Waiting {
	cause := client.CausePending
	switch {
	case w.Status != hook.Active:
		cause = client.CausePaused
	case h.OwnFault != nil:
		cause = client.CauseOwnFault
	case h.State == client.Down:
		cause = client.CauseDown
	case h.ThrottledUntil != nil:
		cause = client.CauseThrottled
	}
	all := map[client.Cause]client.Waiting{
		cause:              {Count: s.Backlog, Exact: s.BacklogExact, OldestAt: s.OldestInBacklogAt},
		client.CauseParked: {Count: s.Parked - s.Held, Exact: true, OldestAt: s.OldestRetryAt},
		client.CauseHeld:   {Count: s.Held, Exact: true, OldestAt: s.OldestHeldAt},
	}
	maps.DeleteFunc(all, func(_ client.Cause, x client.Waiting) bool { return x.Count == 0 })
	return all
}

// stored is what the store knows of how a webhook fares.
func (a *API) stored(w *hook.Webhook, c *hook.Cursor) client.Health {
	h := client.Health{
		State: client.Healthy, Since: c.FailingSince, ConsecutiveFailures: c.ConsecutiveFailures, LastSuccessAt: c.LastSuccessAt,
		LastFailureAt: c.LastFailureAt, NextProbeAt: c.ProbeAt,
	}
	switch {
	case h.NextProbeAt != nil:
		h.State = client.Down
	case h.ConsecutiveFailures >= failingAfter:
		h.State = client.Failing
	}
	if g := &c.Gate; g.NotBefore != nil && a.now().Before(*g.NotBefore) && g.EndpointVersion == w.EndpointVersion {
		h.Reason, h.ThrottledUntil = &g.Reason, g.NotBefore
	}
	return h
}

// bound keeps the times at which something is to happen to those that will come.
func (a *API) bound(w *hook.Webhook, h *client.Health) {
	if w.Status != hook.Active {
		h.NextProbeAt, h.ThrottledUntil = nil, nil
	} else if now := a.now(); h.NextProbeAt != nil && h.NextProbeAt.Before(now) {
		h.NextProbeAt = &now
	}
}

// measured says how many of the last day's attempts delivered, and whether the endpoint answers but takes
// nothing: the lane calls it healthy, for each of its answers is about an event.
func measured(w *hook.Webhook, h *client.Health, t *store.Tally) {
	if n := t.Delivered + t.Undelivered; n > 0 {
		part := float64(t.Delivered) / float64(n)
		h.SuccessRate = &part
	}
	if w.Status != hook.Active || h.State != client.Healthy || t.Refused < refusesAfter || h.LastFailureAt == nil || h.LastFailureAt.Before(w.EndpointSince) {
		return
	}
	since := w.EndpointSince
	if s := h.LastSuccessAt; s != nil && s.After(since) {
		since = *s
	}
	if h.LastFailureAt.After(since) {
		h.RefusesSince = &since
	}
}

// LastError is a failure as the API shows it.
func LastError(f *advice.Failure) *client.LastError {
	e := &client.LastError{Class: string(f.Class), Detail: text([]byte(f.Detail)), Advice: f.Advice, At: f.At}
	if f.StatusCode != 0 {
		e.StatusCode = &f.StatusCode
	}
	return e
}

// standing is what a sentence about a webhook is made of. Waiting is how many of its events wait, −1
// where nobody counted them.
func standing(w *hook.Webhook, h *client.Health, waiting int) *advice.Standing {
	at := func(t *time.Time) time.Time { return *cmp.Or(t, &time.Time{}) }
	s := &advice.Standing{
		Status: w.Status, StatusReason: w.StatusReason, Failing: h.State == client.Failing, Down: h.State == client.Down,
		Failures: h.ConsecutiveFailures, Since: at(h.Since), LastSuccess: at(h.LastSuccessAt), Throttled: at(h.ThrottledUntil), Refuses: at(h.RefusesSince),
		OwnFault: *cmp.Or(h.OwnFault, new(string)), ParkedFull: h.Reason != nil && *h.Reason == "parked_full", Waiting: waiting,
	}
	if e := h.LastError; e != nil {
		s.Last = &advice.Failure{Class: hook.ErrorClass(e.Class), StatusCode: *cmp.Or(e.StatusCode, new(int)), Detail: e.Detail, Advice: e.Advice, At: e.At}
	}
	return s
}
