package app

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/telemetry"
)

// tracer starts the spans of an event: publish and append while it is accepted, attempt and record for each
// attempt. They are of one trace, that of the producer's request where it names one. It goes with the event
// while that is in memory; one that is read from the store begins a trace with its attempt.
//
// Where nothing is traced there is no tracer: those who work do not know of it.
type tracer struct {
	trace.Tracer
	propagator propagation.TextMapPropagator

	mu         sync.Mutex
	unrecorded map[attemptKey]trace.SpanContext // of attempts that were made
}

type attemptKey struct {
	webhook hook.WebhookKey
	offset  hook.Offset
	kind    hook.Kind
	number  int
}

// maxUnrecorded bounds the attempts whose record is waited for. There are no more of them than slots, but
// for those of an engine that lost its lease, which nobody records.
const maxUnrecorded = 1 << 14

func newTracer(t *telemetry.Tracing) *tracer {
	return &tracer{Tracer: t.Provider.Tracer("atlas-webhooks"), propagator: t.Propagator, unrecorded: map[attemptKey]trace.SpanContext{}}
}

// publishing starts the span of a request that may publish.
func (t *tracer) publishing(r *http.Request) (ctx context.Context, end func()) {
	ctx = t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.Start(ctx, "publish", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.route", r.URL.Path)))
	return ctx, func() { span.End() }
}

// parent is a span as a traceparent header names it.
func (t *tracer) parent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// conclude ends a span of something that may have failed.
func conclude(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// tracedLog is the log that events are appended to.
type tracedLog struct {
	intake.Log
	t *tracer
}

func (l tracedLog) Append(ctx context.Context, p hook.Partition, events []*hook.Event) (b store.Batch, err error) {
	ctx, span := l.append(ctx, events)
	defer func() { conclude(span, err) }()
	return l.Log.Append(ctx, p, events)
}

func (l tracedLog) AppendAcross(ctx context.Context, events []*hook.Event) (b store.Batch, err error) {
	ctx, span := l.append(ctx, events)
	defer func() { conclude(span, err) }()
	return l.Log.AppendAcross(ctx, events)
}

func (l tracedLog) Schedule(ctx context.Context, events []*hook.Event) (b store.Batch, err error) {
	ctx, span := l.append(ctx, events)
	defer func() { conclude(span, err) }()
	return l.Log.Schedule(ctx, events)
}

func (l tracedLog) append(ctx context.Context, events []*hook.Event) (context.Context, trace.Span) {
	ctx, span := l.t.Start(ctx, "append", trace.WithAttributes(attribute.Int("events", len(events)), attribute.String("event.id", events[0].ID)))
	parent := l.t.parent(ctx)
	for _, e := range events {
		e.Trace = parent
	}
	return ctx, span
}

// tracedSender makes attempts.
type tracedSender struct {
	deliver.Sender
	t *tracer
}

func (s tracedSender) Send(ctx context.Context, r send.Request) send.Result {
	ctx, span := s.t.Start(s.t.propagator.Extract(ctx, propagation.MapCarrier{"traceparent": r.Event.Trace}), "attempt",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("event.id", r.Event.ID), attribute.String("event.topic", r.Event.Topic),
			attribute.String("webhook.id", r.Webhook.ID), attribute.String("kind", string(r.Kind)), attribute.Int("attempt", r.Attempt)))
	defer span.End()
	r.Trace = s.t.parent(ctx)
	result := s.Sender.Send(ctx, r)
	if result.StatusCode > 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", result.StatusCode))
	}
	if !result.Delivered() {
		span.SetStatus(codes.Error, string(result.Class)+": "+result.Detail)
	}
	s.t.made(attemptKey{r.Webhook.Key, r.Event.Offset, r.Kind, r.Attempt}, span.SpanContext())
	return result
}

func (t *tracer) made(k attemptKey, span trace.SpanContext) {
	if k.offset == 0 {
		return // a test, which no record of the log is about
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.unrecorded) >= maxUnrecorded {
		clear(t.unrecorded)
	}
	t.unrecorded[k] = span
}

// tracedStore records attempts.
type tracedStore struct {
	deliver.Store
	t *tracer
}

// Record ends each attempt's trace with the time that its commit took, which it shares with others.
func (s tracedStore) Record(ctx context.Context, r *store.Record) (store.Recorded, error) {
	began := time.Now()
	out, err := s.Store.Record(ctx, r)
	if err != nil {
		return out, err // the same record is written again, or by nobody
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	for _, item := range r.Items {
		a := item.Attempt
		if a == nil {
			continue
		}
		k := attemptKey{a.Webhook, a.Offset, a.Kind, a.Number}
		if made, ok := s.t.unrecorded[k]; ok {
			delete(s.t.unrecorded, k)
			_, span := s.t.Start(trace.ContextWithSpanContext(ctx, made), "record", trace.WithTimestamp(began), trace.WithAttributes(attribute.String("outcome", string(a.Outcome))))
			span.End()
		}
	}
	return out, nil
}
