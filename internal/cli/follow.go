package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Pace at which follow asks for the state of deliveries: quickly at first, since most end within
// milliseconds, then ever slower, since retries take minutes and hours.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// endRecord is the end that a delivery came to.
type endRecord struct {
	WebhookID      string                `json:"webhook_id"`
	EventID        string                `json:"event_id"`
	Event          string                `json:"event"`
	Status         client.DeliveryStatus `json:"status"`
	Reason         *string               `json:"reason"`
	Attempts       int                   `json:"attempts"`
	LastStatusCode *int                  `json:"last_status_code"`
	LastDurationMS *float64              `json:"last_duration_ms"`
}

// pair is a delivery that is followed, and the state it was last seen in.
type pair struct {
	webhook, event string
	seen           client.DeliveryStatus
}

// follow asks for every delivery of the events until each has come to its end, and prints each as it
// does. It fails if one of them was not delivered.
func (p *Program) follow(ctx context.Context, api *caller, topic string, events []*client.Published) error {
	webhooks, err := subscribers(ctx, api, topic)
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
			now, err := api.Delivery(ctx, d.webhook, d.event)
			if code, _ := refusalCode(err); code == exitNotFound {
				continue // not matched: its filter, or it did not exist yet
			}
			if err != nil {
				return err
			}
			if !now.Status.Final() {
				p.waiting(d, now)
				still = append(still, d)
				continue
			}
			matched++
			if now.Status != client.Delivered {
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
func (p *Program) waiting(d *pair, now *client.DeliveryDetail) {
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

func (p *Program) ended(d *client.DeliveryDetail) error {
	if p.output == "json" {
		return p.record(endRecord{
			WebhookID: d.WebhookID, EventID: d.EventID, Event: d.Event, Status: d.Status, Reason: d.Reason, Attempts: len(d.Attempts),
			LastStatusCode: d.LastStatusCode, LastDurationMS: d.LastDurationMS,
		})
	}
	answer := show(d.Reason)
	if d.LastStatusCode != nil && d.LastDurationMS != nil {
		answer = fmt.Sprintf("%d %.0f ms", *d.LastStatusCode, *d.LastDurationMS)
	}
	return p.line("%s %s to %s %s", d.EventID, d.Status, d.WebhookID, answer)
}

// subscribers lists the ids of the company's ACTIVE webhooks that want a topic.
func subscribers(ctx context.Context, api *caller, topic string) (ids []string, err error) {
	for w, err := range api.Webhooks(ctx, client.WebhookFilter{Status: client.Active, Event: topic, PageSize: hook.MaxLimit}) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, w.ID)
	}
	slices.Sort(ids)
	return ids, nil
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
