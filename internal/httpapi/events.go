package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// EventPath is the part of a path that names an event.
type EventPath struct {
	EventID string `path:"event_id"`
}

type eventOut struct{ Body client.Event }

type eventsIn struct {
	Event    string    `query:"event" doc:"A topic."`
	ObjectID string    `query:"object_id"`
	From     time.Time `query:"from" doc:"Accepted at or after."`
	To       time.Time `query:"to" doc:"Accepted before."`
	Status   string    `query:"status" enum:"scheduled,cancelled" doc:"Instead of the log: the events that wait for their deliver_at, the next first; or those that were cancelled before it. Without from and to."`
	Paging
}

type eventsOut struct{ Body *client.List[client.Event] }

type matchesIn struct {
	EventPath
	Paging
}

type matchesOut struct{ Body *client.List[client.Match] }

func (a *API) eventRoutes() {
	const tag = "Events"
	handle(a, route{
		method: http.MethodGet, path: "/v1/events", id: "list-events", tag: tag, need: companyRead, payloads: true, summary: "List events", description: "Newest first. With status those that are not in the log.",
	}, a.listEvents)
	handle(a, route{
		method: http.MethodGet, path: "/v1/events/{event_id}", id: "get-event", tag: tag, need: companyRead, payloads: true, summary: "One event with its data",
	}, a.getEvent)
	handle(a, route{
		method: http.MethodDelete, path: "/v1/events/{event_id}", id: "cancel-event", tag: tag, need: companyWrite, live: true, conflicts: true,
		summary: "Cancel an event before it is delivered",
		description: "Of a scheduled event, or of one that no delivery was attempted of: no webhook gets it, nor does a replay send it. Its id stays taken. " +
			"409 already_delivered when an attempt was begun. 503 not_owner while the company's events move to another node: try again. Who asked is in the audit log.",
	}, a.cancelEvent)
	handle(a, route{
		method: http.MethodGet, path: "/v1/events/{event_id}/matches", id: "explain-event", tag: tag, need: companyRead,
		summary: "Why a webhook got an event, or did not", description: "Every webhook of the company, newest first, with its verdict by the rule that was in force when the event was accepted.",
	}, a.matches)
}

func shapeEvent(e *hook.Event, companyID string) client.Event {
	return client.Event{
		ID: e.ID, CompanyID: companyID, Event: e.Topic, ObjectID: orNull(e.ObjectID()), OccurredAt: e.OccurredAt,
		AcceptedAt: e.AcceptedAt, ExpiresAt: e.ExpiresAt, Scheduled: scheduled(e), Data: json.RawMessage(e.Data), Changes: client.Object(e.Changes),
	}
}

// scheduled says how an event stands that is not in the log, or was cancelled.
func scheduled(e *hook.Event) client.Scheduled {
	switch {
	case e.CancelledAt != nil:
		return client.Scheduled{Status: "cancelled", DeliverAt: e.DeliverAt, CancelledAt: e.CancelledAt}
	case e.Offset == 0 && e.DeliverAt != nil:
		return client.Scheduled{Status: "scheduled", DeliverAt: e.DeliverAt}
	}
	return client.Scheduled{}
}

func (a *API) listEvents(ctx context.Context, x *exchange, in *eventsIn) (*eventsOut, error) {
	if in.Event != "" && !a.catalogue().Was(in.Event) {
		return nil, badParameter("event", "unknown_topic", unknownTopic(a.catalogue(), in.Event))
	}
	f := store.EventFilter{Topic: in.Event, ObjectID: in.ObjectID, From: timeOrNil(in.From), To: timeOrNil(in.To)}
	if in.Status != "" {
		return a.listScheduled(ctx, x, in, f)
	}
	before, err := in.offset()
	if err != nil {
		return nil, err
	}
	list, more, err := a.opt.Store.EventsPage(ctx, x.company.Key, f, before, in.Limit)
	if err != nil {
		return nil, err
	}
	return &eventsOut{listByOffset(in.Paging, list, more, func(e *hook.Event) client.Event { return shapeEvent(e, x.company.ID) })}, nil
}

// listScheduled lists what is not in the log.
func (a *API) listScheduled(ctx context.Context, x *exchange, in *eventsIn, f store.EventFilter) (*eventsOut, error) {
	if f.From != nil || f.To != nil {
		return nil, badParameter("status", "invalid_parameter", "goes without from and to, which are about events of the log")
	}
	after, err := in.scheduledAt()
	if err != nil {
		return nil, err
	}
	list, more, err := a.opt.Store.Scheduled(ctx, x.company.Key, f, in.Status == "cancelled", after, in.Limit)
	if err != nil {
		return nil, err
	}
	next := ""
	if more {
		next = scheduledCursor(list[len(list)-1])
	}
	return &eventsOut{newList(in.Paging, list, next, func(e *hook.Event) client.Event { return shapeEvent(e, x.company.ID) })}, nil
}

func (a *API) cancelEvent(ctx context.Context, x *exchange, in *EventPath) (*struct{}, error) {
	audit := x.audit("event.cancelled", map[string]any{"event_id": in.EventID})
	done, err := a.opt.Store.CancelScheduled(ctx, x.company.Key, in.EventID, audit)
	if err != nil || done {
		return nil, err
	}
	e, err := a.opt.Store.Event(ctx, x.company.Key, in.EventID)
	switch {
	case err != nil:
		return nil, err
	case e.CancelledAt != nil:
		return nil, nil
	case a.opt.Engine == nil:
		return nil, errNoEngine
	}
	return nil, a.opt.Engine.Cancel(ctx, x.company.Key, x.company.Partition, e.Offset, func(ctx context.Context, node string) error {
		return a.opt.Store.CancelEvent(ctx, node, x.company.Key, in.EventID, audit)
	})
}

func (a *API) getEvent(ctx context.Context, x *exchange, in *EventPath) (*eventOut, error) {
	e, err := a.opt.Store.Event(ctx, x.company.Key, in.EventID)
	if err != nil {
		return nil, err
	}
	out := &eventOut{shapeEvent(e, x.company.ID)}
	e.CompanyID = x.company.ID
	out.Body.Warnings, out.Body.Violations = intake.Lint(e.Data), a.opt.Intake.Violations(e)
	if e.Offset == 0 { // no webhook was asked yet
		return out, nil
	}
	matched, err := a.opt.Store.MatchCount(ctx, x.company.Key, e)
	if err != nil {
		return nil, err
	}
	out.Body.Matched = &matched
	return out, nil
}

func (a *API) matches(ctx context.Context, x *exchange, in *matchesIn) (*matchesOut, error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	e, err := a.opt.Store.Event(ctx, x.company.Key, in.EventID)
	if err != nil {
		return nil, err
	}
	if e.Offset == 0 {
		return nil, hook.Refuse(hook.KindConflict, "not_in_log", "the event is not in the log; webhooks are asked when it enters it")
	}
	list, more, err := a.opt.Store.Matches(ctx, x.company.Key, in.EventID, page)
	if err != nil {
		return nil, err
	}
	return &matchesOut{listByID(in.Paging, list, more, func(m store.Match) client.Match { return explain(&m, e) })}, nil
}

// explain puts a verdict into words.
func explain(m *store.Match, e *hook.Event) client.Match {
	s := client.Match{WebhookID: m.WebhookID, Endpoint: m.Endpoint, Verdict: client.Verdict(m.Verdict)}
	if m.Delivery != nil {
		s.Status = m.Delivery.Status
	}
	switch m.Verdict {
	case store.Matched:
		s.Reason = matchedReason(m)
		if m.Problem != "" {
			s.Reason += "; its filter could not decide, which counts as a match: " + m.Problem
		}
	case store.TopicNotSubscribed:
		s.Reason = "it was not subscribed to " + e.Topic + " when the event was accepted"
	case store.FilterFailed:
		s.Reason = filterReason(m)
	case store.CreatedAfter:
		s.Reason = "it begins with later events"
	}
	return s
}

func matchedReason(m *store.Match) string {
	d := m.Delivery
	if d == nil {
		return "it wanted the event"
	}
	reason := map[hook.DeliveryStatus]string{
		hook.Pending:   "it wanted the event, which waits for its turn",
		hook.Retrying:  "it wanted the event; the last attempt failed and it will be sent again",
		hook.Held:      "it wanted the event, which waits for an earlier one of the same object",
		hook.Delivered: "it wanted the event and got it",
		hook.Failed:    "it wanted the event, and all attempts failed",
		hook.Skipped:   "it wanted the event, which was skipped",
	}[d.Status]
	if d.Reason != "" && d.Status != hook.Delivered {
		reason += " (" + InWords(d.Reason) + ")"
	}
	return reason
}

// filterReason names the clause that said no.
func filterReason(m *store.Match) string {
	const no = "its filter said no"
	if m.Clause == "" {
		return no
	}
	return no + ": " + strings.Join(strings.Fields(m.Clause), " ")
}
