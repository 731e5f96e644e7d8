package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// shownBody is how much of a request's body an attempt repeats.
const shownBody = 64 << 10

// sentRequest is what an attempt's request is made from again.
type sentRequest struct {
	webhook *hook.Webhook
	event   *hook.Event
	attempt *hook.Attempt
	replay  string
	agent   string // the version in User-Agent
}

// placeholder stands where a signature stood.
const placeholder = "<signature>"

// request is the request with real signatures, by the secret that is in force at the attempt.
func (s *sentRequest) request() *wire.Request {
	a := s.attempt
	atlas, other := s.webhook.Secrets.At(a.StartedAt)
	var changes []byte
	if a.Changes {
		changes = s.event.Changes
	}
	return &wire.Request{
		Body: wire.BodyWithChanges(s.event.Topic, s.event.Data, changes, a.Format), Timestamp: a.TimestampText, Topic: s.event.Topic, EventID: s.event.ID,
		Object: s.event.ObjectID(), WebhookID: s.webhook.ID, Attempt: a.Number, Sequence: a.Sequence, Test: a.Kind == hook.Test, Replay: s.replay,
		Scheme: s.webhook.Scheme, Secret: atlas, Other: other, UserAgent: wire.UserAgent(s.agent), Custom: s.webhook.Headers,
	}
}

// header is the request's headers with signatures and the values of custom headers masked.
func (s *sentRequest) header(r *wire.Request) http.Header {
	h, err := r.Header()
	if err != nil {
		// The scheme could not sign this body when the attempt was made, either.
		return http.Header{}
	}
	for _, name := range []string{wire.HeaderSignature, wire.HeaderStandardSignature} {
		if h[name] != nil {
			h[name] = []string{placeholder}
		}
	}
	for _, custom := range s.webhook.Headers {
		h[http.CanonicalHeaderKey(custom.Name)] = []string{hidden}
	}
	return h
}

func shapeAttempt(s *sentRequest) client.Attempt {
	a := s.attempt
	r := s.request()
	shape := client.Attempt{
		Number: a.Number, Kind: a.Kind, ReplayID: orNull(s.replay), Counted: a.Counted, Reused: a.Reused, StartedAt: a.StartedAt, Outcome: a.Outcome,
		ErrorClass: orNull(string(a.ErrorClass)), ErrorDetail: orNull(text([]byte(a.ErrorDetail))),
		Timing: shapeTiming(a.Phases),
		Request: client.AttemptRequest{
			Method: http.MethodPost, URL: s.webhook.Endpoint, Headers: map[string]string{}, Body: string(r.Body),
			SettingsChanged: a.Version != s.webhook.Version,
		},
	}
	size := 0
	for name, values := range s.header(r) {
		shape.Request.Headers[name] = strings.Join(values, ", ")
		size += len(name) + len(": \r\n") + len(shape.Request.Headers[name])
	}
	shape.Advice = orNull(advice.Of(advice.Circumstances{Attempt: a, Endpoint: s.webhook.Endpoint, OwnHeaders: s.webhook.Headers, HeaderBytes: size}))
	if len(r.Body) > shownBody {
		shape.Request.Body, shape.Request.BodyTruncated = string(r.Body[:shownBody]), true
	}
	if a.StatusCode != 0 {
		shape.StatusCode = &a.StatusCode
	}
	if wait, ok := hook.RetryAfter(answerHeader(a.AnswerHeader, "retry-after"), a.StartedAt.Add(a.Phases.Total)); ok {
		seconds := wait.Seconds()
		shape.RetryAfterSeconds = &seconds
	}
	if a.AnswerHeader != nil || a.AnswerBody != nil {
		shape.Response = &client.AttemptAnswer{Headers: text(a.AnswerHeader), Body: text(a.AnswerBody)}
	}
	return shape
}

// answerHeader is the first header of a name, which is in small letters, among the lines of an answer.
func answerHeader(lines []byte, name string) string {
	for line := range strings.Lines(string(lines)) {
		if n, value, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func shapeTiming(p hook.Phases) client.Timing {
	phase := func(d time.Duration) *float64 {
		if d <= 0 {
			return nil
		}
		ms := milliseconds(d)
		return &ms
	}
	return client.Timing{
		DNSMS: phase(p.DNS), ConnectMS: phase(p.Connect), TLSMS: phase(p.TLS), FirstByteMS: phase(p.FirstByte), TotalMS: milliseconds(p.Total),
	}
}

// text makes a receiver's bytes a JSON string: what is not UTF-8 is replaced.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string(bytes.ToValidUTF8(b, []byte("�")))
}

// TestRequest is the body of a test; all of it can be left out.
type TestRequest struct {
	Event *string   `json:"event,omitempty" doc:"The topic; the webhook's first one when left out."`
	Data  *Document `json:"data,omitempty" doc:"The document; the topic's sample when left out."`
}

type testIn struct {
	WebhookPath
	Body *TestRequest
}

func (a *API) testWebhook(ctx context.Context, x *exchange, in *testIn) (*struct{ Body client.Attempt }, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return nil, err
	}
	event, err := a.testEvent(w, in.Body)
	if err != nil {
		return nil, err
	}
	if a.opt.Engine == nil {
		return nil, errNoEngine
	}
	if !a.tests.allow(w.Key, a.opt.Now()) {
		return nil, &hook.Error{Kind: hook.KindLimited, Code: "rate_limited", Detail: "one test a second for each webhook", RetryAfter: time.Second}
	}
	attempt, err := a.opt.Engine.Test(ctx, w, event)
	if err != nil {
		return nil, err
	}
	saved := &store.TestDelivery{ID: event.ID, Webhook: w.Key, At: attempt.StartedAt, Topic: event.Topic, Data: event.Data, Attempt: *attempt}
	if err := a.opt.Store.SaveTest(ctx, saved); err != nil {
		return nil, err
	}
	if attempt.Outcome == hook.OutcomeDelivered {
		a.probe(w.Key) // it takes something again
	}
	sent := sentRequest{webhook: w, event: event, attempt: attempt, agent: a.opt.Version}
	return &struct{ Body client.Attempt }{shapeAttempt(&sent)}, nil
}

var errNoEngine = &hook.Error{
	Kind: hook.KindUnavailable, Code: "engine_unavailable", Detail: "this node makes no deliveries now; try again", RetryAfter: time.Second,
}

// testEvent is the event of a test, which no log has.
func (a *API) testEvent(w *hook.Webhook, body *TestRequest) (*hook.Event, error) {
	topic := a.firstTopic(w)
	if body != nil && body.Event != nil {
		var ok bool
		if topic, ok = a.catalogue().Lookup(*body.Event); !ok {
			return nil, hook.Invalid("event", "unknown_topic", "%s", unknownTopic(a.catalogue(), *body.Event))
		}
	}
	data := []byte(topic.Sample)
	if body != nil && body.Data != nil {
		data = *body.Data
	}
	document, err := wire.Parse(data)
	if err != nil {
		return nil, err
	}
	now := a.now()
	event := &hook.Event{
		ID: hook.NewID(hook.TestPrefix, now), Company: w.Company, CompanyID: w.CompanyID, Topic: topic.Name, Data: document.Text, FreshID: true, AcceptedAt: now,
	}
	if id, ok := document.ID(); ok && hook.ValidObjectID(id) {
		event.ObjectKey = topic.ObjectKey(id)
	}
	return event, nil
}

// firstTopic is the first topic that a webhook is subscribed to.
func (a *API) firstTopic(w *hook.Webhook) hook.Topic {
	if topics := a.catalogue().Covered(hook.MatchTopics(w.Topics)); len(topics) > 0 {
		return topics[0]
	}
	return hook.Topics()[0]
}
