package httpapi

import (
	"context"
	"encoding/csv"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type exportIn struct {
	WebhookID string `query:"webhook_id" required:"true" doc:"The webhook."`
	Format    string `query:"format" enum:"ndjson,csv" default:"ndjson"`
	DeliveryFilter
}

// streamed is an answer that is written as it is read.
type streamed struct {
	Body func(huma.Context)
}

func (a *API) exportRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/deliveries/export", id: "export-deliveries", tag: "Deliveries", need: companyRead,
		summary: "Export deliveries", description: "The deliveries list with its filters, whole, as NDJSON or CSV. A stream that breaks off ends without its last line end.",
	}, a.export)
	a.huma.OpenAPI().Paths["/v1/deliveries/export"].Get.Responses["200"].Content = map[string]*huma.MediaType{
		ndjson: {Schema: &huma.Schema{Type: "string", Description: "A Delivery a line."}}, "text/csv": {Schema: &huma.Schema{Type: "string"}},
	}
}

func (a *API) export(ctx context.Context, x *exchange, in *exportIn) (*streamed, error) {
	q, err := in.query(a.catalogue())
	if err != nil {
		return nil, err
	}
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.WebhookID)
	if err != nil {
		return nil, err
	}
	q.Limit = hook.MaxLimit
	first, more, err := a.opt.Store.Deliveries(ctx, w.Key, q) // what can be refused is refused before the stream begins
	if err != nil {
		return nil, err
	}
	return &streamed{func(hctx huma.Context) {
		_, out := humago.Unwrap(hctx)
		var lines lineWriter
		if in.Format == "csv" {
			out.Header().Set("Content-Type", "text/csv; charset=utf-8")
			out.Header().Set("Content-Disposition", `attachment; filename="deliveries.csv"`)
			lines = newCSV(out)
		} else {
			out.Header().Set("Content-Type", ndjson)
			lines = jsonLines{out}
		}
		x.err = a.exportPages(ctx, w.Key, q, first, more, lines)
	}}, nil
}

// exportPages writes page after page; the connection's own pace bounds it.
func (a *API) exportPages(ctx context.Context, key hook.WebhookKey, q store.DeliveryQuery, page []store.Delivery, more hook.Offset, out lineWriter) error {
	for {
		for _, d := range page {
			if err := out.line(shapeDelivery(d)); err != nil {
				return nil //nolint:nilerr // the client has gone
			}
		}
		if err := out.flush(); err != nil || more == 0 {
			return nil //nolint:nilerr // the client has gone
		}
		q.Before = more
		var err error
		if page, more, err = a.opt.Store.Deliveries(ctx, key, q); err != nil {
			return unlessGone(ctx, err)
		}
	}
}

// unlessGone is an error that is worth a line in the log: one that came because the client has gone
// is not.
func unlessGone(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

type lineWriter interface {
	line(d client.Delivery) error
	flush() error
}

type jsonLines struct{ w io.Writer }

func (l jsonLines) line(d client.Delivery) error { return marshal(l.w, d) }

func (l jsonLines) flush() error { return nil }

type csvLines struct{ w *csv.Writer }

func newCSV(w io.Writer) csvLines {
	l := csvLines{csv.NewWriter(w)}
	_ = l.w.Write([]string{ // the next flush says what became of it
		"event_id", "event", "object_id", "sequence", "status", "reason", "attempts", "last_status_code", "last_duration_ms",
		"last_attempt_at", "next_attempt_at", "accepted_at",
	})
	return l
}

func (l csvLines) line(d client.Delivery) error {
	return l.w.Write([]string{
		cell(d.EventID), d.Event, cell(orEmpty(d.ObjectID)), number(d.Sequence), string(d.Status), cell(orEmpty(d.Reason)), strconv.Itoa(d.Attempts),
		number(d.LastStatusCode), number(d.LastDurationMS), moment(d.LastAttemptAt), moment(d.NextAttemptAt), moment(&d.AcceptedAt),
	})
}

func (l csvLines) flush() error {
	l.w.Flush()
	return l.w.Error()
}

// cell keeps a spreadsheet from reading a stranger's text as a formula (OWASP, "CSV Injection").
func cell(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r\n", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

func number[T int | int64 | float64](v *T) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(float64(*v), 'f', -1, 64)
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
