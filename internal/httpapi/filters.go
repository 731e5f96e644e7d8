package httpapi

import (
	"context"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// FilterPreview is the body of POST /v1/filters/preview.
type FilterPreview struct {
	Filter string   `json:"filter" doc:"The expression."`
	Events []string `json:"events,omitempty" maxItems:"64" doc:"Only events of these topics; patterns as in a webhook."`
}

// FilterVerdict is what a filter makes of the latest events.
type FilterVerdict struct {
	Compiled bool           `json:"compiled"`
	Error    *string        `json:"error" doc:"Why it does not compile."`
	Data     []FilteredItem `json:"data"`
}

// FilteredItem is what a filter makes of one event.
type FilteredItem struct {
	EventID string  `json:"event_id"`
	Event   string  `json:"event"`
	Matched bool    `json:"matched"`
	Failed  *string `json:"failed" doc:"The clause that said no."`
	Error   *string `json:"error" doc:"What went wrong while it looked at the event; that counts as a match."`
}

// previewed is how many of the latest events a preview looks at.
const previewed = 50

type previewIn struct{ Body FilterPreview }

type previewOut struct{ Body FilterVerdict }

func (a *API) filterRoutes() {
	handle(a, route{
		method: http.MethodPost, path: "/v1/filters/preview", id: "preview-filter", tag: "Filters", need: companyRead,
		summary:     "Try a filter on the latest events",
		description: "An expression that does not compile is an answer here (compiled: false), not an error.",
	}, a.previewFilter)
}

func (a *API) previewFilter(ctx context.Context, x *exchange, in *previewIn) (*previewOut, error) {
	topics := hook.TopicSet(0)
	if in.Body.Events != nil {
		var unknown string
		if topics, unknown = hook.MatchTopics(in.Body.Events); unknown != "" {
			return nil, hook.Invalid("events", "unknown_topic", "%s", unknownTopic(unknown))
		}
	}
	out := &previewOut{FilterVerdict{Data: []FilteredItem{}}}
	program, err := filter.Compile(in.Body.Filter)
	if err != nil {
		out.Body.Error = orNull(err.Error())
		return out, nil
	}
	out.Body.Compiled = true
	list, _, err := a.opt.Store.EventsPage(ctx, x.company.Key, store.EventFilter{}, 0, previewed)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if in.Body.Events != nil && !topics.Has(e.Topic) {
			continue
		}
		item := FilteredItem{EventID: e.ID, Event: e.Topic}
		item.Matched, err = program.Match(e.Topic, e.Data)
		switch {
		case err != nil:
			item.Error = orNull(err.Error())
		case !item.Matched:
			item.Failed = orNull(program.Failed(e.Topic, e.Data))
		}
		out.Body.Data = append(out.Body.Data, item)
	}
	return out, nil
}
