package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Stats are figures over a window, in buckets. Buckets in which nothing happened are left out.
type Stats struct {
	Window        string    `json:"window" enum:"1h,24h,7d,30d"`
	From          time.Time `json:"from"`
	To            time.Time `json:"to"`
	BucketSeconds int64     `json:"bucket_seconds"`
	Total         Figures   `json:"total"`
	Data          []Bucket  `json:"data"`
}

// Bucket is the figures of one stretch of time.
type Bucket struct {
	At time.Time `json:"at" doc:"Where it begins."`
	Figures
}

// Figures are what happened.
type Figures struct {
	Delivered         int64       `json:"delivered"`
	Failed            int64       `json:"failed" doc:"For good."`
	Retried           int64       `json:"retried" doc:"Attempts that failed and were or will be repeated."`
	Latency           Percentiles `json:"latency_ms" doc:"How long endpoints took to answer."`
	AcceptToDelivered Percentiles `json:"accept_to_delivered_ms"`
}

// Percentiles are at most 20 % off; null when there is nothing to count.
type Percentiles struct {
	P50 *float64 `json:"p50"`
	P95 *float64 `json:"p95"`
	P99 *float64 `json:"p99"`
}

// windows are the windows that can be asked for, and the width of their buckets.
var windows = map[string]struct{ length, bucket time.Duration }{
	"1h":  {time.Hour, time.Minute},
	"24h": {24 * time.Hour, 15 * time.Minute},
	"7d":  {7 * 24 * time.Hour, 2 * time.Hour},
	"30d": {30 * 24 * time.Hour, 6 * time.Hour},
}

// Window is the parameter that both routes take.
type Window struct {
	Window string `query:"window" enum:"1h,24h,7d,30d" default:"24h"`
}

type webhookStatsIn struct {
	WebhookPath
	Window
}

type statsOut struct{ Body Stats }

func (a *API) statsRoutes() {
	const tag = "Figures"
	handle(a, route{
		method: http.MethodGet, path: "/v1/stats", id: "get-stats", tag: tag, need: companyRead, summary: "Figures of all webhooks",
	}, func(ctx context.Context, x *exchange, in *Window) (*statsOut, error) {
		return a.stats(ctx, in.Window, store.StatsQuery{Company: x.company.Key})
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
	out := &statsOut{Stats{
		Window: window, From: minute(q.From), To: minute(q.To), BucketSeconds: step * 60, Data: make([]Bucket, len(list)),
	}}
	var total store.Stat
	for i := range list {
		s := &list[i]
		out.Body.Data[i] = Bucket{minute(s.Bucket), shapeFigures(s)}
		total.Delivered, total.Failed, total.Retried = total.Delivered+s.Delivered, total.Failed+s.Failed, total.Retried+s.Retried
		total.Latency.Merge(&s.Latency)
		total.Arrival.Merge(&s.Arrival)
	}
	out.Body.Total = shapeFigures(&total)
	return out, nil
}

func minute(n int64) time.Time { return time.Unix(n*60, 0).UTC() }

func shapeFigures(s *store.Stat) Figures {
	return Figures{
		Delivered: s.Delivered, Failed: s.Failed, Retried: s.Retried, Latency: percentiles(&s.Latency), AcceptToDelivered: percentiles(&s.Arrival),
	}
}

func percentiles(h *hook.Histogram) (p Percentiles) {
	if h.Count() == 0 {
		return p
	}
	at := func(q float64) *float64 {
		ms := milliseconds(h.Quantile(q))
		return &ms
	}
	return Percentiles{at(0.50), at(0.95), at(0.99)}
}
