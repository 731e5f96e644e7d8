package httpapi

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
)

// Publish is the envelope of an event, as package intake reads it; here it only makes the document.
type Publish struct {
	CompanyID  string     `json:"company_id,omitempty" pattern:"^[A-Za-z0-9_:-]{1,64}$" example:"c1" doc:"Required with an operator key; with a publish key its own company, when left out."`
	Event      string     `json:"event" example:"conversation.status" doc:"The topic."`
	Data       Document   `json:"data" doc:"The document, any JSON value. Its text is kept."`
	ID         string     `json:"id,omitempty" pattern:"^[A-Za-z0-9_:-]{1,128}$" doc:"The event's id. When left out, it is the Idempotency-Key (in a batch one made of it), or a new one."`
	ObjectID   string     `json:"object_id,omitempty" minLength:"1" maxLength:"256" doc:"What the event is about; data's top-level id when left out."`
	OccurredAt *time.Time `json:"occurred_at,omitempty"`
	DeliverAt  *time.Time `json:"deliver_at,omitempty" doc:"When it enters the log and is delivered, at most 30 days ahead; at once where that is past or left out. Not compared with an earlier event of the same id."`
	ExpiresAt  *time.Time `json:"expires_at,omitempty" doc:"From then on no delivery is attempted; what was not delivered is skipped as expired. After deliver_at, by at most 30 days. Not compared either."`
}

// Change is what became of an object, as package intake reads it; here it only makes the document.
type Change struct {
	CompanyID  string     `json:"company_id,omitempty" pattern:"^[A-Za-z0-9_:-]{1,64}$" example:"c1" doc:"Required with an operator key; with a publish key its own company, when left out."`
	ObjectType string     `json:"object_type" pattern:"^[a-z][a-z0-9_]{0,31}$" example:"conversation" doc:"conversation, customer, customer_note, account, or a type that a topic of the platform's own is derived from."`
	Before     Document   `json:"before" doc:"The object's document before the change; null says that it was created."`
	After      Document   `json:"after" doc:"The document after the change; null says that it was deleted. Its text is kept."`
	ID         string     `json:"id,omitempty" pattern:"^[A-Za-z0-9_:-]{1,96}$" doc:"The change's id. When left out, it is the Idempotency-Key, or a new one."`
	OccurredAt *time.Time `json:"occurred_at,omitempty"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty" doc:"From then on no delivery of its events is attempted; at most 30 days ahead."`
}

const ndjson = "application/x-ndjson"

func (a *API) publishRoutes() {
	a.mux.HandleFunc("POST /v1/events", a.hot(a.publish))
	a.mux.HandleFunc("POST /v1/events/batch", a.hot(a.publishBatch))
	a.mux.HandleFunc("POST /v1/changes", a.hot(a.publishChange))
	a.describePublish(route{
		method: http.MethodPost, path: "/v1/events", id: "publish-event", tag: "Publishing", need: publishing, status: http.StatusAccepted, creates: true,
		summary:     "Publish an event",
		description: "The answer 202 means that the event is on disk. Publishing it again under the same id, with the same topic, object and bytes of data, answers the original with duplicate: true; anything else is 409.",
	}, Publish{}, client.Published{})
	a.describePublish(route{
		method: http.MethodPost, path: "/v1/events/batch", id: "publish-batch", tag: "Publishing", need: publishing, status: http.StatusAccepted, creates: true,
		summary:     "Publish up to 1,000 events",
		description: "An array, or one event a line (application/x-ndjson). All are accepted or none, of however many companies they are. At most 8 MiB. Events without an id get one made of the Idempotency-Key and their place, so that the same request, sent again with the same key, doubles nothing.",
	}, []Publish{}, client.PublishedBatch{})
	a.describePublish(route{
		method: http.MethodPost, path: "/v1/changes", id: "publish-change", tag: "Publishing", need: publishing, status: http.StatusAccepted, creates: true,
		summary: "Publish what a change of an object means",
		description: "Takes an object's document before and after, and publishes an event of each topic that they differ in, in one transaction, in the order of the catalogue; none where they do not differ. " +
			"Numbers are compared as numbers, tags and an account's customers as sets, names in snake_case and camelCase as one, and null as absent. An event's id is the change's id, a colon and the topic. docs/api.md has the table.",
	}, Change{}, client.PublishedChange{})
}

// hot is the frame of the routes that publish: what [handle] does, without reflection.
func (a *API) hot(fn func(x *exchange) error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		x := w.(*exchange)
		err := x.admit(publishing)
		if err == nil && a.opt.Publishing != nil {
			ctx, end := a.opt.Publishing(x.r)
			defer end()
			x.r = x.r.WithContext(ctx)
		}
		if err == nil {
			err = fn(x)
		}
		if err != nil {
			x.fail(err)
		}
	}
}

func (a *API) publish(x *exchange) error {
	p, err := x.publishing()
	if err != nil {
		return err
	}
	if p.Lines {
		return errNotJSON
	}
	body, err := a.opt.Intake.ReadEvent(x.r.Body, x.r.ContentLength)
	if err != nil {
		return err
	}
	defer body.Release()
	accepted, err := a.opt.Intake.Publish(x.r.Context(), body.Bytes, p)
	if err != nil {
		return err
	}
	x.answerAccepted(appendPublished(make([]byte, 0, 256), &accepted))
	return nil
}

func (a *API) publishBatch(x *exchange) error {
	p, err := x.publishing()
	if err != nil {
		return err
	}
	if p.Key != "" && !validKey(p.Key) {
		return errKey
	}
	body, err := a.opt.Intake.ReadBatch(x.r.Body, x.r.ContentLength)
	if err != nil {
		return err
	}
	defer body.Release()
	accepted, err := a.opt.Intake.PublishBatch(x.r.Context(), body.Bytes, p)
	if err != nil {
		return err
	}
	x.answerAccepted(appendBatch(make([]byte, 0, 64+64*len(accepted)), accepted))
	return nil
}

func (a *API) publishChange(x *exchange) error {
	p, err := x.publishing()
	switch {
	case err != nil:
		return err
	case p.Lines:
		return errNotJSON
	case p.AllowStringData: // a document of an object is none
		return badParameter("allow_string_data", "unknown_parameter", "unknown query parameter")
	}
	body, err := a.opt.Intake.ReadBatch(x.r.Body, x.r.ContentLength)
	if err != nil {
		return err
	}
	defer body.Release()
	changed, err := a.opt.Intake.PublishChange(x.r.Context(), body.Bytes, p)
	if err != nil {
		return err
	}
	answer := client.PublishedChange{Data: []client.ChangeEvent{}}
	for _, c := range changed {
		answer.Data = append(answer.Data, client.ChangeEvent{
			ID: c.Event.ID, Event: c.Event.Topic, Duplicate: c.Duplicate, Changed: c.Pointers, Warnings: c.Findings,
		})
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("change: %w", err)
	}
	x.answerAccepted(append(text, '\n'))
	return nil
}

var (
	jsonContent = []string{"application/json"}
	errNotJSON  = &hook.Error{Kind: kindMediaType, Code: "unsupported_media_type", Detail: "send Content-Type: application/json"}
)

// kindMediaType is 415, which no other layer knows.
const kindMediaType hook.ErrorKind = "media_type"

// publishing reads what the request says outside its body.
func (x *exchange) publishing() (p intake.Publishing, err error) {
	r := x.r
	p.Company, p.Topics = x.caller.name, x.caller.topics
	if p.Lines, err = isLines(r.Header.Get("Content-Type")); err != nil {
		return p, err
	}
	p.Key = r.Header.Get("Idempotency-Key")
	if r.URL.RawQuery == "" {
		return p, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return p, badParameter("", "invalid_parameter", "the query cannot be read")
	}
	flags := map[string]*bool{"allow_string_data": &p.AllowStringData, "lint": &p.Lint}
	for name, values := range query {
		flag := flags[name]
		if flag == nil {
			return p, badParameter(name, "unknown_parameter", "unknown query parameter")
		}
		if len(values) > 1 {
			return p, errRepeated(name)
		}
		if *flag, err = strconv.ParseBool(values[0]); err != nil {
			return p, badParameter(name, "invalid_parameter", "must be true or false")
		}
	}
	return p, nil
}

func badParameter(name, code, detail string) *hook.Error {
	e := hook.InvalidFields(hook.FieldError{Field: name, Code: code, Detail: detail})
	e.Kind = hook.KindMalformed
	return e
}

// isLines tells the two forms of a batch apart by its content type.
func isLines(contentType string) (bool, error) {
	switch contentType {
	case "application/json", "":
		return false, nil
	case ndjson:
		return true, nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && media == "application/json":
		return false, nil
	case err == nil && media == ndjson:
		return true, nil
	}
	return false, errNotJSON
}

func (x *exchange) answerAccepted(body []byte) {
	h := x.Header()
	h["Content-Type"] = jsonContent
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.WriteHeader(http.StatusAccepted)
	_, _ = x.Write(body) // the client may have gone; the event is on disk
}

// appendPublished writes a [Published]. Ids and topics need no escaping; an object's id may.
func appendPublished(b []byte, a *intake.Accepted) []byte {
	e := a.Event
	b = append(b, `{"id":"`...)
	b = append(b, e.ID...)
	b = append(b, `","company_id":"`...)
	b = append(b, a.CompanyID...)
	b = append(b, `","event":"`...)
	b = append(b, e.Topic...)
	b = append(b, `","object_id":`...)
	if object := e.ObjectID(); object == "" {
		b = append(b, "null"...)
	} else {
		b, _ = jsontext.AppendQuote(b, object) // printable ASCII
	}
	b = append(b, `,"accepted_at":"`...)
	b = e.AcceptedAt.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","duplicate":`...)
	b = strconv.AppendBool(b, a.Duplicate)
	b = appendScheduled(b, e)
	return append(appendFindings(b, a.Findings), "}\n"...)
}

// appendScheduled writes a [client.Scheduled] for an event that is not in the log.
func appendScheduled(b []byte, e *hook.Event) []byte {
	s := scheduled(e)
	if s.Status == "" {
		return b
	}
	b = append(append(append(b, `,"status":"`...), s.Status...), '"')
	for _, x := range []struct {
		name string
		at   *time.Time
	}{{"deliver_at", s.DeliverAt}, {"cancelled_at", s.CancelledAt}} {
		if x.at != nil {
			b = append(append(append(b, `,"`...), x.name...), `":"`...)
			b = append(x.at.AppendFormat(b, time.RFC3339Nano), '"')
		}
	}
	return b
}

// appendFindings writes the member warnings where it was asked for.
func appendFindings(b []byte, findings []client.Finding) []byte {
	if findings == nil {
		return b
	}
	text, err := json.Marshal(findings)
	if err != nil { // a list of texts
		return b
	}
	return append(append(b, `,"warnings":`...), text...)
}

// appendBatch writes a [PublishedBatch].
func appendBatch(b []byte, accepted []intake.Accepted) []byte {
	duplicates := 0
	for i := range accepted {
		if accepted[i].Duplicate {
			duplicates++
		}
	}
	b = append(b, `{"accepted":`...)
	b = strconv.AppendInt(b, int64(len(accepted)-duplicates), 10)
	b = append(b, `,"duplicates":`...)
	b = strconv.AppendInt(b, int64(duplicates), 10)
	b = append(b, `,"data":[`...)
	for i := range accepted {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":"`...)
		b = append(b, accepted[i].Event.ID...)
		b = append(b, `","duplicate":`...)
		b = strconv.AppendBool(b, accepted[i].Duplicate)
		b = appendScheduled(b, accepted[i].Event)
		b = append(appendFindings(b, accepted[i].Findings), '}')
	}
	return append(b, "]}\n"...)
}

// describePublish puts a hot route into the document.
func (a *API) describePublish(r route, in, out any) {
	op := a.operation(r)
	op.Errors = append(op.Errors, http.StatusUnprocessableEntity, http.StatusInternalServerError)
	if _, change := in.(Change); !change {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "allow_string_data", In: "query", Schema: &huma.Schema{Type: "boolean"},
			Description: "Accept data that is a string holding JSON. Without it such data is refused as encoded twice.",
		})
	}
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: "lint", In: "query", Schema: &huma.Schema{Type: "boolean"},
		Description: "Answer with warnings: what in the data some receivers cannot read. The event is accepted all the same.",
	})
	input, output := a.schemaOf(in), a.schemaOf(out)
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: input}}}
	if _, batch := in.([]Publish); batch {
		op.RequestBody.Content[ndjson] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Description: "One event a line."}}
	}
	op.Responses = map[string]*huma.Response{strconv.Itoa(r.status): {
		Description: "Accepted: on disk.", Content: map[string]*huma.MediaType{"application/json": {Schema: output}},
	}}
	for _, status := range op.Errors {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status), Content: map[string]*huma.MediaType{"application/problem+json": {Schema: a.schemaOf(client.Problem{})}},
		}
	}
	a.huma.OpenAPI().AddOperation(&op)
}
