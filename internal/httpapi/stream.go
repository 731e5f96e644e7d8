package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// heartbeat is how often a stream says that it is still there.
const heartbeat = 15 * time.Second

type streamIn struct {
	WebhookID   string `query:"webhook_id" doc:"Only attempts of this webhook."`
	LastEventID string `header:"Last-Event-ID" doc:"Go on after this one."`
}

func (a *API) streamRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/stream", id: "stream-attempts", tag: "Figures", need: companyRead, live: true,
		summary:     "Watch attempts as they finish",
		description: "Server-sent events named attempt. An event named gap says that some were missed: the list of deliveries has them. Reconnect with Last-Event-ID, as browsers do by themselves. It ends when the key or session that opened it ends, or the one webhook that it is about.",
	}, a.stream)
	a.huma.OpenAPI().Paths["/v1/stream"].Get.Responses["200"].Content = map[string]*huma.MediaType{
		"text/event-stream": {Schema: a.schemaOf(client.StreamEvent{})},
	}
}

func (a *API) stream(ctx context.Context, x *exchange, in *streamIn) (*streamed, error) {
	s := &streaming{}
	if in.WebhookID != "" {
		w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.WebhookID)
		if err != nil {
			return nil, err
		}
		s.only = w.Key
	}
	ring, err := a.hub.enter(x.company.Key, a.opt.Now())
	if err != nil {
		return nil, err
	}
	s.ring, s.next = ring, ring.end()
	if in.LastEventID != "" {
		from, known := ring.place(in.LastEventID)
		if s.gap = !known; known {
			s.next = from
		}
	}
	x.lease.Release() // what a stream holds is bounded otherwise
	return &streamed{func(hctx huma.Context) {
		defer func() { a.hub.leave(ring, a.opt.Now()) }()
		_, w := humago.Unwrap(hctx)
		s.out = w
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no")
		ctx, leave := x.guard(ctx, func(ctx context.Context) bool { return s.only == 0 || a.webhookStands(ctx, x, in.WebhookID) })
		defer leave()
		s.run(ctx)
	}}, nil
}

// webhookStands reports whether a webhook is still there. A store that does not answer leaves it as it is.
func (a *API) webhookStands(ctx context.Context, x *exchange, id string) bool {
	exists, err := a.opt.Store.WebhookExists(ctx, x.company.Key, id)
	return exists || err != nil
}

// streaming is one reader of the live stream.
type streaming struct {
	ring *ring
	out  http.ResponseWriter
	only hook.WebhookKey // 0 = all of the company
	next uint64
	gap  bool
}

// run writes until the client goes, what opened the stream ends, or the server stops.
func (s *streaming) run(ctx context.Context) {
	control := http.NewResponseController(s.out)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if _, err := fmt.Fprint(s.out, "retry: 1000\n\n"); err != nil {
		return // the client has gone
	}
	for {
		list, next, wait, lost, stopped := s.ring.after(s.next)
		s.gap = s.gap || lost
		if s.write(list, next) != nil || ctx.Err() != nil {
			return // the client has gone, or what opened it
		}
		if wait == nil {
			continue // there is more
		}
		if err := control.Flush(); err != nil || stopped {
			return // the client has gone
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
		case <-beat.C:
			if _, err := fmt.Fprint(s.out, ": still here\n\n"); err != nil {
				return // the client has gone
			}
		}
	}
}

func (s *streaming) write(list []*watched, next uint64) error {
	if s.gap {
		s.gap = false
		if _, err := fmt.Fprint(s.out, "event: gap\ndata: {}\n\n"); err != nil {
			return err
		}
	}
	first := next - uint64(len(list))
	for i, w := range list {
		if s.only != 0 && s.only != w.webhook {
			continue
		}
		if _, err := fmt.Fprintf(s.out, "id: %s-%d\nevent: attempt\ndata: %s\n\n", s.ring.epoch, first+uint64(i), w.render()); err != nil {
			return err
		}
	}
	s.next = next
	return nil
}
