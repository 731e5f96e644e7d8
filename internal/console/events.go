package console

import (
	"net/http"
	"net/url"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// eventList is the page of a company's events.
type eventList struct {
	Rows    []client.Event
	Filter  map[string]string
	Topics  []client.Topic
	Base    string
	Company string
	Earlier, EarlierText, Later, LaterText,
	Text string
}

// eventView is the page of one event: its data, and what each webhook made of it.
type eventView struct {
	client.Event
	Matches []client.Match
	More    string // address of the next matches
}

func (c *Console) eventRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/events", func(v *visit) error {
		l := &eventList{Filter: map[string]string{}, Base: v.base(), Company: v.session.Company}
		query := url.Values{}
		for _, name := range []string{"event", "object_id", "from", "to", "status"} {
			if value := v.query(name); value != "" {
				l.Filter[name] = value
				query.Set(name, rfc3339(value))
			}
		}
		cursor := v.query("cursor")
		var list client.List[client.Event]
		if err := v.get("/v1/events", paged(query, cursor), &list); err != nil {
			return err
		}
		l.Rows = list.Data
		if len(list.Data) == 0 {
			if to, err := v.soughtEvent(""); err != nil || to != "" {
				return v.redirectUnless(err, to)
			}
		}
		if cursor != "" {
			l.Earlier, l.EarlierText = v.with("cursor", ""), "Latest"
		}
		if list.NextCursor != nil {
			l.Later, l.LaterText = v.with("cursor", *list.NextCursor), "Older"
		}
		var err error
		if l.Topics, err = v.topics(); err != nil {
			return err
		}
		if v.htmx() {
			return v.shownPart("events", "event-rows", l)
		}
		return v.show("events", page{Title: "Events", Nav: "events"}, l)
	})
	c.page(mux, "GET /console/events/{event_id}", func(v *visit) error {
		path := pathOf("/v1/events", v.r.PathValue("event_id"))
		var e eventView
		if err := v.get(path, nil, &e.Event); err != nil {
			return err
		}
		var matches client.List[client.Match]
		if e.Status == "" || e.DeliverAt == nil { // else no webhook was asked
			if err := v.get(path+"/matches", paged(url.Values{"limit": {"100"}}, v.query("cursor")), &matches); err != nil {
				return err
			}
		}
		e.Matches = matches.Data
		if matches.NextCursor != nil {
			e.More = v.with("cursor", *matches.NextCursor)
		}
		return v.show("event", page{Title: e.Event.Event, Nav: "events"}, &e)
	})
	c.page(mux, "POST /console/events/{event_id}/cancel", func(v *visit) error {
		id := v.r.PathValue("event_id")
		if err := v.delete(pathOf("/v1/events", id)); err != nil {
			return err
		}
		return v.redirect(pathOf("/console/events", id))
	})
}

// Untouched says that the event can be called off, as far as the page knows: no webhook has more than skipped it
// or is still to get it.
func (e *eventView) Untouched() bool {
	for _, m := range e.Matches {
		if m.Status != "" && m.Status != hook.Pending && m.Status != hook.Held && m.Status != hook.Skipped {
			return false
		}
	}
	return e.Status != "cancelled" && (e.Status == "scheduled" || len(e.Matches) > 0)
}

// soughtEvent is the page of what was searched for where no object has that id and an event has: of its
// delivery to a webhook, if one is named that got it. "" where there is no such event.
func (v *visit) soughtEvent(webhook string) (page string, err error) {
	id := v.query("object_id")
	if id == "" {
		return "", nil
	}
	type place struct{ asked, page string }
	places := []place{{pathOf("/v1/events", id), pathOf("/console/events", id)}}
	if webhook != "" {
		places = append([]place{{webhookPath(webhook, "deliveries", id), webhookPage(webhook, "deliveries", id)}}, places...)
	}
	for _, p := range places {
		switch err := v.get(p.asked, nil, nil); {
		case err == nil:
			return p.page, nil
		case problemOf(err).Status != http.StatusNotFound:
			return "", err
		}
	}
	return "", nil
}

// detailedTopics bounds of how many topics the page shows the last events with violations.
const detailedTopics = 20

func (c *Console) topicRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/topics", func(v *visit) error {
		topics, err := v.topics()
		if err != nil {
			return err
		}
		for i, shown := 0, 0; i < len(topics) && shown < detailedTopics; i++ {
			if topics[i].Checks == nil || topics[i].Checks.Violations == 0 {
				continue
			}
			shown++
			var one client.TopicDetail
			if err := v.get(pathOf("/v1/topics", topics[i].Topic), nil, &one); err != nil {
				return err
			}
			topics[i] = one.Topic
		}
		return v.show("topics", page{Title: "Topics", Nav: "topics"}, groups(topics))
	})
}

// auditList is the page of the audit log.
type auditList struct {
	Rows []client.AuditEntry
	Earlier, EarlierText, Later, LaterText,
	Text string
}

func (c *Console) auditRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/audit", func(v *visit) error {
		cursor := v.query("cursor")
		var list client.List[client.AuditEntry]
		if err := v.get("/v1/audit-log", paged(url.Values{}, cursor), &list); err != nil {
			return err
		}
		l := auditList{Rows: list.Data}
		if cursor != "" {
			l.Earlier, l.EarlierText = v.with("cursor", ""), "Latest"
		}
		if list.NextCursor != nil {
			l.Later, l.LaterText = v.with("cursor", *list.NextCursor), "Older"
		}
		return v.show("audit", page{Title: "Audit log", Nav: "audit"}, l)
	})
}
