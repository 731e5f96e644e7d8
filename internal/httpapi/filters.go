package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Limits of a preview: how many of the latest events it looks at, of how many bytes about, and how many
// of them are in memory at once.
const (
	previewed       = 50
	previewedBytes  = 8 << 20
	previewedAtOnce = 4
)

type previewIn struct{ Body client.FilterPreview }

type previewOut struct{ Body client.FilterVerdict }

func (a *API) filterRoutes() {
	handle(a, route{
		method: http.MethodPost, path: "/v1/filters/preview", id: "preview-filter", tag: "Filters", need: companyRead,
		summary:     "Try a filter on the latest events",
		description: "An expression that does not compile is an answer here (compiled: false), not an error. It is tried on the latest 50 events, or fewer when they are large: 8 MiB in all.",
	}, a.previewFilter)
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/rule", id: "report-on-rule", tag: "Filters", need: companyRead,
		summary:     "What a webhook's rule made of the last 24 hours",
		description: "How many events its topics brought, how many of them its filter refuses, and what it wants now but did not want then. The newest 200 events of its topics are looked at, among 5,000 at most, and no more than 8 MiB of those that its filter looks at.",
	}, a.reportOnRule)
}

type ruleReportOut struct{ Body client.RuleReport }

// reported is how far back a report on a rule looks.
const reported = 24 * time.Hour

func (a *API) reportOnRule(ctx context.Context, x *exchange, in *WebhookPath) (*ruleReportOut, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	since := hook.Now(a.opt.Now().Add(-reported))
	r, err := a.opt.Store.RuleReport(ctx, w.Key, since)
	if err != nil {
		return nil, err
	}
	return &ruleReportOut{client.RuleReport{
		Since: since, Events: r.Events, OfTopics: r.OfTopics, Excluded: r.Excluded, Clause: orNull(r.Clause), Missed: r.Missed, Exact: r.Exact,
		Sentence: orNull(ruleSentence(r)),
	}}, nil
}

// ruleSentence says what is odd about a rule; "" where nothing is.
func ruleSentence(r store.RuleReport) string {
	within, of := "in 24 h", func(n int, what string) string {
		if n != 1 {
			what += "s"
		}
		return fmt.Sprint(n, " ", what)
	}
	if !r.Exact {
		within = fmt.Sprintf("among the latest %d", r.Events)
	}
	switch {
	case r.Events == 0:
		return ""
	case r.OfTopics == 0:
		return "None of its topics among " + of(r.Events, "event") + " in 24 h."
	case r.Excluded == r.OfTopics:
		why := ""
		if r.Clause != "" {
			why = ": " + r.Clause + " is not true"
		}
		return of(r.OfTopics, "event") + " of its topics " + within + ", all excluded by the filter" + why + "."
	case r.Missed > 0:
		return of(r.Missed, "event") + " that it wants now never matched " + within + ": its rule was another one then."
	}
	return ""
}

func (a *API) previewFilter(ctx context.Context, x *exchange, in *previewIn) (*previewOut, error) {
	topics := hook.MatchTopics(in.Body.Events)
	for _, pattern := range in.Body.Events {
		if !a.catalogue().Known(pattern) {
			return nil, hook.Invalid("events", "unknown_topic", "%s", unknownTopic(a.catalogue(), pattern))
		}
	}
	out := &previewOut{client.FilterVerdict{Data: []client.FilteredItem{}}}
	if _, err := filter.Compile(in.Body.Filter); err != nil {
		out.Body.Error = orNull(err.Error())
		return out, nil
	}
	out.Body.Compiled = true
	looked, bytes, before := 0, 0, hook.Offset(0)
	for looked < previewed && bytes < previewedBytes {
		list, more, err := a.opt.Store.EventsPage(ctx, x.company.Key, store.EventFilter{}, before, previewedAtOnce)
		if err != nil {
			return nil, err
		}
		for _, e := range list[:min(len(list), previewed-looked)] {
			looked, bytes = looked+1, bytes+len(e.Data)
			if in.Body.Events != nil && !topics.Has(e.Topic) {
				continue
			}
			item, err := a.preview(ctx, x.company.Key, e, in.Body.Filter)
			if err != nil {
				return nil, err
			}
			out.Body.Data = append(out.Body.Data, item)
		}
		if before = more; more == 0 {
			break
		}
	}
	return out, nil
}

// preview asks the filter about one event. It ends with the client.
func (a *API) preview(ctx context.Context, company hook.CompanyKey, e *hook.Event, filter string) (client.FilteredItem, error) {
	judged, err := a.opt.Judge(ctx, company, e, []string{filter})
	if err != nil {
		return client.FilteredItem{}, fmt.Errorf("preview: %w", err)
	}
	j := judged[0]
	return client.FilteredItem{EventID: e.ID, Event: e.Topic, Matched: j.Matched, Failed: orNull(j.Clause), Error: orNull(j.Problem)}, nil
}
