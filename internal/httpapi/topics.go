package httpapi

import (
	"context"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Topic is one entry of the catalogue.
type Topic struct {
	Topic       string   `json:"topic"`
	Category    string   `json:"category"`
	Description string   `json:"description" doc:"The documentation's sentence."`
	Summary     string   `json:"summary" doc:"When it is sent."`
	Sample      Document `json:"sample" doc:"A document as it might be published."`
}

// TopicList is the catalogue.
type TopicList struct {
	Data []Topic `json:"data"`
}

type topicsOut struct{ Body TopicList }

func (a *API) topicRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/topics", id: "list-topics", tag: "Topics", need: anyKey,
		summary: "List the topics", description: "What can happen, and so what a webhook can subscribe to.",
	}, func(context.Context, *exchange, *struct{}) (*topicsOut, error) {
		out := &topicsOut{}
		for _, t := range hook.Topics() {
			out.Body.Data = append(out.Body.Data, Topic{t.Name, t.Category, t.Description, t.Summary, Document(t.Sample)})
		}
		return out, nil
	})
}
