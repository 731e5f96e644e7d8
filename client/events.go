package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Publish is an event that is to be published.
type Publish struct {
	// CompanyID is whose it is; a publish key needs none.
	CompanyID string `json:"company_id,omitempty"`
	Event     string `json:"event"` // the topic
	// ID makes publishing again harmless. One is made if there is none; give one that you can make
	// again after a crash.
	ID string `json:"id,omitempty"`
	// ObjectID is what the event is about; "" means data's top-level id.
	ObjectID   string     `json:"object_id,omitempty"`
	OccurredAt *time.Time `json:"occurred_at,omitempty"`
	// DeliverAt is when it is to enter the log and be delivered, at most 30 days ahead; nil or past: at once.
	DeliverAt *time.Time `json:"deliver_at,omitempty"`
	// ExpiresAt is from when on it is not delivered any more, at most 30 days after that; nil: never.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Data is the document. A [json.RawMessage] reaches the receivers as it is written, anything
	// else as encoding/json writes it.
	Data any `json:"data"`

	// AllowStringData lets data be a string that holds JSON. Without it such data is refused, since
	// it was most likely encoded twice. In a batch, one that allows it allows it for all.
	AllowStringData bool `json:"-"`
	// Lint asks for the answer's warnings: what in the data some receivers cannot read. In a batch,
	// one that asks asks for all.
	Lint bool `json:"-"`
}

// Finding is something in published data that is JSON and that some receivers cannot read. Its
// pointer is that of the first place (RFC 6901).
type Finding = hook.Finding

// Violation is a place of a document that its topic's schema forbids. It never holds a value.
type Violation = hook.Violation

// Checks is what was found of a topic's events by its schema.
type Checks = hook.Checks

// Breach is an event whose document its topic's schema forbids.
type Breach = hook.Breach

// Published is the answer to an event: it is on disk.
type Published struct {
	ID         string    `json:"id"`
	CompanyID  string    `json:"company_id"`
	Event      string    `json:"event"`
	ObjectID   *string   `json:"object_id"`
	AcceptedAt time.Time `json:"accepted_at"`
	Duplicate  bool      `json:"duplicate" doc:"The same event was published before; this is what was answered then."`
	Scheduled
	Warnings []Finding `json:"warnings,omitzero" doc:"With lint=true: what in the data some receivers cannot read."`
}

// Scheduled is what is said of an event that is not in the log.
type Scheduled struct {
	Status      string     `json:"status,omitempty" enum:"scheduled,cancelled" doc:"scheduled: it waits for deliver_at. cancelled: it was called off before it was delivered. Absent otherwise."`
	DeliverAt   *time.Time `json:"deliver_at,omitempty" doc:"When it enters the log; only while it is not there."`
	CancelledAt *time.Time `json:"cancelled_at,omitempty"`
}

// PublishedBatch is the answer to a batch, in its order.
type PublishedBatch struct {
	Accepted   int         `json:"accepted"`
	Duplicates int         `json:"duplicates"`
	Data       []BatchItem `json:"data"`
}

// BatchItem is the answer to one event of a batch.
type BatchItem struct {
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
	Scheduled
	Warnings []Finding `json:"warnings,omitzero" doc:"With lint=true: what in the data some receivers cannot read."`
}

// ObjectChange is what became of an object: its document before, and after. docs/api.md says what is
// derived.
type ObjectChange struct {
	// CompanyID is whose it is; a publish key needs none.
	CompanyID  string `json:"company_id,omitempty"`
	ObjectType string `json:"object_type"` // conversation, customer, customer_note or account
	// ID makes publishing again harmless. One is made if there is none; give one that you can make
	// again after a crash.
	ID         string     `json:"id,omitempty"`
	OccurredAt *time.Time `json:"occurred_at,omitempty"`
	// ExpiresAt is from when on its events are not delivered any more, at most 30 days ahead; nil: never.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Before is nil for an object that was created, After for one that was deleted. A [json.RawMessage]
	// reaches the receivers as it is written, anything else as encoding/json writes it.
	Before any `json:"before"`
	After  any `json:"after"`

	// Lint asks for the answer's warnings: what in the documents some receivers cannot read.
	Lint bool `json:"-"`
}

// PublishedChange is the answer to a change: the events that it means, which are on disk. There are none
// where the documents do not differ.
type PublishedChange struct {
	Data []ChangeEvent `json:"data"`
}

// ChangeEvent is one event that a change means.
type ChangeEvent struct {
	ID        string    `json:"id" doc:"The change's id, a colon and the topic."`
	Event     string    `json:"event"`
	Duplicate bool      `json:"duplicate" doc:"The same change was published before."`
	Changed   []string  `json:"changed" nullable:"false" doc:"What differs, as JSON pointers (RFC 6901), at most 100; empty for an object that was created or deleted, and for links of accounts."`
	Warnings  []Finding `json:"warnings,omitzero" doc:"With lint=true: what in the data some receivers cannot read."`
}

// PublishChange publishes what a change of an object means, in one transaction. It needs an operator
// key.
func (c *Client) PublishChange(ctx context.Context, change ObjectChange) (*PublishedChange, error) {
	if change.ID == "" {
		change.ID = hook.NewID(hook.ChangePrefix, time.Now())
	}
	body, err := encode(change)
	if err != nil {
		return nil, fmt.Errorf("client: change: %w", err)
	}
	return fetch[PublishedChange](ctx, c, post("/v1/changes", body).with(asking(false, change.Lint)).again())
}

// PublishEvent publishes an event. It needs an operator key.
func (c *Client) PublishEvent(ctx context.Context, e Publish) (*Published, error) {
	body, err := e.encode(time.Now())
	if err != nil {
		return nil, fmt.Errorf("client: publish: %w", err)
	}
	return fetch[Published](ctx, c, post("/v1/events", body).with(asking(e.AllowStringData, e.Lint)).again())
}

// PublishBatch publishes up to 1,000 events: all of them or none. It needs an operator key.
func (c *Client) PublishBatch(ctx context.Context, events []Publish) (*PublishedBatch, error) {
	var lines []byte
	var allow, lint bool
	now := time.Now()
	for i := range events {
		allow, lint = allow || events[i].AllowStringData, lint || events[i].Lint
		line, err := events[i].encode(now)
		if err != nil {
			return nil, fmt.Errorf("client: publish [%d]: %w", i, err)
		}
		if lines != nil {
			lines = append(lines, ',')
		}
		lines = append(lines, line...)
	}
	body := append(append([]byte{'['}, lines...), ']')
	return fetch[PublishedBatch](ctx, c, post("/v1/events/batch", body).with(asking(allow, lint)).again())
}

func asking(stringData, lint bool) url.Values {
	return url.Values(query{}.flag("allow_string_data", stringData).flag("lint", lint))
}

// encode writes an event with an id, so that every try is the same event, and with the text of its
// document as it is.
func (e *Publish) encode(now time.Time) ([]byte, error) {
	data, raw := e.Data.(json.RawMessage)
	if !raw {
		var err error
		if data, err = encode(e.Data); err != nil {
			return nil, err
		}
		if e.Data == nil {
			data = json.RawMessage("null")
		}
	}
	if !json.Valid(data) {
		return nil, fmt.Errorf("data is not JSON")
	}
	envelope := struct {
		Publish
		Data struct{} `json:"data,omitzero"` // hides that of Publish
	}{Publish: *e}
	if envelope.ID == "" {
		envelope.ID = hook.NewID(hook.EventPrefix, now)
	}
	text, err := encode(envelope)
	if err != nil {
		return nil, err
	}
	text = append(text[:len(text)-1], `,"data":`...)
	return append(append(text, data...), '}'), nil
}

// Event is an event as it stands in the log, or waits to.
type Event struct {
	ID         string     `json:"id"`
	CompanyID  string     `json:"company_id"`
	Event      string     `json:"event"`
	ObjectID   *string    `json:"object_id"`
	OccurredAt *time.Time `json:"occurred_at" doc:"The producer's claim."`
	AcceptedAt time.Time  `json:"accepted_at" doc:"When it entered the log; of one that is not there, when it was published."`
	ExpiresAt  *time.Time `json:"expires_at,omitempty" doc:"From then on no delivery is attempted."`
	Scheduled
	Data       json.RawMessage `json:"data" doc:"Any JSON value."`
	Changes    Object          `json:"changes,omitempty" doc:"By place (RFC 6901) what changed, with its value before (old) and after (new): of an event that POST /v1/changes derived."`
	Matched    *int            `json:"matched,omitempty" doc:"How many webhooks wanted it; only in the answer about one event."`
	Violations []Violation     `json:"violations,omitzero" doc:"Where the schema that its topic has now forbids the data: places and keywords, at most ten; only in the answer about one event, and not where validate is off."`
	Warnings   []Finding       `json:"warnings,omitzero" doc:"What in the data some receivers cannot read; only in the answer about one event."`
}

// EventFilter narrows a list of events. Its zero value is all of them.
type EventFilter struct {
	Event    string // a topic
	ObjectID string
	From     time.Time // accepted at or after
	To       time.Time // accepted before
	PageSize int       // 1 to 250; 0 = 50
	// Status lists, instead of the log, the events that wait for their time ("scheduled", the next first), or
	// those that were called off before it ("cancelled"). From and To do not go with it.
	Status string
}

// Events lists events, newest first.
func (c *Client) Events(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	q := query{}.text("event", f.Event).text("object_id", f.ObjectID).time("from", f.From).time("to", f.To).text("status", f.Status).number("limit", int64(f.PageSize))
	return list[Event](ctx, c, get("/v1/events").with(url.Values(q)))
}

// Event returns one event.
func (c *Client) Event(ctx context.Context, id string) (*Event, error) {
	return fetch[Event](ctx, c, get("/v1/events/{id}", id))
}

// CancelEvent calls an event off of which no delivery was attempted.
func (c *Client) CancelEvent(ctx context.Context, id string) error {
	return c.do(ctx, remove("/v1/events/{id}", id), nil)
}

// Match is what one webhook made of an event.
type Match struct {
	WebhookID string         `json:"webhook_id"`
	Endpoint  string         `json:"endpoint"`
	Verdict   Verdict        `json:"verdict" enum:"matched,topic_not_subscribed,filter_failed,created_after"`
	Reason    string         `json:"reason" doc:"The verdict in words."`
	Status    DeliveryStatus `json:"status,omitempty" enum:"pending,retrying,held,delivered,failed,skipped" doc:"Of the delivery, where there is one."`
}

// ExplainEvent lists what every webhook of the company made of an event, and why.
func (c *Client) ExplainEvent(ctx context.Context, id string) iter.Seq2[Match, error] {
	return list[Match](ctx, c, get("/v1/events/{id}/matches", id))
}

// Topic is one entry of the catalogue.
type Topic struct {
	Topic       string          `json:"topic"`
	Category    string          `json:"category"`
	Description string          `json:"description" doc:"The documentation's sentence."`
	Summary     string          `json:"summary" doc:"When it is sent."`
	Sample      json.RawMessage `json:"sample" doc:"A document as it might be published."`
	Schema      json.RawMessage `json:"schema,omitempty" doc:"What a document may be: a JSON Schema (2020-12). Absent: no rule."`
	Validate    string          `json:"validate,omitempty" enum:"off,warn,reject" doc:"What becomes of documents that the schema forbids; absent: what the company says, else warn."`
	Derive      *TopicRule      `json:"derive,omitempty" doc:"Which changes of objects mean an event of the topic; absent: none."`
	Checks      *Checks         `json:"checks,omitempty" doc:"What was found when events were checked against the schema; for operators. The last of them are in the answer about one topic."`
	Since       string          `json:"since,omitempty" doc:"Since when, or since which revision, it is sent."`
	Deprecated  bool            `json:"deprecated,omitzero"`
}

// TopicRule says which changes of objects mean an event of a topic.
type TopicRule struct {
	ObjectType string   `json:"object_type" example:"order" doc:"1–32 of a-z, 0-9 and _: a type that there is, or one of your own."`
	Paths      []string `json:"paths,omitempty" maxItems:"16" doc:"JSON pointers: the event is meant where what one of them points to differs. None: by every change, also by creation and deletion."`
}

// TopicDetail is one topic.
type TopicDetail struct {
	Topic
	BuiltIn bool `json:"built_in" doc:"One of the documentation's, which cannot be changed."`
}

// TopicPut is what a topic of the platform's own is to be, as a whole.
type TopicPut struct {
	Category    string          `json:"category" doc:"1–32 of A-Z, 0-9 and _, as CONVERSATION. Events of one category are about the same objects. It cannot be changed later."`
	Description string          `json:"description" doc:"What happened."`
	Summary     string          `json:"summary,omitempty" doc:"When it is sent."`
	Sample      json.RawMessage `json:"sample,omitempty" doc:"A document as it might be published; what is sent when the topic is tried out."`
	Schema      json.RawMessage `json:"schema,omitempty" doc:"What a document may be: a JSON Schema (2020-12), kept to what all libraries check alike; docs/api.md says what that is. The sample must validate."`
	Validate    string          `json:"validate,omitempty" enum:"off,warn,reject" doc:"What becomes of documents that the schema forbids: off, they are not checked; warn, they are accepted, counted and shown; reject, they are refused. Of this and the company's the stricter holds; where there is none, warn."`
	Derive      *TopicRule      `json:"derive,omitempty" doc:"Which changes of objects (POST /v1/changes) mean an event of the topic."`
	Since       string          `json:"since,omitempty" doc:"Since when, or since which revision, it is sent; any text of at most 32 characters."`
	Deprecated  bool            `json:"deprecated,omitzero"`
}

// TopicList is the catalogue.
type TopicList struct {
	Data []Topic `json:"data"`
}

// Topics returns the catalogue: what can happen, and so what a webhook can subscribe to.
func (c *Client) Topics(ctx context.Context) ([]Topic, error) {
	l, err := fetch[TopicList](ctx, c, get("/v1/topics"))
	if err != nil {
		return nil, err
	}
	return l.Data, nil
}

// Topic returns one topic.
func (c *Client) Topic(ctx context.Context, topic string) (*TopicDetail, error) {
	return fetch[TopicDetail](ctx, c, get("/v1/topics/{id}", topic))
}

// PutTopic makes a topic of the platform's own what it is to be, and adds it where there is none. It is
// known on all nodes within a second. It needs an operator key.
func (c *Client) PutTopic(ctx context.Context, topic string, t TopicPut) (*TopicDetail, error) {
	return fetch[TopicDetail](ctx, c, put("/v1/topics/{id}", t, topic))
}

// DeleteTopic takes a topic of the platform's own away that no webhook names. It needs an operator key.
func (c *Client) DeleteTopic(ctx context.Context, topic string) error {
	return c.do(ctx, remove("/v1/topics/{id}", topic), nil)
}

// FilterPreview is a filter that is to be tried out.
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

// PreviewFilter tries a filter on the latest events.
func (c *Client) PreviewFilter(ctx context.Context, p FilterPreview) (*FilterVerdict, error) {
	return fetch[FilterVerdict](ctx, c, post("/v1/filters/preview", p).again())
}

// RuleReport is what a webhook's rule made of the events of the last 24 hours.
type RuleReport struct {
	Since    time.Time `json:"since" doc:"Events accepted from then on were looked at."`
	Events   int       `json:"events" doc:"How many of the company's events that are."`
	OfTopics int       `json:"of_topics" doc:"Of them, those of the topics that it wants now."`
	Excluded int       `json:"excluded" doc:"Of these, those that its filter refuses."`
	Clause   *string   `json:"clause" doc:"The part of the filter that refused the latest one."`
	Missed   int       `json:"missed" doc:"Events that it wants now, did not want when they were accepted, and never got: a replay with rules current and only undelivered sends them."`
	Exact    bool      `json:"exact" doc:"False: there are more, which were not looked at; the newest were."`
	Sentence *string   `json:"sentence" doc:"What is odd about it, in words; null where nothing is."`
}

// ReportOnRule says what a webhook's rule made of the events of the last 24 hours: of the newest 200 of its
// topics, among 5,000 at most.
func (c *Client) ReportOnRule(ctx context.Context, webhook string) (*RuleReport, error) {
	return fetch[RuleReport](ctx, c, get("/v1/webhooks/{id}/rule", webhook))
}

// OpenAPI returns the document that describes the server's API.
func (c *Client) OpenAPI(ctx context.Context) (json.RawMessage, error) {
	text, err := fetch[json.RawMessage](ctx, c, get("/openapi.json"))
	if err != nil {
		return nil, err
	}
	return *text, nil
}

// Ready reports whether the server can serve now; the error says why not.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodGet, path: "/readyz"}, nil)
}
