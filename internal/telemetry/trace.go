package telemetry

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Tracing is where spans go. Nothing of it is registered globally: who traces is handed Provider
// and Propagator.
type Tracing struct {
	Provider   trace.TracerProvider
	Propagator propagation.TextMapPropagator // W3C traceparent
	stop       func(context.Context) error
}

// NewTracing sends spans by OTLP over HTTP to endpoint, a URL whose path defaults to /v1/traces.
// With an empty endpoint tracing is off: spans cost next to nothing and no traceparent is sent.
// Spans that cannot be sent are dropped; log hears of it.
func NewTracing(ctx context.Context, endpoint, version string, log *slog.Logger) (*Tracing, error) {
	if endpoint == "" {
		return &Tracing{
			Provider:   noop.NewTracerProvider(),
			Propagator: propagation.NewCompositeTextMapPropagator(),
			stop:       func(context.Context) error { return nil },
		}, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("tracing: %q is not a URL", Redact(endpoint))
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(u.String())} // which leaves out who asks
	if u.User != nil {
		password, _ := u.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		options = append(options, otlptracehttp.WithHeaders(map[string]string{"Authorization": "Basic " + basic}))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	// The one global that cannot be avoided: the library reports lost spans nowhere else, and
	// would print them to standard error in its own form.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("spans were lost", "error", err)
	}))
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(redacting{exporter}),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "atlas-webhooks"), attribute.String("service.version", version))),
	)
	return &Tracing{Provider: provider, Propagator: propagation.TraceContext{}, stop: provider.Shutdown}, nil
}

// Stop sends what is left, until ctx ends.
func (t *Tracing) Stop(ctx context.Context) error { return t.stop(ctx) }

// redacting redacts every text of a span before it leaves the process: instrumentation of HTTP
// clients records whole URLs.
type redacting struct{ sdk.SpanExporter }

func (r redacting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	redacted := make([]sdk.ReadOnlySpan, len(spans))
	for i, s := range spans {
		redacted[i] = redactedSpan{s}
	}
	return r.SpanExporter.ExportSpans(ctx, redacted)
}

type redactedSpan struct{ sdk.ReadOnlySpan }

func (s redactedSpan) Name() string { return Redact(s.ReadOnlySpan.Name()) }

func (s redactedSpan) Attributes() []attribute.KeyValue {
	return redactAttributes(s.ReadOnlySpan.Attributes())
}

func (s redactedSpan) Events() []sdk.Event {
	events := s.ReadOnlySpan.Events()
	redacted := make([]sdk.Event, len(events))
	for i, e := range events {
		e.Attributes = redactAttributes(e.Attributes)
		redacted[i] = e
	}
	return redacted
}

func (s redactedSpan) Status() sdk.Status {
	status := s.ReadOnlySpan.Status()
	status.Description = Redact(status.Description)
	return status
}

func redactAttributes(list []attribute.KeyValue) []attribute.KeyValue {
	redacted := make([]attribute.KeyValue, len(list))
	for i, a := range list {
		if a.Value.Type() == attribute.STRING {
			a.Value = attribute.StringValue(Redact(a.Value.AsString()))
		}
		redacted[i] = a
	}
	return redacted
}
