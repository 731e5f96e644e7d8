package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

type topicsOut struct{ Body client.TopicList }

func (a *API) topicRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/topics", id: "list-topics", tag: "Topics", need: anyKey,
		summary: "List the topics", description: "What can happen, and so what a webhook can subscribe to.",
	}, func(context.Context, *exchange, *struct{}) (*topicsOut, error) {
		out := &topicsOut{}
		for _, t := range hook.Topics() {
			out.Body.Data = append(out.Body.Data, client.Topic{
				Topic: t.Name, Category: t.Category, Description: t.Description, Summary: t.Summary, Sample: json.RawMessage(t.Sample),
			})
		}
		return out, nil
	})
}
