package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// StreamEvent is one attempt in the live stream.
type StreamEvent struct {
	WebhookID   string       `json:"webhook_id"`
	EventID     string       `json:"event_id"`
	Event       string       `json:"event"`
	ObjectID    *string      `json:"object_id"`
	Sequence    *int64       `json:"sequence"`
	Number      int          `json:"number"`
	Kind        hook.Kind    `json:"kind"`
	StartedAt   time.Time    `json:"started_at"`
	Outcome     hook.Outcome `json:"outcome"`
	StatusCode  *int         `json:"status_code"`
	ErrorClass  *string      `json:"error_class"`
	ErrorDetail *string      `json:"error_detail"`
	TotalMS     float64      `json:"total_ms"`
}

// Limits of the live stream.
const (
	ringSize   = 8192 // attempts that a reader can be behind, or resume from
	maxReaders = 1024
	maxOfOne   = 32              // readers of one company
	recheck    = 2 * time.Second // how often a reader's key is looked at
	heartbeat  = 15 * time.Second
	maxKnownID = 4096 // webhooks that one reader remembers
)

// hub keeps the last attempts for those who watch. The engine's recorder writes, readers read; it
// costs next to nothing while nobody watches.
type hub struct {
	epoch string // tells this process's numbers from another's

	mu      sync.Mutex
	next    uint64                 // number of the next attempt; numbers begin at 1
	ring    [ringSize]hook.Attempt // without what receivers answered
	changed chan struct{}          // closed at the next attempt
	readers int
	byOwner map[hook.CompanyKey]int // readers of each company
	stopped bool
}

func newHub(now time.Time) *hub {
	return &hub{epoch: strconv.FormatInt(now.UnixMicro(), 36), next: 1, changed: make(chan struct{}), byOwner: map[hook.CompanyKey]int{}}
}

// Attempted tells the live stream of a recorded attempt. It does not block.
func (a *API) Attempted(attempt *hook.Attempt) { a.hub.add(attempt) }

// EndStreams ends the live streams, so that a server that shuts down need not wait for them.
func (a *API) EndStreams() {
	a.forwarder.end()
	h := a.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped {
		h.stopped = true
		close(h.changed)
	}
}

func (h *hub) add(attempt *hook.Attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	kept := &h.ring[h.next%ringSize]
	*kept = *attempt
	kept.AnswerHeader, kept.AnswerBody = nil, nil
	h.next++
	if h.readers > 0 {
		close(h.changed)
		h.changed = make(chan struct{})
	}
}

// after returns the attempts from a number on, the number that follows, and what to wait for. lost
// says that some are gone already.
func (h *hub) after(from uint64) (list []hook.Attempt, next uint64, wait <-chan struct{}, lost, stopped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if oldest := max(h.next, ringSize+1) - ringSize; from < oldest {
		from, lost = oldest, true
	}
	for n := from; n < h.next; n++ {
		list = append(list, h.ring[n%ringSize])
	}
	return list, h.next, h.changed, lost, h.stopped
}

func (h *hub) enter(company hook.CompanyKey) (next uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers >= maxReaders || h.stopped {
		return 0, &hook.Error{Kind: hook.KindUnavailable, Code: "too_many_streams", Detail: "too many streams are open", RetryAfter: 5 * time.Second}
	}
	if h.byOwner[company] >= maxOfOne {
		return 0, &hook.Error{Kind: hook.KindLimited, Code: "too_many_streams", Detail: "the company has as many streams open as it may have", RetryAfter: 5 * time.Second}
	}
	h.readers++
	h.byOwner[company]++
	return h.next, nil
}

func (h *hub) leave(company hook.CompanyKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers--
	if h.byOwner[company]--; h.byOwner[company] == 0 {
		delete(h.byOwner, company)
	}
}

// place resolves a Last-Event-ID; known is false for one of another process.
func (h *hub) place(id string) (from uint64, known bool) {
	epoch, n, _ := strings.Cut(id, "-")
	last, err := strconv.ParseUint(n, 10, 63)
	return last + 1, err == nil && epoch == h.epoch
}

type streamIn struct {
	WebhookID   string `query:"webhook_id" doc:"Only attempts of this webhook."`
	LastEventID string `header:"Last-Event-ID" doc:"Go on after this one."`
}

func (a *API) streamRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/stream", id: "stream-attempts", tag: "Figures", need: companyRead, live: true,
		summary:     "Watch attempts as they finish",
		description: "Server-sent events named attempt. An event named gap says that some were missed: the list of deliveries has them. Reconnect with Last-Event-ID, as browsers do by themselves.",
	}, a.stream)
	a.huma.OpenAPI().Paths["/v1/stream"].Get.Responses["200"].Content = map[string]*huma.MediaType{
		"text/event-stream": {Schema: a.schemaOf(StreamEvent{})},
	}
}

func (a *API) stream(ctx context.Context, x *exchange, in *streamIn) (*streamed, error) {
	s := &streaming{api: a, caller: x.caller, company: x.company.Key, webhooks: map[hook.WebhookKey]*hook.Webhook{}}
	if in.WebhookID != "" {
		w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.WebhookID)
		if err != nil {
			return nil, err
		}
		s.only = w.Key
	}
	next, err := a.hub.enter(x.company.Key)
	if err != nil {
		return nil, err
	}
	s.next = next
	if in.LastEventID != "" {
		from, known := a.hub.place(in.LastEventID)
		if s.gap = !known; known {
			s.next = from
		}
	}
	x.lease.Release() // what a stream holds is bounded otherwise
	return &streamed{func(hctx huma.Context) {
		defer a.hub.leave(x.company.Key)
		_, w := humago.Unwrap(hctx)
		s.out = w
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no")
		x.err = s.run(ctx)
	}}, nil
}

// streaming is one reader of the live stream.
type streaming struct {
	api      *API
	caller   caller
	out      http.ResponseWriter
	company  hook.CompanyKey
	only     hook.WebhookKey // 0 = all of the company
	next     uint64
	gap      bool
	webhooks map[hook.WebhookKey]*hook.Webhook // nil for one of another company
}

// run writes until the client goes or the server stops.
func (s *streaming) run(ctx context.Context) error {
	control := http.NewResponseController(s.out)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	look := time.NewTicker(recheck)
	defer look.Stop()
	if _, err := fmt.Fprint(s.out, "retry: 1000\n\n"); err != nil {
		return nil // the client has gone
	}
	for {
		list, next, wait, lost, stopped := s.api.hub.after(s.next)
		s.gap = s.gap || lost
		if err := s.write(ctx, list, next); err != nil {
			return err
		}
		if err := control.Flush(); err != nil || stopped {
			return nil // the client has gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wait:
		case <-look.C:
			if !s.api.keys.stands(ctx, s.caller) {
				return nil // what opened it has ended
			}
		case <-beat.C:
			if _, err := fmt.Fprint(s.out, ": still here\n\n"); err != nil {
				return nil // the client has gone
			}
		}
	}
}

func (s *streaming) write(ctx context.Context, list []hook.Attempt, next uint64) error {
	if s.gap {
		s.gap = false
		fmt.Fprint(s.out, "event: gap\ndata: {}\n\n")
	}
	first := next - uint64(len(list))
	for i := range list {
		attempt := &list[i]
		w, err := s.webhook(ctx, attempt.Webhook)
		if err != nil {
			return err
		}
		if w == nil || s.only != 0 && s.only != w.Key {
			continue
		}
		event, err := s.event(ctx, w, attempt)
		if err != nil {
			return err
		}
		if event == nil {
			continue
		}
		text, err := json.Marshal(event)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "id: %s-%d\nevent: attempt\ndata: %s\n\n", s.api.hub.epoch, first+uint64(i), text)
	}
	s.next = next
	return nil
}

// webhook resolves a key to a webhook of the reader's company; nil for any other.
func (s *streaming) webhook(ctx context.Context, key hook.WebhookKey) (*hook.Webhook, error) {
	if w, ok := s.webhooks[key]; ok {
		return w, nil
	}
	w, err := s.api.opt.Store.WebhookForSend(ctx, key)
	if err != nil && !hook.IsKind(err, hook.KindNotFound) {
		return nil, unlessGone(ctx, err)
	}
	if err != nil || w.Company != s.company {
		w = nil
	}
	if len(s.webhooks) >= maxKnownID {
		clear(s.webhooks)
	}
	s.webhooks[key] = w
	return w, nil
}

func (s *streaming) event(ctx context.Context, w *hook.Webhook, a *hook.Attempt) (*StreamEvent, error) {
	events, err := s.api.opt.Store.Events(ctx, w.Partition, []hook.Offset{a.Offset})
	if err != nil {
		return nil, unlessGone(ctx, err)
	}
	if len(events) == 0 || events[0].Company != s.company {
		return nil, nil // purged, or a test
	}
	e := events[0]
	shape := &StreamEvent{
		WebhookID: w.ID, EventID: e.ID, Event: e.Topic, ObjectID: orNull(e.ObjectID()), Number: a.Number, Kind: a.Kind, StartedAt: a.StartedAt,
		Outcome: a.Outcome, ErrorClass: orNull(string(a.ErrorClass)), ErrorDetail: orNull(text([]byte(a.ErrorDetail))), TotalMS: milliseconds(a.Phases.Total),
	}
	if a.Sequence > 0 {
		shape.Sequence = &a.Sequence
	}
	if a.StatusCode != 0 {
		shape.StatusCode = &a.StatusCode
	}
	return shape, nil
}
