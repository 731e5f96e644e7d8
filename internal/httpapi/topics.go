package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic"
)

type topicsOut struct{ Body client.TopicList }

// TopicPath names a topic.
type TopicPath struct {
	Topic string `path:"topic" example:"conversation.created"`
}

type topicOut struct{ Body client.TopicDetail }

type topicPutIn struct {
	TopicPath
	Body client.TopicPut
}

func (a *API) topicRoutes() {
	const tag = "Topics"
	handle(a, route{
		method: http.MethodGet, path: "/v1/topics", id: "list-topics", tag: tag, need: anyKey,
		summary: "List the topics", description: "What can happen, and so what a webhook can subscribe to: the documentation's fifteen, then the platform's own by name.",
	}, func(ctx context.Context, x *exchange, _ *struct{}) (*topicsOut, error) {
		checks, err := a.checks(ctx, x, "")
		if err != nil {
			return nil, err
		}
		out := &topicsOut{}
		for _, t := range a.catalogue().Topics() {
			shape := shapeTopic(t)
			if c := checks[t.Name]; c != nil {
				c.Last = nil
				shape.Checks = c
			}
			out.Body.Data = append(out.Body.Data, shape)
		}
		return out, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/topics/{topic}", id: "get-topic", tag: tag, need: anyKey, summary: "One topic",
	}, func(ctx context.Context, x *exchange, in *TopicPath) (*topicOut, error) {
		t, ok := a.catalogue().Lookup(in.Topic)
		if !ok {
			return nil, hook.NotFound("topic")
		}
		checks, err := a.checks(ctx, x, t.Name)
		if err != nil {
			return nil, err
		}
		out := &topicOut{detailTopic(t)}
		out.Body.Checks = checks[t.Name]
		return out, nil
	})
	handle(a, route{
		method: http.MethodPut, path: "/v1/topics/{topic}", id: "put-topic", tag: tag, need: operatorOnly, conflicts: true,
		summary: "Add or change a topic",
		description: "Makes a topic of the platform's own what the body says, as a whole, and adds it where there is none. All nodes know it within a second. " +
			"Wildcards cover it for the events that are published from then on. The built-in topics cannot be changed (409 built_in_topic).",
	}, a.putTopic)
	handle(a, route{
		method: http.MethodDelete, path: "/v1/topics/{topic}", id: "delete-topic", tag: tag, need: operatorOnly, conflicts: true,
		summary: "Delete a topic", description: "Its events stay, with what was delivered and will be. Refused while a webhook names it (409 topic_in_use); a wildcard names none.",
	}, func(ctx context.Context, x *exchange, in *TopicPath) (*struct{}, error) {
		if err := refuseBuiltIn(in.Topic); err != nil {
			return nil, err
		}
		return nil, a.opt.Store.DeleteTopic(ctx, in.Topic, x.audit("topic.deleted", nil))
	})
}

// checks are what was found of topics, or of one; for operators, because it is of all companies.
func (a *API) checks(ctx context.Context, x *exchange, topic string) (map[string]*hook.Checks, error) {
	if !x.caller.operator() {
		return nil, nil
	}
	return a.opt.Store.Checks(ctx, topic)
}

func (a *API) putTopic(ctx context.Context, x *exchange, in *topicPutIn) (*topicOut, error) {
	if err := refuseBuiltIn(in.Topic); err != nil {
		return nil, err
	}
	b := in.Body
	from, paths := "", ""
	if b.Derive != nil {
		for i, p := range b.Derive.Paths {
			if p == "" || strings.Contains(p, "\n") { // which a list of lines does not tell from two, or none
				return nil, hook.Invalid("derive.paths["+strconv.Itoa(i)+"]", "invalid_path", "must be a JSON pointer to a member, as /status")
			}
		}
		if from, paths = b.Derive.ObjectType, strings.Join(b.Derive.Paths, "\n"); from == "" {
			return nil, hook.Invalid("derive.object_type", "required", "whose changes the topic is derived from, as conversation")
		}
	}
	t, wrong := topic.Check(hook.Topic{
		DeriveFrom: from, DerivePaths: paths,
		Name: in.Topic, Category: b.Category, Description: b.Description, Summary: b.Summary, Sample: given(b.Sample), Schema: given(b.Schema), Validate: hook.Validation(b.Validate), Since: b.Since, Deprecated: b.Deprecated,
	})
	if wrong != nil {
		return nil, hook.InvalidFields(wrong...)
	}
	if err := a.opt.Store.PutTopic(ctx, t, x.audit("topic.put", map[string]any{"category": t.Category})); err != nil {
		return nil, err
	}
	return &topicOut{detailTopic(t)}, nil
}

// documentOrNone is a text that is one, nil for "".
func documentOrNone(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// given is a document's text, "" for null.
func given(document json.RawMessage) string {
	if string(document) == "null" {
		return ""
	}
	return string(document)
}

func refuseBuiltIn(name string) error {
	if _, ok := hook.LookupTopic(name); ok {
		return hook.Refuse(hook.KindConflict, "built_in_topic", "%s is built in, and cannot be changed", name)
	}
	return nil
}

// catalogue is what topics there are now.
func (a *API) catalogue() *hook.Catalogue { return a.opt.Store.Catalogue() }

func shapeTopic(t hook.Topic) client.Topic {
	var rule *client.TopicRule
	if t.DeriveFrom != "" {
		rule = &client.TopicRule{ObjectType: t.DeriveFrom, Paths: strings.Fields(t.DerivePaths)}
	}
	return client.Topic{
		Derive: rule,
		Topic:  t.Name, Category: t.Category, Description: t.Description, Summary: t.Summary, Sample: json.RawMessage(t.Sample), Schema: documentOrNone(t.Schema),
		Validate: string(t.Validate), Since: t.Since, Deprecated: t.Deprecated,
	}
}

func detailTopic(t hook.Topic) client.TopicDetail {
	_, builtIn := hook.LookupTopic(t.Name)
	return client.TopicDetail{Topic: shapeTopic(t), BuiltIn: builtIn}
}
