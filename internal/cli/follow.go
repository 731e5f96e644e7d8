package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Pace at which follow asks for the state of deliveries: quickly at first, since most end within
// milliseconds, then ever slower, since retries take minutes and hours.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// deliveryRecord is a delivery as the API shows it, as far as follow looks at it.
type deliveryRecord struct {
	WebhookID      string              `json:"webhook_id"` // not in the answer, which is within its webhook
	EventID        string              `json:"event_id"`
	Event          string              `json:"event"`
	Status         hook.DeliveryStatus `json:"status"`
	Reason         string              `json:"reason"`
	LastStatusCode int                 `json:"last_status_code"`
	LastDurationMS float64             `json:"last_duration_ms"`
	NextAttemptAt  *time.Time          `json:"next_attempt_at"`
}

func (d deliveryRecord) final() bool {
	return d.Status == hook.Delivered || d.Status == hook.Failed || d.Status == hook.Skipped
}

// pair is a delivery that is followed, and the state it was last seen in.
type pair struct {
	webhook, event string
	seen           hook.DeliveryStatus
}

// follow asks for every delivery of the events until each has come to its end, and prints each as it
// does. It fails if one of them was not delivered.
func (p *Program) follow(ctx context.Context, a *api, topic string, events []accepted) error {
	webhooks, err := a.subscribers(ctx, topic)
	if err != nil {
		return err
	}
	var open []*pair
	for _, e := range events {
		for _, w := range webhooks {
			open = append(open, &pair{webhook: w, event: e.ID})
		}
	}
	matched, undelivered := 0, 0
	for wait := firstPoll; len(open) > 0; wait = min(2*wait, lastPoll) {
		var still []*pair
		for _, d := range open {
			now, err := a.delivery(ctx, d.webhook, d.event)
			if e, ok := errors.AsType[*exitError](err); ok && e.code == exitNotFound {
				continue // not matched: its filter, or it did not exist yet
			}
			if err != nil {
				return err
			}
			if !now.final() {
				p.waiting(d, now)
				still = append(still, d)
				continue
			}
			matched++
			if now.Status != hook.Delivered {
				undelivered++
			}
			if err := p.ended(now); err != nil {
				return err
			}
		}
		if open = still; len(open) > 0 {
			if err := pause(ctx, wait); err != nil {
				return fmt.Errorf("%d deliveries have not come to an end: %w", len(open), err)
			}
		}
	}
	switch {
	case undelivered > 0:
		return fmt.Errorf("%d of %d deliveries were not delivered", undelivered, matched)
	case matched == 0:
		p.progress("no webhook of the company matched")
	}
	return nil
}

// waiting tells once for each state that a delivery has not come to its end.
func (p *Program) waiting(d *pair, now deliveryRecord) {
	if d.seen == now.Status {
		return
	}
	d.seen = now.Status
	next := ""
	if now.NextAttemptAt != nil {
		next = ", next attempt at " + now.NextAttemptAt.Format(time.RFC3339)
	}
	p.progress("%s %s to %s%s", now.Status, d.event, d.webhook, next)
}

func (p *Program) ended(d deliveryRecord) error {
	if p.output == "json" {
		return p.record(d)
	}
	answer := d.Reason
	if d.LastStatusCode != 0 {
		answer = fmt.Sprintf("%d %.0f ms", d.LastStatusCode, d.LastDurationMS)
	}
	return p.line("%s %s to %s %s", d.EventID, d.Status, d.WebhookID, answer)
}

// subscribers lists the ids of the company's ACTIVE webhooks that want a topic.
func (a *api) subscribers(ctx context.Context, topic string) (ids []string, err error) {
	for cursor := 0; ; {
		var page struct {
			Data []struct {
				ID     string      `json:"id"`
				Events []string    `json:"events"`
				Status hook.Status `json:"status"`
			} `json:"data"`
			Total int `json:"total"`
		}
		query := url.Values{"limit": {strconv.Itoa(hook.MaxLimit)}, "cursor": {strconv.Itoa(cursor)}}
		if err := a.call(ctx, http.MethodGet, "/v1/webhooks?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, w := range page.Data {
			if set, _ := hook.MatchTopics(w.Events); w.Status == hook.Active && set.Has(topic) {
				ids = append(ids, w.ID)
			}
		}
		if cursor += len(page.Data); len(page.Data) == 0 || cursor >= page.Total {
			slices.Sort(ids)
			return slices.Compact(ids), nil
		}
	}
}

func (a *api) delivery(ctx context.Context, webhook, event string) (deliveryRecord, error) {
	d := deliveryRecord{}
	err := a.call(ctx, http.MethodGet, "/v1/webhooks/"+url.PathEscape(webhook)+"/deliveries/"+url.PathEscape(event), nil, &d)
	d.WebhookID, d.EventID = webhook, event
	return d, err
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
