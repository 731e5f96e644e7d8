package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// windows are the windows that can be asked for, and the width of their buckets.
var windows = map[string]struct{ length, bucket time.Duration }{
	"1h":  {time.Hour, time.Minute},
	"24h": {24 * time.Hour, 15 * time.Minute},
	"7d":  {7 * 24 * time.Hour, 2 * time.Hour},
	"30d": {30 * 24 * time.Hour, 6 * time.Hour},
}

// mostScheduled is up to how many scheduled events are counted: as many as any company may have.
const mostScheduled = 100_000

// Window is the parameter that both routes take.
type Window struct {
	Window string `query:"window" enum:"1h,24h,7d,30d" default:"24h"`
}

type webhookStatsIn struct {
	WebhookPath
	Window
}

type statsOut struct{ Body client.Stats }

func (a *API) statsRoutes() {
	const tag = "Figures"
	handle(a, route{
		method: http.MethodGet, path: "/v1/stats", id: "get-stats", tag: tag, need: companyRead, summary: "Figures of all webhooks",
	}, func(ctx context.Context, x *exchange, in *Window) (*statsOut, error) {
		out, err := a.stats(ctx, in.Window, store.StatsQuery{Company: x.company.Key})
		if err != nil {
			return nil, err
		}
		waiting, err := a.opt.Store.CountScheduled(ctx, x.company.Key, mostScheduled)
		out.Body.Scheduled = &waiting
		return out, err
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/webhooks/{id}/stats", id: "get-webhook-stats", tag: tag, need: companyRead, summary: "Figures of one webhook",
	}, func(ctx context.Context, x *exchange, in *webhookStatsIn) (*statsOut, error) {
		w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
		if err != nil {
			return nil, err
		}
		return a.stats(ctx, in.Window.Window, store.StatsQuery{Company: x.company.Key, Webhook: w.Key})
	})
}

func (a *API) stats(ctx context.Context, window string, q store.StatsQuery) (*statsOut, error) {
	w := windows[window]
	step := int64(w.bucket / time.Minute)
	now := a.now().Unix() / 60
	q.To, q.Step = now+1, step
	q.From = (now - int64(w.length/time.Minute) + step) / step * step
	list, err := a.opt.Store.Stats(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &statsOut{client.Stats{
		Window: client.Window(window), From: minute(q.From), To: minute(q.To), BucketSeconds: step * 60, Data: make([]client.Bucket, len(list)),
	}}
	var total store.Stat
	for i := range list {
		s := &list[i]
		out.Body.Data[i] = client.Bucket{At: minute(s.Bucket), Figures: shapeFigures(s)}
		total.Delivered, total.Failed, total.Retried = total.Delivered+s.Delivered, total.Failed+s.Failed, total.Retried+s.Retried
		total.Latency.Merge(&s.Latency)
		total.Arrival.Merge(&s.Arrival)
	}
	out.Body.Total = shapeFigures(&total)
	return out, nil
}

func minute(n int64) time.Time { return time.Unix(n*60, 0).UTC() }

func shapeFigures(s *store.Stat) client.Figures {
	return client.Figures{
		Delivered: s.Delivered, Failed: s.Failed, Retried: s.Retried, LatencyMS: percentiles(&s.Latency), AcceptToDeliveredMS: percentiles(&s.Arrival),
	}
}

func percentiles(h *hook.Histogram) (p client.Percentiles) {
	if h.Count() == 0 {
		return p
	}
	at := func(q float64) *float64 {
		ms := milliseconds(h.Quantile(q))
		return &ms
	}
	return client.Percentiles{P50: at(0.50), P95: at(0.95), P99: at(0.99)}
}
